"""Versions in the store: what jobs made, by the names that clients know them by."""

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from tunesmith.api.call import Api, Caller
from tunesmith.core.prompt_shape import PromptShape
from tunesmith.core.store import metadata, now_row
from tunesmith.serve.problems import ApiProblem

VERSION = sa.Table(
    "version",
    metadata,
    sa.Column("seq", sa.Integer, primary_key=True, autoincrement=True),
    sa.Column("id", sa.Text, nullable=False, unique=True),
    sa.Column("project", sa.Text, nullable=False),
    sa.Column("created_at", sa.BigInteger, nullable=False),
    sa.Column("job", sa.Text, sa.ForeignKey("job.id"), nullable=False),
    sa.Column("step", sa.Integer, nullable=False),
    sa.Column("base", sa.Text, nullable=False),
    sa.Column("parent", sa.Text),
    sa.Column("folder", sa.Text, nullable=False),
    sa.Column("deleted", sa.Boolean, nullable=False),
)
Row = Mapping[str, Any]


def add_version(connection: sa.Connection, api: Api, job: Row, name: str, **facts: Any) -> None:
    """A version that can be asked from now on; one that is there already stays as it is."""
    if connection.execute(sa.select(VERSION.c.id).where(VERSION.c.id == name)).first() is None:
        values = {"project": job["project"], "created_at": api.now(), "job": job["id"], "deleted": False}
        parent = job["model"] if job["model"].startswith("ft:") else None
        connection.execute(sa.insert(VERSION).values(id=name, parent=parent, **values, **facts))


def chosen(caller: Caller) -> list[sa.ColumnElement[bool]]:
    """Versions that this caller can see."""
    return [VERSION.c.project == caller.project, VERSION.c.deleted.is_(False)]


def versions(api: Api, caller: Caller) -> list[dict[str, Any]]:
    """All versions of a project, the newest first."""
    with api.store.reading() as connection:
        query = sa.select(VERSION).where(*chosen(caller)).order_by(VERSION.c.seq.desc())
        return [dict(row) for row in connection.execute(query).mappings()]


def find(api: Api, caller: Caller, name: str) -> Row | None:
    """The version of a name, or None."""
    with api.store.reading() as connection:
        return now_row(connection, sa.select(VERSION).where(VERSION.c.id == name, *chosen(caller)))


def is_deleted(api: Api, name: str) -> bool:
    """Whether there was a version of this name, in whatever project."""
    with api.store.reading() as connection:
        query = sa.select(VERSION.c.id).where(VERSION.c.id == name, VERSION.c.deleted)
        return connection.execute(query).first() is not None


def delete(api: Api, caller: Caller, name: str) -> dict[str, Any]:
    """Take a version away: nobody is answered by it any more, and its job's files stay."""
    with api.store.writing() as connection:
        done = connection.execute(
            sa.update(VERSION).where(VERSION.c.id == name, *chosen(caller)).values(deleted=True)
        )
    if done.rowcount != 1:
        raise ApiProblem(
            f"The model '{name}' does not exist or was not fine-tuned here",
            status=404,
            param="model",
            code="model_not_found",
        )
    return {"id": name, "object": "model", "deleted": True}


def one_json(row: Row) -> dict[str, Any]:
    """A version by itself, with what its training prompts were like."""
    shape = PromptShape.read(Path(row["folder"]))
    shown = to_json(row)
    shown["x_tunesmith"]["prompt_shape"] = None if shape is None else asdict(shape)
    return shown


def to_json(row: Row) -> dict[str, Any]:
    """A version as OpenAI shows a model."""
    return {
        "id": row["id"],
        "object": "model",
        "created": row["created_at"],
        "owned_by": row["project"],
        "x_tunesmith": {
            "root": row["base"],
            "parent": row["parent"] or row["base"],
            "job": row["job"],
            "step": row["step"],
        },
    }
