"""What changed in a row, word by word."""

import re
from collections import Counter
from collections.abc import Iterator
from difflib import SequenceMatcher
from typing import Literal, NamedTuple

from tunesmith.core.conversation import Example

WORDS = re.compile(r"\w+|\s+|[^\w\s]")
CONTEXT = 24
"""Characters of unchanged text shown on each side of a change."""
MAX_WORDS = 4000
"""Longer texts are compared line by line: words cost their square."""

Sign = Literal["=", "-", "+"]


class Edit(NamedTuple):
    """Text that changed, and where it stands in the row."""

    pointer: str
    before: str
    after: str


def edits(before: Example, after: Example) -> Iterator[Edit]:
    """Each text that differs between two forms of a row; the pointer is into the new one, if it is there."""
    left, right = texts(before), texts(after)
    for key in dict.fromkeys([*left, *right]):
        old, new = left.get(key), right.get(key)
        if old is None or new is None or old.text != new.text:
            place = new or old
            assert place is not None
            yield Edit(place.pointer, old.text if old else "", new.text if new else "")


class Place(NamedTuple):
    """A text of a row, and where it stands."""

    pointer: str
    text: str


def texts(example: Example) -> dict[tuple[object, ...], Place]:
    """Every text of a row; turns by role and number, so that an added one does not seem to move others."""
    found: dict[tuple[object, ...], Place] = {}
    for name, turns in (
        ("messages", example.messages), ("chosen", example.chosen), ("rejected", example.rejected),
    ):  # fmt: skip
        seen: Counter[str] = Counter()
        for at, turn in enumerate(turns):
            key = name, turn.role, seen[turn.role]
            seen[turn.role] += 1
            found[key] = Place(f"/{name}/{at}/content", turn.content or "")
            for number, call in enumerate(turn.tool_calls):
                said = str(call.get("function", {}).get("arguments", ""))
                found[(*key, number)] = Place(f"/{name}/{at}/tool_calls/{number}/function/arguments", said)
    for at, step in enumerate(example.steps):
        found["steps", at] = Place(f"/steps/{at}/text", step.text)
    return found


def word_diff(before: str, after: str) -> list[tuple[Sign, str]]:
    """Text that stays, goes and comes; long unchanged stretches are shortened to their ends."""
    split = WORDS.findall if len(before) + len(after) < 6 * MAX_WORDS else str.splitlines
    left, right = split(before), split(after)
    parts: list[tuple[Sign, str]] = []
    for kind, i1, i2, j1, j2 in SequenceMatcher(None, left, right, autojunk=False).get_opcodes():
        if kind == "equal":
            parts.append(("=", "".join(left[i1:i2])))
        else:
            gone, come = "".join(left[i1:i2]), "".join(right[j1:j2])
            pair: list[tuple[Sign, str]] = [("-", gone), ("+", come)]
            parts += [part for part in pair if part[1]]
    last = len(parts) - 1
    return [
        (sign, shortened(text, first=at == 0, last=at == last) if sign == "=" else text)
        for at, (sign, text) in enumerate(parts)
    ]


def shortened(text: str, *, first: bool, last: bool) -> str:
    """The ends of a long text that touch a change."""
    if len(text) <= 2 * CONTEXT + 3:
        return text
    return ("" if first else text[:CONTEXT]) + " … " + ("" if last else text[-CONTEXT:])
