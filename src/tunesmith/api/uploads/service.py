"""Uploads in the store, their parts on disk until the file is put together."""

import hashlib
import shutil
from collections.abc import Mapping, Sequence
from contextlib import closing
from pathlib import Path
from typing import IO, Any

import sqlalchemy as sa

from tunesmith.api.call import Api, Caller
from tunesmith.api.files import service as files
from tunesmith.api.files.lines import check_jsonl
from tunesmith.api.forms import Sent, spool
from tunesmith.api.ids import new_id
from tunesmith.api.uploads.schema import CompleteUpload, CreateUpload
from tunesmith.core.files import CHUNK_BYTES, explain_disk_errors
from tunesmith.core.store import metadata, now_row
from tunesmith.serve.problems import ApiProblem

UPLOAD = sa.Table(
    "upload",
    metadata,
    sa.Column("seq", sa.Integer, primary_key=True, autoincrement=True),
    sa.Column("id", sa.Text, nullable=False, unique=True),
    sa.Column("project", sa.Text, nullable=False),
    sa.Column("created_at", sa.BigInteger, nullable=False),
    sa.Column("expires_at", sa.BigInteger, nullable=False),
    sa.Column("filename", sa.Text, nullable=False),
    sa.Column("purpose", sa.Text, nullable=False),
    sa.Column("bytes", sa.BigInteger, nullable=False),
    sa.Column("mime_type", sa.Text, nullable=False),
    sa.Column("keep_seconds", sa.BigInteger),
    sa.Column("status", sa.Text, nullable=False),
    sa.Column("file", sa.Text),
)
PART = sa.Table(
    "upload_part",
    metadata,
    sa.Column("seq", sa.Integer, primary_key=True, autoincrement=True),
    sa.Column("id", sa.Text, nullable=False, unique=True),
    sa.Column("upload", sa.Text, sa.ForeignKey("upload.id"), nullable=False),
    sa.Column("created_at", sa.BigInteger, nullable=False),
    sa.Column("bytes", sa.BigInteger, nullable=False),
)
OPEN_SECONDS = 3600
"""How long parts may be added."""
TIMES_ANNOUNCED = 2
PENDING, COMPLETED, CANCELLED, EXPIRED = "pending", "completed", "cancelled", "expired"
Row = Mapping[str, Any]


def create(api: Api, caller: Caller, asked: CreateUpload) -> dict[str, Any]:
    """Begin an upload."""
    files.checked_name(asked.filename)
    now = api.now()
    files.check_room(api, caller, asked.bytes, promised=promised(api, caller))
    row = {
        "id": new_id("upload_"),
        "project": caller.project,
        "created_at": now,
        "expires_at": now + OPEN_SECONDS,
        "filename": asked.filename,
        "purpose": asked.purpose,
        "bytes": asked.bytes,
        "mime_type": asked.mime_type,
        "keep_seconds": None if asked.expires_after is None else asked.expires_after.seconds,
        "status": PENDING,
        "file": None,
    }
    with api.store.writing() as connection:
        connection.execute(sa.insert(UPLOAD).values(**row))
    return to_json(row, api.now())


def promised(api: Api, caller: Caller) -> int:
    """Bytes of the project's uploads that are still open."""
    still = (UPLOAD.c.project == caller.project, UPLOAD.c.status == PENDING, UPLOAD.c.expires_at > api.now())
    with api.store.reading() as connection:
        return int(connection.scalar(sa.select(sa.func.sum(UPLOAD.c.bytes)).where(*still)) or 0)


def to_json(row: Row, now: int, file: dict[str, Any] | None = None) -> dict[str, Any]:
    """An upload as OpenAI shows it."""
    return {
        "id": row["id"],
        "object": "upload",
        "bytes": row["bytes"],
        "created_at": row["created_at"],
        "expires_at": row["expires_at"],
        "filename": row["filename"],
        "purpose": row["purpose"],
        "status": status_of(row, now),
        "file": file,
    }


def status_of(row: Row, now: int) -> str:
    """A pending upload whose hour is over has expired."""
    return EXPIRED if row["status"] == PENDING and row["expires_at"] <= now else str(row["status"])


def find(api: Api, caller: Caller, upload_id: str) -> Row:
    """The row of an upload; raises ApiProblem (404)."""
    with api.store.reading() as connection:
        query = sa.select(UPLOAD).where(UPLOAD.c.id == upload_id, UPLOAD.c.project == caller.project)
        row = now_row(connection, query)
    if row is None:
        raise ApiProblem(f"No such Upload object: {upload_id}", status=404, param="upload_id")
    return row


def pending(api: Api, caller: Caller, upload_id: str) -> Row:
    """The row of an upload that still takes parts; raises ApiProblem."""
    row = find(api, caller, upload_id)
    if (status := status_of(row, api.now())) != PENDING:
        raise ApiProblem(
            f"Upload {upload_id} is {status}: only a pending one can be changed.", param="upload_id"
        )
    return row


def ended_meanwhile(upload_id: str) -> ApiProblem:
    """Somebody else was faster."""
    return ApiProblem(f"Upload {upload_id} was completed or cancelled meanwhile.", param="upload_id")


def parts_of(api: Api, upload_id: str) -> Path:
    """Where the parts of an upload stand."""
    return api.folder / "uploads" / upload_id


