"""Human verdicts: one store for rows of data sets, of pools, answers in evaluations and harvested requests.

A queue holds rows, known by their content hash; each row has one task or more, each done by one person.
Every act is an event that is only ever appended; the tasks follow from the events (`state.replay`).
"""
