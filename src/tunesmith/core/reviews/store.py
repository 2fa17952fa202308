"""The one writer of the reviews: claims that expire, verdicts with a version check, the audit trail.

Plain SQL that SQLite and Postgres both speak.  Every act is one transaction that begins with its update, so
that of two people who write at once one is told, and nothing is overwritten.
"""

import sqlite3
import time
import weakref
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from itertools import islice
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from tunesmith import __version__
from tunesmith.core.database import sqlite_url, upgrade
from tunesmith.core.errors import DataError, OutOfSpace, UserError
from tunesmith.core.files import explain_disk_errors
from tunesmith.core.reviews.acts import (
    NEEDED,
    REVIEWS,
    SLOTS,
    VERDICTS,
    Event,
    Item,
    Purpose,
    QueueKind,
    Task,
    Verdict,
)
from tunesmith.core.reviews.state import last_standing
from tunesmith.core.reviews.tables import EVENT, QUEUE, TASK
from tunesmith.core.workspace import Workspace, now_iso

CLAIM_SECONDS = 15 * 60.0
"""So long a row is one person's; then another may take it."""
AGAIN_AFTER = 20
"""A row is shown again after about so many others."""
BATCH = 500
LOCK_SECONDS = 10.0
NEW_QUEUE = sa.text(
    "INSERT INTO queue (id, kind, name, created) VALUES (:id, :kind, :name, :created) ON CONFLICT DO NOTHING"
)
TURN = sa.text("UPDATE queue SET name = name WHERE id = :id")
"""Whoever looks first and then adds tasks waits here for the others of a queue: none is added twice."""


class TakenMeanwhile(UserError):
    """Another person's act came first."""


def reviews_of(workspace: Workspace) -> "Reviews":
    """The reviews of a workspace."""
    return Reviews(workspace.root / REVIEWS)


