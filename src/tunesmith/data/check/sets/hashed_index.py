"""Benchmarks that are known by the hashes of their runs of eight words only: dropoutt's `.idx` files.

The layout, as the package documents it: `DTTIDX01`; the length of a JSON header (uint32) and the header with
`name`, `n_instances` and `instance_size` (different runs of each item); the number of runs (uint32); for each
run its hash (uint64), the number of items that have it (uint16) and their numbers (uint32 each); all little
endian.  A hash is 64 bits of BLAKE2b, big endian, of the words with single spaces between them.
"""

import importlib.util
import json
import re
import struct
import unicodedata
from collections.abc import Iterable, Sequence
from hashlib import blake2b
from pathlib import Path
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from tunesmith.core.errors import DataError
from tunesmith.data.check.sets.columns import Ints
from tunesmith.data.check.sets.overlap import Hit

MAGIC: Final = b"DTTIDX01"
RUN_WORDS: Final = 8
NO_WORD: Final = re.compile(r"[^\w]+")
TURKISH: Final = str.maketrans("Iİ", "ıi")
"""The package lowers every capital I as Turkish does; both sides do, so English matches all the same."""


class HashedIndex(NamedTuple):
    """Runs of one benchmark: their hashes, sorted, and the items that have them."""

    name: str
    sizes: Ints
    """Different runs of each item."""
    hashes: NDArray[np.uint64]
    starts: Ints
    """Where the items of each run begin; one more at the end."""
    items: Ints


def read_index(path: Path) -> HashedIndex:
    """Read an index.  Raises DataError for a file that is no whole index."""
    data = path.read_bytes()
    try:
        return parse(data)
    except (struct.error, ValueError, KeyError, TypeError, IndexError) as error:
        step = "give an index of dropoutt, or a file of rows"
        raise DataError(
            "not a whole index of dropoutt", where=path, value=str(error), next_step=step
        ) from None


def parse(data: bytes) -> HashedIndex:
    """An index from its bytes; ValueError, KeyError, TypeError or struct.error for others."""
    if not data.startswith(MAGIC):
        raise ValueError("it does not begin with DTTIDX01")
    at = len(MAGIC)
    (length,) = struct.unpack_from("<I", data, at)
    header: dict[str, Any] = json.loads(data[at + 4 : at + 4 + length])
    at += 4 + length
    (num_runs,) = struct.unpack_from("<I", data, at)
    at += 4
    hashes, counts = np.empty(num_runs, dtype=np.uint64), np.empty(num_runs, dtype=np.int64)
    parts = []
    for number in range(num_runs):
        hashes[number], counts[number] = struct.unpack_from("<QH", data, at)
        size = 4 * int(counts[number])
        if at + 10 + size > len(data):
            raise ValueError("it ends too early")
        parts.append(data[at + 10 : at + 10 + size])
        at += 10 + size
    order = np.argsort(hashes, kind="stable")
    items = np.frombuffer(b"".join(parts[number] for number in order), dtype="<u4").astype(np.int64)
    starts = np.concatenate([[0], np.cumsum(counts[order])])
    sizes = np.asarray(header["instance_size"], dtype=np.int64)
    if len(items) and int(items.max()) >= len(sizes):
        raise ValueError("a run names an item that the header lacks")
    return HashedIndex(str(header["name"]), sizes, hashes[order], starts, items)


def installed_indices() -> list[Path]:
    """The indices of the package when it is installed; it is never imported."""
    found = importlib.util.find_spec("dropoutt")
    if found is None or found.origin is None:
        return []
    return sorted((Path(found.origin).parent / "data" / "contamination").glob("*.idx"))


def run_hashes(text: str) -> NDArray[np.uint64]:
    """Hashes of the runs of eight words of a text, each once; of a shorter text one for all its words."""
    lowered = unicodedata.normalize("NFC", text).translate(TURKISH).lower()
    words = NO_WORD.sub(" ", lowered).split()
    count = max(1, len(words) - RUN_WORDS + 1) if words else 0
    digests = b"".join(
        blake2b(
            " ".join(words[start : start + RUN_WORDS]).encode("utf-8", "surrogatepass"), digest_size=8
        ).digest()
        for start in range(count)
    )
    return np.unique(np.frombuffer(digests, dtype=">u8").astype(np.uint64))


def covered_by(
    indices: Sequence[HashedIndex], rows: Iterable[tuple[int, str]], threshold: float
) -> dict[str, list[Hit]]:
    """By benchmark, the rows that hold more than `threshold` of the runs of an item."""
    hits: dict[str, list[Hit]] = {index.name: [] for index in indices}
    for position, text in rows:
        mine = run_hashes(text)
        if not len(mine):
            continue
        for index in indices:
            at = np.minimum(np.searchsorted(index.hashes, mine), max(0, len(index.hashes) - 1))
            found = at[index.hashes[at] == mine] if len(index.hashes) else at[:0]
            if not len(found):
                continue
            owners = np.concatenate([index.items[index.starts[one] : index.starts[one + 1]] for one in found])
            items, counts = np.unique(owners, return_counts=True)
            share = counts / np.maximum(1, index.sizes[items])
            hits[index.name] += [
                Hit(position, int(items[one]), float(share[one])) for one in np.flatnonzero(share > threshold)
            ]
    return hits
