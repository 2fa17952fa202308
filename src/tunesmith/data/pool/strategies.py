"""Ways to choose B rows of a pool to be labelled, as pure functions of vectors and class probabilities.

Legend of array names: N rows of the pool, L labelled rows, B chosen rows, K clusters, C classes, D width.
"""

import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.floating]
Ints = NDArray[np.int64]
Strategy = Literal["random", "typical", "margin", "entropy", "badge"]

MOST_CLUSTERS = 500
"""TypiClust's own bound."""
NEIGHBOURS = 20
"""Typicality is measured over so many neighbours in the cluster, or fewer in a smaller one."""
CANDIDATES = 10
"""The most uncertain rows, so many times the rows wanted, are clustered."""
MINI_BATCH_FROM = 10_000
"""From so many rows on, clusters are found on mini-batches."""


@dataclass(frozen=True)
class Pool:
    """What a strategy may look at."""

    vectors_ND: Floats
    labelled_LD: Floats
    probability_NC: Floats | None
    """What the classifier says; None while there is none."""
    seed: int

    def __len__(self) -> int:
        return len(self.vectors_ND)


def centred(vectors_ND: Floats) -> Floats:
    """Vectors without what all of them share, at length one again; zeros stay zeros.

    Encoders put all texts into a narrow cone; without its middle, distances say more (Mu & Viswanath 2018,
    arXiv:1702.01417).
    """
    known = (np.asarray(vectors_ND) != 0).any(1)
    moved = np.array(vectors_ND, dtype=np.float32)
    if known.any():
        moved[known] -= moved[known].mean(0)
    length = np.linalg.norm(moved, axis=1, keepdims=True)
    return moved / np.where(length > 1e-6, length, 1)


def random(pool: Pool, count: int) -> Ints:
    """Uniform: the control."""
    drawn: Ints = np.random.default_rng(pool.seed).permutation(len(pool))[:count]
    return drawn


def clusters_of(vectors_ND: Floats, count: int, *, seed: int, weights_N: Floats | None = None) -> Ints:
    """k-means: the cluster of each row."""
    from sklearn.cluster import KMeans, MiniBatchKMeans
    from sklearn.exceptions import ConvergenceWarning

    count = min(count, len(vectors_ND))
    if len(vectors_ND) >= MINI_BATCH_FROM:
        means = MiniBatchKMeans(count, random_state=seed, n_init=1, batch_size=4096)
    else:
        means = KMeans(count, random_state=seed, n_init=1)
    with warnings.catch_warnings():
        # Rows that are equal leave fewer clusters than asked for; the empty ones are passed over.
        warnings.simplefilter("ignore", ConvergenceWarning)
        labels: Ints = means.fit_predict(vectors_ND, sample_weight=weights_N).astype(np.int64)
    return labels


def typical(pool: Pool, count: int) -> Ints:
    """TypiClust (arXiv:2202.02794): the most typical row of each large cluster without labels.

    As many clusters as labelled and wanted rows together; those with the fewest labels first, of these the
    largest; typical is the row with the smallest mean distance to its neighbours in the cluster.
    """
    everything = np.concatenate([pool.labelled_LD, pool.vectors_ND])
    num_labelled = len(pool.labelled_LD)
    cluster_M = clusters_of(everything, min(num_labelled + count, MOST_CLUSTERS), seed=pool.seed)
    size_K = np.bincount(cluster_M)
    labels_K = np.bincount(cluster_M[:num_labelled], minlength=len(size_K))
    members = [np.nonzero(cluster_M == cluster)[0] for cluster in range(len(size_K))]
    free = [list(found[found >= num_labelled]) for found in members]
    order = {k: by_typicality(everything, members[k], free[k]) for k in range(len(free)) if free[k]}
    chosen: list[int] = []
    while len(chosen) < min(count, len(pool)):
        k = min(order, key=lambda k: (labels_K[k], -size_K[k], k))
        chosen.append(order[k].pop(0) - num_labelled)
        labels_K[k] += 1
        if not order[k]:
            del order[k]
    return np.array(chosen, dtype=np.int64)


