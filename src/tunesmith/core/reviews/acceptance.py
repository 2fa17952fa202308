"""Acceptance sampling: what n rows drawn at random say about the share of wrong rows in all."""

from math import ceil, log
from typing import NamedTuple

from scipy import special

from tunesmith.core.stats import wilson


class ErrorRate(NamedTuple):
    """Share of wrong rows in a random sample, with two intervals."""

    errors: int
    n: int
    value: float
    low: float
    """Wilson's score interval (1927): close to its nominal coverage on average."""
    high: float
    exact_low: float
    """Clopper & Pearson (1934): never covers less than it says."""
    exact_high: float


def clopper_pearson(errors: int, n: int, *, confidence: float = 0.95) -> tuple[float, float]:
    """The exact interval of a share, from the quantiles of the beta distribution."""
    if n <= 0:
        return 0.0, 1.0
    tail = (1 - confidence) / 2
    low = float(special.betaincinv(errors, n - errors + 1, tail)) if errors else 0.0
    high = float(special.betaincinv(errors + 1, n - errors, 1 - tail)) if errors < n else 1.0
    return low, high


def error_rate(errors: int, n: int, *, confidence: float = 0.95) -> ErrorRate:
    """The share of wrong rows and both intervals; n = 0 says nothing: from 0 to 1."""
    low, high = wilson(errors, n, confidence=confidence)
    return ErrorRate(
        errors, n, errors / n if n else 0.0, low, high, *clopper_pearson(errors, n, confidence=confidence)
    )


def upper_bound(errors: int, n: int, *, confidence: float = 0.95) -> float:
    """The share that more wrong rows are ruled out above, one-sided: 0 in 59 rows is below .05."""
    return float(special.betaincinv(errors + 1, n - errors, confidence)) if errors < n else 1.0


def rows_needed(bound: float, *, errors: int = 0, confidence: float = 0.95) -> int:
    """Fewest random rows with at most `errors` wrong ones that put the one-sided upper bound at `bound`.

    Without errors this is log(1 − confidence) / log(1 − bound): the rule of three.
    """
    assert 0 < bound < 1, bound
    few, many = errors, errors + 1 + ceil(log(1 - confidence) / log(1 - bound))
    while upper_bound(errors, many, confidence=confidence) > bound:
        few, many = many, 2 * many
    while many - few > 1:
        middle = (few + many) // 2
        if upper_bound(errors, middle, confidence=confidence) > bound:
            few = middle
        else:
            many = middle
    return many
