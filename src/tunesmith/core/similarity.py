"""Which texts are the same or nearly the same: normal form, shingles, verified MinHash groups.

MinHash with banding (Broder 1997; Leskovec et al., Mining of Massive Datasets, ch. 3) only proposes
pairs; each is verified by the exact Jaccard similarity of the two shingle sets.
"""

import hashlib
import re
import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

SHINGLE_CHARACTERS = 4
"""Length of the character runs compared.  Characters, not words: a short text has too few words for
a share of common words to mean anything, and scripts without spaces have none."""

MAX_SHINGLES = 2048
"""A text is remembered by at most so many hashes (8 KiB)."""

NUM_PERMUTATIONS = 128
RECALL_AT_THRESHOLD = 0.995
"""A pair exactly at the threshold is proposed with at least this probability."""

BUCKET_ROWS = 32
"""A bucket keeps at most so many texts: time stays linear in the rows.  A pair at .9 shares about
eleven buckets and a pair at .8 five, so one full bucket seldom hides it."""

SPACES = re.compile(r"\s+")
WORD = re.compile(r"\w+")


def normalise(text: str) -> str:
    """The normal form for 'the same text': Unicode NFKC, case folded, single spaces."""
    return SPACES.sub(" ", unicodedata.normalize("NFKC", text).casefold()).strip()


def text_hash(text: str) -> str:
    """128-bit hexadecimal hash of the normal form: equal for texts that differ in case and spaces only."""
    return hashlib.blake2b(
        normalise(text).encode("utf-8", errors="surrogatepass"), digest_size=16
    ).hexdigest()


def shingles(text: str) -> NDArray[np.uint32]:
    """Sorted distinct 32-bit hashes of the runs of four characters in the words of a text.

    Punctuation is left out, unless the text has nothing else.  Of a long text the `MAX_SHINGLES`
    smallest hashes are kept: a uniform sample (bottom-k sketch, Broder 1997).
    """
    normal = normalise(text)
    padded = f" {' '.join(WORD.findall(normal)) or normal} "
    codes = np.frombuffer(padded.encode("utf-32-le", errors="surrogatepass"), dtype=np.uint32).astype(
        np.uint64
    )
    runs = max(1, len(codes) - SHINGLE_CHARACTERS + 1)
    mixed = np.zeros(runs, dtype=np.uint64)
    for shift in range(min(SHINGLE_CHARACTERS, len(codes))):
        mixed = mixed * np.uint64(0x9E3779B97F4A7C15) + codes[shift : shift + runs]
    mixed ^= mixed >> np.uint64(29)
    mixed *= np.uint64(0xBF58476D1CE4E5B9)
    return np.unique((mixed >> np.uint64(32)).astype(np.uint32))[:MAX_SHINGLES]


def jaccard(left: NDArray[np.uint32], right: NDArray[np.uint32]) -> float:
    """Size of the intersection over size of the union of two sets from `shingles`.

    Exact for texts of fewer than `MAX_SHINGLES` shingles; for longer ones estimated on the smallest
    hashes of the union (standard error below .011).
    """
    union = np.union1d(left, right)
    if max(len(left), len(right)) == MAX_SHINGLES:
        union = union[:MAX_SHINGLES]
    common = np.intersect1d(left, right, assume_unique=True)
    return float(np.count_nonzero(common <= union[-1]) / len(union))


@dataclass
class Groups:
    """Union-find: which of `0 … n-1` belong together.  A group's root is its smallest member."""

    parents: list[int] = field(default_factory=list)

    def add(self) -> int:
        """A new member, alone; returns its number."""
        self.parents.append(len(self.parents))
        return len(self.parents) - 1

    def root(self, member: int) -> int:
        """The smallest member of a member's group."""
        while self.parents[member] != member:
            self.parents[member] = self.parents[self.parents[member]]
            member = self.parents[member]
        return member

    def join(self, left: int, right: int) -> None:
        """Put two members' groups together."""
        first, second = sorted((self.root(left), self.root(right)))
        self.parents[second] = first


def bands_for(threshold: float) -> tuple[int, int]:
    """(bands, rows a band): the narrowest search that still meets `RECALL_AT_THRESHOLD`."""
    for rows in range(NUM_PERMUTATIONS, 1, -1):
        bands = NUM_PERMUTATIONS // rows
        if 1 - (1 - threshold**rows) ** bands >= RECALL_AT_THRESHOLD:
            return bands, rows
    return NUM_PERMUTATIONS, 1


class NearDuplicates:
    """Joins each text added to the earlier ones whose Jaccard similarity reaches the threshold.

    Two texts already in one group are never compared, and a bucket holds a bounded number of texts,
    so that ten thousand variants of one template do not cost their square.
    """

    def __init__(self, threshold: float, groups: Groups) -> None:
        self.threshold, self.groups = threshold, groups
        self.num_bands, self.band_rows = bands_for(threshold)
        self._buckets: dict[tuple[int, bytes], list[int]] = {}
        self._sets: dict[int, NDArray[np.uint32]] = {}
        self._empty: Any = None  # datasketch has no types

    def add(self, member: int, text: str) -> None:
        """Join `member` (a number in `groups`) to the groups of earlier texts like this one."""
        values = shingles(text)
        self._sets[member] = values
        for key in self._keys(values):
            bucket = self._buckets.setdefault(key, [])
            for other in bucket:
                if self.groups.root(member) != self.groups.root(other) and self._alike(member, other):
                    self.groups.join(member, other)
            if len(bucket) < BUCKET_ROWS:
                bucket.append(member)

    def _alike(self, member: int, other: int) -> bool:
        left, right = self._sets[member], self._sets[other]
        # the smaller set bounds the intersection: most pairs are settled without it
        if min(len(left), len(right)) < self.threshold * max(len(left), len(right)):
            return False
        return jaccard(left, right) >= self.threshold

    def _keys(self, values: NDArray[np.uint32]) -> Iterable[tuple[int, bytes]]:
        signature = self._sketch(values)
        for band in range(self.num_bands):
            yield band, signature[band * self.band_rows : (band + 1) * self.band_rows].tobytes()

    def _sketch(self, values: NDArray[np.uint32]) -> NDArray[np.unsignedinteger]:
        from datasketch import MinHash  # here: it imports scipy

        if self._empty is None:
            self._empty = MinHash(num_perm=NUM_PERMUTATIONS, seed=1, hashfunc=int)
        sketch = self._empty.copy()
        sketch.update_batch(values.tolist())
        return np.asarray(sketch.hashvalues)
