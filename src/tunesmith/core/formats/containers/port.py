"""A row as its file holds it, before anybody asks what its keys mean."""

import io
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, NamedTuple

from tunesmith.core.formats.problems import Problem


class RawRow(NamedTuple):
    """One row of a file; blank lines are rows too, so that every byte is accounted for."""

    line: int
    """Line of a text file, row of a table, or item of an array, from 1."""
    value: object = None
    """The parsed value; None when the row is blank or cannot be parsed."""
    is_blank: bool = False
    problems: tuple[Problem, ...] = ()
    """Why it cannot be parsed."""
    changes: tuple[Problem, ...] = ()
    """What was mended on the way, such as a byte order mark."""
    num_bytes: int = 0
    """How far the file was read for this row; 0 where a container cannot say."""
    offset: int | None = None
    """First byte of the row in the text (decompressed, as UTF-8); None for tables and folders."""


Rows = Iterator[RawRow]


@dataclass(frozen=True, slots=True)
class Source:
    """One file as its readers see it: bytes that can be read again and again."""

    name: str
    """Stands for the file in messages."""
    suffix: str
    """Ending of its name without that of a compression, lower case; it only breaks ties."""
    open: Callable[[], BinaryIO]
    """The bytes from the start, decompressed, text as UTF-8."""
    part: str | None = None
    """Which sheet, or which list of an object, the user asked for."""
    path: Path | None = None
    """The file itself, where it is read as it stands; None for bytes that come through a decoder."""


def buffered(raw: io.RawIOBase) -> BinaryIO:
    """A raw stream with a buffer before it."""
    return io.BufferedReader(raw, 1 << 20)


def refused(line: int, reason: str, value: str, *, pointer: str = "", num_bytes: int = 0) -> RawRow:
    """A row that cannot be read."""
    return RawRow(line, problems=(Problem(line, pointer, reason, value),), num_bytes=num_bytes)


def with_remarks(rows: Rows, remarks: tuple[str, ...]) -> Rows:
    """Rows, of which the first that is not blank carries what is said about the file as a whole."""
    left = remarks
    for row in rows:
        if left and not row.is_blank:
            changes = tuple(Problem(row.line, "", remark, "") for remark in left)
            yield row._replace(changes=(*changes, *row.changes))
            left = ()
        else:
            yield row


def spread(rows: Rows, position: Callable[[], int], size: int) -> Rows:
    """Rows with how far the file was read for each; the last one ends with the file."""
    before, waiting = 0, None
    for row in rows:
        if waiting is not None:
            yield waiting
        now = max(before, position())
        waiting, before = row._replace(num_bytes=now - before), now
    if waiting is not None:
        yield waiting._replace(num_bytes=waiting.num_bytes + max(0, size - before))
