"""How API keys look in a terminal."""

from datetime import UTC, datetime

from rich.console import Console
from rich.table import Table

from tunesmith.api.keys.schema import CreateKeyResult, KeyFacts, ListKeysResult, RevokeKeyResult
from tunesmith.core.progress import counted


def show_created(result: CreateKeyResult, console: Console) -> None:
    """The key, once."""
    console.print(result.key, markup=False, highlight=False, soft_wrap=True)
    console.print(
        f"{result.role} of project {result.project} in {result.organization}; keep the key now: "
        f"only its hash is stored  → tunesmith keys revoke {result.id}",
        markup=False,
        highlight=False,
    )


def show_keys(result: ListKeysResult, console: Console) -> None:
    """A row for each."""
    if not result.keys:
        console.print("no keys yet  → tunesmith keys create NAME")
        return
    table = Table(box=None, pad_edge=False)
    for title in ("id", "key"):
        table.add_column(title, no_wrap=True)  # to be copied
    for title in ("name", "project", "role", "limits", "last used"):
        table.add_column(title, overflow="fold")
    for key in result.keys:
        used = day(key.last_used_at) if key.revoked_at is None else f"revoked {day(key.revoked_at)}"
        table.add_row(key.id, key.hint, key.name, key.project, key.role, limits(key), used)
    console.print(table, markup=False)


def limits(key: KeyFacts) -> str:
    """What the key may take of this machine."""
    parts = []
    if key.requests_per_minute is not None:
        parts.append(f"{key.requests_per_minute:,}/min")
    if key.storage_mb is not None:
        parts.append(f"{key.storage_mb:,g}MB")
    if key.jobs is not None:
        parts.append(counted(key.jobs, "job"))
    return " ".join(parts) or "none"


def day(seconds: int | None) -> str:
    """A date, or never."""
    return "never" if seconds is None else f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%d}"


def show_revoked(result: RevokeKeyResult, console: Console) -> None:
    """What no longer works."""
    console.print(f"{result.id} ({result.name}) is refused from now on", markup=False, highlight=False)
