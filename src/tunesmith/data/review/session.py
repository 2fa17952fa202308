"""One person's review of a data set: the next row, what they say of it, and back."""

import getpass
import json
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from tunesmith.core.conversation import Example
from tunesmith.core.dataset import DataSet
from tunesmith.core.errors import DataError, UserError
from tunesmith.core.job import Job
from tunesmith.core.reviews.acts import NEEDED, Event, Task, Verdict
from tunesmith.core.reviews.state import settle_all, standing
from tunesmith.core.reviews.store import Reviews, TakenMeanwhile, reviews_of
from tunesmith.data.corpus import CorpusRow
from tunesmith.data.review.rows import Rows, is_answered, items, open_rows, read_example
from tunesmith.data.review.schema import ReviewConfig


def queue_of(fingerprint: str) -> str:
    """The queue of a data set."""
    return f"data-set:{fingerprint}"


def reviewer_of(config: ReviewConfig) -> str:
    """Who reviews.  Raises UserError where neither the command nor the system says."""
    if config.as_.strip():
        return config.as_.strip()
    try:
        return getpass.getuser()
    except (OSError, KeyError):  # a container without an entry for its user
        raise UserError("nobody says who reviews", next_step="give a name with --as") from None


class Shown(NamedTuple):
    """A row that is a person's to judge."""

    task: Task
    row: CorpusRow
    findings: list[dict[str, Any]]
    earlier: list[Event]
    """Notes on it and, for an adjudication, the verdicts that differ."""
    since: float
    """When it was shown."""


@dataclass
class Session:
    """What one person does in one sitting."""

    reviews: Reviews
    rows: Rows
    queue: str
    reviewer: str
    adjudicate: bool = False
    decided: int = 0
    passed: set[str] = field(default_factory=set)
    """Rows that were skipped now: they come again in another sitting."""

    def next(self, row_hash: str | None = None) -> Shown | None:
        """The next row, or the one named; None when there is none left for this person."""
        task = self.reviews.claim(
            self.queue,
            self.reviewer,
            row_hash=row_hash,
            adjudicate=self.adjudicate,
            without=frozenset() if row_hash else frozenset(self.passed),
        )
        return None if task is None else self.show(task)

    def show(self, task: Task) -> Shown:
        """A claimed row with all that is known about it."""
        row = self.rows.by_hash(task.row_hash)
        events = self.reviews.events(self.queue, row_hash=task.row_hash)
        earlier = [event for event in events if event.action == "note"]
        if self.adjudicate:
            earlier += [event for event in standing(events).values() if event.purpose in NEEDED]
        return Shown(task, row, self.rows.findings.of(task.row_hash), earlier, time.monotonic())

    def decide(self, shown: Shown, verdict: Verdict) -> None:
        """Save a verdict.

        Raises DataError for an accepted row without an answer, TakenMeanwhile when the row went to another.
        """
        if verdict.action == "accept" and not is_answered(shown.row.example):
            step = "edit it, give one of its labels, or reject it"
            raise DataError("this row has no answer yet", value=shown.row.row_hash[:12], next_step=step)
        if verdict.action == "skip":
            self.passed.add(shown.task.row_hash)
        self.reviews.decide(shown.task, verdict)
        self.decided += 1

    def undo(self) -> Shown | None:
        """Take the last verdict back and show its row again; None when there was none."""
        task = self.reviews.undo(self.queue, self.reviewer)
        if task is None:
            return None
        self.decided -= self.decided > 0
        self.passed.discard(task.row_hash)
        return self.show(task)


def edited(shown: Shown, value: object, **facts: Any) -> Verdict:
    """The verdict for an edited row; accept when nothing was changed.  Raises DataError for no valid row."""
    example = read_example(value)
    if not is_answered(example):
        raise DataError("the edited row has no answer", next_step="add a turn of the role assistant")
    if example.row_hash == shown.row.row_hash:
        return Verdict("accept", **facts)
    return Verdict("edit", value=example.to_json(), after_hash=example.row_hash, **facts)


def with_answer(example: Example, answer: str) -> dict[str, Any]:
    """The row with this answer in the place of its last one, or after its last turn."""
    row = example.to_json()
    if "chosen" in row or "steps" in row:
        raise DataError("a label is no answer to this kind of row", next_step="edit it")
    if row["messages"] and row["messages"][-1]["role"] == "assistant":
        row["messages"] = row["messages"][:-1]
    row["messages"] = [*row["messages"], {"role": "assistant", "content": answer}]
    return row


@contextmanager
def open_session(config: ReviewConfig, job: Job) -> Iterator[Session]:
    """The queue of a data set, filled, and a person's place in it."""
    data = DataSet.find(config.data, job.workspace)
    reviews, queue = reviews_of(job.workspace), queue_of(data.fingerprint)
    with open_rows(data, config.findings, job) as rows:
        if config.adjudicate:
            states = settle_all(reviews.tasks(queue))
            reviews.open_conflicts(queue, [one.row_hash for one in states if one.state == "conflict"])
        else:
            begun = {task.row_hash for task in reviews.tasks(queue)}
            reviews.queue(queue, "data-set", data.manifest.name, items(rows, config, begun))
        yield Session(reviews, rows, queue, reviewer_of(config), config.adjudicate)


