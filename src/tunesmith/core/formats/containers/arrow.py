"""Parquet and Arrow IPC (file, stream, Feather 2): row by row, batch by batch."""

import datetime
import decimal
import math
import os
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq

from tunesmith.core.errors import DataError
from tunesmith.core.formats.containers.features import CLASS_NAMES, Decode, decoders, has_class_names
from tunesmith.core.formats.containers.port import RawRow, Rows, spread
from tunesmith.core.formats.problems import Finding, Findings, Problem, escape
from tunesmith.core.formats.strict_json import MAX_DEPTH

BATCH_BYTES = 16 << 20
MOST_ROWS = 4096
PADDING = "empty keys that Arrow puts into every struct left out"


class Table(NamedTuple):
    """Batches of rows, with what is known beforehand."""

    schema: pa.Schema
    batches: Iterator[pa.RecordBatch]
    share: Callable[[], float]
    """How much of the file was read for the batches that were taken."""


def read_parquet(path: Path, first_row: int = 1) -> Rows:
    """Rows of a Parquet file, numbered from `first_row`.  Raises DataError when it is broken."""
    yield from read_table(path, first_row, open_parquet)


def read_ipc(path: Path, first_row: int = 1) -> Rows:
    """Rows of an Arrow file or stream, numbered from `first_row`.  Raises DataError when it is broken."""
    yield from read_table(path, first_row, open_ipc)


def read_table(path: Path, first_row: int, open_table: Any) -> Rows:
    """Rows of a table file, with its bytes spread over them."""
    size = path.stat().st_size
    try:
        table = open_table(path)
        check_columns(table.schema, path)
        columns = columns_of(table.schema)
        rows = (one_row(values, at, columns) for at, values in enumerate(all_rows(table), start=first_row))
        yield from spread(rows, lambda: int(size * table.share()), size)
    except (pa.ArrowException, OSError, UnicodeDecodeError, OverflowError) as error:
        if isinstance(error, PermissionError):
            raise
        step = "copy or write the file again"
        what = "not a readable table file"
        raise DataError(what, where=path, value=first_line(error), next_step=step) from None


def all_rows(table: Table) -> Iterator[dict[str, Any]]:
    """The rows of every batch.  Raises DataError when there is none."""
    for batch in table.batches:
        yield from rows_of(batch)


def first_line(error: BaseException) -> str:
    """The first line of an error."""
    return (str(error).strip() or type(error).__name__).splitlines()[0]


