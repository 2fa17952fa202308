"""Review: people look at rows and say what becomes of them.

Enters: a data set folder, optionally a folder of findings.  Stays: verdicts in the workspace's store of
reviews.  Leaves: with `--apply`, a data set folder with the edited rows in and the rejected ones out.
"""
