"""The store of a server's live things (files, uploads, jobs), in SQLite or, by URL, in Postgres.

Each table has one service that writes it, and stands beside that service on this module's `metadata`.  The
steps of the schema are in `core/migrations/server`; they are applied when the store is opened.
"""

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from tunesmith.core.database import sqlite_url, upgrade
from tunesmith.core.errors import DataError, OutOfSpace, UserError
from tunesmith.core.files import explain_disk_errors

metadata = sa.MetaData()
NEXT_STEP = "give another --database, or another --workspace"


class Store:
    """An open store.  `writing` and `reading` are transactions; both see one state of everything."""

    def __init__(self, engine: sa.Engine, where: str) -> None:
        self.engine, self.where = engine, where

    @contextmanager
    def writing(self) -> Iterator[sa.Connection]:
        """A transaction that holds the right to write from its start; committed at the end of the block.

        What it acknowledged is on the disk: a process that is killed afterwards loses none of it.
        """
        with (
            explain(self.where),
            self.engine.connect().execution_options(tunesmith_writes=True) as connection,
            connection.begin(),
        ):
            yield connection

    @contextmanager
    def reading(self) -> Iterator[sa.Connection]:
        """A transaction that changes nothing."""
        with explain(self.where), self.engine.connect() as connection, connection.begin():
            yield connection

    def close(self) -> None:
        """Give the connections back."""
        self.engine.dispose()


def open_store(place: str | Path) -> Store:
    """Open the store at a database URL or in an SQLite file, making it or bringing its schema up to date.

    Raises UserError for a URL or a database that cannot be used, DataError for what is no store or is one
    of a newer tunesmith, OutOfSpace.
    """
    try:
        parsed = sqlite_file(place) if isinstance(place, Path) else sa.make_url(place)
        if parsed.drivername == "postgresql":
            parsed = parsed.set(drivername="postgresql+psycopg")
        engine = sa.create_engine(parsed)
    except (sa.exc.ArgumentError, ImportError) as error:
        example = "give one such as postgresql://user:password@host/name (pip install 'tunesmith[postgres]')"
        raise UserError(f"not a database ({error})", value=str(place), next_step=example) from error
    where = parsed.render_as_string(hide_password=True)
    is_sqlite = parsed.get_backend_name() == "sqlite"
    if is_sqlite:
        sa.event.listen(engine, "connect", set_up)
    with explain(where):
        upgrade(engine, where, steps="server", what="store")
    if is_sqlite:
        sa.event.listen(engine, "begin", begin)  # not before: the upgrade takes the writer's turn by itself
    return Store(engine, where)


BUSY_MILLISECONDS = 10_000
"""How long one writer waits for another."""


def sqlite_file(path: Path) -> sa.URL:
    """URL of an SQLite file, whose folder is made."""
    with explain_disk_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
    return sqlite_url(path)


def set_up(connection: sqlite3.Connection, _: object) -> None:
    """Readers do not wait for the writer (WAL); what is committed survives a loss of power (FULL)."""
    connection.isolation_level = None  # the driver would begin transactions of its own, too late
    connection.execute(f"PRAGMA busy_timeout = {BUSY_MILLISECONDS}")
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = FULL")
    connection.execute("PRAGMA foreign_keys = ON")


def begin(connection: sa.Connection) -> None:
    """Begin a transaction; one that writes waits here for its turn, and not in the middle."""
    writes = connection.get_execution_options().get("tunesmith_writes", False)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")


@contextmanager
def explain(where: str) -> Iterator[None]:
    """Turn what the database's driver raises into messages with the next step."""
    try:
        yield
    except sa.exc.IntegrityError:
        raise  # a rule of the schema, which whoever writes the table knows about
    except sa.exc.DatabaseError as error:
        cause = str(error.orig).strip()
        if "disk is full" in cause or "No space left" in cause:
            raise OutOfSpace("no space left on the disk", where=where, next_step="free some space") from error
        if "file is not a database" in cause or "malformed" in cause:
            raise DataError(
                "this store cannot be used", where=where, value=cause, next_step=NEXT_STEP
            ) from error
        raise UserError("the store cannot be used", where=where, value=cause, next_step=NEXT_STEP) from error


def now_row(connection: sa.Connection, query: sa.Select[Any]) -> dict[str, Any] | None:
    """The one row of a query as a dict, or None."""
    row = connection.execute(query).mappings().first()
    return None if row is None else dict(row)
