"""CSV and TSV (RFC 4180, and what spreadsheets and databases make of it): every cell is text."""

import codecs
import csv
import io
from collections.abc import Iterator
from typing import BinaryIO, NamedTuple, NoReturn

from tunesmith.core.errors import DataError
from tunesmith.core.formats.containers import json_lines
from tunesmith.core.formats.containers.port import RawRow, Rows, Source, refused, with_remarks
from tunesmith.core.formats.problems import Problem, shorten

SAMPLE_BYTES = 1 << 18
DELIMITERS = {",": "commas", ";": "semicolons", "\t": "tabs", "|": "bars"}
LONGEST_NAME = 64
"""A longer first cell is no name of a column."""
CERTAIN = 0.9
"""Share of records with the header's number of cells from which text without a telling name is a table."""


class Dialect(NamedTuple):
    """How cells are told apart."""

    delimiter: str
    quote: str = '"'
    escape: str | None = None


class Sniffed(NamedTuple):
    """The dialect that fits best, and how well."""

    dialect: Dialect
    columns: int
    same: int
    """Records of the sample that have as many cells as the first."""
    records: int

    @property
    def share(self) -> float:
        """How many records fit."""
        return self.same / self.records

    @property
    def evidence(self) -> str:
        """In words."""
        name = DELIMITERS[self.dialect.delimiter]
        return f"{self.columns} columns by {name} in {self.same} of the first {self.records} records"


def sniff(sample: str, *, is_whole: bool) -> Sniffed | None:
    """The dialect that cuts the sample into equal records; None when none gives two columns.

    A backslash before a quote, or apostrophes as quotes, are taken only where they fit better.
    """
    dialects = [Dialect(delimiter) for delimiter in DELIMITERS]
    if '\\"' in sample:
        dialects += [Dialect(delimiter, escape="\\") for delimiter in DELIMITERS]
    if "'" in sample:
        dialects += [Dialect(delimiter, quote="'") for delimiter in DELIMITERS]
    tried = [found for dialect in dialects if (found := fit(sample, dialect, is_whole=is_whole)) is not None]
    return max(tried, key=lambda found: (found.share, found.columns), default=None)


def fit(sample: str, dialect: Dialect, *, is_whole: bool) -> Sniffed | None:
    """How well a dialect fits; None when it gives one column, or a first record that names nothing."""
    if not is_whole:
        sample = sample[: max(sample.rfind("\n"), sample.rfind("\r")) + 1] or sample
    csv.field_size_limit(json_lines.MAX_LINE_BYTES)
    records = reader(iter(sample.splitlines(keepends=True)), dialect)
    sizes, header = [], None
    while True:
        try:
            record = next(records)
        except StopIteration:
            break
        except csv.Error:
            sizes.append(0)
            continue
        header = header or record
        if record:
            sizes.append(len(record))
    if not is_whole and len(sizes) > 1:
        sizes.pop()  # it may go on behind the sample
    if not header or len(header) < 2 or not sizes:
        return None
    if any(len(name) > LONGEST_NAME or "\n" in name for name in header) or not any(header):
        return None
    return Sniffed(dialect, len(header), sizes.count(len(header)), len(sizes))


def reader(lines: Iterator[str], dialect: Dialect) -> Iterator[list[str]]:
    """Records of cells."""
    return csv.reader(
        lines,
        delimiter=dialect.delimiter,
        quotechar=dialect.quote,
        escapechar=dialect.escape,
        doublequote=dialect.escape is None,
        strict=True,
    )


class Lines:
    """Lines of text with their ends, bounded; counts lines and bytes."""

    def __init__(self, file: BinaryIO, encoding: str, name: str) -> None:
        self._text = io.TextIOWrapper(file, encoding=encoding, newline="")
        self._one_byte, self._name = encoding == "cp1252", name
        self.number, self.num_bytes = 0, 0
        self.has_mark = False

    def __iter__(self) -> Iterator[str]:
        return self

    def __next__(self) -> str:
        line = self._text.readline(json_lines.MAX_LINE_BYTES)
        if not line:
            raise StopIteration
        self.number += 1
        if len(line) >= json_lines.MAX_LINE_BYTES:
            what = f"the line is longer than {json_lines.MAX_LINE_BYTES >> 20} MiB"
            where, value = f"{self._name}:{self.number}", shorten(line[:200])
            raise DataError(what, where=where, value=value, next_step="is it a table of cells at all?")
        is_counted = self._one_byte or line.isascii()
        self.num_bytes += len(line) if is_counted else len(line.encode("utf-8"))
        if self.number == 1 and line.startswith("\ufeff"):
            self.has_mark, line = True, line[1:]
        return line


def encoding_of(source: Source) -> str:
    """'utf-8' when the whole file is; else 'cp1252', which spreadsheets write, when that reads it.

    Raises DataError naming the byte that neither can be, or that breaks a text which is UTF-8 before it.
    """
    decoder, offset, is_wide = codecs.getincrementaldecoder("utf-8")(), 0, False
    with source.open() as file:
        while True:
            chunk = file.read(SAMPLE_BYTES)
            waiting = len(decoder.getstate()[0])
            try:
                text = decoder.decode(chunk, final=not chunk)
            except UnicodeDecodeError as error:
                before = error.object[: error.start]
                if is_wide or not before.isascii():
                    refuse_broken(source, offset - waiting + error.start, error.object[error.start])
                break
            is_wide = is_wide or not text.isascii()
            offset += len(chunk)
            if not chunk:
                return "utf-8"
    check_cp1252(source)
    return "cp1252"


