"""Rows from all over the training data, without reading all of it; each encoded once for all proofs."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Final, NamedTuple

import numpy as np

from tunesmith.core.conversation import Example
from tunesmith.core.dataset import COLUMNS, DataSet, Row
from tunesmith.runtime.step import Encoded
from tunesmith.train.corpus import Corpus
from tunesmith.train.engines.port import Engine

MOST_ROWS: Final = 1024
MOST_GROUPS = 8
"""Row groups of a file that are read: 4,096 rows each, as `core.dataset` writes them."""
STRIDE = 379
"""Rows are taken in strides of this prime, so that a sample that is cut short is spread as well."""


class Shown(NamedTuple):
    """One training row as the engine encodes it."""

    example: Example
    encoded: Encoded
    key: str
    where: str


class ShownRows:
    """At most `MOST_ROWS` training rows of all sources, spread evenly.

    They are read and encoded when the first proof comes to them; the next ones are handed the same.
    """

    def __init__(self, data: Mapping[str, DataSet], engine: Engine) -> None:
        self._seen: list[Shown] = []
        self._left = (
            Shown(row.example, engine.encode(row.example, row.key), row.key, f"{source}, line {row.line}")
            for source, row in sampled_rows(data, MOST_ROWS)
        )

    def __iter__(self) -> Iterator[Shown]:
        yield from self._seen
        for row in self._left:
            self._seen.append(row)
            yield row


def sampled_rows(data: Mapping[str, DataSet], count: int) -> Iterator[tuple[str, Row]]:
    """At most `count` training rows with their source's name: all sources in turn, each spread evenly."""
    share = -(-count // len(data))
    lanes = [(name, rows_of(source, share)) for name, source in data.items()]
    while lanes:
        for lane in list(lanes):
            row = next(lane[1], None)
            if row is None:
                lanes.remove(lane)
            else:
                yield lane[0], row


def rows_of(source: DataSet, count: int) -> Iterator[Row]:
    """At most `count` rows of the training split, spread evenly over the file."""
    import pyarrow.parquet as pq

    with pq.ParquetFile(source.folder / "train.parquet") as file:
        groups = spread(file.num_row_groups, MOST_GROUPS)
        table = file.read_row_groups(groups, columns=list(COLUMNS))
    places = spread(table.num_rows, count)
    for turn in range(len(places)):
        place = places[turn * STRIDE % len(places)] if len(places) % STRIDE else places[turn]
        row = {name: table.column(name)[place].as_py() for name in COLUMNS}
        yield Row(
            Example.from_json(json.loads(row["example"])), row["row_hash"], row["group_id"], row["line"]
        )


def spread(total: int, count: int) -> list[int]:
    """At most `count` of the numbers below `total`, evenly spread, the first and the last among them."""
    if total <= count or count < 2:
        return list(range(min(total, count)))
    return [place * (total - 1) // (count - 1) for place in range(count)]


def corpus_pieces(corpus: Corpus, keys: Sequence[str]) -> Iterator[tuple[str, Encoded]]:
    """What a corpus holds of the rows with these keys."""
    hashes = np.ascontiguousarray(corpus.arrays["hashes"])
    wanted = np.array([list(bytes.fromhex(key)) for key in keys], dtype=np.uint8)
    # Eight of the sixteen bytes find the candidates at the speed of whole numbers.
    near = np.isin(hashes[:, :8].copy().view("<u8")[:, 0], wanted[:, :8].copy().view("<u8")[:, 0])
    known = set(keys)
    for place in np.flatnonzero(near):
        item = corpus[int(place)]
        if item.row_hash in known:
            yield item.row_hash, item.encoded
