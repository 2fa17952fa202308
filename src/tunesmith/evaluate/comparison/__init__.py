"""Two or more reports, item by item: the difference, what it rests on, and what can be said.

Enters: the report of the model to beat, and those of its candidates.  Leaves: a folder of kind "comparison".
`reports` pairs their items, `differences` measures and corrects, `people` puts people's verdicts in the place
of a score, `words` says it, `door` is `tunesmith compare`.
"""
