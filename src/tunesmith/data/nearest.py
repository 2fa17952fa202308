"""How like the training rows the rows are that are tested on: for each the most similar training prompt.

Groups keep similarity above the threshold out; this says how close to it the rest is.  Exact, by products of
matrices (rows × shingles), dense for the shingles that many rows have and sparse for the others; where all
pairs would take long, of an even sample of tested rows.
"""

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from tunesmith.core.dataset import SPLITS
from tunesmith.core.similarity.near import ShingleSets
from tunesmith.data.intake import Columns, Intake

MOST_PAIRS = 20_000_000
"""So many pairs are compared at most (about a second)."""
FEWEST_ROWS = 20
"""So many tested rows are compared at least, however many there are to train on."""
PAIRS_AT_ONCE = 1 << 20
DENSE_SHINGLES = 512
"""So many of the commonest shingles are multiplied as dense matrices."""
SLOT_BITS = 18
LARGEST_SINGLE = 2048
"""Two shares of whole numbers up to this, c / s, differ by more than single precision rounds off."""


class Nearest(NamedTuple):
    """A tested row, and the training row most similar to it."""

    split: str
    line: int
    similarity: float
    train_line: int


def nearest_train(intake: Intake, splits: NDArray[np.int8], columns: Columns) -> list[Nearest]:
    """The nearest training row of tested rows, by split and line; empty where near-duplicates are off."""
    if intake.near is None:
        return []
    sets = intake.near.sets()
    rows_of_sets = np.frombuffer(intake.near_rows, dtype=np.int64)
    of_sets = splits[rows_of_sets]
    train = np.flatnonzero(of_sets == SPLITS.index("train"))
    tested = np.flatnonzero((of_sets >= 0) & (of_sets != SPLITS.index("train")))
    if not len(train) or not len(tested):
        return []
    most = max(FEWEST_ROWS, MOST_PAIRS // len(train))
    if len(tested) > most:
        tested = tested[np.linspace(0, len(tested) - 1, most).astype(np.int64)]
    best, which = most_similar(sets, tested, train)
    found = [
        Nearest(SPLITS[of_sets[place]], int(columns.lines[rows_of_sets[place]]), round(float(value), 4), line)
        for place, value, line in zip(
            tested.tolist(), best, columns.lines[rows_of_sets[train[which]]].tolist(), strict=True
        )
    ]
    return sorted(found, key=lambda row: (SPLITS.index(row.split), row.line))


class Vocabulary:
    """The shingles of some sets, numbered: those that cost the most products come first."""

    def __init__(self, values: NDArray[np.uint32], costs: NDArray[np.int64]) -> None:
        """`values` ascending; `costs`: of how many products each is part."""
        order = np.argsort(-costs, kind="stable")
        self.values, self.numbers = values, np.empty(len(values), dtype=np.int32)
        self.numbers[order] = np.arange(len(values))
        slots = values >> np.uint32(32 - SLOT_BITS)
        first = np.flatnonzero(np.diff(slots, prepend=~slots[:1]))
        self.table = np.full(1 << SLOT_BITS, -1, dtype=np.int32)
        self.table[slots[first]] = np.where(np.diff(first, append=len(slots)) == 1, first, -2)

    def find(self, values: NDArray[np.uint32]) -> NDArray[np.int32]:
        """Numbers of shingles; -1 for those that are not in it."""
        places = self.table[values >> np.uint32(32 - SLOT_BITS)]
        shared = np.flatnonzero(places == -2)
        among = np.searchsorted(self.values, values[shared])
        places[shared] = np.minimum(among, len(self.values) - 1)
        return np.where((places >= 0) & (self.values[places] == values), self.numbers[places], np.int32(-1))


def most_similar(
    sets: ShingleSets, asked: NDArray[np.int64], among: NDArray[np.int64]
) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """The highest similarity of each asked set to one of the others, and which (a place in `among`).

    Of the Jaccard similarity c / (s - c), with c common shingles of s in both, c / s is compared: it rises
    with it.
    """
    values, owners = sets.many(asked)
    own, times = np.unique(values, return_counts=True)
    vocabulary = Vocabulary(own, times * times)
    counts, others = sets.counts[asked], sets.counts[among]
    single = int(counts.max() + others.max()) <= LARGEST_SINGLE
    kind = np.dtype(np.float32 if single else np.float64)
    dense, rare = matrices(vocabulary.find(values), owners, len(asked), len(own), kind)
    best, which = np.zeros(len(asked), dtype=kind), np.zeros(len(asked), dtype=np.int64)
    at_once = max(1, PAIRS_AT_ONCE // len(asked))
    for start in range(0, len(among), at_once):
        part = slice(start, start + at_once)
        values, owners = sets.many(among[part])
        numbers = vocabulary.find(values)
        known = numbers >= 0
        wanted = matrices(numbers[known], owners[known], len(others[part]), len(own), kind)
        share = dense @ wanted[0].T
        share += (rare @ wanted[1].T.tocsr()).toarray()
        share /= counts.astype(kind)[:, None] + others[part].astype(kind)
        highest = share.argmax(axis=1)
        value = share[np.arange(len(asked)), highest]
        better = value > best
        best[better], which[better] = value[better], start + highest[better]
    both = counts + others[which]
    common = np.rint(best.astype(np.float64) * both)
    return common / (both - common), which


def matrices(
    numbers: NDArray[np.int32], owners: NDArray[np.int64], num_sets: int, num_shingles: int, kind: Any
) -> tuple[NDArray[Any], Any]:
    """Sets × shingles, 1 where a set has a shingle: the first `DENSE_SHINGLES` dense, all others sparse."""
    from scipy.sparse import csr_array  # here: it takes a while to import

    dense = np.zeros((num_sets, min(DENSE_SHINGLES, num_shingles)), dtype=kind)
    common = numbers < DENSE_SHINGLES
    dense[owners[common], numbers[common]] = 1
    numbers, owners = numbers[~common], owners[~common]
    ends = np.cumsum(np.bincount(owners, minlength=num_sets))
    parts = (np.ones(len(numbers), dtype=kind), numbers, np.concatenate([[0], ends]).astype(np.int32))
    return dense, csr_array(parts, shape=(num_sets, num_shingles))
