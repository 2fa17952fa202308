"""MinHash signatures of many shingle sets at once, cut into bands."""

import numpy as np
from numpy.typing import NDArray

NUM_PERMUTATIONS = 128
RECALL_AT_THRESHOLD = 0.995
"""A pair exactly at the threshold is proposed with at least this probability."""

SETS_AT_ONCE = 40
"""So many sets are hashed together: what they need stays in the processor's cache."""

MOST_AT_ONCE = 1 << 14
"""So many shingles at most, where sets are large (8 MiB)."""

FACTORS, OFFSETS = np.random.default_rng(1).integers(0, 1 << 32, (2, NUM_PERMUTATIONS, 1), dtype=np.uint32)
FACTORS |= np.uint32(1)


def bands_for(threshold: float) -> tuple[int, int]:
    """(bands, rows a band): the narrowest search that still meets `RECALL_AT_THRESHOLD`."""
    for rows in range(NUM_PERMUTATIONS, 1, -1):
        bands = NUM_PERMUTATIONS // rows
        if 1 - (1 - threshold**rows) ** bands >= RECALL_AT_THRESHOLD:
            return bands, rows
    return NUM_PERMUTATIONS, 1


def signatures(values: NDArray[np.uint32], counts: NDArray[np.int64], num: int) -> NDArray[np.uint32]:
    """MinHash signatures, [num, sets], of sets that stand end to end.

    The permutations are multiplications by odd numbers modulo 2³² of hashes that are spread already.
    """
    found = np.empty((num, len(counts)), dtype=np.uint32)
    starts = np.concatenate([[0], np.cumsum(counts)])
    first = 0
    while first < len(counts):
        last = int(np.searchsorted(starts, starts[first] + MOST_AT_ONCE, side="right")) - 1
        last = min(max(last, first + 1), first + SETS_AT_ONCE, len(counts))
        hashed = FACTORS[:num] * values[starts[first] : starts[last]] + OFFSETS[:num]
        found[:, first:last] = np.minimum.reduceat(hashed, starts[first:last] - starts[first], axis=1)
        first = last
    return found


def band_keys(signature: NDArray[np.uint32], num_bands: int, band_rows: int) -> NDArray[np.uint32]:
    """One 32-bit key for each band of each signature, [bands, sets]."""
    rows = signature.reshape(num_bands, band_rows, -1).astype(np.uint64)
    mixed = rows[:, 0]
    for row in range(1, band_rows):
        mixed = mixed * np.uint64(0x9E3779B97F4A7C15) + rows[:, row]
    mixed ^= mixed >> np.uint64(29)
    return (mixed * np.uint64(0xBF58476D1CE4E5B9) >> np.uint64(32)).astype(np.uint32)
