"""Word documents (docx, ECMA-376): headings by style, paragraphs, lists and tables in order."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import docx
from docx.table import Table
from docx.text.paragraph import Paragraph

from tunesmith.core.errors import DataError
from tunesmith.core.formats.containers.zipped import members
from tunesmith.data.documents.blocks import Block, Document, Unreadable, table

NAMESPACE = "{http://schemas.openxmlformats.org/wordprocessingml/2006/main}"
FALLBACK = "{http://schemas.openxmlformats.org/markup-compatibility/2006}Fallback"
HEADING = re.compile(r"[Hh]eading ?([1-9])")
BREAKS = {f"{NAMESPACE}tab": "\t", f"{NAMESPACE}br": "\n", f"{NAMESPACE}cr": "\n"}
WRAPPERS = frozenset(f"{NAMESPACE}{name}" for name in ("sdt", "sdtContent", "customXml", "ins", "moveTo"))
"""Elements around whole paragraphs and tables."""
NOT_READ = {"footnotes": "footnotes", "endnotes": "endnotes", "comments": "comments"}


def read_word(path: Path) -> Document:
    """The body of a document.  Raises Unreadable when it is broken."""
    try:
        names = members(path)
    except DataError as error:
        raise Unreadable(f"{error.what} ({error.value})") from None
    try:
        body = docx.Document(str(path))
        blocks = list(body_blocks(body))
    except Exception as error:  # whatever a broken archive or XML makes python-docx and lxml raise
        raise Unreadable(f"not readable as a Word document ({error})") from None
    remarks = [f"{word} are not read" for part, word in NOT_READ.items() if f"word/{part}.xml" in names]
    return Document(blocks, remarks=remarks)


def body_blocks(body: Any) -> Iterator[Block]:
    """Blocks in order."""
    for entry in contents(body.element.body, body):
        if isinstance(entry, Paragraph):
            if text := paragraph_text(entry).strip():
                yield paragraph_block(entry, text)
        else:
            rows = [unmerged(row) for row in entry.rows]
            if any(cell.strip() for row in rows for cell in row):
                yield Block("lines", table(rows))


def contents(element: Any, parent: Any) -> Iterator[Paragraph | Table]:
    """Paragraphs and tables of an element, in order.

    python-docx's own walk leaves out what stands in content controls and custom XML (ECMA-376, 17.5.2).
    """
    for node in element:
        if node.tag == f"{NAMESPACE}p":
            yield Paragraph(node, parent)
        elif node.tag == f"{NAMESPACE}tbl":
            yield Table(node, parent)
        elif node.tag in WRAPPERS:
            yield from contents(node, parent)


def paragraph_block(entry: Paragraph, text: str) -> Block:
    """What a paragraph is, by its style."""
    style = entry.style
    name = (style.name if style is not None else None) or ""
    identity = (style.style_id if style is not None else None) or ""
    found = HEADING.match(name) or HEADING.match(identity)
    if found or name == "Title":
        return Block("heading", " ".join(text.split()), min(6, int(found[1])) if found else 1)
    if name.startswith("List"):
        return Block("lines", f"- {text}")
    return Block("paragraph", text)


def paragraph_text(entry: Any) -> str:
    """Every text of a paragraph: links, text boxes and insertions too, deletions not.

    python-docx's own `text` leaves out what tracked changes inserted.
    """
    pieces: list[str] = []
    skipped: list[Any] = []
    for node in entry._p.iter():  # the element is python-docx's documented way to its XML
        if node.tag in (f"{NAMESPACE}del", f"{NAMESPACE}moveFrom", FALLBACK):
            skipped.append(node)
        elif node.tag == f"{NAMESPACE}t" or node.tag in BREAKS:
            if skipped and any(parent in skipped for parent in node.iterancestors()):
                continue
            pieces.append(BREAKS.get(node.tag) or node.text or "")
    return "".join(pieces)


def unmerged(row: Any) -> list[str]:
    """Cells of a row; a merged cell, which python-docx gives again for each column, once."""
    cells, before = [], None
    for cell in row.cells:
        if cell._tc is not before:
            cells.append("\n".join(texts_of(cell._tc, cell)))
        before = cell._tc
    return cells


def texts_of(element: Any, parent: Any) -> Iterator[str]:
    """Texts of a cell; a table inside it, cell by cell."""
    for entry in contents(element, parent):
        if isinstance(entry, Paragraph):
            yield paragraph_text(entry)
        else:
            yield from (text for row in entry.rows for text in unmerged(row))
