"""What every room shares: plain data, files, configuration, statistics.  No torch, no web framework."""