def open_parquet(path: Path) -> Table:
    """A Parquet file; batches are as many rows as fit into `BATCH_BYTES` by what its footer says."""
    file = pq.ParquetFile(path)
    groups = [file.metadata.row_group(number) for number in range(file.metadata.num_row_groups)]
    total = sum(group.total_byte_size for group in groups)
    per_row = max(1, total // max(1, file.metadata.num_rows))
    size = max(1, min(MOST_ROWS, BATCH_BYTES // per_row))
    num_rows, taken = max(1, file.metadata.num_rows), 0

    def batches() -> Iterator[pa.RecordBatch]:
        nonlocal taken
        for batch in file.iter_batches(batch_size=size):
            taken += batch.num_rows
            yield batch

    return Table(file.schema_arrow, batches(), lambda: min(1.0, taken / num_rows))


END_MARK = b"\xff\xff\xff\xff\x00\x00\x00\x00"
"""End of a stream (Arrow columnar format, IPC streaming format)."""


def open_ipc(path: Path) -> Table:
    """An Arrow file or stream; batches are checked before they are looked into.

    It is not mapped into memory: one that is cut while it is read would end the process.
    """
    with path.open("rb") as file:
        is_file = file.read(6) == b"ARROW1"
        file.seek(-min(len(END_MARK), path.stat().st_size), os.SEEK_END)
        is_ended = file.read() == END_MARK
    if not is_file and not is_ended:
        step = "copy or write the file again"
        raise DataError("the Arrow stream has no end mark: it was cut", where=path, next_step=step)
    source = pa.OSFile(str(path), mode="r")
    if is_file:
        reader = pa.ipc.open_file(source)
        batches = (reader.get_batch(number) for number in range(reader.num_record_batches))
        return Table(reader.schema, pieces(batches), lambda: source.tell() / source.size())
    stream = pa.ipc.open_stream(source)
    return Table(stream.schema, pieces(iter(stream)), lambda: source.tell() / source.size())


def pieces(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    """Batches cut to bounded size.  An offset that points outside its buffer would crash the process."""
    for batch in batches:
        batch.validate(full=True)
        per_row = max(1, batch.nbytes // max(1, batch.num_rows))
        size = max(1, min(MOST_ROWS, BATCH_BYTES // per_row))
        for start in range(0, batch.num_rows, size):
            yield batch.slice(start, size)


def check_columns(schema: pa.Schema, path: Path) -> None:
    """Refuse two columns of one name: one would hide the other."""
    if twice := sorted({name for name in schema.names if schema.names.count(name) > 1}):
        step = "give each column a name of its own"
        raise DataError("two columns have the same name", where=path, value=twice[0], next_step=step)
    if not schema.names:
        raise DataError("the table has no columns", where=path, next_step="write the rows again")


def is_plain(kind: pa.DataType) -> bool:
    """Whether values of a type are JSON's as they are."""
    kinds = pa.types
    return bool(
        kinds.is_string(kind)
        or kinds.is_large_string(kind)
        or kinds.is_integer(kind)
        or kinds.is_boolean(kind)
    )


class Columns(NamedTuple):
    """Columns whose values are not JSON's as they are."""

    nested: tuple[str, ...]
    decoded: dict[str, Decode]
    """Columns that `datasets` says more about."""
    classes: frozenset[str]
    """Those of them that hold class numbers."""


def columns_of(schema: pa.Schema) -> Columns:
    """What has to be looked into."""
    nested = tuple(field.name for field in schema if not is_plain(field.type))
    known = {name: decode for name, decode in decoders(schema.metadata).items() if name in schema.names}
    return Columns(nested, known, has_class_names(schema.metadata) & set(schema.names))


def rows_of(batch: pa.RecordBatch) -> Iterator[dict[str, Any]]:
    """Rows as Python values; where one cannot be made, the others still are."""
    try:
        yield from batch.to_pylist()
        return
    except (UnicodeDecodeError, ValueError, OverflowError):
        pass  # one row of the batch has text that is not UTF-8, or a date before year 1: find it below
    for position in range(batch.num_rows):
        try:
            yield batch.slice(position, 1).to_pylist()[0]
        except (UnicodeDecodeError, ValueError, OverflowError) as error:
            yield {"": Unreadable(first_line(error))}


class Unreadable(NamedTuple):
    """A row that has no Python value."""

    why: str


def one_row(values: dict[str, Any], number: int, columns: Columns) -> RawRow:
    """A row as JSON values: padding is taken out, dates become text, what is no text is refused."""
    found = Findings()
    if isinstance(values.get(""), Unreadable):
        found.refuse("", "the row cannot be read", values[""].why)
    else:
        padding = 0
        for name in columns.nested:
            walk = Walk(found)
            values[name] = walk.clean(values[name], f"/{escape(name)}", 0)
            padding += walk.padding
        if padding:
            found.changes.append(Finding("", PADDING, str(padding)))
        for name, decode in columns.decoded.items():
            before, values[name] = values[name], decode(values[name])
            if name in columns.classes and values[name] is not before:
                found.change(f"/{escape(name)}", CLASS_NAMES, before)
    problems = tuple(Problem(number, *finding) for finding in found.problems)
    changes = tuple(Problem(number, *finding) for finding in found.changes)
    return RawRow(number, None if problems else values, problems=problems, changes=changes)


class Walk:
    """Cleans one value; counts the padding it takes out."""

    def __init__(self, found: Findings) -> None:
        self.found, self.padding = found, 0

    def clean(self, value: Any, pointer: str, depth: int) -> Any:
        """The value as JSON has it."""
        if value is None or isinstance(value, str | bool | int):
            return value
        if depth > MAX_DEPTH:
            self.found.refuse(pointer, f"nested deeper than {MAX_DEPTH} levels", "")
            return None
        if isinstance(value, dict):
            kept = {key: entry for key, entry in value.items() if entry is not None}
            self.padding += len(value) - len(kept)
            return {
                str(key): self.clean(entry, f"{pointer}/{escape(str(key))}", depth + 1)
                for key, entry in kept.items()
            }
        if isinstance(value, list):
            if value and all(isinstance(entry, tuple) for entry in value):  # a map, as pairs
                return self.clean({str(key): entry for key, entry in value}, pointer, depth)
            return [self.clean(entry, f"{pointer}/{at}", depth + 1) for at, entry in enumerate(value)]
        return self.scalar(value, pointer)

    def scalar(self, value: Any, pointer: str) -> Any:
        """Numbers that JSON has; dates, decimals and ids as text."""
        if isinstance(value, float):
            if math.isfinite(value):
                return value
            if math.isnan(value):
                self.found.change(pointer, "NaN read as empty", "NaN")
                return None
            self.found.refuse(pointer, "an infinite number", str(value))
            return None
        if isinstance(value, datetime.date | datetime.time):
            return value.isoformat()
        if isinstance(value, decimal.Decimal | uuid.UUID | datetime.timedelta):
            return str(value)
        reason = (
            "binary data: tunesmith is for text" if isinstance(value, bytes) else "a value that is no JSON"
        )
        self.found.refuse(pointer, reason, shorten_bytes(value))
        return None


def shorten_bytes(value: object) -> str:
    """A value that is no text, for a report."""
    return repr(value[:16] if isinstance(value, bytes) else value)[:80]
