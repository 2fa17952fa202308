"""JSON Lines: one JSON value a line, UTF-8."""

import re
from collections.abc import Iterator
from typing import BinaryIO, NoReturn

from tunesmith.core.errors import DataError
from tunesmith.core.formats.containers.port import RawRow, refused
from tunesmith.core.formats.problems import Problem, shorten
from tunesmith.core.formats.strict_json import BadJson, parse_json

MAX_LINE_BYTES = 64 << 20
"""A longer line is refused unread, so that one bad line cannot fill the memory."""

ROW_SHAPE = 'give one row a line: {"messages": [{"role": "user", …}, {"role": "assistant", …}]}'

BOM = b"\xef\xbb\xbf"
STRING = re.compile(r'"[^"\\]*(?:\\.[^"\\]*)*"?', re.DOTALL)
SPACE = b" \t\r\n\f\v"


def read_json_lines(file: BinaryIO, name: str) -> Iterator[RawRow]:
    """Read rows from bytes, streaming; `name` stands for the file in messages.

    Raises DataError when it is empty, not UTF-8, or half-written.
    """
    offset, rows = 0, 0
    for number, (line, num_bytes) in enumerate(raw_lines(file), start=1):
        row = read_line(line, number, offset=offset, name=name)
        rows += not row.is_blank
        yield RawRow(row.line, row.value, row.is_blank, row.problems, row.changes, num_bytes, offset)
        offset += num_bytes
    if rows == 0:
        what = "the file is empty" if offset == 0 else "the file holds only blank lines"
        raise DataError(what, where=name, next_step=ROW_SHAPE)


def raw_lines(file: BinaryIO) -> Iterator[tuple[bytes, int]]:
    """Lines with their ends and true lengths; of a line over `MAX_LINE_BYTES` only one byte more is kept."""
    while line := file.readline(MAX_LINE_BYTES + 1):
        num_bytes = len(line)
        if num_bytes > MAX_LINE_BYTES:
            rest = line
            while rest and not rest.endswith(b"\n"):
                rest = file.readline(MAX_LINE_BYTES)
                num_bytes += len(rest)
        yield line, num_bytes


def read_line(line: bytes, number: int, *, offset: int, name: str) -> RawRow:
    """One line of bytes to a raw row."""
    changes = []
    if number == 1 and line.startswith(BOM):
        line, offset = line[len(BOM) :], offset + len(BOM)
        changes.append(Problem(number, "", "byte order mark removed", "U+FEFF"))
    if len(line) > MAX_LINE_BYTES:
        reason = f"the line is longer than {MAX_LINE_BYTES >> 20} MiB"
        return refused(number, reason, shorten(repr(line[:80])))
    text = decode(line, number, offset=offset, name=name)
    body = line.strip(SPACE)
    if not body:
        return RawRow(number, is_blank=True)
    if line.endswith(b"\r\n"):
        changes.append(Problem(number, "", "Windows line end (CRLF) removed", "\\r\\n"))
    try:
        value = parse_json(text)
    except BadJson as error:
        if not line.endswith(b"\n") and is_unclosed(text):
            refuse_half_written(text, number, name)
        return refused(number, f"not valid JSON: {error}", shorten(text.strip()))
    return RawRow(number, value, changes=tuple(changes))


def decode(line: bytes, number: int, *, offset: int, name: str) -> str:
    """UTF-8 bytes to text; the error names the line and the byte offset in the file."""
    try:
        return line.decode("utf-8")
    except UnicodeDecodeError as error:
        found = " ".join(f"{byte:02x}" for byte in line[error.start : error.end])
        raise DataError(
            f"the file is not UTF-8 (byte offset {offset + error.start})",
            where=f"{name}:{number}",
            value=found,
            next_step="convert it, for example: iconv -f WINDOWS-1252 -t UTF-8 FILE > new.jsonl",
        ) from None


def is_unclosed(text: str) -> bool:
    """Whether brackets outside strings are still open at the end."""
    bare = STRING.sub("", text)
    return bare.count("{") + bare.count("[") > bare.count("}") + bare.count("]")


def refuse_half_written(text: str, number: int, name: str) -> NoReturn:
    """The last line ends inside its row: the file is a torn copy, and more rows may be missing."""
    raise DataError(
        "the last line is half-written: the file ends inside a row",
        where=f"{name}:{number}",
        value="…" + text[-60:],
        next_step="copy or write the file again; if nothing else is missing, delete this line",
    )
