"""How much of a benchmark's items stands in one training row, by runs of words.

The rule of Tülu 3 (Lambert et al., arXiv:2411.15124): an item is contaminated when more than half of its
tokens are covered by runs of eight tokens of one training row.  Runs that belong to the template of the
benchmark, or of the training rows, are taken out first, and the tokens under them do not count.

Legend of array names: K different runs, G runs of all items, T tokens of all items end to end.
"""

from collections.abc import Callable, Iterator, Sequence
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from tunesmith.data.check.sets.columns import Ints
from tunesmith.data.check.sets.grams import COMMON_SHARE, COMMON_TEXTS, Hashes, runs_of

TEMPLATE_ITEMS: Final = 5
"""A run that stands in at least so many items, and in more than `COMMON_SHARE` of them, is their template."""
MIN_TOKENS: Final = 4
"""Without its template an item must have so many tokens left to be judged."""

Blocks = Callable[[], Iterator[tuple[Ints, list[list[str]]]]]
"""Gives the training rows anew: their positions and words, a block at a time."""


class Hit(NamedTuple):
    """A training row that covers much of an item."""

    row: int
    item: int
    coverage: float


class Index:
    """The runs of a benchmark's items, sorted."""

    def __init__(self, items: Sequence[Sequence[str]], length: int) -> None:
        runs = runs_of(items, length)
        order = np.argsort(runs.hash, kind="stable")
        self.length, self.num_items = length, len(items)
        self.item_G, self.place_G = runs.text[order], runs.place[order]
        self.key_K, self.start_K, self.key_of_G = self._keys(runs.hash[order])
        sizes = np.array([len(words) for words in items], dtype=np.int64)
        self.offset = np.concatenate([[0], np.cumsum(sizes)])
        pairs = np.unique(self.key_of_G * self.num_items + self.item_G) // max(1, self.num_items)
        in_items_K = np.bincount(pairs, minlength=len(self.key_K))
        self.is_template_K = in_items_K > max(TEMPLATE_ITEMS - 1, COMMON_SHARE * self.num_items)

    @staticmethod
    def _keys(hashes: Hashes) -> tuple[Hashes, Ints, Ints]:
        keys, start, number = np.unique(hashes, return_index=True, return_inverse=True)
        return keys, np.append(start, len(hashes)).astype(np.int64), number.astype(np.int64)

    def found(self, words: Sequence[Sequence[str]]) -> tuple[Ints, Ints]:
        """(row, key) of the runs of some rows that stand in an item, each once."""
        runs = runs_of(words, self.length)
        if not len(self.key_K) or not len(runs.hash):
            return np.zeros(0, np.int64), np.zeros(0, np.int64)
        at = np.minimum(np.searchsorted(self.key_K, runs.hash), len(self.key_K) - 1)
        hit = self.key_K[at] == runs.hash
        pairs = np.unique(runs.text[hit] * len(self.key_K) + at[hit])
        return pairs // len(self.key_K), pairs % len(self.key_K)

    def counted_tokens(self, is_template_K: NDArray[np.bool_]) -> Ints:
        """For each token the number of tokens before it that are under no template (T + 1,)."""
        is_counted = np.ones(int(self.offset[-1]), dtype=bool)
        starts = (self.offset[self.item_G] + self.place_G)[is_template_K[self.key_of_G]]
        for shift in range(self.length):
            is_counted[starts + shift] = False
        return np.concatenate([[0], np.cumsum(is_counted)])


def covered(index: Index, blocks: Blocks, threshold: float) -> list[Hit]:
    """Rows that cover more than `threshold` of an item.  Walks the rows twice."""
    frequency_K = np.zeros(len(index.key_K), dtype=np.int64)
    num_rows = 0
    for _, words in blocks():
        num_rows += len(words)
        frequency_K += np.bincount(index.found(words)[1], minlength=len(index.key_K))
    is_template_K = index.is_template_K | (frequency_K > max(COMMON_TEXTS, COMMON_SHARE * num_rows))
    counted_T = index.counted_tokens(is_template_K)
    hits = []
    for positions, words in blocks():
        row, key = index.found(words)
        keep = ~is_template_K[key]
        hits += block_hits(index, positions, row[keep], key[keep], counted_T, threshold)
    return hits


def block_hits(
    index: Index, positions: Ints, row: Ints, key: Ints, counted_T: Ints, threshold: float
) -> list[Hit]:
    """The rows of one block that cover more than `threshold` of an item."""
    if not len(row):
        return []
    times = index.start_K[key + 1] - index.start_K[key]
    inside = np.arange(times.sum()) - np.repeat(np.cumsum(times) - times, times)
    posting = np.repeat(index.start_K[key], times) + inside
    row, item = np.repeat(row, times), index.item_G[posting]
    start = index.offset[item] + index.place_G[posting]
    order = np.lexsort((start, item, row))
    row, item, start = row[order], item[order], start[order]
    same = (row[1:] == row[:-1]) & (item[1:] == item[:-1])
    # a run that begins inside the one before it covers only what follows that one's end
    begin = start.copy()
    begin[1:] = np.where(same, np.maximum(start[1:], start[:-1] + index.length), start[1:])
    tokens = counted_T[start + index.length] - counted_T[np.minimum(begin, start + index.length)]
    group = np.concatenate([[0], np.cumsum(~same)])
    firsts = np.flatnonzero(np.concatenate([[True], ~same]))
    number = np.bincount(group, tokens)
    whole = counted_T[index.offset[item[firsts] + 1]] - counted_T[index.offset[item[firsts]]]
    share = number / np.maximum(1, whole)
    wanted = np.flatnonzero((share > threshold) & (whole >= MIN_TOKENS))
    return [
        Hit(int(positions[row[firsts[one]]]), int(item[firsts[one]]), float(share[one])) for one in wanted
    ]
