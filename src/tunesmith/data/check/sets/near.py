"""Near-duplicate pairs by MinHash, each verified, and clusters around a representative.

MinHash with banding (Broder 1997; Leskovec et al., Mining of Massive Datasets, ch. 3) proposes pairs; the
exact Jaccard similarity of the two sets of word runs decides.  Runs of three words from .5 on find 61 % of
the verses of the King James Bible in the American Standard Version, with .3 % false pairs to the nearest
other verse; runs of four characters, which splits are made by, find 44 % with .4 % at their .8.

Legend of array names: N texts, P pairs, B bands.
"""

from collections.abc import Iterator
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from tunesmith.core.similarity import jaccard
from tunesmith.data.check.port import Context
from tunesmith.data.check.sets.columns import Ints, columns
from tunesmith.data.check.sets.grams import MAX_RUNS, Sets, collect, mixed
from tunesmith.data.check.sets.once import once
from tunesmith.data.vectors import CHUNK_ROWS, asked, entire

RUN_WORDS: Final = 3
NUM_HASHES: Final = 96
RECALL: Final = 0.98
"""A pair exactly at the threshold is proposed with at least this probability."""
BLOCK: Final = 4096
FULL_BUCKET: Final = 16
"""In a larger bucket a text is compared with its next `NEXT` only: time stays linear in the rows."""
NEXT: Final = 6
EMPTY: Final = np.uint64(0)


class Pairs(NamedTuple):
    """Positions of alike texts (P,), the smaller one left, and their Jaccard similarity."""

    left: Ints
    right: Ints
    similarity: NDArray[np.float64]


class Cluster(NamedTuple):
    """A representative, the texts that are like it, and how like each is."""

    representative: int
    members: list[int]
    similarities: list[float]


def asked_pairs(ctx: Context, threshold: float) -> Pairs:
    """Pairs of different questions that are nearly the same; one row stands for all with its question."""
    return once(ctx, ("asked pairs", threshold), lambda: pairs_among(ctx, "prompt", threshold))


def whole_pairs(ctx: Context, threshold: float) -> Pairs:
    """Pairs of rows that are nearly the same; one row stands for all that are equal to it."""
    return once(ctx, ("whole pairs", threshold), lambda: pairs_among(ctx, "whole", threshold))


def first_of_each(hashes: NDArray[np.uint64]) -> Ints:
    """Positions of the first row with each hash, in rising order."""
    return np.sort(np.unique(hashes, return_index=True)[1]).astype(np.int64)


def pairs_among(ctx: Context, which: str, threshold: float) -> Pairs:
    """Near pairs of one text of the rows."""
    text_of = asked if which == "prompt" else entire
    known = columns(ctx)
    positions = first_of_each(known.asked if which == "prompt" else known.pair)

    def blocks() -> Iterator[list[str]]:
        for start in range(0, len(positions), CHUNK_ROWS):
            some = positions[start : start + CHUNK_ROWS].tolist()
            yield [text_of(ctx.corpus.row(position).example) for position in some]

    found = near_pairs(collect(blocks(), RUN_WORDS), threshold)
    return Pairs(positions[found.left], positions[found.right], found.similarity)


def near_pairs(sets: Sets, threshold: float) -> Pairs:
    """Pairs of sets whose Jaccard similarity reaches the threshold."""
    keys_BN = band_keys(sets, rows_of_band(threshold))
    nothing = np.zeros((0, 2), dtype=np.int64)
    pairs_P2 = nothing
    for keys_N in keys_BN:
        pairs_P2 = np.unique(np.concatenate([pairs_P2, bucket_pairs(keys_N)]), axis=0)
    parts = [
        verified(sets, pairs_P2[start : start + BLOCK], threshold) for start in range(0, len(pairs_P2), BLOCK)
    ] or [Pairs(nothing[:, 0], nothing[:, 1], np.zeros(0))]
    return Pairs(*(np.concatenate(column) for column in zip(*parts, strict=True)))


