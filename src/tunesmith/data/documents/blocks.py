"""What a document is made of, whatever file it came in."""

from dataclasses import dataclass, field
from typing import Literal, NamedTuple

Kind = Literal["heading", "paragraph", "lines", "mark"]


class Block(NamedTuple):
    """A heading, a paragraph, lines that stay lines (tables, code), or a mark."""

    kind: Kind
    text: str
    level: int = 0
    """Of a heading or mark, from 1."""
    page: int | None = None
    """Page of a PDF, from 1.  A mark is a heading that stands elsewhere in the text: it only names what
    follows, as the bookmarks of a PDF do."""


@dataclass
class Document:
    """A document that was read."""

    blocks: list[Block]
    pages: int = 0
    pages_without_text: list[int] = field(default_factory=list)
    remarks: list[str] = field(default_factory=list)
    """What was changed or left out, in words."""


class Unreadable(Exception):
    """A document cannot be read; the message says why and what to do."""


def table(rows: list[list[str]]) -> str:
    """Cells as a Markdown table; a bar in a cell is escaped, a line break becomes a space."""
    width = max(map(len, rows))
    cleaned = [[" ".join(cell.split()).replace("|", "\\|") for cell in row] for row in rows]
    lines = ["| " + " | ".join(row + [""] * (width - len(row))) + " |" for row in cleaned]
    return "\n".join([lines[0], "|" + " --- |" * width, *lines[1:]])
