"""What is chosen in a round: by typicality while labels are few, then by uncertainty; a share uniformly."""

from collections.abc import Callable
from typing import Literal, NamedTuple

import numpy as np

from tunesmith.data.pool.strategies import STRATEGIES, Floats, Ints, Pool, Strategy, cover

EARLY_LABELS = 20
"""Labels a class; with fewer, a classifier's doubts say little (arXiv:2202.02794)."""
Method = Literal["auto", "random", "typical", "margin", "entropy", "badge", "cover"]


class Chosen(NamedTuple):
    """A row of the pool that was chosen."""

    position: int
    by: str
    """The strategy, or `uniform`."""
    probability: float
    """Probability of being chosen in this round: 1 for what a strategy names, u/M for u drawn of M others.

    Weighted by its inverse the chosen rows estimate any mean over the pool without bias (Horvitz & Thompson
    1952).
    """


class Choice(NamedTuple):
    """The rows of a round, in the order of choosing."""

    rows: list[Chosen]
    strategy: str


def strategy_for(num_labelled: int, num_classes: int) -> Strategy:
    """Typicality until about `EARLY_LABELS` labels a class, then margin with clustering."""
    return "typical" if num_labelled < EARLY_LABELS * max(2, num_classes) else "margin"


def choose(
    pool: Pool,
    count: int,
    num_labelled: int,
    num_classes: int,
    *,
    uniform: float,
    method: Method = "auto",
    score: Callable[[Ints], Floats] | None = None,
) -> Choice:
    """Choose `count` rows, a share `uniform` of them at random from those that the strategy leaves.

    With `score` (the answers are free text) clusters are covered, and scored rows taken; else the answers are
    labels.
    """
    num_uniform = min(count, max(1, round(uniform * count))) if uniform else 0
    found, name = named(pool, count - num_uniform, num_labelled, num_classes, method=method, score=score)
    rows = [Chosen(int(place), name, 1.0) for place in found]
    left = np.setdiff1d(np.arange(len(pool)), found)
    drawn = np.random.default_rng([pool.seed, 1]).permutation(left)[:num_uniform]
    rows += [Chosen(int(place), "uniform", len(drawn) / len(left)) for place in drawn]
    if name == "random":  # two uniform draws without replacement are one
        rows = [row._replace(probability=len(rows) / len(pool)) for row in rows]
    return Choice(rows, name)


def named(
    pool: Pool,
    count: int,
    num_labelled: int,
    num_classes: int,
    *,
    method: Method,
    score: Callable[[Ints], Floats] | None,
) -> tuple[Ints, str]:
    """What the strategy itself names, and which one it was."""
    if count <= 0:
        return np.zeros(0, dtype=np.int64), "uniform"
    if method == "cover" or (method == "auto" and score is not None):
        assert score is not None
        return cover(np.asarray(pool.vectors_ND), count, score, seed=pool.seed), "cover"
    strategy = strategy_for(num_labelled, num_classes) if method == "auto" else method
    if strategy != "random" and strategy != "typical" and pool.probability_NC is None:
        strategy = "typical"  # one label alone cannot be told from anything
    return STRATEGIES[strategy](pool, count), strategy
