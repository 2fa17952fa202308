"""The record: one row for each request that a server answered, refused or lost.

`RecordWriter` is the only writer of a server: `put` never waits, one thread writes in batches.  When the disk
cannot keep up, content is dropped before rows are, and both are counted in the record itself.
`Record` reads.  The schema's steps stand in `core/migrations` and are applied when a file is opened.
"""

import json
import logging
import queue
import sqlite3
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from types import MappingProxyType
from typing import Any, Literal, NamedTuple

import sqlalchemy as sa

from tunesmith.core.database import sqlite_url, upgrade
from tunesmith.core.errors import DataError, OutOfSpace, UserError
from tunesmith.core.files import canonical_json, explain_disk_errors

log = logging.getLogger(__name__)

NOTHING: Mapping[str, str | None] = MappingProxyType({})

Content = Literal["kept", "off", "dropped"]
CANCELLED = 499
"""Status of a request whose client left before the answer was whole (nginx's number for it)."""
CHAT = "/v1/chat/completions"
COMPLETIONS = "/v1/completions"
SCORE = "/v1/x/score"
"""Endpoints whose requests are recorded."""

metadata = sa.MetaData()
REQUEST = sa.Table(
    "request",
    metadata,
    sa.Column("id", sa.Text, primary_key=True),
    sa.Column("time", sa.Float, nullable=False),
    sa.Column("model", sa.Text, nullable=False),
    sa.Column("version", sa.Text, nullable=False),
    sa.Column("status", sa.Integer, nullable=False),
    sa.Column("error_type", sa.Text),
    sa.Column("error_message", sa.Text),
    sa.Column("streamed", sa.Boolean, nullable=False),
    sa.Column("finish_reason", sa.Text),
    sa.Column("prompt_tokens", sa.Integer),
    sa.Column("completion_tokens", sa.Integer),
    sa.Column("cached_tokens", sa.Integer),
    sa.Column("first_token_seconds", sa.Float),
    sa.Column("total_seconds", sa.Float, nullable=False),
    sa.Column("parameters", sa.JSON, nullable=False),
    sa.Column("messages", sa.JSON),
    sa.Column("answer", sa.Text),
    sa.Column("content", sa.Text, nullable=False),
    sa.Column("project", sa.Text, nullable=False),
    sa.Column("stored", sa.Boolean, nullable=False),
    sa.Column("metadata", sa.JSON(none_as_null=True)),
)
LOSS = sa.Table(
    "loss",
    metadata,
    sa.Column("time", sa.Float, nullable=False),
    sa.Column("contents", sa.Integer, nullable=False),
    sa.Column("requests", sa.Integer, nullable=False),
)


@dataclass(frozen=True)
class Entry:
    """One request.  Times in seconds, `time` since 1970; `version` is the content id of the model.

    `messages` are the turns of a chat, one message of role `text` for each prompt of a text completion
    (its `token_ids` where it was sent as such), or the items to score; `answer` is the text, a JSON list of
    texts when there are several, or a JSON list of summed log-probabilities.
    """

    id: str
    time: float
    model: str
    version: str
    status: int
    total_seconds: float
    streamed: bool = False
    error_type: str | None = None
    error_message: str | None = None
    finish_reason: str | None = None
    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    cached_tokens: int | None = None
    first_token_seconds: float | None = None
    parameters: dict[str, Any] = field(default_factory=dict)
    messages: list[dict[str, Any]] | None = None
    answer: str | None = None
    content: Content = "off"
    project: str = ""
    """Whose request it was; empty on a server that asks nobody for a key."""
    stored: bool = False
    """Whether its client asked to keep the answer, and may list it."""
    metadata: dict[str, str] | None = None

    @property
    def failed(self) -> bool:
        """Whether the request ended in an error; a client that left is none."""
        return self.status >= 400 and self.status != CANCELLED

    @property
    def endpoint(self) -> str:
        """Where it was asked; a request that names no endpoint is a chat."""
        return str(self.parameters.get("endpoint", CHAT))

    @property
    def answers(self) -> list[str]:
        """Every answer in order; of a request for scores none.  Empty without content."""
        if self.answer is None or self.endpoint == SCORE:
            return []
        # Several answers are kept as a JSON list, together with why each of them ended.
        several: list[str] = json.loads(self.answer) if "finish_reasons" in self.parameters else [self.answer]
        return several

    @property
    def content_size(self) -> int:
        """About how many bytes the content takes."""
        return len(canonical_json(self.messages)) + len(self.answer or "") if self.content == "kept" else 0

    def without_content(self, why: Content) -> "Entry":
        """The same request without what was said."""
        return replace(self, messages=None, answer=None, content=why, stored=False, metadata=None)


