"""Forms with files (multipart/form-data), written to disk as they come."""

import asyncio
import hashlib
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

from fastapi import Request
from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header
from starlette.requests import ClientDisconnect

from tunesmith.core.files import explain_disk_errors
from tunesmith.serve.connection import ClientLeft
from tunesmith.serve.problems import ApiProblem

MOST_FIELDS = 64
MOST_FIELD_BYTES = 65_536
MOST_HEADER_BYTES = 8_192


@dataclass
class Sent:
    """A file of a form, on disk until the request is answered."""

    path: Path
    filename: str
    bytes: int
    sha256: str


@dataclass
class Part:
    """One part as it comes in."""

    headers: dict[str, str] = field(default_factory=dict)
    header_name: bytearray = field(default_factory=bytearray)
    header_value: bytearray = field(default_factory=bytearray)
    name: str = ""
    filename: str | None = None
    value: bytearray = field(default_factory=bytearray)


class Form:
    """A form's fields as text, and its one file on disk."""

    def __init__(self, file_field: str, into: IO[bytes], most_bytes: int) -> None:
        self.file_field, self.into, self.most_bytes = file_field, into, most_bytes
        self.fields: dict[str, str] = {}
        self.sent: str | None = None
        """Name of the file, once it began."""
        self.file_bytes = 0
        self.digest = hashlib.sha256()
        self.ended = False
        self.part = Part()

    def callbacks(self) -> Any:
        """What the parser calls."""
        return {
            "on_part_begin": self.begin,
            "on_header_field": lambda data, start, end: self.grow(self.part.header_name, data[start:end]),
            "on_header_value": lambda data, start, end: self.grow(self.part.header_value, data[start:end]),
            "on_header_end": self.header_end,
            "on_headers_finished": self.headers_finished,
            "on_part_data": self.data,
            "on_part_end": self.part_end,
            "on_end": self.end,
        }

    def begin(self) -> None:
        """A part begins."""
        self.part = Part()

    def grow(self, held: bytearray, more: bytes) -> None:
        """A piece of a header."""
        held += more
        if len(held) > MOST_HEADER_BYTES:
            raise ApiProblem("A header of a part of the form is too long.")

    def header_end(self) -> None:
        """A header is whole."""
        name = self.part.header_name.decode("latin-1").lower()
        self.part.headers[name] = self.part.header_value.decode("utf-8", errors="replace")
        self.part.header_name, self.part.header_value = bytearray(), bytearray()

    def headers_finished(self) -> None:
        """The part says what it is."""
        part = self.part
        _, options = parse_options_header(part.headers.get("content-disposition", "").encode())
        part.name = options.get(b"name", b"").decode("utf-8", errors="replace")
        if part.name != self.file_field:
            if len(self.fields) >= MOST_FIELDS:
                raise ApiProblem(f"The form has more than {MOST_FIELDS} fields.")
            return
        if self.sent is not None:
            raise ApiProblem(f"Only one '{self.file_field}' can be sent.", param=self.file_field)
        filename = options.get(b"filename")
        self.sent = part.filename = "" if filename is None else filename.decode("utf-8", errors="replace")

    def data(self, data: bytes, start: int, end: int) -> None:
        """A piece of a part's content."""
        piece = data[start:end]
        if self.part.filename is None:
            self.part.value += piece
            if len(self.part.value) > MOST_FIELD_BYTES:
                raise ApiProblem(f"The field '{self.part.name}' is too long.", param=self.part.name)
            return
        self.file_bytes += len(piece)
        if self.file_bytes > self.most_bytes:
            raise too_large(self.most_bytes, self.file_field)
        self.into.write(piece)
        self.digest.update(piece)

    def part_end(self) -> None:
        """A part is whole."""
        part = self.part
        if part.filename is not None:
            return
        if part.name in self.fields:
            raise ApiProblem(f"The field '{part.name}' was sent twice.", param=part.name)
        try:
            self.fields[part.name] = part.value.decode("utf-8")
        except UnicodeDecodeError:
            raise ApiProblem(f"The field '{part.name}' is not UTF-8.", param=part.name) from None

    def end(self) -> None:
        """The last boundary came."""
        self.ended = True


def too_large(most_bytes: int, param: str) -> ApiProblem:
    """413 for a file over the limit."""
    message = f"File is too large: the limit is {most_bytes:,} bytes."
    return ApiProblem(message, status=413, param=param, code="file_too_large")


@contextmanager
def spool(folder: Path) -> Iterator[IO[bytes]]:
    """A file beside those that stay, so that it can take its place by a rename; gone at the end otherwise."""
    with explain_disk_errors(folder):
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=folder, prefix=".part-", delete=False) as file:
            try:
                yield file
            finally:
                Path(file.name).unlink(missing_ok=True)


async def read_form(
    request: Request, file_field: str, into: IO[bytes], most_bytes: int
) -> tuple[dict[str, str], Sent]:
    """The fields and the file of a form.

    Raises ApiProblem for what is no such form, a file over `most_bytes`, or one that is missing.
    """
    kind, options = parse_options_header(request.headers.get("content-type", ""))
    if kind != b"multipart/form-data" or not options.get(b"boundary"):
        raise ApiProblem(
            "Expected a form (Content-Type: multipart/form-data with a boundary)"
            f", but got '{kind.decode('latin-1')[:100]}' instead."
        )
    form = Form(file_field, into, most_bytes)
    try:
        parser = MultipartParser(options[b"boundary"], form.callbacks())
        async for piece in request.stream():
            # Writing to a slow disk must not hold up those who chat.
            await asyncio.to_thread(parser.write, piece)
        parser.finalize()
    except FormParserError as error:
        raise ApiProblem(f"The form could not be read ({error}).") from None
    except ClientDisconnect:
        raise ClientLeft from None
    if not form.ended:
        raise ApiProblem("The form is cut off: its last boundary is missing.")
    if form.sent is None:
        raise ApiProblem(
            f"Missing required parameter: '{file_field}'.",
            param=file_field,
            code="missing_required_parameter",
        )
    into.flush()
    return form.fields, Sent(Path(into.name), form.sent, form.file_bytes, form.digest.hexdigest())


def nested(fields: dict[str, str]) -> dict[str, Any]:
    """`{"a[b]": "1"}` as `{"a": {"b": "1"}}`: clients send objects in forms and queries so."""
    found: dict[str, Any] = {}
    for name, value in fields.items():
        outer, bracket, inner = name.partition("[")
        if bracket and inner.endswith("]"):
            section = found.setdefault(outer, {})
            if not isinstance(section, dict):
                raise ApiProblem(f"The field '{outer}' was sent twice.", param=outer)
            section[inner[:-1]] = value
        else:
            found[name] = value
    return found
