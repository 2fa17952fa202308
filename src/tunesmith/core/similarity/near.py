"""Groups of nearly equal texts: bands on disk propose pairs, the exact similarity decides."""

import tempfile
import weakref
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO

import numpy as np
from numpy.typing import NDArray

from tunesmith.core.similarity.groups import Groups
from tunesmith.core.similarity.minhash import band_keys, bands_for, signatures
from tunesmith.core.similarity.texts import MAX_SHINGLES, jaccard, normalise, shingle_sets

BUCKET_ROWS = 32
"""A text is compared with at most so many texts of a bucket: time stays linear in the rows.  A pair at
.9 shares about eleven buckets and a pair at .8 five, so one full bucket seldom hides it."""

BLOCK_TEXTS = 4096
"""So many texts wait in memory and are hashed together."""
BLOCK_CHARACTERS = 1 << 22
"""So many characters at most, where texts are long."""
COMPARED_AT_ONCE = 1 << 20
"""So many shingles of pairs are compared together."""


class NearDuplicates:
    """Joins texts whose Jaccard similarity reaches the threshold.

    What the work needs stands in temporary files (about 4 bytes a shingle and 84 a text at .8); in
    memory are one band of keys and a few numbers a text.  The joins are made when a root of `groups` is
    first asked for.  Two texts already in one group are never compared, and of a bucket only the first
    texts are compared with the others, so that ten thousand variants of one template do not cost their
    square.
    """

    def __init__(self, threshold: float, groups: Groups, *, folder: Path | None = None) -> None:
        self.threshold, self.groups = threshold, groups
        self.num_bands, self.band_rows = bands_for(threshold)
        self._bands, self._sets = temporary_file(self, folder), temporary_file(self, folder)
        self._blocks: list[int] = []
        self._members: list[NDArray[np.int64]] = []
        self._counts: list[NDArray[np.int64]] = []
        self._waiting: list[tuple[int, str]] = []
        self._waiting_characters = 0

    def add(self, member: int, text: str) -> None:
        """The text of `member` (a number in `groups`), to be joined to texts like it."""
        self.add_normal([member], [normalise(text)])

    def add_normal(self, members: Sequence[int], texts: Sequence[str]) -> None:
        """The same for texts in their normal form."""
        for member, text in zip(members, texts, strict=True):
            self._waiting.append((member, text))
            self._waiting_characters += len(text)
            if len(self._waiting) >= BLOCK_TEXTS or self._waiting_characters >= BLOCK_CHARACTERS:
                self._write_block()
        if self._join not in self.groups.due:
            self.groups.due.append(self._join)

    def _write_block(self) -> None:
        if not self._waiting:
            return
        members, texts = zip(*self._waiting, strict=True)
        self._waiting, self._waiting_characters = [], 0
        values, counts = shingle_sets(texts)
        signature = signatures(values, counts, self.num_bands * self.band_rows)
        self._sets.write(values.data)
        self._bands.write(band_keys(signature, self.num_bands, self.band_rows).data)
        self._blocks.append(len(counts))
        self._members.append(np.array(members, dtype=np.int64))
        self._counts.append(counts)

    def _join(self) -> None:
        """Compare what shares a bucket, band by band, and join what is alike."""
        self._write_block()
        sets = self.sets()
        for band in range(self.num_bands):
            for left, right in bucket_pairs(self._band(band)):
                apart = self.groups.roots_so_far(sets.members[left]) != self.groups.roots_so_far(
                    sets.members[right]
                )
                left, right = left[apart], right[apart]
                alike = sets.similarities(left, right, self.threshold) >= self.threshold
                for pair in zip(left[alike].tolist(), right[alike].tolist(), strict=True):
                    self.groups.join(int(sets.members[pair[0]]), int(sets.members[pair[1]]))

    def _band(self, band: int) -> NDArray[np.uint32]:
        """The keys of one band, of all texts."""
        self._bands.flush()
        keys, offset = [], 0
        for texts in self._blocks:
            self._bands.seek(offset + 4 * band * texts)
            keys.append(np.frombuffer(self._bands.read(4 * texts), dtype=np.uint32))
            offset += 4 * self.num_bands * texts
        return np.concatenate(keys) if keys else np.zeros(0, dtype=np.uint32)

    def sets(self) -> "ShingleSets":
        """The shingle sets of all texts added so far."""
        self._write_block()
        self._sets.flush()
        if not self._counts:
            nothing = np.zeros(0, dtype=np.int64)
            return ShingleSets(np.zeros(0, dtype=np.uint32), nothing, nothing)
        values = np.memmap(self._sets, dtype=np.uint32, mode="r")
        return ShingleSets(values, np.concatenate(self._counts), np.concatenate(self._members))


