"""Reads a file of rows: every row ends as one `ReadRow`.

Kept, changed (a mechanical repair, listed), refused (every problem listed) or blank.  Only a fault of the
file as a whole is an error.
"""

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any, BinaryIO, Literal

from tunesmith.core.conversation import Example
from tunesmith.core.errors import ConfigError, DataError
from tunesmith.core.formats.containers.open import open_raw, open_stream
from tunesmith.core.formats.containers.place import Stamp, check_source
from tunesmith.core.formats.containers.port import RawRow
from tunesmith.core.formats.problems import Findings, Problem
from tunesmith.core.formats.shapes.detect import SAMPLE_BYTES, SAMPLE_ROWS, Layout, detect, named, read_any
from tunesmith.core.formats.shapes.mapping import Mapped
from tunesmith.core.formats.shapes.registry import fitting

UNWATCHED = ("openai-chat", "text", "prompt-completion", "sharegpt", "alpaca")
"""Layouts without labels and pairs: there is nothing to count over their rows."""

FAULTY_BYTES = 1 << 10
"""What a row that cannot be parsed counts in the sample that the layout is found by."""
RAW_CHARACTERS = 20_000
"""Of a longer refused row, rejects.jsonl holds so much of its beginning."""


@dataclass(frozen=True, slots=True)
class ReadRow:
    """What became of one line; `example` is None when it was refused or blank."""

    line: int
    example: Example | None = None
    problems: tuple[Problem, ...] = ()
    changes: tuple[Problem, ...] = ()
    num_bytes: int = 0
    notes: tuple[Problem, ...] = ()
    """What somebody should look at; the row is used as it is."""
    value: object = None
    """The parsed row of a refused one, for whoever lists it."""
    group: str = ""
    """Group that the row was in before, when it comes out of a data set."""

    @property
    def outcome(self) -> Literal["kept", "changed", "refused", "blank"]:
        """The one word for the accounting."""
        if self.problems:
            return "refused"
        if self.example is None:
            return "blank"
        return "changed" if self.changes else "kept"

    def rejects(self) -> Iterator[dict[str, Any]]:
        """One entry a problem, as rejects.jsonl holds it; the first has the row too, or its beginning."""
        for number, problem in enumerate(self.problems):
            row = self._raw() if number == 0 and self.value is not None else {}
            yield {**problem.to_json(), **row}

    def _raw(self) -> dict[str, Any]:
        text = json.dumps(self.value, ensure_ascii=False)
        if len(text) <= RAW_CHARACTERS:
            return {"row": self.value}
        return {"row_cut": text[:RAW_CHARACTERS], "row_characters": len(text)}


@dataclass(frozen=True, slots=True)
class Reading:
    """How a user wants rows to be read."""

    shape: str | None = None
    """Name of a layout, or `mixed`; None finds it out."""
    mapping: Mapped | None = None
    """Which columns mean what."""
    fix: bool = False
    """Mend what can be mended mechanically."""


def check_readable(path: Path) -> Stamp:
    """Refuse what holds no rows, before anything is opened or made (see `containers.place.check_source`)."""
    return check_source(path)


