"""People look at a model's answers: a sample to review, then what they and the judge say together.

Enters: a report.  Leaves: a data set folder of answers that `tunesmith data review` takes (`answers`), or a
folder of kind "validation": how far the judge agrees with people, and the score with the judge's errors taken
off (`validate`).
"""
