"""The command line: a skin over the doors.  Flags in, results out, nothing else."""
