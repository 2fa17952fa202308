"""Several answers to each question: what one try, the best of k, and all of k tries are worth."""

from collections.abc import Sequence
from math import comb
from typing import NamedTuple

import numpy as np


def pass_at(right: int, tries: int, k: int) -> float:
    """Probability that at least one of k tries is right, without bias (Chen et al., arXiv:2107.03374)."""
    check(right, tries, k)
    return 1.0 - comb(tries - right, k) / comb(tries, k)


def pass_all(right: int, tries: int, k: int) -> float:
    """Probability that all of k tries are right (pass^k: Yao et al., arXiv:2406.12045)."""
    check(right, tries, k)
    return comb(right, k) / comb(tries, k)


def check(right: int, tries: int, k: int) -> None:
    """Raise ValueError for counts that cannot be."""
    if not 0 <= right <= tries or not 1 <= k <= tries:
        raise ValueError(f"{right} right of {tries} tries say nothing about {k}")


class Variance(NamedTuple):
    """Where scores differ: from question to question, or from try to try at one question."""

    between: float
    within: float
    flaky: int
    """Questions whose tries do not all have one score."""


def variance_of(scores: Sequence[Sequence[float]]) -> Variance:
    """Variance components of scores, one list of tries for each question (one-way random effects).

    Questions with one try have no variance within; without any other the whole variance is between.
    """
    means = [float(np.mean(tries)) for tries in scores]
    repeated = [tries for tries in scores if len(tries) > 1]
    within = float(np.mean([np.var(tries, ddof=1) for tries in repeated])) if repeated else 0.0
    spread = float(np.var(means, ddof=1)) if len(means) > 1 else 0.0
    tries = len(scores) / sum(1 / len(one) for one in scores) if scores else 1.0
    flaky = sum(len(set(one)) > 1 for one in repeated)
    return Variance(max(0.0, spread - within / tries), within, flaky)
