"""Ways to choose k of N rows, as pure functions of vectors, scores and lengths; each gives rows in order.

Legend of array names: N rows, K chosen, D width, R references, T targets.  Vectors have length one.
"""

import heapq
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from tunesmith.core.errors import DataError
from tunesmith.data.check.port import Floats

Ints = NDArray[np.int64]

BLOCK = 2048
"""Vectors compared at once with as many others."""
REFERENCES = 4096
"""Facility location covers so many rows, a uniform sample of all: time stays linear in the rows."""
RECKONED = 32
"""So many of the most promising rows have their gain reckoned anew at once: one product of matrices."""
STRATA = 10


@dataclass(frozen=True)
class Rows:
    """What a method may look at; vectors and scores are computed when they are first asked for."""

    lengths: Ints
    """Characters of each row."""
    vectors: Callable[[], Floats]
    """(N, D)."""
    scores: Callable[[], Floats]
    """(N,), higher is better; not a number where a row has none."""
    likeness: Callable[[], Floats]
    """(T, N): how like each row is to each target."""
    seed: int
    tradeoff: float
    similar: float

    def __len__(self) -> int:
        return len(self.lengths)


class Least(NamedTuple):
    """How like each row is to the nearest chosen one, kept up to date one choice at a time."""

    vectors: Floats
    nearest: Floats

    def add(self, chosen: int) -> None:
        """Another row is chosen."""
        for start in range(0, len(self.nearest), BLOCK * 16):
            part = slice(start, start + BLOCK * 16)
            np.maximum(self.nearest[part], self.vectors[part] @ self.vectors[chosen], out=self.nearest[part])


def least(vectors_ND: Floats) -> Least:
    """Nothing is chosen yet."""
    return Least(vectors_ND, np.full(len(vectors_ND), -1.0, dtype=np.float32))


def random(rows: Rows, k: int) -> Ints:
    """A uniform draw without replacement."""
    return np.random.default_rng(rows.seed).permutation(len(rows))[:k].astype(np.int64)


def by_length(rows: Rows, k: int) -> Ints:
    """The same share of each tenth of the lengths, drawn uniformly inside."""
    draw = np.random.default_rng(rows.seed)
    order = draw.permutation(len(rows))
    order = order[np.argsort(rows.lengths[order], kind="stable")]
    strata = [part for part in np.array_split(order, STRATA) if len(part)]
    exact = np.array([k * len(part) / len(rows) for part in strata])
    counts = np.floor(exact).astype(int)
    for place in np.argsort(-(exact - counts), kind="stable")[: k - int(counts.sum())]:
        counts[place] += 1
    chosen = [draw.permutation(part)[:count] for part, count in zip(strata, counts, strict=True)]
    return np.concatenate(chosen).astype(np.int64)


def facility_location(rows: Rows, k: int) -> Ints:
    """Greedy maximum of Σ_r max_{c chosen} cos(r, c) over references r, lazily (Minoux 1978).

    At least 1 − 1/e of the best possible sum (Nemhauser et al. 1978).
    """
    vectors_ND = rows.vectors()
    draw = np.random.default_rng(rows.seed)
    referred = np.sort(draw.permutation(len(rows))[:REFERENCES])
    reference_RD = np.asarray(vectors_ND[referred])
    covered_R = np.zeros(len(referred), dtype=np.float32)  # a cosine below 0 covers nothing
    gains: list[tuple[float, int, int]] = []
    for start in range(0, len(rows), BLOCK):
        total = np.maximum(vectors_ND[start : start + BLOCK] @ reference_RD.T, 0).sum(1)
        gains += [(-float(gain), start + place, 0) for place, gain in enumerate(total)]
    heapq.heapify(gains)
    chosen: list[int] = []
    while len(chosen) < k:
        if gains[0][2] == len(chosen):
            place = heapq.heappop(gains)[1]
            chosen.append(place)
            np.maximum(covered_R, reference_RD @ vectors_ND[place], out=covered_R)
            continue
        # gains of earlier rounds: at most that much is left of them
        stale = [heapq.heappop(gains)[1] for _ in range(min(RECKONED, len(gains)))]
        covers_BR = np.asarray(vectors_ND[stale]) @ reference_RD.T
        left_B = np.maximum(covers_BR - covered_R, 0).sum(1)
        for place, gain in zip(stale, left_B.tolist(), strict=True):
            heapq.heappush(gains, (-gain, place, len(chosen)))
    return np.array(chosen, dtype=np.int64)


