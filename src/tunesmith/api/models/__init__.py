"""Models: those that are served, and the versions that jobs made, loaded when somebody asks for one."""
