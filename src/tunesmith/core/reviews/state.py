"""What follows from tasks and events: where each row stands, and the tasks again from the events alone."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Literal, NamedTuple

from tunesmith.core.reviews.acts import NEEDED, SLOTS, VERDICTS, Action, Event, Task


@dataclass(frozen=True)
class RowState:
    """Where one row stands."""

    row_hash: str
    state: Literal["open", "settled", "conflict"]
    action: Action | None
    """The verdict that holds; None unless settled."""
    after_hash: str | None
    """Hash of the row that goes on: its own when accepted, the edited one's when edited."""
    reviewers: tuple[str, ...]
    """Who gave a verdict that counts."""
    sampled: bool
    skipped: bool
    """Open, and somebody passed it over."""


def settle(tasks: Sequence[Task]) -> RowState:
    """Where a row stands, from all its tasks: an adjudication decides, else all who were asked must agree."""
    needed = [task for task in tasks if task.purpose in NEEDED]
    judged = [task for task in tasks if task.purpose == "adjudicate" and task.state == "done"]
    deciding = judged or [task for task in needed if task.state == "done"]
    is_done = bool(judged) or all(task.state == "done" for task in needed)
    verdicts = {(task.action, task.after_hash) for task in deciding}
    state: Literal["open", "settled", "conflict"] = "open"
    if is_done:
        state = "settled" if len(verdicts) == 1 else "conflict"
    action, after_hash = next(iter(verdicts)) if state == "settled" else (None, None)
    return RowState(
        row_hash=tasks[0].row_hash,
        state=state,
        action=action,
        after_hash=after_hash,
        reviewers=tuple(task.reviewer or "" for task in deciding),
        sampled=any(task.sampled for task in tasks),
        skipped=state == "open" and any(task.action == "skip" for task in needed),
    )


def settle_all(tasks: Iterable[Task]) -> Iterator[RowState]:
    """Every row of tasks that come row by row."""
    for _, found in groupby(tasks, key=lambda task: (task.queue, task.row_hash)):
        yield settle(list(found))


class Done(NamedTuple):
    """A task that is done."""

    action: str
    after_hash: str | None
    reviewer: str


def standing(events: Iterable[Event]) -> dict[tuple[str, int], Event]:
    """The verdicts that were not taken back, by row and slot."""
    found: dict[tuple[str, int], Event] = {}
    for event in events:
        if event.row_hash is None or event.slot is None:
            continue
        key = event.row_hash, event.slot
        if event.action in VERDICTS:
            found[key] = event
        elif event.action == "undo":
            found.pop(key, None)
    return found


def replay(events: Iterable[Event]) -> dict[tuple[str, int], Done]:
    """The tasks that are done, by row and slot, from the audit trail alone."""
    return {
        key: Done(event.action, event.after_hash, event.reviewer) for key, event in standing(events).items()
    }


def last_standing(events: Iterable[Event]) -> Event | None:
    """The last verdict of one person that was not taken back; `events` are that person's, newest first."""
    taken_back = 0
    for event in events:
        if event.action == "undo":
            taken_back += 1
        elif event.action in (*VERDICTS, "skip"):
            if not taken_back:
                return event
            taken_back -= 1
    return None


class Said(NamedTuple):
    """A verdict, and the row that it makes."""

    action: str
    after_hash: str | None


def answers_again(tasks: Iterable[Task]) -> list[tuple[Said, Said]]:
    """What one person said of one row first and later, for every row that was shown again."""
    pairs = []
    for _, found in groupby(tasks, key=lambda task: (task.queue, task.row_hash)):
        done = {task.slot: task for task in found if task.state == "done"}
        first, again = done.get(SLOTS["first"]), done.get(SLOTS["again"])
        if first is not None and again is not None:
            pairs.append((said_of(first), said_of(again)))
    return pairs


def said_of(task: Task) -> Said:
    """What was said in a task that is done."""
    return Said(str(task.action), task.after_hash)
