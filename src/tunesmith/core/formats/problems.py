"""What is said about rows: faults that refuse a row, and changes that were made to it."""

import json
from dataclasses import dataclass, field
from typing import Any, NamedTuple

SHOWN_CHARACTERS = 120
"""Longest value that a report repeats."""


class Problem(NamedTuple):
    """One fault of one line: where in the row (RFC 6901 pointer), why, and the value, shortened."""

    line: int
    pointer: str
    reason: str
    value: str

    def to_json(self) -> dict[str, Any]:
        """The problem as `rejects.jsonl` holds it."""
        return {"line": self.line, "pointer": self.pointer, "reason": self.reason, "value": self.value}


class Finding(NamedTuple):
    """Where in the row, why, and the value as shortened JSON."""

    pointer: str
    reason: str
    value: str


@dataclass
class Findings:
    """What was found in one row."""

    problems: list[Finding] = field(default_factory=list)
    changes: list[Finding] = field(default_factory=list)

    def refuse(self, pointer: str, reason: str, value: object) -> None:
        """The row cannot be used."""
        self.problems.append(Finding(pointer, reason, show(value)))

    def change(self, pointer: str, reason: str, value: object) -> None:
        """The row is used, but not quite as it was written."""
        self.changes.append(Finding(pointer, reason, show(value)))


def shorten(text: str) -> str:
    """At most `SHOWN_CHARACTERS`, with an ellipsis for what was cut."""
    return text if len(text) <= SHOWN_CHARACTERS else text[: SHOWN_CHARACTERS - 1] + "…"


def show(value: object) -> str:
    """A value as short JSON text, for a report."""
    return shorten(json.dumps(value, ensure_ascii=False))


def escape(key: str) -> str:
    """A key as a part of a JSON pointer (RFC 6901)."""
    return key.replace("~", "~0").replace("/", "~1")
