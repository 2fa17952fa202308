"""What people do with rows: items, tasks, verdicts and events, as plain data (no database is imported)."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

QueueKind = Literal["data-set", "pool", "answers", "harvest"]
"""What is reviewed."""
Action = Literal["accept", "edit", "reject", "skip"]
"""A verdict; `skip` leaves the row open."""
Purpose = Literal["first", "overlap", "again", "adjudicate"]
"""Why a row is shown: its review, a second person's, the same person's again, or because two differ."""

SLOTS: Mapping[Purpose, int] = {"first": 0, "overlap": 1, "again": 2, "adjudicate": 3}
NEEDED: tuple[Purpose, ...] = ("first", "overlap")
"""Without these a row is not reviewed."""
REVIEWS = "reviews.sqlite"
"""The store's file in a workspace: until something is reviewed there is none."""
VERDICTS = ("accept", "edit", "reject")


class Item(NamedTuple):
    """A row to be queued."""

    row_hash: str
    position: float
    """Rank in the queue: low ones are shown first."""
    risk: float = 0.0
    """How much speaks against it."""
    sampled: bool = False
    """Drawn at random: it counts for the error rate."""
    reviewers: Literal[1, 2] = 1
    again: bool = False
    """Shown to its reviewer a second time, later."""


@dataclass(frozen=True)
class Task:
    """One person's look at one row."""

    queue: str
    row_hash: str
    slot: int
    purpose: Purpose
    risk: float
    position: float
    sampled: bool
    state: Literal["open", "done"]
    reviewer: str | None
    """Who did it, or claims it."""
    claimed_until: float | None
    """Seconds since 1970; after that another may take it."""
    action: Action | None
    after_hash: str | None
    """Hash of the row as it is after the verdict; None when it is rejected or open."""
    version: int
    """Raised with every change: who writes says which version was read."""


@dataclass(frozen=True)
class Verdict:
    """What a person says of a row."""

    action: Action
    reason: str = ""
    note: str = ""
    tags: tuple[str, ...] = ()
    seconds: float | None = None
    """Time that it took."""
    value: Any = None
    """The edited row as JSON."""
    after_hash: str | None = None
    """Its hash; None stands for the hash of the row as it is."""


@dataclass(frozen=True)
class Event:
    """One act, as it stays in the audit trail."""

    number: int
    queue: str
    row_hash: str | None
    """Hash of the row before the act; None for an act on the whole queue."""
    slot: int | None
    purpose: str | None
    action: str
    """accept, edit, reject, skip, undo, note, sign-off."""
    after_hash: str | None
    value: Any
    reason: str
    note: str
    tags: list[str]
    reviewer: str
    time: str
    """UTC, ISO 8601."""
    seconds: float | None
    tool_version: str
