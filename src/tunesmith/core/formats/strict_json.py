"""JSON as its specification has it (RFC 8259), strictly: what readers disagree about is refused."""

import json
import re
from typing import NoReturn

from tunesmith.core.formats.problems import shorten

MAX_DEPTH = 64
"""Deeper nesting is refused: no conversation needs it, and recursion further on would fail."""

SPACE = re.compile(r"[ \t\n\r]*")
SURROGATE = re.compile(r"\\u[dD][89abAB]")
"""Only an escape can bring half of a surrogate pair: decoded UTF-8 holds none."""


class BadJson(ValueError):
    """A line that is not one strict JSON value."""


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


DECODER = json.JSONDecoder(object_pairs_hook=unique_keys, parse_constant=no_constant, parse_float=finite)


def parse_json(text: str) -> object:
    """Parse strictly: no NaN, no overflow, no duplicate keys, no lone surrogates, bounded depth."""
    start = match_end(text, 0)
    value, end = decode_json(text, start)
    end = match_end(text, end)
    if end != len(text):
        raise BadJson(f"Extra data (column {end + 1})")
    return value


def match_end(text: str, start: int) -> int:
    """Where the white space that begins at `start` ends."""
    found = SPACE.match(text, start)
    return found.end() if found else start


def decode_json(text: str, start: int) -> tuple[object, int]:
    """The value that begins at `start`, and where it ends; strict as `parse_json`."""
    try:
        value, end = DECODER.raw_decode(text, start)
    except json.JSONDecodeError as error:
        raise BadJson(f"{error.msg} (column {error.pos - start + 1})") from None
    except RecursionError:
        raise BadJson(f"nested deeper than {MAX_DEPTH} levels") from None
    except BadJson:
        raise
    except ValueError:
        # int() refuses numbers of more than 4,300 digits with a plain ValueError
        raise BadJson("a number with too many digits") from None
    brackets = text.count("{", start, end) + text.count("[", start, end)
    if brackets > MAX_DEPTH or SURROGATE.search(text, start, end):
        check_depth_and_text(value)
    return value, end


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
