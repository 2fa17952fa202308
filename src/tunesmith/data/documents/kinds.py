"""Which reader a document takes: by its first bytes, then by its name."""

from collections.abc import Callable
from pathlib import Path

from tunesmith.core.errors import DataError
from tunesmith.core.formats.containers.encoding import BOM_UTF8
from tunesmith.core.formats.containers.zipped import members
from tunesmith.data.documents.blocks import Document, Unreadable

HEAD_BYTES = 2048
NAMES = {
    ".txt": "text", ".text": "text", ".md": "markdown", ".markdown": "markdown",
    ".html": "html", ".htm": "html", ".xhtml": "html", ".docx": "word", ".pdf": "pdf",
}  # fmt: skip
"""Endings of documents; in a folder, other files are passed over."""


def read_document(path: Path) -> Document:
    """Read a document.  Raises Unreadable saying why it cannot be read, or that it is empty."""
    found = READERS[kind_of(path)](path)
    if not any(block.text.strip() for block in found.blocks if block.kind != "mark"):
        raise Unreadable("no text in it")
    return found


def kind_of(path: Path) -> str:
    """The kind of a document.  Raises Unreadable when it is none."""
    with path.open("rb") as file:
        head = file.read(HEAD_BYTES)
    if not head:
        raise Unreadable("an empty file")
    if b"%PDF-" in head[:1024]:
        return "pdf"
    if head.startswith(b"PK\x03\x04"):
        return zip_kind(path)
    if head.startswith(b"\xd0\xcf\x11\xe0"):
        raise Unreadable("an old .doc, or encrypted: save it as .docx without a password")
    if head.startswith(b"{\\rtf"):
        raise Unreadable("rich text: save it as .docx")
    named = NAMES.get(path.suffix.lower(), "text")
    if head.removeprefix(BOM_UTF8).lstrip()[:15].lower().startswith((b"<!doctype html", b"<html")):
        return "html"
    if named in ("word", "pdf"):
        raise Unreadable(f"it is no {path.suffix} file: its first bytes are of another kind")
    return named


def zip_kind(path: Path) -> str:
    """Word, or what else is in the archive."""
    try:
        names = members(path)
    except DataError as error:
        raise Unreadable(f"{error.what} ({error.value})") from None
    if "word/document.xml" in names:
        return "word"
    if "xl/workbook.xml" in names:
        raise Unreadable("a workbook, not a document: tunesmith data prepare FILE")
    raise Unreadable("a zip archive: unpack it first")


def read_text(path: Path) -> Document:
    """Plain text."""
    from tunesmith.data.documents.plain import read_plain

    return read_plain(path)


def read_markdown(path: Path) -> Document:
    """Markdown."""
    from tunesmith.data.documents.plain import read_markdown as read

    return read(path)


def read_html(path: Path) -> Document:
    """HTML."""
    from tunesmith.data.documents.web import read_html as read

    return read(path)


def read_word(path: Path) -> Document:
    """Word; python-docx is loaded when one is read."""
    from tunesmith.data.documents.word import read_word as read

    return read(path)


def read_pdf(path: Path) -> Document:
    """PDF; pypdf is loaded when one is read."""
    from tunesmith.data.documents.pdf import read_pdf as read

    return read(path)


READERS: dict[str, Callable[[Path], Document]] = {
    "text": read_text,
    "markdown": read_markdown,
    "html": read_html,
    "word": read_word,
    "pdf": read_pdf,
}
"""A reader for each kind of document."""
