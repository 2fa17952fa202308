"""What is said about rows: faults that refuse a row, changes made to it, and notes for a reader."""

import json
from collections.abc import Mapping
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

    fix: bool = False
    """Mend what can be mended mechanically, and list it as a change."""
    problems: list[Finding] = field(default_factory=list)
    changes: list[Finding] = field(default_factory=list)
    notes: list[Finding] = field(default_factory=list)

    def refuse(self, pointer: str, reason: str, value: object) -> None:
        """The row cannot be used."""
        self.problems.append(Finding(pointer, reason, show(value)))

    def change(self, pointer: str, reason: str, value: object) -> None:
        """The row is used, but not quite as it was written."""
        self.changes.append(Finding(pointer, reason, show(value)))

    def note(self, pointer: str, reason: str, value: object) -> None:
        """The row is used as it is, and somebody should look at it."""
        self.notes.append(Finding(pointer, reason, show(value)))

    def mend(self, pointer: str, fault: str, repair: str, value: object) -> bool:
        """Whether a repair may be made: with `fix` it is a change, without it the row is refused."""
        if self.fix:
            self.change(pointer, repair, value)
        else:
            self.refuse(pointer, f"{fault} (--fix: {repair})", value)
        return self.fix

    def respell(self, since: tuple[int, int, int], names: Mapping[str, str]) -> None:
        """Name keys in what was found after `since` as the file spells them."""
        for found, start in zip((self.problems, self.changes, self.notes), since, strict=True):
            for place in range(start, len(found)):
                parts = [names.get(part, part) for part in found[place].pointer.split("/")]
                found[place] = found[place]._replace(pointer="/".join(parts))

    @property
    def counts(self) -> tuple[int, int, int]:
        """How many problems, changes and notes there are, for `respell`."""
        return len(self.problems), len(self.changes), len(self.notes)


def shorten(text: str) -> str:
    """At most `SHOWN_CHARACTERS`, with an ellipsis for what was cut."""
    return text if len(text) <= SHOWN_CHARACTERS else text[: SHOWN_CHARACTERS - 1] + "…"


def show(value: object) -> str:
    """A value as short JSON text, for a report."""
    return shorten(json.dumps(value, ensure_ascii=False))


def escape(key: str) -> str:
    """A key as a part of a JSON pointer (RFC 6901)."""
    return key.replace("~", "~0").replace("/", "~1")
