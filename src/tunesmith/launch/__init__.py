"""Starting other processes: the steps of a journey, temporary servers, training workers."""