class Reader:
    """The rows of one file, to be walked once; once the walk began, `layout` says how they are read."""

    def __init__(self, rows: Iterator[RawRow], name: str, how: Reading = Reading()) -> None:
        self._rows, self._name, self._how = rows, name, how
        self.layout = Layout("openai-chat", "default")

    def __iter__(self) -> Iterator[ReadRow]:
        """Every row.  Raises DataError when the layout is not clear."""
        sample, failure = take_sample(self._rows)
        read = self._decide(sample)
        fix, layout = self._how.fix, self.layout
        watched = layout.name not in UNWATCHED
        for raw in chain(sample, self._rows):
            if raw.is_blank:
                yield ReadRow(raw.line, num_bytes=raw.num_bytes)
                continue
            layout.rows += 1
            row = judge(raw, read, fix=fix)
            if row.problems:
                row = self._explain(raw, row)
            elif watched and row.example is not None:
                layout.watch(raw.line, row.example)
            yield row
        if failure is not None:
            raise failure

    def _decide(self, sample: list[RawRow]) -> Callable[[object, Findings], Example | None]:
        """How to read a row; sets the layout."""
        how = self._how
        if how.mapping is not None:
            if how.shape is not None:
                step = "give one of the two: a mapping says all that --shape could"
                raise ConfigError("both --mapping and --shape are given", value=how.shape, next_step=step)
            how.mapping.check_columns([raw.value for raw in sample], self._name)
            self.layout = Layout("mapping", how.mapping.source)
            return how.mapping.read
        if how.shape is not None:
            self.layout = Layout(how.shape, "--shape")
        else:
            self.layout = detect(sample, self._name)
        shape = named(self.layout.name)
        if shape is None:
            return read_any
        shape_read = shape.read

        def read(value: object, found: Findings) -> Example | None:
            if isinstance(value, dict):
                return shape_read(value, found)
            found.refuse("", 'a row must be an object: {"messages": […]}', value)
            return None

        return read

    def _explain(self, raw: RawRow, row: ReadRow) -> ReadRow:
        """A refused row, with its layout named when that is another one than the file's."""
        shape = named(self.layout.name) if self.layout.name != "mapping" else None
        if shape is None or not isinstance(raw.value, dict) or shape.fits(raw.value):
            return row
        own = " or ".join(other.name for other in fitting(raw.value))
        self.layout.others[own or "none"] += 1
        if not own:
            return row
        reason = f"this row is laid out as {own}, and the file as {shape.name}"
        problem = Problem(raw.line, "", reason, row.problems[0].value)
        return ReadRow(raw.line, problems=(problem,), num_bytes=raw.num_bytes, value=raw.value)


def take_sample(rows: Iterator[RawRow]) -> tuple[list[RawRow], DataError | None]:
    """The first rows, and the fault of the file that ended them, to be raised in its turn."""
    sample: list[RawRow] = []
    num_rows = num_bytes = 0
    try:
        for raw in rows:
            sample.append(raw)
            num_rows += isinstance(raw.value, dict)
            # A line that could not be parsed, however long, tells nothing and is not kept.
            num_bytes += raw.num_bytes if raw.value is not None else FAULTY_BYTES
            if num_rows >= SAMPLE_ROWS or num_bytes >= SAMPLE_BYTES:
                break
    except DataError as error:
        return sample, error
    return sample, None


def open_rows(path: Path, how: Reading = Reading()) -> Reader:
    """A file of rows, to be walked once, with what was found out about its layout.

    The walk raises DataError when the file cannot be read, is half-written, or its layout is not clear.
    """
    return Reader(open_raw(path), str(path), how)


def read_rows(path: Path, how: Reading = Reading()) -> Iterator[ReadRow]:
    """Read a file of rows, streaming (see `open_rows`)."""
    return iter(open_rows(path, how))


def read_stream(file: BinaryIO, name: str, how: Reading = Reading()) -> Iterator[ReadRow]:
    """Read rows from bytes that can be sought in; `name` stands for the file (see `open_rows`)."""
    return iter(Reader(open_stream(file, name), name, how))


def find_problems(path: Path) -> Iterator[Problem]:
    """Every problem of a file, a fault of the whole file included (as the last one): for validators."""
    line = 0
    try:
        for row in read_rows(path):
            line = row.line
            yield from row.problems
    except DataError as error:
        yield Problem(line + 1, "", error.what, str(error.value or ""))


def judge(raw: RawRow, read: Callable[[object, Findings], Example | None], *, fix: bool = False) -> ReadRow:
    """A parsed row to an example, with every problem it has."""
    line = raw.line
    if raw.problems:
        return ReadRow(line, problems=raw.problems, num_bytes=raw.num_bytes)
    found = Findings(fix)
    example = read(raw.value, found)
    if found.problems or example is None:
        problems = tuple(Problem(line, *finding) for finding in found.problems)
        return ReadRow(line, problems=problems, num_bytes=raw.num_bytes, value=raw.value)
    if not found.changes and not found.notes and not raw.changes:
        return ReadRow(line, example, num_bytes=raw.num_bytes)
    changes = (*raw.changes, *(Problem(line, *finding) for finding in found.changes))
    notes = tuple(Problem(line, *finding) for finding in found.notes)
    return ReadRow(line, example, (), changes, raw.num_bytes, notes)
