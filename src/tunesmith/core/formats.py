"""Reads and validates JSON Lines of conversations, plain text, or prompts with completions, line by line.

Every line ends as one `ReadRow`: kept, changed (a mechanical repair, listed), refused (every problem
listed) or blank.  Only a fault of the file as a whole (not UTF-8, half-written, an array) is an error.
Source of the chat format: OpenAI's `FineTuneChatRequestInput`; what else people write is refused by name.
"""

import json
import re
import stat
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, BinaryIO, Literal, NamedTuple, NoReturn

from tunesmith.core.chat_rows import Findings, read_row, shorten
from tunesmith.core.conversation import Example
from tunesmith.core.errors import DataError

MAX_LINE_BYTES = 64 << 20
"""A longer line is refused unread, so that one bad line cannot fill the memory."""

MAX_DEPTH = 64
"""Deeper nesting is refused: no conversation needs it, and recursion further on would fail."""

ROW_SHAPE = 'give one row a line: {"messages": [{"role": "user", …}, {"role": "assistant", …}]}'

BOM = b"\xef\xbb\xbf"
STRING = re.compile(r'"(?:[^"\\]|\\.)*"?', re.DOTALL)
SPACE = b" \t\r\n\f\v"
SIGNATURES = {
    b"\x1f\x8b": ("the file is compressed (gzip)", "decompress it first: gunzip FILE"),
    b"\x28\xb5\x2f\xfd": ("the file is compressed (zstd)", "decompress it first: zstd -d FILE"),
    b"PAR1": ("this shape is not read yet: a Parquet file", "write the rows as JSON Lines"),
    b"PK\x03\x04": ("this shape is not read yet: a zip or a spreadsheet", "write the rows as JSON Lines"),
    b"\xff\xfe": ("the file is UTF-16, not UTF-8", "convert it: iconv -f UTF-16 -t UTF-8 FILE > new.jsonl"),
    b"\xfe\xff": ("the file is UTF-16, not UTF-8", "convert it: iconv -f UTF-16 -t UTF-8 FILE > new.jsonl"),
}
"""First bytes of files that are not text lines: what to say, and the next step."""


class Problem(NamedTuple):
    """One fault of one line: where in the row (RFC 6901 pointer), why, and the value, shortened."""

    line: int
    pointer: str
    reason: str
    value: str

    def to_json(self) -> dict[str, Any]:
        """The problem as `rejects.jsonl` holds it."""
        return {"line": self.line, "pointer": self.pointer, "reason": self.reason, "value": self.value}


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


def read_chat(path: Path) -> Iterator[ReadRow]:
    """Read a file of chat rows, streaming.

    Raises DataError when the file is missing, a folder, empty, not UTF-8, an array, or half-written.
    """
    check_readable(path)
    try:
        with path.open("rb") as file:
            yield from read_chat_stream(file, str(path))
    except PermissionError:
        raise DataError("this file cannot be read", where=path, next_step="check its permissions") from None


def read_chat_stream(file: BinaryIO, name: str) -> Iterator[ReadRow]:
    """Read chat rows from bytes; `name` stands for the file in messages (see `read_chat`)."""
    offset, rows = 0, 0
    for number, (line, num_bytes) in enumerate(raw_lines(file), start=1):
        if number == 1:
            refuse_foreign(line, name)
        row = read_line(line, number, offset=offset, name=name, first=rows == 0)
        rows += row.outcome != "blank"
        offset += num_bytes
        yield replace(row, num_bytes=num_bytes)
    if rows == 0:
        what = "the file is empty" if offset == 0 else "the file holds only blank lines"
        raise DataError(what, where=name, next_step=ROW_SHAPE)


def find_problems(path: Path) -> Iterator[Problem]:
    """Every problem of a file, a fault of the whole file included (as the last one): for validators."""
    line = 0
    try:
        for row in read_chat(path):
            line = row.line
            yield from row.problems
    except DataError as error:
        yield Problem(line + 1, "", error.what, str(error.value or ""))


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


