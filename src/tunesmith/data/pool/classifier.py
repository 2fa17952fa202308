"""The classifier of the loop, logistic regression on frozen vectors; and when to stop.

Frozen vectors in the loop and one fine-tune at the end give the same quality at a fraction of the cost
(arXiv:2402.15613).  The rows of the pool help while labels are few: labels spread to their neighbours first.

Legend of array names: L labelled rows, N rows of the pool, M both, C classes, D width, K neighbours.
"""

import warnings
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from tunesmith.core.stats import Interval, paired_difference, share_interval
from tunesmith.data.pool.strategies import Floats, Ints
from tunesmith.data.vectors import nearest

STRENGTH = 10.0
"""Inverse regularisation: unit vectors need more than scikit-learn's 1."""
SPREAD_ROWS = 10_000
"""Labels spread over so many rows of the pool, a uniform sample of a larger one."""
SPREAD_NEIGHBOURS = 10
SPREAD_STEPS = 30
SPREAD_SHARE = 0.9
"""Weight of the neighbours against the row's own label in each step."""
SPREAD_WEIGHT = 0.3
"""What a row with a spread label counts in the fit, times how sure it is; a labelled one counts 1."""
ROUNDS_BACK = 2
"""A plateau is judged against the round before the last."""


class Fitted(NamedTuple):
    """A classifier and the labels that it knows, in the order of its probabilities."""

    model: Any
    labels: list[str]

    def probabilities(self, vectors_ND: Floats) -> Floats:
        """(N, C)."""
        return np.asarray(self.model.predict_proba(np.asarray(vectors_ND, dtype=np.float64)))

    def right(self, vectors_ND: Floats, answers: Sequence[str]) -> list[int]:
        """For each row 1 where the likeliest label is its answer, else 0."""
        said = self.probabilities(vectors_ND).argmax(1)
        return [int(self.labels[place] == answer) for place, answer in zip(said, answers, strict=True)]


def fit(
    vectors_LD: Floats, answers: Sequence[str], pool_ND: Floats | None = None, *, seed: int = 0
) -> Fitted | None:
    """Learn the answers, and with a pool what they say of its rows; None where there is only one answer."""
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.linear_model import LogisticRegression

    labels, code_L = np.unique(list(answers), return_inverse=True)
    if len(labels) < 2:
        return None
    vectors_MD, code_M, weight_M = np.asarray(vectors_LD, dtype=np.float64), code_L, np.ones(len(code_L))
    if pool_ND is not None and len(pool_ND):
        if len(pool_ND) > SPREAD_ROWS:
            drawn = np.random.default_rng(seed).choice(len(pool_ND), SPREAD_ROWS, replace=False)
            pool_ND = pool_ND[np.sort(drawn)]
        spread_NC = spread_labels(np.concatenate([vectors_LD, pool_ND]), code_L, len(labels))[len(code_L) :]
        reached = spread_NC.sum(1) > 0
        vectors_MD = np.concatenate([vectors_MD, pool_ND[reached]])
        code_M = np.concatenate([code_L, spread_NC[reached].argmax(1)])
        weight_M = np.concatenate([weight_M, SPREAD_WEIGHT * spread_NC[reached].max(1)])
    model = LogisticRegression(C=STRENGTH, max_iter=1000)
    with warnings.catch_warnings():
        # A fit that is not quite at its optimum ranks rows just as well.
        warnings.simplefilter("ignore", ConvergenceWarning)
        model.fit(vectors_MD, code_M, weight_M)
    return Fitted(model, [str(label) for label in labels])


def spread_labels(vectors_MD: Floats, code_L: Ints, num_labels: int) -> Floats:
    """Shares of each label (M, C) after labels went from neighbour to neighbour; zeros where none arrived.

    The first L rows are the labelled ones.  Source: Zhou et al. 2004, "Learning with local and global
    consistency", on the graph of the nearest neighbours by squared cosine; each label starts with the same
    mass however often it was given.
    """
    from scipy.sparse import coo_array, diags_array

    size = len(vectors_MD)
    everyone = np.arange(size)
    near = nearest(np.asarray(vectors_MD, dtype=np.float32), everyone, everyone, SPREAD_NEIGHBOURS)
    held = (near.position >= 0) & (near.similarity > 0)
    edges = np.nonzero(held)[0], near.position[held]
    graph_MM = coo_array((near.similarity[held].astype(np.float64) ** 2, edges), shape=(size, size)).tocsr()
    graph_MM = graph_MM.maximum(graph_MM.T)
    degree_M = np.asarray(graph_MM.sum(1)).ravel()
    scale_MM = diags_array(1 / np.sqrt(np.where(degree_M > 0, degree_M, 1)))
    graph_MM = scale_MM @ graph_MM @ scale_MM
    own_MC = np.zeros((size, num_labels))
    own_MC[np.arange(len(code_L)), code_L] = 1
    own_MC /= np.maximum(own_MC.sum(0), 1)
    mass_MC = own_MC
    for _ in range(SPREAD_STEPS):
        mass_MC = SPREAD_SHARE * (graph_MM @ mass_MC) + (1 - SPREAD_SHARE) * own_MC
    total_M1 = mass_MC.sum(1, keepdims=True)
    return np.asarray(np.where(total_M1 > 1e-12, mass_MC / np.where(total_M1 > 1e-12, total_M1, 1), 0))


class Verdict(NamedTuple):
    """Whether to go on."""

    stop: bool
    why: str
    gain: Interval | None
    """Accuracy now minus that of `ROUNDS_BACK` rounds ago, on the same held-out rows."""


def accuracy(right: Sequence[int]) -> Interval:
    """Share of right answers with its interval."""
    return share_interval(list(right))


def plateau(history: Sequence[Mapping[str, int]], *, least_gain: float) -> Verdict:
    """Stop when the last `ROUNDS_BACK` rounds gained less than `least_gain`, with 95 % confidence.

    Each entry of the history says of each held-out row (by hash) whether it was answered rightly.
    """
    if len(history) <= ROUNDS_BACK:
        return Verdict(False, f"a plateau shows after {ROUNDS_BACK + 1} rounds at the earliest", None)
    before, now = history[-1 - ROUNDS_BACK], history[-1]
    same = sorted(before.keys() & now.keys())
    first, second = [before[key] for key in same], [now[key] for key in same]
    gain = paired_difference(first, second, shares=True).interval
    ends = f"{gain.value:+.3f} [{gain.low:+.3f}, {gain.high:+.3f}] on {len(same)} held-out rows"
    if gain.high < least_gain:
        return Verdict(
            True, f"plateau: the last {ROUNDS_BACK} rounds gained {ends}, less than {least_gain}", gain
        )
    if gain.low > 0:
        return Verdict(False, f"still rising: the last {ROUNDS_BACK} rounds gained {ends}", gain)
    return Verdict(
        False, f"not known: the last {ROUNDS_BACK} rounds gained {ends}; more held-out rows say more", gain
    )
