"""XLSX workbooks (ECMA-376): the rows of one sheet under its first row."""

import datetime
import re
import warnings
import zipfile
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from itertools import zip_longest
from pathlib import Path
from typing import Any, NamedTuple, NoReturn

from openpyxl import load_workbook
from openpyxl.utils import get_column_letter

from tunesmith.core.errors import DataError, nearest
from tunesmith.core.formats.containers.delimited import named_columns
from tunesmith.core.formats.containers.port import RawRow, Rows, Source, with_remarks
from tunesmith.core.formats.containers.zipped import members
from tunesmith.core.formats.problems import Problem

MAX_EXACT = 2**53
"""Whole numbers below it are exact as floats."""

ERRORS = frozenset({"#N/A", "#REF!", "#VALUE!", "#DIV/0!", "#NAME?", "#NULL!", "#NUM!"})

PADDED = re.compile(r"0{2,}")
PERCENT = re.compile(r"0(?:\.(0+))?%")
"""Number formats that change what a number says: 007 is a code, 25% is not 0.25."""

FORMULA = re.compile(rb"<(?:\w+:)?f[ >/]")
CHUNK_BYTES = 1 << 20


class Sheet(NamedTuple):
    """A sheet with rows in it."""

    name: str
    has_formulas: bool


def read_spreadsheet(source: Source) -> Rows:
    """The rows of a workbook's only sheet, or of the one asked for; `line` is the row's number there.

    Numbers become the text that they are (7.0 is "7"; with the format 000 "007", with 0% "700%"), dates
    ISO 8601, empty cells empty texts; a formula whose value was never computed refuses its row, by the
    cell's name.  Raises DataError when the workbook is broken, encrypted, claims to be huge, or has several
    sheets with rows and none was asked for.
    """
    path = source.path
    if path is None:
        refuse_compressed(source.name)
    members(path)
    try:
        yield from with_values(path, choose(path, source))
    except (DataError, PermissionError):
        raise
    except Exception as error:  # whatever broken XML or zip data makes openpyxl raise: it has no one error
        step = "open it in a spreadsheet program and save it again"
        what, value = "not a readable workbook", str(error)[:200] or type(error).__name__
        raise DataError(what, where=path, value=value, next_step=step) from None


def refuse_compressed(name: str) -> NoReturn:
    """Tables that are read from several places cannot come through a decoder."""
    raise DataError("a compressed table file", where=name, next_step="decompress it first")


@contextmanager
def opened(path: Path, *, data_only: bool = False) -> Iterator[Any]:
    """A workbook, whatever its name ends in."""
    with path.open("rb") as file:  # openpyxl refuses a path with another ending
        with warnings.catch_warnings():  # of parts it does not know, such as rules for entries
            warnings.simplefilter("ignore")
            book = load_workbook(file, read_only=True, data_only=data_only)
        with closing(book):
            yield book


def choose(path: Path, source: Source) -> Sheet:
    """The sheet that is meant."""
    with opened(path) as book:
        sheets = {sheet.title: sheet for sheet in book.worksheets}
        if source.part is not None:
            if source.part not in sheets:
                step = nearest(source.part, sheets)
                raise DataError("no sheet of this name", where=path, value=source.part, next_step=step)
            names = [source.part]
        else:
            names = [name for name, sheet in sheets.items() if any(map(any_value, first_rows(sheet)))]
        if not names:
            raise DataError("no sheet has a row", where=path, next_step="give a header and rows")
        if len(names) > 1:
            step, value = f"say which: {path}#{names[0]}", ", ".join(names)
            raise DataError("several sheets have rows", where=path, value=value, next_step=step)
    return Sheet(names[0], has_formulas(path))


def first_rows(sheet: Any) -> Iterator[tuple[Any, ...]]:
    """Enough rows to know whether a sheet is empty."""
    yield from sheet.iter_rows(values_only=True, max_row=1000)


def any_value(row: Sequence[Any]) -> bool:
    """Whether a row has a cell with something in it."""
    return any(value is not None and value != "" for value in row)