class Loss(NamedTuple):
    """What the writer had to let go: rows without their content, and rows."""

    contents: int = 0
    requests: int = 0


@contextmanager
def opened(path: Path) -> Iterator[sa.Engine]:
    """The record at `path` with its schema up to date; made when it is not there.

    Raises DataError when the file is no record, or one of a newer tunesmith.
    """
    with explain_disk_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
    engine = sa.create_engine(sqlite_url(path))
    sa.event.listen(engine, "connect", _set_up)
    try:
        with explain_database_errors(path):
            upgrade(engine, path)
        yield engine
    finally:
        engine.dispose()


def _set_up(connection: sqlite3.Connection, _: object) -> None:
    """Readers and the writer do not wait for each other (WAL), and two writers wait for their turn."""
    connection.execute("PRAGMA busy_timeout = 10000")
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = NORMAL")


@contextmanager
def explain_database_errors(path: Path) -> Iterator[None]:
    """Turn what SQLite raises on a file that it cannot use into messages with the next step."""
    try:
        yield
    except sa.exc.DatabaseError as error:
        cause = str(error.orig)
        if "disk is full" in cause:
            advice = "free some space, give another --workspace, or do not record (serve --record off)"
            raise OutOfSpace("no space left on the disk", where=path, next_step=advice) from error
        if "unable to open" in cause or "readonly" in cause:
            advice = "give another --workspace, or do not record (serve --record off)"
            raise UserError("the record cannot be written here", where=path, next_step=advice) from error
        advice = "move it away; a new record is started"
        raise DataError("this record cannot be used", where=path, value=cause, next_step=advice) from error


class RecordWriter:
    """Writes entries in the background.

    At most `max_waiting` entries wait, with at most `max_content_bytes` of content; beyond that first content
    and then entries are dropped and counted.
    """

    def __init__(
        self,
        path: Path,
        *,
        max_waiting: int = 10_000,
        max_content_bytes: int = 64 << 20,
        batch_rows: int = 500,
        batch_seconds: float = 0.2,
        retry_seconds: float = 1.0,
    ) -> None:
        self.path = path
        self.loss = Loss()
        self.problem: str | None = None
        """Why the last batch could not be written; None when it could."""
        self._max_content_bytes = max_content_bytes
        self._batch_rows, self._batch_seconds, self._retry_seconds = batch_rows, batch_seconds, retry_seconds
        self._waiting: queue.Queue[Entry] = queue.Queue(max_waiting)
        self._num_put = self._num_written = 0
        self._progress = threading.Condition()
        self._content_bytes = 0
        self._counters = threading.Lock()
        self._closing = threading.Event()
        self._opened = opened(path)
        self._engine = self._opened.__enter__()
        self._thread = threading.Thread(target=self._run, name="record", daemon=True)
        self._thread.start()

    def put(self, entry: Entry) -> int | None:
        """Take an entry; never waits.  Its number, for `wait_for`; None when it was let go."""
        size = entry.content_size
        with self._counters:
            # What a client wants kept is not thinned out: it is the last to go.
            if size and not entry.stored and self._content_bytes + size > self._max_content_bytes:
                entry, size = entry.without_content("dropped"), 0
                self.loss = Loss(self.loss.contents + 1, self.loss.requests)
            try:
                self._waiting.put_nowait(entry)
            except queue.Full:
                self.loss = Loss(self.loss.contents, self.loss.requests + 1)
                return None
            self._content_bytes += size
            self._num_put += 1
            return self._num_put

    def wait_for(self, number: int, seconds: float) -> bool:
        """Wait until an entry is on the disk; whether it is."""
        with self._progress:
            return self._progress.wait_for(lambda: self._num_written >= number, seconds)

    def close(self) -> None:
        """Write what waits and stop; what cannot be written even now is counted as lost."""
        self._closing.set()
        self._thread.join()
        self._opened.__exit__(None, None, None)

    def _run(self) -> None:
        noted = Loss()
        while True:
            # Asked before the queue is: nothing is put after closing, so an empty batch is then the last.
            closing = self._closing.is_set()
            batch = self._take_batch()
            if closing and not batch:
                return
            written = self._write_until_done(batch, noted)
            if written is None:
                with self._counters:
                    self.loss = Loss(
                        self.loss.contents, self.loss.requests + len(batch) + self._waiting.qsize()
                    )
                return
            noted = written

    def _take_batch(self) -> list[Entry]:
        """What came within a moment of the first entry."""
        batch: list[Entry] = []
        deadline = time.monotonic() + self._batch_seconds
        while len(batch) < self._batch_rows:
            left = 0.0 if self._closing.is_set() else max(0.0, deadline - time.monotonic())
            try:
                batch.append(self._waiting.get(timeout=left) if left else self._waiting.get_nowait())
            except queue.Empty:
                break
        with self._counters:
            self._content_bytes -= sum(entry.content_size for entry in batch)
        return batch

    def _write_until_done(self, batch: list[Entry], noted: Loss) -> Loss | None:
        """Write a batch, trying again while that fails; the loss noted, or None when closing cut it short."""
        while True:
            try:
                written = self._write(batch, noted)
            except sa.exc.DatabaseError as error:
                if self.problem is None:
                    log.warning("the record %s cannot be written (%s); trying again", self.path, error.orig)
                self.problem = str(error.orig)
                if self._closing.is_set():
                    return None
                self._closing.wait(self._retry_seconds)
            else:
                self.problem = None
                with self._progress:
                    self._num_written += len(batch)
                    self._progress.notify_all()
                return written

    def _write(self, batch: list[Entry], noted: Loss) -> Loss:
        loss = self.loss
        new = Loss(loss.contents - noted.contents, loss.requests - noted.requests)
        if not batch and new == Loss():
            return loss
        with self._engine.begin() as connection:
            if batch:
                connection.execute(sa.insert(REQUEST), [asdict(entry) for entry in batch])
            if new != Loss():
                connection.execute(sa.insert(LOSS), [{"time": time.time(), **new._asdict()}])
        return loss


