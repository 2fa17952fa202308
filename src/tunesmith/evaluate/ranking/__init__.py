"""Several models in order, from their answers to the same items, two by two.

Enters: two or more reports, and perhaps a judge.  Leaves: a folder of kind "ranking": strengths with
intervals (Bradley and Terry), what could not be told apart, and what style explains.
"""
