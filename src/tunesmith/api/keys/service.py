"""Keys in the store: the hash of each, never the key."""

import hashlib
import secrets
from collections.abc import Mapping
from typing import Any

import sqlalchemy as sa

from tunesmith.api.ids import new_id
from tunesmith.api.keys.schema import CreateKeyConfig
from tunesmith.core.errors import UserError
from tunesmith.core.store import Store, metadata, now_row

KEY = sa.Table(
    "api_key",
    metadata,
    sa.Column("seq", sa.Integer, primary_key=True, autoincrement=True),
    sa.Column("id", sa.Text, nullable=False, unique=True),
    sa.Column("name", sa.Text, nullable=False),
    sa.Column("hash", sa.Text, nullable=False, unique=True),
    sa.Column("hint", sa.Text, nullable=False),
    sa.Column("organization", sa.Text, nullable=False),
    sa.Column("project", sa.Text, nullable=False),
    sa.Column("role", sa.Text, nullable=False),
    sa.Column("requests_per_minute", sa.Integer),
    sa.Column("storage_bytes", sa.BigInteger),
    sa.Column("jobs", sa.Integer),
    sa.Column("created_at", sa.BigInteger, nullable=False),
    sa.Column("last_used_at", sa.BigInteger),
    sa.Column("revoked_at", sa.BigInteger),
)
PREFIX = "sk-"
BYTES = 32
SHOWN_FIRST, SHOWN_LAST = 6, 4
MINUTE = 60
Row = Mapping[str, Any]


def hashed(key: str) -> str:
    """SHA-256 of a key: 256 random bits need no salt and no slow hash."""
    return hashlib.sha256(key.encode("utf-8", "surrogateescape")).hexdigest()


def hint_of(key: str) -> str:
    """What of a key may be shown."""
    if len(key) <= 2 * (SHOWN_FIRST + SHOWN_LAST):
        return "…"
    return f"{key[:SHOWN_FIRST]}…{key[-SHOWN_LAST:]}"


def create(store: Store, asked: CreateKeyConfig, now: int) -> tuple[Row, str]:
    """A new key's row, and the key, which is nowhere afterwards."""
    key = PREFIX + secrets.token_urlsafe(BYTES)
    row = {
        "id": new_id("key_", 16),
        "name": asked.name,
        "hash": hashed(key),
        "hint": hint_of(key),
        "organization": asked.organization,
        "project": asked.project,
        "role": asked.role,
        "requests_per_minute": asked.requests_per_minute,
        "storage_bytes": None if asked.storage_mb is None else int(asked.storage_mb * 1e6),
        "jobs": asked.jobs,
        "created_at": now,
        "last_used_at": None,
        "revoked_at": None,
    }
    with store.writing() as connection:
        taken = sa.select(KEY.c.organization).where(
            KEY.c.project == row["project"], KEY.c.organization != row["organization"]
        )
        if (other := connection.scalars(taken).first()) is not None:
            step = f"give --organization {other}, or another --project"
            raise UserError(
                "this project is another organisation's",
                value=asked.project,
                where="--project",
                next_step=step,
            )
        connection.execute(sa.insert(KEY).values(**row))
    return row, key


def every(store: Store) -> list[Row]:
    """All keys, the oldest first."""
    with store.reading() as connection:
        return [dict(row) for row in connection.execute(sa.select(KEY).order_by(KEY.c.seq)).mappings()]


def revoke(store: Store, key_id: str, now: int) -> Row:
    """Refuse a key from now on; raises UserError for an id that no key has."""
    with store.writing() as connection:
        still = sa.and_(KEY.c.id == key_id, KEY.c.revoked_at.is_(None))
        connection.execute(sa.update(KEY).where(still).values(revoked_at=now))
        row = now_row(connection, sa.select(KEY).where(KEY.c.id == key_id))
    if row is None:
        raise UserError("no key has this id", value=key_id, next_step="see tunesmith keys list")
    return row


def find(store: Store, key: str) -> Row | None:
    """The row of a key that works; None for any other."""
    with store.reading() as connection:
        query = sa.select(KEY).where(KEY.c.hash == hashed(key), KEY.c.revoked_at.is_(None))
        return now_row(connection, query)


def any_made(store: Store) -> bool:
    """Whether a key was ever made here, also one that was revoked."""
    with store.reading() as connection:
        return connection.execute(sa.select(KEY.c.id).limit(1)).first() is not None


def note_use(store: Store, row: Row, now: int) -> None:
    """Remember when a key was used last, to the minute: not a write for each request."""
    if row["last_used_at"] is None or row["last_used_at"] + MINUTE <= now:
        with store.writing() as connection:
            connection.execute(sa.update(KEY).where(KEY.c.id == row["id"]).values(last_used_at=now))


def facts(row: Row) -> dict[str, Any]:
    """A key as people see it."""
    shown = {name: value for name, value in row.items() if name not in ("seq", "hash", "storage_bytes")}
    size = row["storage_bytes"]
    return {**shown, "storage_mb": None if size is None else size / 1e6}