def has_formulas(path: Path) -> bool:
    """Whether the XML of any sheet has a formula; only then is the sheet read twice."""
    with zipfile.ZipFile(path) as archive:
        members = [name for name in archive.namelist() if name.startswith("xl/worksheets/")]
        for member in members:
            with archive.open(member) as file:
                tail = b""
                while chunk := file.read(CHUNK_BYTES):
                    if FORMULA.search(tail + chunk):
                        return True
                    tail = chunk[-16:]
    return False


def with_values(path: Path, sheet: Sheet) -> Rows:
    """Rows of a sheet, each formula beside the value that was computed for it."""
    with opened(path, data_only=True) as book:
        values = map(as_shown, book[sheet.name].iter_rows())
        if not sheet.has_formulas:
            yield from below_header(((row, ()) for row in values), path)
            return
        with opened(path) as written:
            formulas = written[sheet.name].iter_rows(values_only=True)
            yield from below_header(zip_longest(values, formulas, fillvalue=()), path)


def as_shown(row: Sequence[Any]) -> list[Any]:
    """Values of cells; where the number format says more than the number, what the sheet shows."""
    return [
        shown_number(cell.value, cell.number_format) if type(cell.value) in (int, float) else cell.value
        for cell in row
    ]


def shown_number(value: float, number_format: str) -> float | str:
    """A number with leading zeros or as a percentage, where its format says so."""
    if PADDED.fullmatch(number_format) and float(value).is_integer() and value >= 0:
        return str(int(value)).zfill(len(number_format))
    if (percent := PERCENT.fullmatch(number_format)) is not None:
        return f"{value:.{len(percent[1] or '')}%}"
    return value


def below_header(rows: Iterator[tuple[Sequence[Any], Sequence[Any]]], path: Path) -> Rows:
    """Numbers the rows; the first with a value is the header, and empty ones at the end are no rows."""
    header: list[str] = []
    remarks: tuple[str, ...] = ()
    last, done = 0, 0
    for number, (values, formulas) in enumerate(rows, start=1):
        if not any_value(values) and not any_value(formulas):
            continue
        if not header:
            cells = [as_text(value) for value in values]
            header, remarks = named_columns(without_empty_end(cells), str(path))
        else:
            yield from (RawRow(empty, is_blank=True) for empty in range(last + 1, number))
            yield from with_remarks(iter([one_row(values, formulas, number, header)]), remarks)
            remarks, done = (), done + 1
        last = number
    if not done:
        what = "the sheet has a header and no rows" if header else "the sheet is empty"
        raise DataError(what, where=path, next_step="give a header and rows")


def without_empty_end(cells: list[str]) -> list[str]:
    """Cells up to the last with something in it."""
    while cells and not cells[-1]:
        cells.pop()
    return cells


def one_row(values: Sequence[Any], formulas: Sequence[Any], number: int, header: list[str]) -> RawRow:
    """Cells to a row; what is no value refuses it, by the cell's name."""
    problems: list[Problem] = []
    row: dict[str, str | bool] = dict.fromkeys(header, "")
    cells: Iterator[tuple[int, tuple[Any, Any]]] = enumerate(zip_longest(values, formulas))
    for position, (value, formula) in cells:
        cell = f"{get_column_letter(position + 1)}{number}"
        if value is None and isinstance(formula, str) and formula.startswith("="):
            reason = "a formula whose value was never computed: save the file in a spreadsheet program"
            problems.append(Problem(number, cell, reason, formula))
        elif isinstance(value, str) and value in ERRORS:
            problems.append(Problem(number, cell, "an error instead of a value", value))
        elif position >= len(header):
            if value is not None and value != "":
                problems.append(Problem(number, cell, "a cell beyond the header", as_text(value)[:80]))
        elif value is not None:
            row[header[position]] = value if isinstance(value, bool) else as_text(value)
    if problems:
        return RawRow(number, problems=tuple(problems))
    return RawRow(number, row)


def as_text(value: Any) -> str:
    """A cell as text: what a CSV of the sheet would hold."""
    if value is None:
        return ""
    if isinstance(value, datetime.date | datetime.time):
        return value.isoformat()
    if isinstance(value, float) and value.is_integer() and abs(value) < MAX_EXACT:
        return str(int(value))
    return str(value)
