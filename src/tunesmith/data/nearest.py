"""How like the training rows the rows are that are tested on: for each the most similar training prompt.

Groups keep similarity above the threshold out; this says how close to it the rest is.  Exact: the commonest
shingles are counted by a product of matrices (rows × shingles), all others pair by pair; where all pairs
would take long, of an even sample of tested rows.
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
PAIRS_AT_ONCE = 1 << 17
"""What a step needs stays in the processor's cache."""
DENSE_SHINGLES = 256
"""So many of the commonest shingles are counted by a product of matrices."""
COUNTED_AT_ONCE = 1 << 19
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
    from threadpoolctl import threadpool_limits  # here: few commands need it

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
    with threadpool_limits(1):  # the matrices are small, and the other core writes
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
    numbers = vocabulary.find(values)
    common = ones(numbers, owners, len(asked), kind)
    holders = holders_of(numbers, owners, len(own))
    best, which = np.zeros(len(asked), dtype=kind), np.zeros(len(asked), dtype=np.int64)
    at_once = max(1, PAIRS_AT_ONCE // len(asked))
    for start in range(0, len(among), at_once):
        part = slice(start, start + at_once)
        values, owners = sets.many(among[part])
        numbers = vocabulary.find(values)
        share = common @ ones(numbers, owners, len(others[part]), kind).T
        add_rare(share, holders, numbers, owners)
        share /= counts.astype(kind)[:, None] + others[part].astype(kind)
        highest = share.argmax(axis=1)
        value = share[np.arange(len(asked)), highest]
        better = value > best
        best[better], which[better] = value[better], start + highest[better]
    both = counts + others[which]
    shared = np.rint(best.astype(np.float64) * both)
    return shared / (both - shared), which


def ones(
    numbers: NDArray[np.int32], owners: NDArray[np.int64], num_sets: int, kind: np.dtype[Any]
) -> NDArray[Any]:
    """Sets × common shingles, 1 where a set has a shingle."""
    found = np.zeros((num_sets, DENSE_SHINGLES), dtype=kind)
    common = (numbers >= 0) & (numbers < DENSE_SHINGLES)
    found[owners[common], numbers[common]] = 1
    return found


class Holders(NamedTuple):
    """Which sets hold each shingle: `sets` from `starts`, so many as `counts`; of common shingles none."""

    sets: NDArray[np.int64]
    starts: NDArray[np.int64]
    counts: NDArray[np.int64]


def holders_of(numbers: NDArray[np.int32], owners: NDArray[np.int64], num_shingles: int) -> Holders:
    """The holders of each shingle."""
    rare = np.flatnonzero(numbers >= DENSE_SHINGLES)
    rare = rare[np.argsort(numbers[rare], kind="stable")]
    counts = np.bincount(numbers[rare], minlength=num_shingles)
    return Holders(owners[rare], np.cumsum(counts) - counts, counts)


def add_rare(
    share: NDArray[Any], holders: Holders, numbers: NDArray[np.int32], owners: NDArray[np.int64]
) -> None:
    """Count the shingles that are not common for each pair of a holder and an owner [holders, owners]."""
    rare = numbers >= DENSE_SHINGLES
    numbers, owners = numbers[rare], owners[rare]
    times = holders.counts[numbers]
    ends = np.cumsum(times)
    cuts = np.flatnonzero(np.diff(ends // COUNTED_AT_ONCE)) + 1
    for part in np.split(np.arange(len(numbers)), cuts):
        some = times[part]
        first = holders.starts[numbers[part]] - (np.cumsum(some) - some)
        places = np.repeat(first, some)
        places += np.arange(len(places))
        cells = holders.sets[places] * share.shape[1] + np.repeat(owners[part], some)
        share += np.bincount(cells, minlength=share.size).reshape(share.shape).astype(share.dtype)