def rows_of_band(threshold: float) -> int:
    """Hashes of a band: the most with which a pair at the threshold is still proposed."""
    for rows in range(NUM_HASHES, 1, -1):
        if 1 - (1 - threshold**rows) ** (NUM_HASHES // rows) >= RECALL:
            return rows
    return 1


def band_keys(sets: Sets, rows: int) -> NDArray[np.uint64]:
    """A key for each band and text (B, N): equal keys propose a pair; 0 for an empty set."""
    num_bands = NUM_HASHES // rows
    keys_BN = np.zeros((num_bands, len(sets)), dtype=np.uint64)
    draw = np.random.default_rng(1).integers(1, 1 << 63, (NUM_HASHES, 2), dtype=np.uint64)
    for start in range(0, len(sets), BLOCK):
        bounds = sets.starts[start : start + BLOCK + 1]
        full = np.flatnonzero(np.diff(bounds) > 0)
        if not len(full):
            continue
        values = sets.values[bounds[0] : bounds[-1]].astype(np.uint64)
        firsts = (bounds[full] - bounds[0]).astype(np.int64)
        for band in range(num_bands):
            key = np.full(len(full), band + 1, dtype=np.uint64)
            for factor, offset in draw[band * rows : (band + 1) * rows] | np.uint64(1):
                smallest = np.minimum.reduceat((values * factor + offset) >> np.uint64(32), firsts)
                key = mixed(key * np.uint64(31) + smallest)
            keys_BN[band, start + full] = key
    return keys_BN


def bucket_pairs(keys_N: NDArray[np.uint64]) -> Ints:
    """Pairs (P, 2) of texts with equal keys; of a large bucket only neighbours."""
    order = np.argsort(keys_N, kind="stable")
    order = order[keys_N[order] != EMPTY]
    keys = keys_N[order]
    sizes = np.diff(np.flatnonzero(np.concatenate([[True], keys[1:] != keys[:-1], [True]])))
    size_of = np.repeat(sizes, sizes) if len(keys) else np.zeros(0, dtype=np.int64)
    parts = [np.zeros((0, 2), dtype=np.int64)]
    for step in range(1, FULL_BUCKET):
        same = keys[step:] == keys[:-step]
        if not same.any():
            break
        if step > NEXT:
            same &= size_of[step:] <= FULL_BUCKET
        parts.append(np.stack([order[:-step][same], order[step:][same]], axis=1))
    return np.concatenate(parts)


def verified(sets: Sets, pairs_P2: Ints, threshold: float) -> Pairs:
    """Those of some pairs that are really alike."""
    sizes_P2 = sets.sizes[pairs_P2]
    # the smaller set bounds the intersection: most pairs are settled without it
    pairs_P2 = pairs_P2[sizes_P2.min(1) >= threshold * sizes_P2.max(1)]
    left, right = pairs_P2.T
    sizes = sets.sizes
    owner = np.concatenate([np.repeat(np.arange(len(left)), sizes[side]) for side in (left, right)])
    values = np.concatenate([members(sets, side) for side in (left, right)])
    keys = np.sort((owner.astype(np.uint64) << np.uint64(32)) | values)
    twice = (keys[1:][keys[1:] == keys[:-1]] >> np.uint64(32)).astype(np.int64)
    common = np.bincount(twice, minlength=len(left))
    similarity = common / np.maximum(1, sizes[left] + sizes[right] - common)
    for pair in np.flatnonzero(np.maximum(sizes[left], sizes[right]) == MAX_RUNS):
        similarity[pair] = jaccard(sets[int(left[pair])], sets[int(right[pair])])
    keep = similarity >= threshold
    return Pairs(left[keep], right[keep], similarity[keep])


def members(sets: Sets, which: Ints) -> NDArray[np.uint32]:
    """The members of some sets, end to end."""
    sizes = sets.sizes[which]
    inside = np.arange(sizes.sum()) - np.repeat(np.cumsum(sizes) - sizes, sizes)
    values: NDArray[np.uint32] = sets.values[np.repeat(sets.starts[which], sizes) + inside]
    return values


def clusters(pairs: Pairs) -> list[Cluster]:
    """Stars: every member is like its representative, so that no chain joins what is not alike.

    The text with the most others like it represents first, and of equals the first one.
    """
    near: dict[int, list[tuple[int, float]]] = {}
    for left, right, similarity in zip(*(column.tolist() for column in pairs), strict=True):
        near.setdefault(left, []).append((right, similarity))
        near.setdefault(right, []).append((left, similarity))
    taken: set[int] = set()
    found = []
    for position in sorted(near, key=lambda one: (-len(near[one]), one)):
        if position in taken:
            continue
        free = sorted((other, value) for other, value in near[position] if other not in taken)
        taken |= {position, *(other for other, _ in free)}
        if free:
            found.append(Cluster(position, [other for other, _ in free], [value for _, value in free]))
    return sorted(found)