# --- decisions from a file -----------------------------------------------------------------------------


KEYS = {"row_hash", "split", "line", "action", "reason", "note", "tags", "seconds", "example"}
ACTIONS = ("accept", "edit", "reject", "skip")


class Decision(NamedTuple):
    """One line of a file of decisions."""

    place: str
    """File and line."""
    row: CorpusRow
    facts: Mapping[str, Any]


def read_decisions(path: Path, rows: Rows) -> list[Decision]:
    """Every decision of a file, checked before the first one is saved.

    Raises DataError naming the first line that cannot be followed.
    """
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        step = "give a JSON Lines file of decisions"
        raise DataError("this file cannot be read", where=path, value=str(error), next_step=step) from None
    found = []
    for number, line in enumerate(lines, start=1):
        if line.strip():
            found.append(read_decision(line, f"{path}:{number}", rows))
    return found


def read_decision(line: str, place: str, rows: Rows) -> Decision:
    """One decision."""
    step = 'write it like {"row_hash": "…", "action": "reject", "reason": "wrong street"}'
    try:
        facts = json.loads(line)
    except json.JSONDecodeError as error:
        raise DataError("not valid JSON", where=place, value=error.msg, next_step=step) from None
    if not isinstance(facts, dict) or not facts.keys() <= KEYS or facts.get("action") not in ACTIONS:
        unknown = sorted(facts.keys() - KEYS) if isinstance(facts, dict) else []
        what = f"unknown keys {', '.join(unknown)}" if unknown else "not a decision"
        raise DataError(what, where=place, value=line[:80], next_step=step)
    if facts["action"] == "reject" and not facts.get("reason"):
        raise DataError("a rejection needs a reason", where=place, next_step=step)
    if (facts["action"] == "edit") != ("example" in facts):
        raise DataError("an edit, and nothing else, has the edited row in `example`", where=place)
    try:
        if "row_hash" in facts:
            row = rows.by_hash(str(facts["row_hash"]))
        else:
            row = rows.by_line(str(facts.get("split", "train")), int(facts["line"]))
        if "example" in facts:
            read_example(facts["example"])
    except (KeyError, ValueError, TypeError) as error:
        what = error.what if isinstance(error, DataError) else "it names no row"
        value = error.value if isinstance(error, DataError) else line[:80]
        advice = error.next_step if isinstance(error, DataError) else step
        raise DataError(what, where=place, value=value, next_step=advice) from None
    return Decision(place, row, facts)


def follow(session: Session, decisions: list[Decision]) -> list[str]:
    """Save decisions; those that this person gave already are not given twice.  Returns what was left out.

    Raises UserError at a row that is another person's; what came before is saved.
    """
    notes = []
    for decision in decisions:
        shown = session.next(decision.row.row_hash)
        if shown is None:
            notes.append(why_not(session, decision))
            continue
        facts = {
            name: decision.facts[name] for name in ("reason", "note", "seconds") if name in decision.facts
        }
        facts["tags"] = tuple(decision.facts.get("tags", ()))
        try:
            if decision.facts["action"] == "edit":
                verdict = edited(shown, decision.facts["example"], **facts)
            else:
                verdict = Verdict(decision.facts["action"], **facts)
            session.decide(shown, verdict)
        except UserError as error:
            session.reviews.release(shown.task)
            raise DataError(
                error.what, where=decision.place, value=error.value, next_step=error.next_step
            ) from None
    return [note for note in notes if note]


def why_not(session: Session, decision: Decision) -> str:
    """Why a row cannot be decided: empty when this person said the same before."""
    tasks = session.reviews.tasks(session.queue, row_hash=decision.row.row_hash)
    own = [task for task in tasks if task.reviewer == session.reviewer and task.state == "done"]
    if any(task.action == decision.facts["action"] for task in own):
        return ""
    if own:
        said = ", ".join(str(task.action) for task in own)
        return f"{decision.place}: left as it is: {session.reviewer} said {said} before"
    if not tasks:
        return (
            f"{decision.place}: left out: the row is not in this review (--split or --sample left it out; "
            "--sample 0 takes every row)"
        )
    others = ", ".join(sorted({task.reviewer for task in tasks if task.reviewer}))
    if not others:
        return f"{decision.place}: left out: the row has no conflict to decide"
    if any(task.state == "open" and task.purpose != "again" and task.reviewer for task in tasks):
        what = "another reviewer is looking at this row"
        raise TakenMeanwhile(what, where=decision.place, value=others, next_step="run it again later")
    return f"{decision.place}: left out: the row was judged by {others} already"