def add_part(api: Api, caller: Caller, upload_id: str, sent: Sent) -> dict[str, Any]:
    """Keep a part.  Raises ApiProblem for more than the upload was announced to hold, sent twice."""
    part_id, now = new_id("part_"), api.now()
    place = parts_of(api, upload_id) / part_id
    with explain_disk_errors(place):
        sent.path.replace(place)
    row = {"id": part_id, "upload": upload_id, "created_at": now, "bytes": sent.bytes}
    with api.store.writing() as connection:
        query = sa.select(UPLOAD).where(UPLOAD.c.id == upload_id)
        upload = now_row(connection, query)
        is_pending = upload is not None and upload["status"] == PENDING
        held = connection.scalar(sa.select(sa.func.sum(PART.c.bytes)).where(PART.c.upload == upload_id)) or 0
        # A part that broke off on its way is sent again; beyond that, parts would fill the disk.
        fits = upload is not None and held + sent.bytes <= TIMES_ANNOUNCED * upload["bytes"]
        if is_pending and fits:
            connection.execute(sa.insert(PART).values(**row))
    if not (is_pending and fits):
        place.unlink(missing_ok=True)
    if not is_pending:
        raise ended_meanwhile(upload_id)
    if not fits:
        message = f"The parts hold {held + sent.bytes} bytes: far more than the upload was created with."
        raise ApiProblem(message, param="data")
    return {"id": part_id, "object": "upload.part", "created_at": now, "upload_id": upload_id}


def complete(api: Api, caller: Caller, upload_id: str, asked: CompleteUpload) -> dict[str, Any]:
    """Put the parts together, in the order given.  Raises ApiProblem where bytes or MD5 differ."""
    row = pending(api, caller, upload_id)
    check_parts(api, row, asked.part_ids)
    files.check_room(api, caller, row["bytes"])
    with spool(api.folder / "files") as into:
        sent = joined(api, row, asked, into)
        if row["purpose"] == "fine-tune":
            check_jsonl(sent.path)
        file = files.keep_file(
            api, caller.project, sent, purpose=row["purpose"], keep_seconds=row["keep_seconds"]
        )
    if not settle(api, upload_id, COMPLETED, file["id"]):
        files.forget(api, [file["id"]])
        raise ended_meanwhile(upload_id)
    return to_json({**row, "status": COMPLETED}, api.now(), file)


def check_parts(api: Api, row: Row, wanted: Sequence[str]) -> None:
    """Refuse parts of another upload, and a sum of bytes other than was announced."""
    with api.store.reading() as connection:
        query = sa.select(PART.c.id, PART.c.bytes).where(PART.c.upload == row["id"])
        sizes = {row.id: row.bytes for row in connection.execute(query)}
    for part in wanted:
        if part not in sizes:
            raise ApiProblem(f"No such part of upload {row['id']}: {part}", param="part_ids")
    if len(set(wanted)) < len(wanted):
        raise ApiProblem("A part is named twice.", param="part_ids")
    if (found := sum(sizes[part] for part in wanted)) != row["bytes"]:
        message = f"The parts hold {found} bytes, but the upload was created with bytes={row['bytes']}."
        raise ApiProblem(message, param="part_ids")


def joined(api: Api, row: Row, asked: CompleteUpload, into: IO[bytes]) -> Sent:
    """The parts in one file; raises ApiProblem when the MD5 is another."""
    digest, md5 = hashlib.sha256(), hashlib.md5(usedforsecurity=False)
    for part in asked.part_ids:
        with closing((parts_of(api, row["id"]) / part).open("rb")) as source:
            while piece := source.read(CHUNK_BYTES):
                into.write(piece)
                digest.update(piece)
                md5.update(piece)
    into.flush()
    if asked.md5 is not None and asked.md5.lower() != md5.hexdigest():
        message = f"The parts together have the MD5 {md5.hexdigest()}, not {asked.md5[:64]}."
        raise ApiProblem(message, param="md5")
    return Sent(Path(into.name), row["filename"], row["bytes"], digest.hexdigest())


def cancel(api: Api, caller: Caller, upload_id: str) -> dict[str, Any]:
    """Give an upload up."""
    row = pending(api, caller, upload_id)
    if not settle(api, upload_id, CANCELLED):
        raise ended_meanwhile(upload_id)
    return to_json({**row, "status": CANCELLED}, api.now())


def settle(api: Api, upload_id: str, status: str, file: str | None = None) -> bool:
    """End a pending upload, whose parts go; False when somebody else did meanwhile."""
    with api.store.writing() as connection:
        done = connection.execute(
            sa.update(UPLOAD)
            .where(UPLOAD.c.id == upload_id, UPLOAD.c.status == PENDING)
            .values(status=status, file=file)
        )
        connection.execute(sa.delete(PART).where(PART.c.upload == upload_id))
    shutil.rmtree(parts_of(api, upload_id), ignore_errors=True)
    return done.rowcount == 1


def sweep(api: Api) -> None:
    """End pending uploads whose hour is over."""
    with api.store.reading() as connection:
        late = sa.select(UPLOAD.c.id).where(UPLOAD.c.status == PENDING, UPLOAD.c.expires_at <= api.now())
        ids = list(connection.scalars(late))
    for upload_id in ids:
        settle(api, upload_id, EXPIRED)
