"""How many items a comparison will need, asked before any candidate exists.

Enters: the report of the model to beat.  Leaves: items needed for a difference, and the smallest difference
that the report's own items can see, over a range of how alike the two models may find them.
"""
