"""Answers that a model has given before, kept in the workspace: a suite that gains a scorer asks nothing new.

An answer is known by the model's content, everything that was sent, and which repeat it is: repeats never
share one.  A model that is only behind a URL has no known content, so nothing of it is kept.
"""

import json
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import fields
from pathlib import Path
from typing import Any

from tunesmith.core.endpoint import Answer, ChatRequest, Scored, ScoreRequest
from tunesmith.core.files import explain_disk_errors, hash_json
from tunesmith.core.job import Job
from tunesmith.core.workspace import Input

FILE = "answers.sqlite"
TABLE = "CREATE TABLE IF NOT EXISTS answer (key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID"
FORM = [field.name for kind in (Answer, Scored) for field in fields(kind)]
"""What is kept of an answer: another version of tunesmith that keeps more asks again."""
ASKED = ""
"""In place of the name that a server has for the model: that may be another one next time."""


class Cache:
    """The kept answers of one model; one that keeps nothing has no database."""

    def __init__(self, database: sqlite3.Connection | None, model: str) -> None:
        self._database, self._model = database, model

    def key(self, request: ChatRequest | None, scores: ScoreRequest | None, repeat: int) -> str:
        """What an answer is known by."""
        sent = [part.body(ASKED) if part is not None else None for part in (request, scores)]
        return hash_json([self._model, *sent, repeat, FORM])

    def get(self, key: str) -> dict[str, Any] | None:
        """A kept answer."""
        if self._database is None:
            return None
        row = self._database.execute("SELECT value FROM answer WHERE key = ?", (key,)).fetchone()
        found: dict[str, Any] | None = json.loads(row[0]) if row is not None else None
        return found

    def put(self, key: str, value: dict[str, Any]) -> None:
        """Keep an answer."""
        if self._database is not None:
            with self._database:
                self._database.execute(
                    "INSERT OR REPLACE INTO answer VALUES (?, ?)", (key, json.dumps(value))
                )


@contextmanager
def opened(model: Input, job: Job, *, use: bool) -> Iterator[Cache]:
    """The cache for a model; one that keeps nothing for a model without known content, or when not wanted.

    A file that is no database is put aside: it holds nothing that cannot be asked again.
    """
    if not use or model.kind == "remote":
        yield Cache(None, model.id)
        return
    path = job.workspace.root / FILE
    with explain_disk_errors(path), closing(connected(path, job)) as database:
        yield Cache(database, model.id)


def connected(path: Path, job: Job) -> sqlite3.Connection:
    """The open database."""
    path.parent.mkdir(parents=True, exist_ok=True)
    database = sqlite3.connect(path, timeout=30)
    try:
        # an answer is kept without waiting for the disk: a crash may lose the last ones, never the file
        database.execute("PRAGMA journal_mode = WAL")
        database.execute("PRAGMA synchronous = NORMAL")
        database.execute(TABLE)
    except sqlite3.DatabaseError as error:
        database.close()
        if not path.exists() or "database is locked" in str(error):
            raise
        path.replace(path.with_suffix(".broken"))
        job.progress.say(f"{path} is no database ({error}); it is put aside, and answers are asked again")
        return connected(path, job)
    return database
