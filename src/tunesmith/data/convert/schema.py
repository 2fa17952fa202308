"""What `tunesmith data convert` takes and gives."""

from pathlib import Path
from typing import Literal

from pydantic import Field

from tunesmith.core.config import Schema, argument


class ConvertConfig(Schema):
    """Rows of one layout to another.  Each written row is read again and has to be the same example."""

    source: Path = argument()
    """File, data-set folder of another tool, or hub id: whatever `data prepare` reads."""
    to: str = Field()
    """Layout to write: openai-chat, sharegpt, alpaca, preference, kto … (an unknown name lists all)."""
    out: Path | None = None
    """File to write: .jsonl, .csv or .parquet, by its ending; it must not exist yet."""
    shape: str | None = None
    """Layout of the source, or `mixed`; found out by its content when not given."""
    mapping: Path | None = None
    """YAML file that says which columns of the source mean what."""
    fix: bool = False
    """Mend mechanically what would be refused; each repair is counted."""
    take: Literal["all", "chosen"] = "all"
    """chosen: of a pair only the better answer, of rated rows only the wanted ones (the rest is left out)."""
    reasoning: Literal["apart", "content"] = "apart"
    """content: write reasoning into the answer, between <think> and </think>."""
    leave_out: bool = False
    """Go on without rows that cannot be read or written; they are listed in FILE.rejects.jsonl."""


class ConvertResult(Schema):
    """A file of rows."""

    file: Path
    """The file."""
    rows: int
    """Rows read."""
    written: int
    """Rows written."""
    changed: int
    """Written rows that were not read quite as they stood."""
    left_out: int
    """Rows that are not in the file (FILE.rejects.jsonl)."""
    reasons: dict[str, int]
    """Why, and how many."""
    changes: dict[str, int]
    """What was changed, and in how many rows."""
    layout: str
    """How the source was read, and the evidence."""
    to: str
    """The layout that was written."""
