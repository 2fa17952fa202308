"""PDF with a text layer: the text of each page, its bookmarks as headings."""

import logging
import re
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from pypdf import PdfReader

from tunesmith.data.documents.blocks import Block, Document, Unreadable

MAX_BYTES = 512 << 20
FULL_LINE = 0.6
"""A line at least this long, against the page's longest, was broken by the page and not by its writer."""

HYPHENATED = re.compile(r"[^\W\d_]-$")


def read_pdf(path: Path) -> Document:
    """Paragraphs of every page.  Raises Unreadable when it is encrypted, broken, or has no text at all."""
    if path.stat().st_size > MAX_BYTES:
        raise Unreadable(f"larger than {MAX_BYTES >> 20} MiB")
    with quiet():
        try:
            reader = PdfReader(path)
            locked = is_locked(reader)
            pages = [] if locked else [page.extract_text() or "" for page in reader.pages]
            marks = {} if locked else bookmarks(reader)
        except Exception as error:  # whatever a broken file makes pypdf raise: it has no one error for it
            raise Unreadable(f"not readable as a PDF ({first_line(error)})") from None
    if locked:
        raise Unreadable("encrypted: save a copy without a password")
    empty = [number for number, text in enumerate(pages, start=1) if not text.strip()]
    if len(empty) == len(pages):
        raise Unreadable(
            "no page has a text layer: it is scanned; run a text recognition (OCR) over it first"
        )
    blocks: list[Block] = []
    for number, text in enumerate(pages, start=1):
        blocks += [Block("mark", title, level, number) for level, title in marks.get(number, ())]
        blocks += [Block("paragraph", part, page=number) for part in paragraphs(text)]
    remarks = [f"pages without text: {', '.join(map(str, empty))}"] if empty else []
    return Document(blocks, len(pages), empty, remarks)


def first_line(error: BaseException) -> str:
    """The first line of an error."""
    return (str(error).strip() or type(error).__name__).splitlines()[0][:200]


@contextmanager
def quiet() -> Iterator[None]:
    """Pypdf logs every oddity of a file; what matters to the reader is said by us."""
    logger = logging.getLogger("pypdf")
    before = logger.level
    logger.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        logger.setLevel(before)


def is_locked(reader: PdfReader) -> bool:
    """Whether it needs a password; many are encrypted with an empty one."""
    return reader.is_encrypted and not reader.decrypt("")


def bookmarks(reader: PdfReader) -> dict[int, list[tuple[int, str]]]:
    """Page → (level, title) of the bookmarks that lead to it."""
    found: dict[int, list[tuple[int, str]]] = defaultdict(list)
    waiting: list[tuple[int, Any]] = [(1, entry) for entry in reversed(reader.outline)]
    while waiting:
        level, entry = waiting.pop()
        if isinstance(entry, list):
            waiting += [(level + 1, below) for below in reversed(entry)]
            continue
        number = reader.get_destination_page_number(entry)
        title = " ".join(str(entry.title or "").split())
        if number is not None and number >= 0 and title:
            found[number + 1].append((min(6, level), title))
    return found


def paragraphs(text: str) -> list[str]:
    """Lines joined to paragraphs: a full line goes on in the next, a word cut at its end is joined."""
    lines = [line.strip() for line in text.replace("\r", "\n").split("\n")]
    longest = max(map(len, lines))
    found: list[str] = []
    is_open = False
    for line in lines:
        if not line:
            is_open = False
            continue
        if not is_open:
            found.append(line)
        elif HYPHENATED.search(found[-1]) and line[0].islower():
            found[-1] = found[-1][:-1] + line
        else:
            found[-1] += " " + line
        is_open = len(line) >= FULL_LINE * longest
    return found
