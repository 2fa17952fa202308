"""Reads a file of rows: every row ends as one `ReadRow`.

Kept, changed (a mechanical repair, listed), refused (every problem listed) or blank.  Only a fault of the
file as a whole is an error.
"""

import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Literal, NamedTuple

from tunesmith.core.conversation import Example
from tunesmith.core.errors import DataError
from tunesmith.core.formats.containers.json_lines import ROW_SHAPE, read_json_lines
from tunesmith.core.formats.containers.port import RawRow
from tunesmith.core.formats.problems import Findings, Problem
from tunesmith.core.formats.shapes.chat import read_row


@dataclass(frozen=True, slots=True)
class ReadRow:
    """What became of one line; `example` is None when it was refused or blank."""

    line: int
    example: Example | None = None
    problems: tuple[Problem, ...] = ()
    changes: tuple[Problem, ...] = ()
    num_bytes: int = 0

    @property
    def outcome(self) -> Literal["kept", "changed", "refused", "blank"]:
        """The one word for the accounting."""
        if self.problems:
            return "refused"
        if self.example is None:
            return "blank"
        return "changed" if self.changes else "kept"


class Stamp(NamedTuple):
    """Size and time of a file: another stamp means that the file was written meanwhile."""

    num_bytes: int
    modified_ns: int


def check_readable(path: Path) -> Stamp:
    """Refuse what cannot be a file of rows, before anything is opened or made.

    Raises DataError when the file is missing, a folder, no regular file, or empty.
    """
    if path.is_dir():
        inside = path / "rows.jsonl"
        step = f"give the file: {inside}" if inside.is_file() else "give a JSON Lines file"
        raise DataError("this is a folder, not a file", where=path, next_step=step)
    try:
        status = path.stat()
    except (FileNotFoundError, NotADirectoryError):
        raise DataError("no such file", where=path, next_step="check the path") from None
    if not stat.S_ISREG(status.st_mode):
        step = "write the rows to a file first"
        raise DataError("this is a pipe or a device, not a file", where=path, next_step=step)
    if status.st_size == 0:
        raise DataError("the file is empty", where=path, next_step=ROW_SHAPE)
    return Stamp(status.st_size, status.st_mtime_ns)


def read_rows(path: Path) -> Iterator[ReadRow]:
    """Read a file of rows, streaming.

    Raises DataError when the file is missing, a folder, empty, not UTF-8, an array, or half-written.
    """
    check_readable(path)
    try:
        with path.open("rb") as file:
            yield from read_stream(file, str(path))
    except PermissionError:
        raise DataError("this file cannot be read", where=path, next_step="check its permissions") from None


def read_stream(file: BinaryIO, name: str) -> Iterator[ReadRow]:
    """Read rows of JSON Lines from bytes; `name` stands for the file in messages (see `read_rows`)."""
    return map(judge, read_json_lines(file, name))


def find_problems(path: Path) -> Iterator[Problem]:
    """Every problem of a file, a fault of the whole file included (as the last one): for validators."""
    line = 0
    try:
        for row in read_rows(path):
            line = row.line
            yield from row.problems
    except DataError as error:
        yield Problem(line + 1, "", error.what, str(error.value or ""))


def judge(raw: RawRow) -> ReadRow:
    """A parsed row to an example, with every problem it has."""
    if raw.is_blank or raw.problems:
        return ReadRow(raw.line, problems=raw.problems, num_bytes=raw.num_bytes)
    findings = Findings()
    example = read_row(raw.value, findings)
    problems = tuple(Problem(raw.line, *finding) for finding in findings.problems)
    changes = (*raw.changes, *(Problem(raw.line, *finding) for finding in findings.changes))
    return ReadRow(raw.line, None if problems else example, problems, changes, raw.num_bytes)
