"""The state of active learning, which travels with the data set folder from round to round."""

ROUND = "round.json"
"""Number, history of scores, and what was chosen with which probability."""
