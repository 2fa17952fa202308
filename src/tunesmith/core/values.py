"""What a text says, whatever its form: words without case and punctuation, the JSON value in an answer."""

import json
import re
import unicodedata
from collections import Counter
from collections.abc import Iterable
from math import isfinite
from typing import Any

from tunesmith.core.files import canonical_json

FENCE = re.compile(r"\A```[A-Za-z]*\n(.*?)(?:\n?```)?\Z", re.DOTALL)
"""An answer wrapped in a Markdown code block, closed or not: any client takes it off."""


MAX_DEPTH = 64
MAX_STARTS = 64
"""An answer with more brackets than this before its first JSON value is a model that loops."""


class NotJSON(ValueError):
    """The text holds no JSON value."""


def reject_constant(name: str) -> None:
    """NaN and Infinity are Python's, not JSON's."""
    raise NotJSON(name)


DECODER = json.JSONDecoder(parse_constant=reject_constant)


def parse_json(text: str) -> Any:
    """The value when the whole text, white space at its ends apart, is one JSON value; else NotJSON."""
    stripped = text.strip()
    try:
        value, end = DECODER.raw_decode(stripped)
    except (ValueError, RecursionError) as error:
        raise NotJSON(str(error)) from None
    if end != len(stripped):
        raise NotJSON("text after the value")
    return value


def unfenced(text: str) -> str:
    """The text inside a code block that wraps the whole answer, or the text itself."""
    found = FENCE.match(text.strip())
    return found.group(1) if found else text


def first_json(text: str) -> Any:
    """The first JSON object or list anywhere in the text; NotJSON when there is none."""
    for start in [found.start() for found in re.finditer(r"[{\[]", text)][:MAX_STARTS]:
        try:
            return DECODER.raw_decode(text, start)[0]
        except (ValueError, RecursionError):
            continue
    raise NotJSON("no object or list")


def trimmed(value: Any, *, depth: int = 0) -> Any:
    """The value with white space cut from both ends of every text and key; 1.0 becomes 1, as in JSON.

    NotJSON for what cannot be compared: numbers too large for a float, nesting beyond any real answer.
    """
    if depth > MAX_DEPTH:
        raise NotJSON("nested too deep")
    if isinstance(value, str):
        return value.strip()
    if isinstance(value, dict):
        below = {key.strip(): trimmed(part, depth=depth + 1) for key, part in value.items()}
        if len(below) == len(value):
            return below
        return {key: trimmed(part, depth=depth + 1) for key, part in value.items()}  # trimmed keys collide
    if isinstance(value, list):
        return [trimmed(below, depth=depth + 1) for below in value]
    if isinstance(value, float):
        if not isfinite(value):
            raise NotJSON("number too large")
        return int(value) if value.is_integer() else value
    return value


def fields_of(value: Any, path: tuple[str | int, ...] = ()) -> Counter[str]:
    """Every (path, value) pair of a JSON value; an empty object or list is a value too."""
    below: Iterable[tuple[str | int, Any]] = ()
    if isinstance(value, dict):
        below = value.items()
    elif isinstance(value, list):
        below = enumerate(value)
    pairs = [pair for key, part in below for pair in fields_of(part, (*path, key)).elements()]
    if pairs or (value in ({}, []) and not path):
        return Counter(pairs)
    return Counter([canonical_json([list(path), value])])


def is_container(text: str) -> bool:
    """Whether a text is a JSON object or list."""
    try:
        return isinstance(parse_json(text), dict | list)
    except NotJSON:
        return False


def normalised(text: str) -> str:
    """Lower case, compatibility characters folded, punctuation and symbols as spaces, single spaces."""
    folded = unicodedata.normalize("NFKC", text).casefold()
    return " ".join("".join(c if unicodedata.category(c)[0] not in "PS" else " " for c in folded).split())
