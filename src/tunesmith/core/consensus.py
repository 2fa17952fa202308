"""One answer out of several people's: by majority, and by how reliable each of them is (Dawid & Skene 1979).

Legend of array names: N items, R raters, V labels.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import special

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

MAX_STEPS = 200
TOLERANCE = 1e-7
"""The fit ends when the log-likelihood of a rating grows by less."""
SMOOTHING = 0.01
"""Ratings that each rater is taken to have given beside the real ones: few ratings make no certainty."""


class Majority(NamedTuple):
    """What most raters said."""

    label_N: Ints
    """The most frequent label; the smallest of several; −1 for an item without ratings."""
    share_N: Floats
    """Share of the ratings that say so."""
    tied_N: NDArray[np.bool_]
    """Whether another label was given as often."""


class Consensus(NamedTuple):
    """What the raters' answers mean when each is trusted as far as they agree with the rest."""

    label_N: Ints
    probability_NV: Floats
    """Posterior of each label."""
    confusion_RVV: Floats
    """For each rater: the probability of saying the second label where the first is true."""
    prior_V: Floats
    steps: int
    """Steps of expectation maximisation until it stood still."""


def votes(codes: ArrayLike, num_labels: int) -> Floats:
    """Ratings (N, R) of codes 0 … V−1, NaN for none, as indicators (N, R, V)."""
    code_NR: Floats = np.asarray(codes, dtype=float)
    return np.asarray(code_NR[:, :, None] == np.arange(num_labels), dtype=np.float64)


def majority(codes: ArrayLike, num_labels: int) -> Majority:
    """The most frequent label of each item."""
    count_NV = votes(codes, num_labels).sum(1)
    total_N, most_N = count_NV.sum(1), count_NV.max(1)
    label_N = np.where(total_N > 0, count_NV.argmax(1), -1)
    tied_N = ((count_NV == most_N[:, None]).sum(1) > 1) & (total_N > 0)
    return Majority(label_N, most_N / np.maximum(total_N, 1), tied_N)


def dawid_skene(codes: ArrayLike, num_labels: int) -> Consensus:
    """Fit priors and each rater's confusion matrix by expectation maximisation, from the majority's shares.

    Source: Dawid & Skene 1979, "Maximum likelihood estimation of observer error-rates using the EM
    algorithm".  An item without ratings gets the prior.
    """
    vote_NRV = votes(codes, num_labels)
    count_NV = vote_NRV.sum(1)
    num_ratings = max(1.0, float(count_NV.sum()))
    probability_NV = (count_NV + 1e-9) / (count_NV + 1e-9).sum(1, keepdims=True)
    rated_N = count_NV.sum(1) > 0
    before = -np.inf
    steps = 0
    while steps < MAX_STEPS:
        steps += 1
        prior_V = probability_NV[rated_N].sum(0) + SMOOTHING
        prior_V /= prior_V.sum()
        confusion_RVV = np.einsum("nt,nrv->rtv", probability_NV, vote_NRV) + SMOOTHING
        confusion_RVV /= confusion_RVV.sum(2, keepdims=True)
        joint_NV = np.log(prior_V) + np.einsum("nrv,rtv->nt", vote_NRV, np.log(confusion_RVV))
        total_N = special.logsumexp(joint_NV, axis=1)
        probability_NV = np.exp(joint_NV - total_N[:, None])
        if (total_N.sum() - before) / num_ratings < TOLERANCE:
            break
        before = float(total_N.sum())
    return Consensus(probability_NV.argmax(1), probability_NV, confusion_RVV, prior_V, steps)
