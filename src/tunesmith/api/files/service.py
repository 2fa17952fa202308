"""Files in the store, their contents on disk: a file is there when its row is."""

import os
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from tunesmith.api.call import Api, Caller
from tunesmith.api.files.lines import check_jsonl
from tunesmith.api.files.schema import CreateFile, ListFiles
from tunesmith.api.forms import Sent
from tunesmith.api.ids import new_id
from tunesmith.api.pages import page
from tunesmith.core.files import explain_disk_errors
from tunesmith.core.store import metadata, now_row
from tunesmith.serve.problems import ApiProblem

FILE = sa.Table(
    "file",
    metadata,
    sa.Column("seq", sa.Integer, primary_key=True, autoincrement=True),
    sa.Column("id", sa.Text, nullable=False, unique=True),
    sa.Column("project", sa.Text, nullable=False),
    sa.Column("created_at", sa.BigInteger, nullable=False),
    sa.Column("expires_at", sa.BigInteger),
    sa.Column("filename", sa.Text, nullable=False),
    sa.Column("purpose", sa.Text, nullable=False),
    sa.Column("bytes", sa.BigInteger, nullable=False),
    sa.Column("sha256", sa.Text, nullable=False),
)
LONGEST_NAME = 255
RESULTS = "fine-tune-results"
Row = Mapping[str, Any]


def create(api: Api, caller: Caller, sent: Sent, asked: CreateFile) -> dict[str, Any]:
    """Keep an uploaded file.  Raises ApiProblem for training data that is no JSON Lines."""
    if asked.purpose == "fine-tune":
        check_jsonl(sent.path)
    check_room(api, caller, sent.bytes)
    keep = None if asked.expires_after is None else asked.expires_after.seconds
    return keep_file(api, caller.project, sent, purpose=asked.purpose, keep_seconds=keep)


def keep_file(
    api: Api, project: str, sent: Sent, *, purpose: str, keep_seconds: int | None = None
) -> dict[str, Any]:
    """Move a file to its place, then write its row: one that a client knows is whole."""
    now = api.now()
    row: dict[str, Any] = {
        "id": new_id("file-"),
        "project": project,
        "created_at": now,
        "expires_at": None if keep_seconds is None else now + keep_seconds,
        "filename": checked_name(sent.filename),
        "purpose": purpose,
        "bytes": sent.bytes,
        "sha256": sent.sha256,
    }
    place = content_of(api, row["id"])
    with explain_disk_errors(place):
        place.parent.mkdir(parents=True, exist_ok=True)
        with sent.path.open("rb") as file:
            os.fsync(file.fileno())
        sent.path.replace(place)
    try:
        with api.store.writing() as connection:
            connection.execute(sa.insert(FILE).values(**row))
    except BaseException:
        place.unlink(missing_ok=True)
        raise
    return to_json(row)


def check_room(api: Api, caller: Caller, more: int, *, promised: int = 0) -> None:
    """Refuse what the project's files have no room for; `promised` bytes are others'.  Raises ApiProblem."""
    if caller.storage_bytes is None:
        return
    with api.store.reading() as connection:
        held = connection.scalar(sa.select(sa.func.sum(FILE.c.bytes)).where(*chosen(api, caller))) or 0
    if held + promised + more > caller.storage_bytes:
        message = (
            f"There is no room for {more:,} more bytes: the project's files hold {held + promised:,} of the "
            f"{caller.storage_bytes:,} that this key allows. Delete some files first."
        )
        raise ApiProblem(message, status=403, code="storage_limit_exceeded")


def checked_name(name: str) -> str:
    """The name as the client gave it; it is only shown, never a place on this disk."""
    if not name:
        raise ApiProblem("The file needs a name.", param="file", code="invalid_value")
    if len(name) > LONGEST_NAME or "\0" in name:
        message = f"Invalid 'file': the name must have at most {LONGEST_NAME} characters, none of them NUL."
        raise ApiProblem(message, param="file", code="invalid_value")
    return name


def content_of(api: Api, file_id: str) -> Path:
    """Where the content of a file stands."""
    return api.folder / "files" / file_id


def to_json(row: Row) -> dict[str, Any]:
    """A file as OpenAI shows it."""
    shown = {
        "id": row["id"],
        "object": "file",
        "bytes": row["bytes"],
        "created_at": row["created_at"],
        "filename": row["filename"],
        "purpose": row["purpose"],
        "status": "processed",
        "x_tunesmith": {"sha256": row["sha256"]},
    }
    return shown if row["expires_at"] is None else {**shown, "expires_at": row["expires_at"]}


def chosen(api: Api, caller: Caller) -> list[sa.ColumnElement[bool]]:
    """Files that this caller can see now."""
    alive = sa.or_(FILE.c.expires_at.is_(None), FILE.c.expires_at > api.now())
    return [FILE.c.project == caller.project, alive]


def find(api: Api, caller: Caller, file_id: str, *, param: str = "id") -> Row:
    """The row of a file; raises ApiProblem (404)."""
    with api.store.reading() as connection:
        row = now_row(connection, sa.select(FILE).where(FILE.c.id == file_id, *chosen(api, caller)))
    if row is None:
        raise ApiProblem(f"No such File object: {file_id}", status=404, param=param)
    return row


def list_files(api: Api, caller: Caller, asked: ListFiles) -> dict[str, Any]:
    """A page of files."""
    wanted = chosen(api, caller)
    if asked.purpose is not None:
        wanted.append(FILE.c.purpose == asked.purpose)
    return page(api.store, FILE, wanted, to_json, after=asked.after, limit=asked.limit, order=asked.order)


def delete(api: Api, caller: Caller, file_id: str) -> dict[str, Any]:
    """Forget a file: its row first, so that nobody finds one without content."""
    find(api, caller, file_id)
    forget(api, [file_id])
    return {"id": file_id, "object": "file", "deleted": True}


def forget(api: Api, ids: list[str]) -> None:
    """Remove rows, then contents."""
    with api.store.writing() as connection:
        connection.execute(sa.delete(FILE).where(FILE.c.id.in_(ids)))
    for file_id in ids:
        content_of(api, file_id).unlink(missing_ok=True)


def sweep(api: Api) -> list[str]:
    """Remove what has expired, and contents that a killed server left without a row; ids of the former."""
    with api.store.reading() as connection:
        old = list(connection.scalars(sa.select(FILE.c.id).where(FILE.c.expires_at <= api.now())))
        known = set(connection.scalars(sa.select(FILE.c.id)))
    if old:
        forget(api, old)
    folder = api.folder / "files"
    hour_ago = api.clock() - 3600
    for path in folder.iterdir() if folder.is_dir() else ():
        with suppress(FileNotFoundError):
            if path.name not in known and path.stat().st_mtime < hour_ago:
                path.unlink()
    return old
