"""Whether a model's confidence means what it says: reliability, calibration error, Brier score.

Guo et al., arXiv:1706.04599; bins hold equally many items, so that each has a share worth an interval
(Nguyen and O'Connor 2015).
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from tunesmith.core.stats.intervals import Floats, wilson

BINS = 10
FEWEST_IN_BIN = 10


class Bin(NamedTuple):
    """Items of about one confidence."""

    confidence: float
    """Their mean confidence."""
    right: float
    """The share of them that is right."""
    low: float
    high: float
    """Wilson's 95 % interval of that share."""
    items: int


class Calibration(NamedTuple):
    """How far confidence and share of right answers lie apart."""

    bins: list[Bin]
    error: float
    """Expected calibration error: the mean distance of the bins, weighted by items."""
    brier: float
    """Mean squared distance of confidence and outcome."""


def calibration(confidence: ArrayLike, right: ArrayLike, *, bins: int = BINS) -> Calibration:
    """Bins of equal size by confidence (0 to 1) with the share of right answers (0 to 1) in each.

    For answers that are partly right Wilson's interval errs on the wide side.
    Fewer bins when a bin would hold fewer than `FEWEST_IN_BIN` items.  Raises ValueError without items.
    """
    sure: Floats = np.asarray(confidence, dtype=float)
    outcome: Floats = np.asarray(right, dtype=float)
    if not len(sure) or sure.shape != outcome.shape:
        raise ValueError(f"{len(sure)} confidences for {len(outcome)} outcomes")
    order = np.argsort(sure, kind="stable")
    number = max(1, min(bins, len(sure) // FEWEST_IN_BIN))
    found = []
    for part in np.array_split(order, number):
        low, high = wilson(float(outcome[part].sum()), len(part))
        found.append(Bin(float(sure[part].mean()), float(outcome[part].mean()), low, high, len(part)))
    error = sum(abs(one.confidence - one.right) * one.items for one in found) / len(sure)
    return Calibration(found, error, float(((sure - outcome) ** 2).mean()))