class Reviews:
    """The store at a path of a SQLite file, made when something is first written; or at a database URL."""

    def __init__(self, place: Path | str, *, lock_seconds: float = LOCK_SECONDS) -> None:
        self.place = place
        self._lock_seconds = lock_seconds
        self._engine: sa.Engine | None = None

    # --- queues ----------------------------------------------------------------------------------------

    def queue(self, queue: str, kind: QueueKind, name: str, items: Iterable[Item]) -> int:
        """Put rows into a queue, which is made when it is new; returns how many rows are new in it.

        A row that is there keeps its verdicts; an open one gets its new place, and another reviewer when two
        are wanted.
        """
        new = 0
        with self._begin() as connection:
            connection.execute(NEW_QUEUE, {"id": queue, "kind": kind, "name": name, "created": now_iso()})
        stream = iter(items)
        while batch := {item.row_hash: item for item in islice(stream, BATCH)}:
            with self._begin() as connection:
                connection.execute(TURN, {"id": queue})
                new += put_batch(connection, queue, batch)
        return new

    def name_of(self, queue: str) -> str | None:
        """What a queue is called; None when there is none."""
        rows = self._read(sa.select(QUEUE.c.name).where(QUEUE.c.id == queue))
        return str(rows[0][0]) if rows else None

    # --- one person's work -----------------------------------------------------------------------------

    def claim(
        self,
        queue: str,
        reviewer: str,
        *,
        row_hash: str | None = None,
        adjudicate: bool = False,
        without: frozenset[str] = frozenset(),
        seconds: float = CLAIM_SECONDS,
    ) -> Task | None:
        """The next row for this person (or the one named), theirs for `seconds`; None when there is none.

        Nobody gets a row twice, but for those that are shown again on purpose, which cannot be asked for.
        """
        purposes: tuple[Purpose, ...] = ("adjudicate",) if adjudicate else NEEDED
        if not adjudicate and row_hash is None:
            purposes = (*NEEDED, "again")
        now = time.time()
        for task in self._candidates(queue, reviewer, purposes, row_hash, now):
            if task.row_hash in without:
                continue
            taken = self._write_task(task, reviewer=reviewer, claimed_until=now + seconds)
            if taken is not None:
                return taken
        return None

    def release(self, task: Task) -> None:
        """Give a claimed row back, undecided."""
        self._write_task(task, reviewer=None, claimed_until=None)

    def decide(self, task: Task, verdict: Verdict) -> Task:
        """Write down what the claimant says.

        Raises TakenMeanwhile when the claim ran out and another person took the row.
        """
        assert task.reviewer is not None
        skipped, rejected = verdict.action == "skip", verdict.action == "reject"
        after = None if skipped or rejected else verdict.after_hash or task.row_hash
        values = {
            "state": "open" if skipped else "done",
            "reviewer": None if skipped else task.reviewer,
            "claimed_until": None,
            "action": verdict.action,
            "after_hash": after,
        }
        facts = asdict(verdict) | {"after_hash": after, "tags": list(verdict.tags)}
        written = self._write_task(task, event=facts | {"reviewer": task.reviewer}, **values)
        if written is None:
            step = "go on: the row is no longer yours; nothing was overwritten"
            raise TakenMeanwhile(
                "the claim ran out and the row was taken meanwhile", value=task.row_hash, next_step=step
            )
        return written

    def undo(self, queue: str, reviewer: str) -> Task | None:
        """Take this person's last verdict back; the row is theirs again.  None when there is nothing to undo.

        Raises TakenMeanwhile when somebody built on it: adjudicated, or took a skipped row.
        """
        own = sa.select(EVENT).where(EVENT.c.queue == queue, EVENT.c.reviewer == reviewer)
        event = last_standing(
            Event(**row._mapping) for row in self._read(own.order_by(EVENT.c.number.desc()))
        )
        if event is None:
            return None
        assert event.row_hash is not None
        tasks = {task.slot: task for task in self.tasks(queue, row_hash=event.row_hash)}
        task = tasks[event.slot or 0]
        judge = tasks.get(SLOTS["adjudicate"])
        is_built_on = judge is not None and judge.state == "done" and task.purpose != "adjudicate"
        theirs = None if event.action == "skip" else reviewer
        facts = {"action": "undo", "reviewer": reviewer, "reason": f"event {event.number}"}
        values: dict[str, Any] = {"state": "open", "action": None, "after_hash": None, "reviewer": reviewer}
        values["claimed_until"] = time.time() + CLAIM_SECONDS
        if not is_built_on and task.reviewer == theirs:
            written = self._write_task(task, event=facts, **values)
            if written is not None:
                return written
        step = "ask for an adjudication, or leave it"
        raise TakenMeanwhile(
            "the last verdict cannot be taken back: somebody went on from it",
            value=event.row_hash,
            next_step=step,
        )

    def note(self, task: Task, reviewer: str, text: str, tags: Sequence[str] = ()) -> None:
        """A remark on a row, which decides nothing."""
        facts = {"action": "note", "reviewer": reviewer, "note": text, "tags": list(tags)}
        with self._begin() as connection:
            add_event(connection, facts | key_of(task) | {"purpose": task.purpose})

    def open_conflicts(self, queue: str, row_hashes: Sequence[str]) -> None:
        """Make these rows ready for `claim(adjudicate=True)`."""
        with self._begin() as connection:
            connection.execute(TURN, {"id": queue})
            for row_hash in row_hashes:
                first = TASK.c.queue == queue, TASK.c.row_hash == row_hash
                found = {row.slot: row for row in connection.execute(sa.select(TASK).where(*first))}
                if SLOTS["adjudicate"] not in found:
                    row = dict(found[0]._mapping) | new_task("adjudicate")
                    connection.execute(sa.insert(TASK), row)

    def sign_off(self, queue: str, reviewer: str, value: dict[str, Any], note: str = "") -> None:
        """A person answers for the whole queue; `value` says over what, with what counts."""
        with self._begin() as connection:
            facts = {"queue": queue, "action": "sign-off", "reviewer": reviewer, "value": value, "note": note}
            add_event(connection, facts)

    # --- reading ---------------------------------------------------------------------------------------

    def tasks(self, queue: str, *, row_hash: str | None = None) -> list[Task]:
        """The tasks of a queue, row by row."""
        query = sa.select(TASK).where(TASK.c.queue == queue)
        if row_hash is not None:
            query = query.where(TASK.c.row_hash == row_hash)
        return [Task(**row._mapping) for row in self._read(query.order_by(TASK.c.row_hash, TASK.c.slot))]

    def tasks_about(self, row_hashes: Sequence[str]) -> list[Task]:
        """The tasks, in any queue, of rows that have one of these hashes, before or after the verdict."""
        found: dict[tuple[str, str, int], Task] = {}
        for start in range(0, len(row_hashes), BATCH):
            some = row_hashes[start : start + BATCH]
            about = TASK.c.row_hash.in_(some) | TASK.c.after_hash.in_(some)
            rows = sa.select(TASK.c.queue, TASK.c.row_hash).where(about).distinct().subquery()
            same = (TASK.c.queue == rows.c.queue) & (TASK.c.row_hash == rows.c.row_hash)
            for row in self._read(sa.select(TASK).join(rows, same)):
                found[row.queue, row.row_hash, row.slot] = Task(**row._mapping)
        return [found[key] for key in sorted(found)]

    def events(self, queue: str, *, row_hash: str | None = None) -> list[Event]:
        """The audit trail of a queue, oldest first."""
        query = sa.select(EVENT).where(EVENT.c.queue == queue)
        if row_hash is not None:
            query = query.where(EVENT.c.row_hash == row_hash)
        return [Event(**row._mapping) for row in self._read(query.order_by(EVENT.c.number))]

    def signed_off(self, queue: str) -> Event | None:
        """The sign-off that holds: None when there is none, or a verdict came after it."""
        acts = ("sign-off", "undo", *VERDICTS)
        query = sa.select(EVENT).where(EVENT.c.queue == queue, EVENT.c.action.in_(acts))
        rows = self._read(query.order_by(EVENT.c.number.desc()).limit(1))
        return Event(**rows[0]._mapping) if rows and rows[0].action == "sign-off" else None

    # --- the database ----------------------------------------------------------------------------------

    def _candidates(
        self, queue: str, reviewer: str, purposes: Sequence[str], row_hash: str | None, now: float
    ) -> Iterator[Task]:
        """Open tasks that this person may do, the ones claimed already first, then in the queue's order."""
        mine = sa.and_(TASK.c.reviewer == reviewer, TASK.c.claimed_until >= now)
        free = sa.or_(TASK.c.reviewer.is_(None), TASK.c.claimed_until < now, TASK.c.reviewer == reviewer)
        other = TASK.alias()
        same_row = other.c.queue == TASK.c.queue, other.c.row_hash == TASK.c.row_hash
        by_me = other.c.reviewer == reviewer, other.c.purpose.in_(NEEDED), other.c.slot != TASK.c.slot
        known = sa.exists().where(*same_row, *by_me)
        first = sa.exists().where(*same_row, *by_me[:1], other.c.slot == 0, other.c.state == "done")
        allowed = sa.or_(
            TASK.c.purpose == "adjudicate",
            sa.and_(TASK.c.purpose.in_(NEEDED), ~known),
            sa.and_(TASK.c.purpose == "again", first),
        )
        query = sa.select(TASK).where(
            TASK.c.queue == queue, TASK.c.state == "open", TASK.c.purpose.in_(purposes), free, allowed
        )
        if row_hash is not None:
            query = query.where(TASK.c.row_hash == row_hash)
        order = sa.case((mine, 0), else_=1), TASK.c.position, TASK.c.slot
        start = 0
        while rows := self._read(query.order_by(*order).limit(BATCH).offset(start)):
            yield from (Task(**row._mapping) for row in rows)
            start += len(rows)

    def _write_task(self, task: Task, *, event: dict[str, Any] | None = None, **values: Any) -> Task | None:
        """Change a task that is still as it was read, with its event; None when it is not."""
        changed = asdict(task) | values | {"version": task.version + 1}
        here = (
            TASK.c.queue == task.queue, TASK.c.row_hash == task.row_hash,
            TASK.c.slot == task.slot, TASK.c.version == task.version,
        )  # fmt: skip
        with self._begin() as connection:
            if connection.execute(sa.update(TASK).where(*here).values(**changed)).rowcount == 0:
                return None
            if event is not None:
                add_event(connection, event | key_of(task) | {"purpose": task.purpose})
        return Task(**changed)

    def _read(self, query: sa.Select[Any]) -> list[sa.Row[Any]]:
        """Rows; none where nothing was ever written."""
        if self._engine is None and isinstance(self.place, Path) and not self.place.exists():
            return []
        with explain(self.place), self._opened().connect() as connection:
            return list(connection.execute(query))

    @contextmanager
    def _begin(self) -> Iterator[sa.Connection]:
        with explain(self.place), self._opened().begin() as connection:
            yield connection

    def _opened(self) -> sa.Engine:
        if self._engine is None:
            url: str | sa.URL = str(self.place)
            if isinstance(self.place, Path):
                with explain_disk_errors(self.place):
                    self.place.parent.mkdir(parents=True, exist_ok=True)
                url = sqlite_url(self.place)
            engine = sa.create_engine(url)
            # Its connections are closed with the object that they serve.
            weakref.finalize(self, engine.dispose)
            if engine.dialect.name == "sqlite":
                sa.event.listen(engine, "connect", set_up(self._lock_seconds))
            upgrade(engine, self.place, steps="reviews", what="store of reviews")
            self._engine = engine
        return self._engine


