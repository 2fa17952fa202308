"""Before a second model is there: how many items a difference needs, and what so many items can see.

Both depend on how alike two models find the items, which nobody knows before; so it is a correlation of their
scores that the caller gives, and figures come as a range over several.
"""

from collections.abc import Callable
from math import ceil, sqrt

from scipy import special

from tunesmith.core.stats.intervals import z_of
from tunesmith.core.stats.paired import POWER


def discordance(first: float, second: float, correlation: float) -> float:
    """Share of items that exactly one of two models gets right, from their shares and their correlation.

    Two shares that differ cannot be wholly correlated: it is never less than their difference.
    """
    independent = first * (1 - second) + second * (1 - first)
    together = 2 * correlation * sqrt(first * (1 - first) * second * (1 - second))
    return max(abs(first - second), independent - together)


def required_for_means(
    difference: float, spread: float, correlation: float, *, confidence: float = 0.95
) -> int:
    """Items on which a true difference of two means is seen with 80 % power.

    `spread` is the standard deviation of one model's scores over the items, and that of the other.
    """
    if difference <= 0:
        raise ValueError(f"a difference to look for lies above 0: {difference}")
    of_change = spread * sqrt(2 * (1 - correlation))
    return ceil(((z_of(confidence) + float(special.ndtri(POWER))) * of_change / difference) ** 2)


def smallest_difference(needed: Callable[[float], float], n: float, most: float) -> float | None:
    """The smallest difference for which `needed` asks for at most n items; None when `most` asks for more."""
    if needed(most) > n:
        return None
    unseen, seen = 0.0, most
    for _ in range(40):  # far below what is shown
        middle = (unseen + seen) / 2
        if needed(middle) > n:
            unseen = middle
        else:
            seen = middle
    return seen
