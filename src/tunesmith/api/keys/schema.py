"""Configuration and results of `tunesmith keys`."""

from typing import Literal

from pydantic import Field, PositiveInt

from tunesmith.core.config import Schema, argument

Role = Literal["admin", "member", "read-only"]
NAME = r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,62}$"
"""Organisations and projects stand in headers and in the names of models."""


class OfStore(Schema):
    """Which server's keys."""

    database: str | None = None
    """URL of the server's database; default is the workspace's SQLite file, as `tunesmith serve` has it."""


class CreateKeyConfig(OfStore):
    """Make an API key; it is shown once, and only its hash is kept."""

    name: str = argument(min_length=1, max_length=200)
    """What you will know it by."""
    organization: str = Field("org-local", pattern=NAME)
    """The organisation it belongs to: it stands in the names of models."""
    project: str = Field("proj_default", pattern=NAME)
    """The project whose files, jobs and models it sees, and no other's."""
    role: Role = "member"
    """read-only lists and looks; member also uploads, trains and asks; admin also deletes models and reads
    /metrics."""
    requests_per_minute: PositiveInt | None = None
    """Requests in a minute; more are refused with status 429.  Default is no limit."""
    storage_mb: float | None = Field(None, gt=0)
    """What the project's files may take before this key can upload no more.  Default is no limit."""
    jobs: PositiveInt | None = None
    """Fine-tuning jobs of this key that run at the same time; more wait.  Default is the server's limit."""


class ListKeysConfig(OfStore):
    """The keys that were made, without the keys themselves."""


class RevokeKeyConfig(OfStore):
    """Refuse a key from now on; what was made with it stays."""

    key: str = argument()
    """Its id (key_…), as `tunesmith keys list` shows it."""


class KeyFacts(Schema):
    """A key, without the key itself."""

    id: str
    """What it is revoked by."""
    name: str
    """What you know it by."""
    hint: str
    """Its first and last characters."""
    organization: str
    """The organisation it belongs to."""
    project: str
    """The project it sees."""
    role: Role
    """What it may do."""
    requests_per_minute: int | None
    """Requests in a minute; None without a limit."""
    storage_mb: float | None
    """What the project's files may take; None without a limit."""
    jobs: int | None
    """Jobs that run at the same time; None is the server's limit."""
    created_at: int
    """Seconds since 1970."""
    last_used_at: int | None
    """Seconds since 1970, to the minute; None before its first use."""
    revoked_at: int | None
    """Seconds since 1970; None while it works."""


class CreateKeyResult(KeyFacts):
    """A new key."""

    key: str
    """The key: keep it now, it cannot be shown again."""


class ListKeysResult(Schema):
    """All keys, the oldest first."""

    keys: tuple[KeyFacts, ...]
    """Those that were revoked, too."""


class RevokeKeyResult(KeyFacts):
    """A key that is refused from now on."""