def set_up(lock_seconds: float) -> Callable[[sqlite3.Connection, object], None]:
    """Two processes wait for their turn; a verdict is on the disk when it is acknowledged."""

    def listener(connection: sqlite3.Connection, _: object) -> None:
        connection.execute(f"PRAGMA busy_timeout = {round(1000 * lock_seconds)}")
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = FULL")

    return listener


def put_batch(connection: sa.Connection, queue: str, batch: dict[str, Item]) -> int:
    """Add the tasks that rows lack and move those that are open; returns how many rows are new."""
    there = sa.select(TASK).where(TASK.c.queue == queue, TASK.c.row_hash.in_(batch))
    known: dict[str, dict[str, sa.Row[Any]]] = {}
    for row in connection.execute(there):
        known.setdefault(row.row_hash, {})[row.purpose] = row
    fresh, moved = [], []
    for item in batch.values():
        found = known.get(item.row_hash, {})
        sampled = item.sampled or any(row.sampled for row in found.values())
        for purpose in purposes_of(item):
            position = item.position + (AGAIN_AFTER + 0.5 if purpose == "again" else 0.0)
            place = {"position": position, "risk": item.risk, "sampled": sampled}
            if purpose not in found:
                key = {"queue": queue, "row_hash": item.row_hash}
                fresh.append(key | place | new_task(purpose))
        for known_purpose, row in found.items():
            later = AGAIN_AFTER + 0.5 if known_purpose == "again" else 0.0
            place = {"position": item.position + later, "risk": item.risk, "sampled": sampled}
            if (row.position, row.risk, row.sampled) != tuple(place.values()):
                moved.append({f"new_{name}": value for name, value in place.items()}
                             | {"hash": item.row_hash, "at": row.slot})  # fmt: skip
    if fresh:
        connection.execute(sa.insert(TASK), fresh)
    if moved:
        here = (TASK.c.queue == queue, TASK.c.row_hash == sa.bindparam("hash"),
                TASK.c.slot == sa.bindparam("at"))  # fmt: skip
        new: dict[str, Any] = {name: sa.bindparam(f"new_{name}") for name in ("position", "risk", "sampled")}
        connection.execute(sa.update(TASK).where(*here).values(**new), moved)
    return sum(row_hash not in known for row_hash in batch)