@dataclass(frozen=True)
class Facts:
    """What is counted about a request: everything but what was said."""

    time: float
    model: str
    version: str
    status: int
    error_type: str | None
    finish_reason: str | None
    prompt_tokens: int | None
    completion_tokens: int | None
    first_token_seconds: float | None
    total_seconds: float


class Record:
    """Reads the record at `path`; a file that is not there is an empty record and is not made."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def facts(self, *, since: float = 0.0, model: str | None = None) -> list[Facts]:
        """Facts of the requests since a time, oldest first."""
        columns = [REQUEST.c[name] for name in Facts.__dataclass_fields__]
        query = sa.select(*columns).where(*_chosen(since, model)).order_by(REQUEST.c.time)
        return [Facts(**row._mapping) for row in self._rows(query)]

    def entries(
        self, *, since: float = 0.0, model: str | None = None, limit: int | None = None
    ) -> list[Entry]:
        """Whole entries, newest first."""
        query = sa.select(REQUEST).where(*_chosen(since, model)).order_by(REQUEST.c.time.desc()).limit(limit)
        return [Entry(**row._mapping) for row in self._rows(query)]

    def errors(self, *, since: float = 0.0, model: str | None = None, limit: int = 5) -> list[Entry]:
        """The last requests that ended in an error, newest first."""
        failed = (REQUEST.c.status >= 400, REQUEST.c.status != CANCELLED)
        query = sa.select(REQUEST).where(*_chosen(since, model), *failed)
        return [
            Entry(**row._mapping) for row in self._rows(query.order_by(REQUEST.c.time.desc()).limit(limit))
        ]

    def models(self) -> list[str]:
        """Names of models that were asked for."""
        return [row[0] for row in self._rows(sa.select(REQUEST.c.model).distinct().order_by(REQUEST.c.model))]

    def loss(self, *, since: float = 0.0) -> Loss:
        """What writers had to let go since a time."""
        total = [sa.func.coalesce(sa.func.sum(column), 0) for column in (LOSS.c.contents, LOSS.c.requests)]
        rows = self._rows(sa.select(*total).where(LOSS.c.time >= since))
        return Loss(*rows[0]) if rows else Loss()

    def _rows(self, query: sa.Select[Any]) -> list[sa.Row[Any]]:
        if not self.path.exists():
            return []
        with opened(self.path) as engine, explain_database_errors(self.path), engine.connect() as connection:
            return list(connection.execute(query))


@dataclass(frozen=True)
class StoredAnswers:
    """The answers that clients of one project asked to keep, in the record at `path`."""

    path: Path
    project: str

    def page(
        self,
        *,
        model: str | None = None,
        metadata: Mapping[str, str | None] = NOTHING,
        after: str | None = None,
        limit: int = 20,
        newest_first: bool = False,
    ) -> tuple[list[Entry], bool]:
        """Answers by age from behind the one called `after`, and whether there are more.

        `metadata` are pairs that they must have; an empty key asks for those without any.

        Behind an answer that is not there, there is nothing.
        """
        pairs = [
            REQUEST.c.metadata[key].as_string() == (text or "") if key else REQUEST.c.metadata.is_(None)
            for key, text in metadata.items()
        ]
        wanted = [*self._mine(), *pairs]
        if model is not None:
            wanted.append(REQUEST.c.model == model)
        place = sa.tuple_(REQUEST.c.time, REQUEST.c.id)
        with self._writing() as connection:
            if after is not None:
                last = sa.select(REQUEST.c.time, REQUEST.c.id).where(*self._mine(), REQUEST.c.id == after)
                found = connection.execute(last).first()
                if found is None:
                    return [], False
                behind = sa.tuple_(*(sa.literal(value) for value in found))
                wanted.append(place < behind if newest_first else place > behind)
            columns = (REQUEST.c.time, REQUEST.c.id)
            order = [column.desc() if newest_first else column.asc() for column in columns]
            query = sa.select(REQUEST).where(*wanted).order_by(*order).limit(limit + 1)
            rows = [Entry(**row._mapping) for row in connection.execute(query)]
        return rows[:limit], bool(limit) and len(rows) > limit

    def find(self, entry_id: str) -> Entry | None:
        """One of them, or None."""
        with self._writing() as connection:
            query = sa.select(REQUEST).where(*self._mine(), REQUEST.c.id == entry_id)
            row = connection.execute(query).first()
        return None if row is None else Entry(**row._mapping)

    def change_metadata(self, entry_id: str, metadata: Mapping[str, str] | None) -> bool:
        """Replace what is said about one; whether it is there."""
        return self._change(entry_id, metadata=None if metadata is None else dict(metadata))

    def forget(self, entry_id: str) -> bool:
        """Remove what was asked and answered; that there was a request stays.  Whether it was there."""
        gone = {"messages": None, "answer": None, "content": "off", "metadata": None}
        return self._change(entry_id, stored=False, **gone)

    def _mine(self) -> list[sa.ColumnElement[bool]]:
        return [REQUEST.c.project == self.project, REQUEST.c.stored, REQUEST.c.content == "kept"]

    def _change(self, entry_id: str, **values: Any) -> bool:
        with self._writing() as connection:
            query = sa.update(REQUEST).where(*self._mine(), REQUEST.c.id == entry_id).values(**values)
            return connection.execute(query).rowcount == 1

    @contextmanager
    def _writing(self) -> Iterator[sa.Connection]:
        with opened(self.path) as engine, explain_database_errors(self.path), engine.begin() as connection:
            yield connection


def _chosen(since: float, model: str | None) -> list[sa.ColumnElement[bool]]:
    wanted = [REQUEST.c.time >= since]
    return wanted if model is None else [*wanted, REQUEST.c.model == model]


def read_since(text: str | None, now: float) -> float:
    """'24h', '7d', '30m' before `now`, or an ISO date, as seconds since 1970; None is everything.

    Raises UserError for anything else.
    """
    if text is None:
        return 0.0
    units = {"m": 60.0, "h": 3600.0, "d": 86400.0}
    if text[-1:] in units and text[:-1].isdigit():
        return now - int(text[:-1]) * units[text[-1]]
    from datetime import datetime

    try:
        return datetime.fromisoformat(text).astimezone().timestamp()
    except ValueError:
        step = "give 30m, 24h, 7d, or a date such as 2027-01-31"
        raise UserError("not a time", where="--since", value=text, next_step=step) from None
