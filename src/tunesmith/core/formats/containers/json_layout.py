"""Which layout a JSON text has: one row a line, an array, one object, or objects over several lines."""

from typing import Literal

from tunesmith.core.formats.containers.encoding import BOM_UTF8
from tunesmith.core.formats.containers.json_document import ROW_KEYS
from tunesmith.core.formats.containers.json_lines import is_unclosed
from tunesmith.core.formats.strict_json import BadJson, decode_json, match_end, parse_json

Layout = Literal["lines", "array", "object", "sequence"]


def json_layout(head: bytes, *, is_whole: bool) -> Layout:
    """The layout, from the first bytes; `is_whole` when they are the whole file.

    The first value decides: where it ends, and whether there is a line break inside it.
    """
    text = head.removeprefix(BOM_UTF8).decode("utf-8", errors="replace")
    start = match_end(text, 0)
    first = text[start : start + 1]
    if first not in ("{", "["):
        return "lines"
    line_end = text.find("\n", start)
    line = text[start:] if line_end < 0 else text[start:line_end]
    following = None if line_end < 0 else text[line_end + 1 :].partition("\n")[0]
    try:
        value, end = decode_json(text, start)
    except BadJson:
        return unfinished_layout(first, line, following=following, is_whole=is_whole)
    is_one_line = line_end < 0 or end <= line_end
    rest = match_end(text, end)
    if rest == len(text) and is_whole:
        if first == "[":
            return "array"
        if holds_rows(value):
            return "object"
        return "lines" if is_one_line else "sequence"
    if first == "[":
        goes_on = "\n" in text[end:rest] and text[rest : rest + 1] in ("[", "{")
        return "lines" if is_one_line and goes_on else "array"
    if not is_one_line or (rest > end and "\n" not in text[end:rest]):
        return "sequence"
    return "lines"


def holds_rows(value: object) -> bool:
    """Whether an object is no row, but holds lists of them."""
    if not isinstance(value, dict) or ROW_KEYS & set(value):
        return False
    return any(isinstance(entry, list) and entry and isinstance(entry[0], dict) for entry in value.values())


def is_torn(line: str, following: str) -> bool:
    """Whether an unclosed line is a damaged row: the next line is a row of its own."""
    if line.rstrip().endswith(("{", "[", ",", ":")) or not following.startswith("{"):
        return False
    try:
        parse_json(following)
    except BadJson:
        return False
    return True


def unfinished_layout(first: str, line: str, *, following: str | None, is_whole: bool) -> Layout:
    """The layout when the first value is faulty, or longer than what is seen of it."""
    if first == "[":
        return "array"
    if following is not None:  # a first line that cannot end where it does begins an object over several
        return "object" if is_unclosed(line) and not is_torn(line, following) else "lines"
    keys = {key for key in ROW_KEYS if f'"{key}"' in line[:4096]}
    return "lines" if is_whole or keys else "object"