def purposes_of(item: Item) -> list[Purpose]:
    """The looks that a row needs."""
    found: list[Purpose] = ["first"]
    if item.reviewers == 2:
        found.append("overlap")
    if item.again:
        found.append("again")
    return found


def new_task(purpose: Purpose) -> dict[str, Any]:
    """The columns of a task that nobody has touched."""
    return {
        "slot": SLOTS[purpose], "purpose": purpose, "state": "open", "reviewer": None,
        "claimed_until": None, "action": None, "after_hash": None, "version": 0,
    }  # fmt: skip


def key_of(task: Task) -> dict[str, Any]:
    """What tells a task apart."""
    return {"queue": task.queue, "row_hash": task.row_hash, "slot": task.slot}


def add_event(connection: sa.Connection, facts: dict[str, Any]) -> None:
    """Append an act to the audit trail."""
    empty: dict[str, Any] = {"reason": "", "note": "", "tags": []}
    row = empty | facts | {"time": now_iso(), "tool_version": __version__}
    connection.execute(sa.insert(EVENT), row)


@contextmanager
def explain(place: Path | str) -> Iterator[None]:
    """Turn what a database raises into messages with the next step."""
    try:
        yield
    except sa.exc.DatabaseError as error:
        cause = str(error.orig)
        if "locked" in cause:
            step = "run the command again when the other one is done; what was decided so far is kept"
            raise UserError("another process is writing the reviews", where=place, next_step=step) from error
        if "disk is full" in cause:
            step = "free some space and run the command again; what was decided so far is kept"
            raise OutOfSpace("no space left on the disk", where=place, next_step=step) from error
        if "unable to open" in cause or "readonly" in cause:
            step = "give another --workspace, or check the permissions"
            raise UserError("the reviews cannot be written here", where=place, next_step=step) from error
        step = "move it away, or restore it from a copy: verdicts are kept nowhere else"
        raise DataError(
            "this store of reviews cannot be used", where=place, value=cause, next_step=step
        ) from error