def refuse_broken(source: Source, offset: int, byte: int) -> NoReturn:
    """One byte breaks a text that is UTF-8 before it: another encoding would garble all the rest."""
    what = f"the file is UTF-8 only up to byte offset {offset}"
    step = "copy or write the file again, as UTF-8"
    raise DataError(what, where=source.name, value=f"{byte:02x}", next_step=step)


def check_cp1252(source: Source) -> None:
    """Raises DataError naming the first byte that Windows-1252 does not have."""
    offset = 0
    with source.open() as file:
        while chunk := file.read(SAMPLE_BYTES):
            try:
                chunk.decode("cp1252")
            except UnicodeDecodeError as error:
                what = f"neither UTF-8 nor Windows-1252 (byte offset {offset + error.start})"
                found = f"{chunk[error.start]:02x}"
                step = "write it again as UTF-8, for example: iconv -f LATIN1 -t UTF-8 FILE > new.csv"
                raise DataError(what, where=source.name, value=found, next_step=step) from None
            offset += len(chunk)


def read_delimited(source: Source) -> Rows:
    """The records below the header; ragged ones are refused.

    `line` is the line where the record begins.  Raises DataError when there is no header, a name stands
    twice, or a quote is never closed.
    """
    encoding = encoding_of(source)
    with source.open() as file:
        head = file.read(SAMPLE_BYTES)
    sample = head.decode(encoding, errors="replace").removeprefix("\ufeff")
    sniffed = sniff(sample, is_whole=len(head) < SAMPLE_BYTES)
    default = Dialect("\t" if source.suffix in (".tsv", ".tab") else ",")
    dialect = sniffed.dialect if sniffed else default
    with source.open() as file:
        lines = Lines(file, encoding, source.name)
        rows = records(lines, dialect, encoding, source)
        yield from with_remarks(rows, contradiction(dialect, source.suffix))


def contradiction(dialect: Dialect, suffix: str) -> tuple[str, ...]:
    """What has to be said when the name promises tabs and there are none."""
    if suffix not in (".tsv", ".tab") or dialect.delimiter == "\t":
        return ()
    return (f"the name ends in {suffix}, the cells are separated by {DELIMITERS[dialect.delimiter]}",)


def records(lines: Lines, dialect: Dialect, encoding: str, source: Source) -> Rows:
    """Rows out of lines."""
    csv.field_size_limit(json_lines.MAX_LINE_BYTES)
    cells = reader(lines, dialect)
    header, remarks = read_header(cells, lines, source)
    rows = below_header(cells, lines, header, encoding, source)
    yield from with_remarks(rows, remarks)


def read_header(
    cells: Iterator[list[str]], lines: Lines, source: Source
) -> tuple[list[str], tuple[str, ...]]:
    """Names of the columns; columns without one are numbered."""
    first: list[str] = []
    try:
        while not any(first):
            first = next(cells)
    except StopIteration:
        raise DataError("the table is empty", where=source.name, next_step="give a header and rows") from None
    except csv.Error as error:
        refuse_unclosed(source, 1, str(error))
    return named_columns(first, source.name, has_mark=lines.has_mark)


def named_columns(
    first: list[str], name: str, *, has_mark: bool = False
) -> tuple[list[str], tuple[str, ...]]:
    """Names of columns from the first row, and what was mended.  Raises DataError when one stands twice."""
    remarks = ["byte order mark removed"] if has_mark else []
    header = [cell.strip() for cell in first]
    if twice := sorted({cell for cell in header if cell and header.count(cell) > 1}):
        step = "give each column a name of its own in the first row"
        raise DataError("two columns have the same name", where=name, value=twice[0], next_step=step)
    for position, cell in enumerate(header):
        if not cell:
            header[position] = f"column {position + 1}"
            remarks.append(f"column {position + 1} has no name")
    return header, tuple(remarks)


def below_header(
    cells: Iterator[list[str]], lines: Lines, header: list[str], encoding: str, source: Source
) -> Rows:
    """The records after the header, each with the bytes it was read from."""
    done, before = 0, 0  # the header's bytes count for the first record
    while True:
        start, offset = lines.number + 1, lines.num_bytes
        try:
            record = next(cells)
        except StopIteration:
            break
        except csv.Error as error:
            if "field limit" in str(error) or "end of data" in str(error):
                refuse_unclosed(source, start, str(error))
            row = refused(start, f"not a record of cells: {error}", "")
        else:
            row = one_record(record, start, header, encoding)
        yield row._replace(num_bytes=lines.num_bytes - before, offset=offset)
        before, done = lines.num_bytes, done + 1
    if not done:
        step = "give rows below the first line"
        raise DataError("the table has a header and no rows", where=source.name, next_step=step)


def one_record(record: list[str], line: int, header: list[str], encoding: str) -> RawRow:
    """Cells to a row; text stays text, an empty cell is an empty text."""
    if not any(record):
        return RawRow(line, is_blank=True)
    changes = []
    if len(record) > len(header) and not any(record[len(header) :]):
        record = record[: len(header)]
        changes.append(Problem(line, "", "empty cells beyond the header left out", ""))
    if len(record) != len(header):
        reason = "the record has another number of cells than the header"
        return refused(line, reason, f"{len(record)} instead of {len(header)}: {shorten(' | '.join(record))}")
    if encoding != "utf-8" and not all(cell.isascii() for cell in record):
        changes.append(Problem(line, "", "read as Windows-1252: the file is not UTF-8", ""))
    return RawRow(line, dict(zip(header, record, strict=True)), changes=tuple(changes))


def refuse_unclosed(source: Source, line: int, why: str) -> NoReturn:
    """A quote that is opened and not closed swallows the rest of the file."""
    step = 'close the quote ("), or double it where it stands for itself ("")'
    raise DataError(
        "a quote is opened here and never closed", where=f"{source.name}:{line}", value=why, next_step=step
    )
