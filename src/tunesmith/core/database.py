"""Schemas of the SQL files: their steps are applied by Alembic when a file is opened."""

from pathlib import Path

import sqlalchemy as sa

from tunesmith.core.errors import DataError

MIGRATIONS = Path(__file__).parent / "migrations"


def sqlite_url(path: Path) -> sa.URL:
    """URL of an SQLite file; never to be written as text, where a `?` in a folder's name would end it."""
    return sa.URL.create("sqlite", database=str(path))


def upgrade(engine: sa.Engine, where: object, *, steps: str = "versions", what: str = "record") -> None:
    """Apply the steps in `migrations/STEPS` that the database does not have yet.

    Raises DataError for a database of a newer tunesmith.
    """
    from alembic.runtime.migration import MigrationContext
    from alembic.script import ScriptDirectory

    newest = ScriptDirectory(str(MIGRATIONS), version_locations=[str(MIGRATIONS / steps)]).get_current_head()
    with engine.connect() as connection:
        found = MigrationContext.configure(connection).get_current_revision()
    if found == newest:
        return
    if found is not None and newest is not None and found > newest:
        advice = "update tunesmith, or give another --workspace"
        raise DataError(
            f"this {what} was written by a newer tunesmith", where=where, value=found, next_step=advice
        )
    with engine.connect() as connection:
        if engine.dialect.name == "sqlite":
            # Taken before Alembic looks, so that of two processes that start together one waits.
            connection.exec_driver_sql("BEGIN IMMEDIATE")
        run_steps(connection, steps)
        connection.commit()


def run_steps(connection: sa.Connection, steps: str) -> None:
    """Let Alembic bring the schema up to date on this connection."""
    from alembic import command
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS))
    config.set_main_option("path_separator", "newline")
    config.set_main_option("version_locations", str(MIGRATIONS / steps))
    config.attributes["connection"] = connection
    command.upgrade(config, "head")