def by_typicality(vectors_MD: Floats, members: Ints, free: list[int]) -> list[int]:
    """The free rows of a cluster, the most typical first; a large cluster is looked at through a sample."""
    sample = members if len(members) <= 2000 else members[:: -(-len(members) // 2000)]
    inside = vectors_MD[sample]
    near = min(NEIGHBOURS, len(sample) - 1)
    if near < 1:
        return list(free)
    own = vectors_MD[free]
    square = (own**2).sum(1)[:, None] + (inside**2).sum(1)[None, :] - 2 * own @ inside.T
    # the nearest is the row itself, where it is in the sample
    distance = np.sort(np.sqrt(np.maximum(square, 0)), axis=1)[:, 1 : near + 1].mean(1)
    return [int(free[place]) for place in np.argsort(distance, kind="stable")]


def margins(probability_NC: Floats) -> Floats:
    """1 − (the likeliest class's probability − the second one's): high is uncertain."""
    top = np.sort(probability_NC, axis=1)[:, -2:]
    return np.asarray(1 - (top[:, 1] - top[:, 0]))


def entropies(probability_NC: Floats) -> Floats:
    """Entropy of the classes in nats: high is uncertain."""
    clipped = np.clip(probability_NC, 1e-12, 1)
    return np.asarray(-(clipped * np.log(clipped)).sum(1))


def uncertain(score: Callable[[Floats], Floats]) -> Callable[[Pool, int], Ints]:
    """The most uncertain rows, spread out: of `CANDIDATES` times as many, the first of each cluster.

    Source: weighted k-means on the most uncertain ones (Zhdanov 2019, arXiv:1901.05954).
    """

    def choose(pool: Pool, count: int) -> Ints:
        assert pool.probability_NC is not None
        score_N = score(pool.probability_NC)
        return spread(pool.vectors_ND, score_N, count, seed=pool.seed)

    return choose


def spread(vectors_ND: Floats, score_N: Floats, count: int, *, seed: int) -> Ints:
    """The best rows by score, at most one of each cluster while there are clusters."""
    candidates = np.argsort(-score_N, kind="stable")[: count * CANDIDATES]
    if len(candidates) <= count:
        return candidates.astype(np.int64)
    weights = np.maximum(score_N[candidates] - score_N[candidates].min(), 1e-6)
    cluster = clusters_of(vectors_ND[candidates], count, seed=seed, weights_N=weights)
    _, firsts = np.unique(cluster, return_index=True)  # candidates are in the order of their scores
    chosen = np.sort(firsts)[:count]
    rest = np.setdiff1d(np.arange(len(candidates)), chosen)[: count - len(chosen)]
    found: Ints = candidates[np.concatenate([chosen, rest])].astype(np.int64)
    return found


def badge(pool: Pool, count: int) -> Ints:
    """BADGE (arXiv:1906.03671): k-means++ over the gradients of each row with its likeliest label.

    The gradient of the last layer is the outer product of (probabilities − label) and the vector, so that its
    inner products are products of two small ones and it is never built.
    """
    assert pool.probability_NC is not None
    error_NC = pool.probability_NC.copy()
    error_NC[np.arange(len(pool)), pool.probability_NC.argmax(1)] -= 1
    vectors_ND = np.asarray(pool.vectors_ND, dtype=np.float64)
    length_N = (error_NC**2).sum(1) * (vectors_ND**2).sum(1)
    draw = np.random.default_rng(pool.seed)
    chosen = [int(length_N.argmax())]
    square_N = np.full(len(pool), np.inf)
    while len(chosen) < min(count, len(pool)):
        last = chosen[-1]
        product_N = (error_NC @ error_NC[last]) * (vectors_ND @ vectors_ND[last])
        square_N = np.minimum(square_N, np.maximum(length_N + length_N[last] - 2 * product_N, 0))
        square_N[chosen] = 0
        total = square_N.sum()
        if total <= 0:  # only copies of chosen rows are left
            left = np.setdiff1d(np.arange(len(pool)), chosen)
            chosen.extend(int(place) for place in draw.permutation(left)[: count - len(chosen)])
            break
        chosen.append(int(draw.choice(len(pool), p=square_N / total)))
    return np.array(chosen[:count], dtype=np.int64)


STRATEGIES: Mapping[Strategy, Callable[[Pool, int], Ints]] = {
    "random": random,
    "typical": typical,
    "margin": uncertain(margins),
    "entropy": uncertain(entropies),
    "badge": badge,
}
NEEDS_CLASSIFIER = ("margin", "entropy", "badge")


def cover(
    vectors_ND: Floats, count: int, score: Callable[[Ints], Floats], *, seed: int, look_at: int = 4
) -> Ints:
    """For free answers: as many clusters as rows wanted, and of each the row that the model is least sure of.

    Only the `look_at` rows nearest to a cluster's middle are scored: `score` costs a model.  Cluster coverage
    × uncertainty, after arXiv:2401.06692.
    """
    cluster_N = clusters_of(vectors_ND, count, seed=seed)
    middle: list[list[int]] = []
    for cluster in np.unique(cluster_N):
        members = np.nonzero(cluster_N == cluster)[0]
        centre = vectors_ND[members].mean(0)
        near = np.argsort(((vectors_ND[members] - centre) ** 2).sum(1), kind="stable")[:look_at]
        middle.append([int(place) for place in members[near]])
    candidates = np.array([place for found in middle for place in found], dtype=np.int64)
    score_of = dict(zip(candidates.tolist(), score(candidates).tolist(), strict=True))
    chosen = [max(found, key=lambda place: (score_of[place], -place)) for found in middle]
    left = sorted(set(score_of) - set(chosen), key=lambda place: (-score_of[place], place))
    ranked = np.array(chosen + left, dtype=np.int64)
    # rows with equal vectors share a cluster, so that fewer candidates than wanted may be left
    others = np.random.default_rng(seed).permutation(np.setdiff1d(np.arange(len(vectors_ND)), ranked))
    return np.concatenate([ranked, others])[:count].astype(np.int64)