def temporary_file(owner: object, folder: Path | None) -> IO[bytes]:
    """A nameless file that is closed with its owner."""
    file = tempfile.TemporaryFile(dir=folder)  # noqa: SIM115  # it lives as long as its owner
    weakref.finalize(owner, file.close)
    return file


def bucket_pairs(keys: NDArray[np.uint32]) -> Iterator[tuple[NDArray[np.int64], NDArray[np.int64]]]:
    """Pairs (later, earlier) of texts with one key: each with the first of its bucket, then the second."""
    ranked = np.sort((keys.astype(np.uint64) << np.uint64(32)) | np.arange(len(keys), dtype=np.uint64))
    order = (ranked & np.uint64(0xFFFFFFFF)).astype(np.int64)
    ranked >>= np.uint64(32)
    is_first = np.ones(len(keys), dtype=bool)
    is_first[1:] = ranked[1:] != ranked[:-1]
    places = np.flatnonzero(~is_first)
    firsts = np.flatnonzero(is_first)[np.cumsum(is_first)[places] - 1]
    for offset in range(BUCKET_ROWS):
        behind = places - firsts > offset
        places, firsts = places[behind], firsts[behind]
        if not len(places):
            return
        yield order[places], order[firsts + offset]


class ShingleSets:
    """Sets of shingles end to end (`values`, mostly on disk), how many each has, and whose they are."""

    def __init__(
        self, values: NDArray[np.uint32], counts: NDArray[np.int64], members: NDArray[np.int64]
    ) -> None:
        self.values, self.counts, self.members = values, counts, members
        self.starts = np.cumsum(counts) - counts

    def __len__(self) -> int:
        return len(self.counts)

    def one(self, place: int) -> NDArray[np.uint32]:
        """One set."""
        return np.asarray(self.values[self.starts[place] : self.starts[place] + self.counts[place]])

    def many(self, places: NDArray[np.int64]) -> tuple[NDArray[np.uint32], NDArray[np.int64]]:
        """Sets end to end, and to which of `places` (0, 1, …) each value belongs."""
        counts = self.counts[places]
        owners = np.repeat(np.arange(len(places)), counts)
        inside = np.arange(len(owners)) - np.repeat(np.cumsum(counts) - counts, counts)
        return np.asarray(self.values[self.starts[places][owners] + inside]), owners

    def similarities(
        self, left: NDArray[np.int64], right: NDArray[np.int64], at_least: float = 0.0
    ) -> NDArray[np.float64]:
        """The Jaccard similarity of each pair; 0 where the sizes alone keep it below `at_least`."""
        found = np.zeros(len(left))
        small = np.minimum(self.counts[left], self.counts[right])
        large = np.maximum(self.counts[left], self.counts[right])
        # the smaller set bounds the intersection: many pairs are settled without it
        possible = small >= at_least * large
        is_sample = large == MAX_SHINGLES
        for pair in np.flatnonzero(possible & is_sample):
            found[pair] = jaccard(self.one(left[pair]), self.one(right[pair]))
        pairs = np.flatnonzero(possible & ~is_sample)
        ends = np.cumsum(small[pairs] + large[pairs])
        cuts = np.flatnonzero(np.diff(ends // COMPARED_AT_ONCE)) + 1
        for part in np.split(pairs, cuts):
            common = self._common(left[part], right[part])
            found[part] = common / (small[part] + large[part] - common)
        return found

    def _common(self, left: NDArray[np.int64], right: NDArray[np.int64]) -> NDArray[np.int64]:
        """Sizes of the intersections."""
        keys = []
        for places in (left, right):
            values, owners = self.many(places)
            keys.append((owners.astype(np.uint64) << np.uint64(32)) | values)
        both = np.concatenate(keys)
        both.sort()
        twice = both[1:][both[1:] == both[:-1]]
        return np.bincount((twice >> np.uint64(32)).astype(np.int64), minlength=len(left))
