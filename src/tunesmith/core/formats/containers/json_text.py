"""Values of a JSON text of any size, one after the other, with bounded memory (RFC 8259).

The text lies in a window that moves over the file.  Python's own scanner decodes each value where it
stands; only a value that runs over the window's end, or that cannot be decoded, is walked bracket by bracket.
"""

import codecs
import re
from typing import BinaryIO, NamedTuple, NoReturn

from tunesmith.core.errors import DataError
from tunesmith.core.formats.containers import json_lines
from tunesmith.core.formats.problems import shorten
from tunesmith.core.formats.strict_json import SPACE, BadJson, decode_json

WINDOW_BYTES = 1 << 20
OUTSIDE = re.compile(r'["{}\[\]]')
INSIDE = re.compile(r'["\\]')
OPENS = {"}": "{", "]": "["}
LONGEST_SCALAR = 10_000
"""Characters; Python reads no number of more than 4,300 digits."""

SCALAR_ENDS = " \t\r\n,]}"


class Item(NamedTuple):
    """One value, or why it is none."""

    value: object
    offset: int
    """First byte of it, in the UTF-8 text."""
    problem: str = ""
    excerpt: str = ""


class HalfWritten(Exception):
    """The text ends inside a value."""


class JsonText:
    """A window over a JSON text; `at` is where reading stands in it."""

    def __init__(self, file: BinaryIO, name: str) -> None:
        self._file, self.name = file, name
        self._decoder = codecs.getincrementaldecoder("utf-8")()
        self._read_bytes = 0
        self._counted, self._offset = 0, 0
        self.text, self.at, self.ended = "", 0, False
        self.has_mark, self.tail = False, ""
        self.more()
        if self.text.startswith("\ufeff"):
            self.has_mark, self.at = True, 1

    @property
    def offset(self) -> int:
        """Bytes of UTF-8 text before `at`."""
        part = self.text[self._counted : self.at]
        self._offset += len(part) if part.isascii() else len(part.encode())
        self._counted = self.at
        return self._offset

    def more(self) -> bool:
        """Read on, dropping what lies before `at`; False at the end of the file.

        Raises DataError when the bytes are not UTF-8.
        """
        if self.ended:
            return False
        self.tail = (self.tail + self.text)[-60:]
        _ = self.offset  # counts what is about to be dropped
        self.text, self.at, self._counted = self.text[self.at :], 0, 0
        chunk = self._file.read(max(WINDOW_BYTES, len(self.text)))
        waiting = len(self._decoder.getstate()[0])
        try:
            self.text += self._decoder.decode(chunk, final=not chunk)
        except UnicodeDecodeError as error:
            found = " ".join(f"{byte:02x}" for byte in error.object[error.start : error.end])
            place = self._read_bytes - waiting + error.start
            step = "convert it, for example: iconv -f WINDOWS-1252 -t UTF-8 FILE > new.json"
            what = f"the file is not UTF-8 (byte offset {place})"
            raise DataError(what, where=self.name, value=found, next_step=step) from None
        self._read_bytes += len(chunk)
        self.ended = not chunk
        return True

    def peek(self) -> str:
        """The next character that is not white space; empty at the end."""
        while True:
            found = SPACE.match(self.text, self.at)
            self.at = found.end() if found else self.at
            if self.at < len(self.text):
                return self.text[self.at]
            if not self.more():
                return ""

    def take(self, character: str) -> bool:
        """Step over a character, if it comes next."""
        if self.peek() != character:
            return False
        self.at += 1
        return True

    def item(self) -> Item:
        """The value that comes next; a faulty one is stepped over.

        Raises HalfWritten when the text ends inside it, DataError where no value can begin.
        """
        first = self.peek()
        if not first:
            raise HalfWritten
        offset = self.offset
        try:
            value, end = decode_json(self.text, self.at)
            if end < len(self.text) or self.ended or first in '{["':
                self.at = end
                return Item(value, offset)
        except BadJson:
            pass  # perhaps it only runs over the window's end
        return self._whole_item(first, offset)

    def _whole_item(self, first: str, offset: int) -> Item:
        """Find where the value ends, then decode it again."""
        excerpt = self.text[self.at : self.at + 80]
        length = self.walk(first)
        if length is None:
            reason = f"the row is longer than {json_lines.MAX_LINE_BYTES >> 20} MiB"
            return Item(None, offset, reason, shorten(excerpt))
        whole = self.text[self.at : self.at + length]
        self.at += length
        try:
            value, end = decode_json(whole, 0)
            if end == length:
                return Item(value, offset)
            problem = "Extra data"
        except BadJson as error:
            problem = str(error)
        if first not in '{["':
            step = "mend the file at this place; rows are objects: {…}"
            what = f"not valid JSON (byte offset {offset})"
            raise DataError(what, where=self.name, value=shorten(whole), next_step=step)
        return Item(None, offset, f"not valid JSON: {problem}", shorten(whole))

    def walk(self, first: str) -> int | None:
        """Length of the value at `at`, all of it in the window then; None when it was too long to hold.

        A value that is too long is stepped over.  Raises HalfWritten at the end of the file.
        """
        if first not in '{["':
            return self._walk_scalar()
        position, in_string, is_held = 0, False, True
        opened = bytearray()
        while True:
            start = self.at
            while found := (INSIDE if in_string else OUTSIDE).search(self.text, start + position):
                position, mark = found.end() - start, found[0]
                if mark == "\\":
                    position += 1
                elif mark == '"':
                    in_string = not in_string
                elif mark in "{[":
                    opened += mark.encode()
                elif opened.pop() != ord(OPENS[mark]):
                    self.refuse_brackets(mark, start + position)
                if not opened and not in_string:
                    if is_held and position <= json_lines.MAX_LINE_BYTES:
                        return position
                    self.at = start + position
                    return None
            position = max(position, len(self.text) - start)
            if position > json_lines.MAX_LINE_BYTES:
                # step over what was seen; a backslash at the very end reaches into what comes
                self.at, position = len(self.text), position - (len(self.text) - start)
                is_held = False
            if not self.more():
                raise HalfWritten

    def refuse_brackets(self, mark: str, position: int) -> NoReturn:
        """A bracket closes what another kind of bracket opened: where the value ends cannot be known."""
        text = self.text[max(0, position - 60) : position]
        what = f"not valid JSON: {mark} closes a bracket of another kind"
        step = "mend the file at this place"
        raise DataError(what, where=self.name, value="…" + text, next_step=step)

    def _walk_scalar(self) -> int:
        """Length of a number or a word."""
        position = 0
        while True:
            while self.at + position < len(self.text):
                if self.text[self.at + position] in SCALAR_ENDS:
                    return max(1, position)
                position += 1
            if position > LONGEST_SCALAR or not self.more():
                return max(1, position)
