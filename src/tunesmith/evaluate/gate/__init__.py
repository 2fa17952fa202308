"""A declared rule over two reports: is the candidate fit to take the other's place?

Enters: a rule (YAML) and two report folders.  Leaves: a folder of kind "gate" with each condition, what was
measured for it, and whether it holds; the command exits with 0 or 1.
"""
