"""Scorers: small functions of an item and a model's reply to it, each a number.

`score` of a `Chosen` gives one; the mean over a set, with its interval, is the business of statistics.
"""

from tunesmith.core.scorers.port import Case, Chosen, Faulty, Kind, Likelihood, Reply, Scorer
from tunesmith.core.scorers.registry import SCORERS, Spec, choose, choose_all, score_case, scorers_for

__all__ = [
    "SCORERS",
    "Case",
    "Chosen",
    "Faulty",
    "Kind",
    "Likelihood",
    "Reply",
    "Scorer",
    "Spec",
    "choose",
    "choose_all",
    "score_case",
    "scorers_for",
]
