"""Runs of words as hashes: for near-duplicates, for leaks and for benchmarks.

Legend of array names: N texts, G runs of all texts end to end.
"""

import zlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from tunesmith.core.similarity import normalise, shingles
from tunesmith.data.vectors import WORD

Ints = NDArray[np.int64]
Hashes = NDArray[np.uint64]

FEW_WORDS: Final = 5
"""A text with fewer words is compared by runs of four characters: it has too few runs of words."""
LONG_WORDS: Final = 15
"""…and so is one whose words are longer on average: its script has no spaces between them."""
DF_BUCKETS: Final = 1 << 22
COMMON_SHARE: Final = 0.1
"""A run that stands in more than this share of the texts belongs to their template and is not compared."""
COMMON_TEXTS: Final = 30
"""…if those are at least so many."""
MAX_RUNS: Final = 2048
"""Of a longer text the smallest hashes are kept: a uniform sample (bottom-k sketch, Broder 1997)."""


class Runs(NamedTuple):
    """Runs of words of several texts: the text, the place of the first word in it, and the hash (G,)."""

    text: Ints
    place: Ints
    hash: Hashes


def words_of(text: str) -> list[str]:
    """The words of a text's normal form."""
    return WORD.findall(normalise(text))


def runs_of(words: Sequence[Sequence[str]], length: int) -> Runs:
    """All runs of `length` words in each text; none in a text with fewer words."""
    sizes = np.array([len(found) for found in words], dtype=np.int64)
    text = np.repeat(np.arange(len(words)), sizes)
    starts = np.cumsum(sizes) - sizes
    place = np.arange(len(text)) - np.repeat(starts, sizes)
    each = np.fromiter(
        (zlib.crc32(word.encode("utf-8", "surrogatepass")) for found in words for word in found),
        dtype=np.uint64,
        count=len(text),
    )
    count = max(0, len(each) - length + 1)
    hashes = np.zeros(count, dtype=np.uint64)
    for shift in range(length):
        hashes = hashes * np.uint64(0x9E3779B97F4A7C15) + mixed(each[shift : shift + count])
    inside = text[:count] == text[length - 1 :]
    return Runs(text[:count][inside], place[:count][inside], mixed(hashes)[inside])


def mixed(hashes: Hashes) -> Hashes:
    """Spread hashes over all 64 bits (the finaliser of splitmix64)."""
    hashes = (hashes ^ (hashes >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    hashes = (hashes ^ (hashes >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return hashes ^ (hashes >> np.uint64(31))


@dataclass
class Sets:
    """Sets of runs, each sorted, end to end."""

    values: NDArray[np.uint32]
    starts: Ints
    """Where each set begins; one more at the end (N + 1,)."""

    def __len__(self) -> int:
        return len(self.starts) - 1

    def __getitem__(self, number: int) -> NDArray[np.uint32]:
        return self.values[self.starts[number] : self.starts[number + 1]]

    @property
    def sizes(self) -> Ints:
        """Members of each set."""
        return np.diff(self.starts)


def is_by_words(words: Sequence[str]) -> bool:
    """Whether a text is compared by its words."""
    return len(words) >= FEW_WORDS and sum(map(len, words)) <= LONG_WORDS * len(words)


def run_sets(texts: Sequence[str], length: int) -> Sets:
    """The set of word runs of each text; of a short text, or one without spaces, its runs of characters."""
    words = [words_of(text) for text in texts]
    by_words = [is_by_words(found) for found in words]
    runs = runs_of([found if is_word else () for found, is_word in zip(words, by_words, strict=True)], length)
    parts = [(runs.text, (runs.hash >> np.uint64(32)).astype(np.uint32))]
    for number, (found, is_word) in enumerate(zip(words, by_words, strict=True)):
        if not is_word and found:
            values = shingles(" ".join(found))
            parts.append((np.full(len(values), number), values))
    owner = np.concatenate([part[0] for part in parts])
    values = np.concatenate([part[1] for part in parts])
    return as_sets(owner, values, len(texts))


def as_sets(owner: Ints, values: NDArray[np.uint32], count: int) -> Sets:
    """Sort into one set for each of `count` owners, at most `MAX_RUNS` members each."""
    keys = np.unique((owner.astype(np.uint64) << np.uint64(32)) | values)
    owner, values = (keys >> np.uint64(32)).astype(np.int64), keys.astype(np.uint32)
    sizes = np.bincount(owner, minlength=count)
    starts = np.cumsum(sizes) - sizes
    keep = np.arange(len(owner)) - starts[owner] < MAX_RUNS
    sizes = np.minimum(sizes, MAX_RUNS)
    return Sets(values[keep], np.concatenate([[0], np.cumsum(sizes)]))


def collect(blocks: Iterable[Sequence[str]], length: int) -> Sets:
    """The sets of many texts, without the runs of their common template.

    Four bytes a run stay in memory.
    """
    parts = [run_sets(texts, length) for texts in blocks]
    values = np.concatenate([part.values for part in parts]) if parts else np.zeros(0, np.uint32)
    sizes = np.concatenate([part.sizes for part in parts]) if parts else np.zeros(0, np.int64)
    del parts
    frequency = np.zeros(DF_BUCKETS, dtype=np.int32)
    block = 1 << 20
    for start in range(0, len(values), block):
        frequency += np.bincount(values[start : start + block] % DF_BUCKETS, minlength=DF_BUCKETS).astype(
            np.int32
        )
    common = frequency > max(COMMON_TEXTS, COMMON_SHARE * len(sizes))
    keep = ~common[values % DF_BUCKETS]
    kept = (
        np.add.reduceat(np.append(keep, False), np.cumsum(sizes) - sizes, dtype=np.int64)
        if len(sizes)
        else sizes
    )
    kept = np.where(sizes > 0, kept, 0)
    return Sets(values[keep], np.concatenate([[0], np.cumsum(kept)]))