def k_center(rows: Rows, k: int) -> Ints:
    """Farthest first: at most twice the smallest possible largest distance (Gonzalez 1985)."""
    found = least(rows.vectors())
    chosen = [int(np.random.default_rng(rows.seed).integers(len(rows)))]
    taken = np.zeros(len(rows), dtype=bool)
    while True:
        taken[chosen[-1]] = True
        if len(chosen) == k:
            return np.array(chosen, dtype=np.int64)
        found.add(chosen[-1])
        chosen.append(int(np.argmin(np.where(taken, np.inf, found.nearest))))


def mmr(rows: Rows, k: int) -> Ints:
    """Maximal marginal relevance (Carbonell & Goldstein 1998): λ·score − (1−λ)·likeness to the chosen ones.

    Scores count as ranks from 0 to 1, so that their scale says nothing.
    """
    score_N, found = ranks(with_scores(rows)), least(rows.vectors())
    taken = np.zeros(len(rows), dtype=bool)
    chosen: list[int] = []
    while len(chosen) < k:
        likeness_N = np.maximum(found.nearest, 0)
        value_N = rows.tradeoff * score_N - (1 - rows.tradeoff) * likeness_N
        chosen.append(int(np.argmax(np.where(taken, -np.inf, value_N))))
        taken[chosen[-1]] = True
        found.add(chosen[-1])
    return np.array(chosen, dtype=np.int64)


def deita(rows: Rows, k: int) -> Ints:
    """The best scores first, each row unlike all chosen before (arXiv:2312.15685, section 3).

    Raises DataError when fewer rows than asked are unlike enough.
    """
    vectors_ND = rows.vectors()
    order = np.argsort(-with_scores(rows), kind="stable")
    kept_KD = np.empty((k, vectors_ND.shape[1]), dtype=np.float32)
    chosen: list[int] = []
    for place in order:
        if chosen and (kept_KD[: len(chosen)] @ vectors_ND[place]).max() >= rows.similar:
            continue
        kept_KD[len(chosen)] = vectors_ND[place]
        chosen.append(int(place))
        if len(chosen) == k:
            return np.array(chosen, dtype=np.int64)
    step = "ask for fewer --rows, or raise --similar"
    what = f"only {len(chosen):,} rows are less alike than {rows.similar:g}"
    raise DataError(what, value=f"{k:,} asked for", where="--similar", next_step=step)


def ifd(rows: Rows, k: int) -> Ints:
    """The highest instruction-following difficulty up to 1 (arXiv:2308.12032).

    Above 1 the prompt makes the answer less likely: such pairs hardly belong together, and come last.
    """
    score_N = rows.scores()
    usable = np.flatnonzero(np.isfinite(score_N) & (score_N <= 1))
    if len(usable) < k:
        what = f"only {len(usable):,} rows have a difficulty up to 1"
        raise DataError(what, value=f"{k:,} asked for", where="--rows", next_step="ask for fewer rows")
    return usable[np.argsort(-score_N[usable], kind="stable")][:k]


def rds(rows: Rows, k: int) -> Ints:
    """RDS+ (arXiv:2503.01807): the targets in turn each take the row that is most like them.

    Round-robin, so that every target is served, and none takes all.
    """
    likeness_TN = rows.likeness()
    wishes = [np.argsort(-row, kind="stable").astype(np.int32) for row in likeness_TN]
    at = [0] * len(wishes)
    taken = np.zeros(len(rows), dtype=bool)
    chosen: list[int] = []
    while True:
        for number, wish in enumerate(wishes):
            while taken[wish[at[number]]]:
                at[number] += 1
            chosen.append(int(wish[at[number]]))
            taken[chosen[-1]] = True
            if len(chosen) == k:
                return np.array(chosen, dtype=np.int64)


def ranks(values: Floats) -> Floats:
    """Ranks from 0 (lowest) to 1 (highest); equal values share theirs."""
    known, inverse, counts = np.unique(values, return_inverse=True, return_counts=True)
    if len(known) == 1:
        return np.full(len(values), 0.5, dtype=np.float32)
    middle = np.cumsum(counts) - counts / 2 - 0.5
    return (middle / (len(values) - 1))[inverse].astype(np.float32)


def with_scores(rows: Rows) -> Floats:
    """Every row's score.  Raises DataError where one has none."""
    score_N = rows.scores()
    missing = int((~np.isfinite(score_N)).sum())
    if missing:
        step = "give every row one, or choose another --score"
        raise DataError(f"{missing:,} rows have no score", where="--score", next_step=step)
    return score_N


METHODS: Mapping[str, Callable[[Rows, int], Ints]] = {
    "random": random,
    "length": by_length,
    "facility-location": facility_location,
    "k-center": k_center,
    "mmr": mmr,
    "deita": deita,
    "ifd": ifd,
    "rds": rds,
}
"""Every method by its name on the command line."""
CONTROLS = ("random", "length")
"""These stand beside every choice."""