def read_line(line: bytes, number: int, *, offset: int, name: str, first: bool) -> ReadRow:
    """One line of bytes to a row; `first` marks the first line that is not blank."""
    changes = []
    if number == 1 and line.startswith(BOM):
        line, offset = line[len(BOM) :], offset + len(BOM)
        changes.append(Problem(number, "", "byte order mark removed", "U+FEFF"))
    if len(line) > MAX_LINE_BYTES:
        reason = f"the line is longer than {MAX_LINE_BYTES >> 20} MiB"
        return ReadRow(number, problems=(Problem(number, "", reason, shorten(repr(line[:80]))),))
    text = decode(line, number, offset=offset, name=name)
    body = line.strip(SPACE)
    if not body:
        return ReadRow(number)
    if first:
        refuse_whole_document(body, number, name)
    if line.endswith(b"\r\n"):
        changes.append(Problem(number, "", "Windows line end (CRLF) removed", "\\r\\n"))
    try:
        value = parse_json(text)
    except BadJson as error:
        if not line.endswith(b"\n") and is_unclosed(text):
            refuse_half_written(text, number, name)
        return ReadRow(
            number, problems=(Problem(number, "", f"not valid JSON: {error}", shorten(text.strip())),)
        )
    return judge(value, number, changes)


def judge(value: object, number: int, changes: list[Problem]) -> ReadRow:
    """A parsed line to a row, with every problem it has."""
    findings = Findings()
    example = read_row(value, findings)
    problems = tuple(Problem(number, *finding) for finding in findings.problems)
    changes += [Problem(number, *finding) for finding in findings.changes]
    return ReadRow(number, None if problems else example, problems, tuple(changes))


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


def refuse_foreign(line: bytes, name: str) -> None:
    """Refuse files whose first bytes say that they are not lines of text."""
    for signature, (what, step) in SIGNATURES.items():
        if line.startswith(signature):
            raise DataError(what, where=name, next_step=step)


def refuse_whole_document(body: bytes, number: int, name: str) -> None:
    """Refuse one JSON value spread over the whole file; say how to make lines of it."""
    convert = (
        "make lines of it:\n    "
        "python -c \"import json; [print(json.dumps(row)) for row in json.load(open('FILE'))]\" > rows.jsonl"
    )
    if body.startswith(b"["):
        raise DataError(
            "the file is a JSON array, not one row a line", where=f"{name}:{number}", next_step=convert
        )
    if body == b"{":
        step = "write each row on one line, without line breaks or indentation inside it"
        raise DataError(
            "a JSON object is spread over several lines", where=f"{name}:{number}", next_step=step
        )


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


class BadJson(ValueError):
    """A line that is not one strict JSON value."""


def parse_json(text: str) -> object:
    """Parse strictly: no NaN, no overflow, no duplicate keys, no lone surrogates, bounded depth."""
    try:
        value = json.loads(
            text, object_pairs_hook=unique_keys, parse_constant=no_constant, parse_float=finite
        )
    except json.JSONDecodeError as error:
        raise BadJson(f"{error.msg} (column {error.colno})") from None
    except RecursionError:
        raise BadJson(f"nested deeper than {MAX_DEPTH} levels") from None
    except BadJson:
        raise
    except ValueError:
        # int() refuses numbers of more than 4,300 digits with a plain ValueError
        raise BadJson("a number with too many digits") from None
    check_depth_and_text(value)
    return value


def unique_keys(pairs: list[tuple[str, object]]) -> dict[str, object]:
    """Build an object, refusing a key that stands twice (readers disagree on which one counts)."""
    built = dict(pairs)
    if len(built) != len(pairs):
        keys = [key for key, _ in pairs]
        twice = next(key for key in keys if keys.count(key) > 1)
        raise BadJson(f"the key {shorten(twice)!r} stands twice in one object")
    return built


def no_constant(name: str) -> NoReturn:
    """NaN and the infinities are Python's, not JSON's."""
    raise BadJson(f"{name} is not JSON")


def finite(text: str) -> float:
    """A float that did not overflow."""
    number = float(text)
    if number in (float("inf"), float("-inf")):
        raise BadJson(f"the number {shorten(text)} is too large")
    return number


def check_depth_and_text(value: object) -> None:
    """Walk without recursion; lone surrogates cannot be written as UTF-8 again."""
    level: list[object] = [value]
    for _ in range(MAX_DEPTH):
        below: list[object] = []
        for entry in level:
            if isinstance(entry, dict):
                below += [*entry.keys(), *entry.values()]
            elif isinstance(entry, list):
                below += entry
            elif (
                isinstance(entry, str)
                and not entry.isascii()
                and any("\ud800" <= c <= "\udfff" for c in entry)
            ):
                raise BadJson("half of a surrogate pair (\\ud800–\\udfff): the text is not Unicode")
        if not below:
            return
        level = below
    raise BadJson(f"nested deeper than {MAX_DEPTH} levels")
