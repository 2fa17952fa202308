"""What changed in a row, word by word."""

import re
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
    """Each text that differs between two forms of a row."""
    left, right = texts(before), texts(after)
    for pointer in dict.fromkeys([*left, *right]):
        if left.get(pointer) != right.get(pointer):
            yield Edit(pointer, left.get(pointer, ""), right.get(pointer, ""))


def texts(example: Example) -> dict[str, str]:
    """Every text of a row by its JSON pointer; turns by role and number, so that an added one moves none."""
    found: dict[str, str] = {}
    for name, turns in (
        ("messages", example.messages), ("chosen", example.chosen), ("rejected", example.rejected),
    ):  # fmt: skip
        seen: dict[str, int] = {}
        for turn in turns:
            number = seen[turn.role] = seen.get(turn.role, -1) + 1
            place = f"/{name}/{turn.role}" + (f" {number + 1}" if number else "")
            found[place] = turn.content or ""
            for at, call in enumerate(turn.tool_calls):
                found[f"{place}/tool_calls/{at}"] = str(call.get("function", {}).get("arguments", ""))
    return found | {f"/steps/{at}": step.text for at, step in enumerate(example.steps)}


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
