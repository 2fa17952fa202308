"""Plain text and Markdown (CommonMark's headings, fences and tables)."""

import codecs
import re
from pathlib import Path

from tunesmith.core.formats.containers.encoding import wide_encoding
from tunesmith.data.documents.blocks import Block, Document, Unreadable

MAX_BYTES = 256 << 20
"""A larger text is no document."""

HEADING = re.compile(r" {0,3}(#{1,6})(?:[ \t]+(.*?))?(?:[ \t]+#+)?[ \t]*$")
UNDERLINE = re.compile(r" {0,3}(=+|-+)[ \t]*$")
FENCE = re.compile(r" {0,3}(`{3,}|~{3,})")
LISTED = re.compile(r" {0,3}(?:[-*+]|\d+[.)])[ \t]|\||>| {4}|\t")


def read_plain(path: Path) -> Document:
    """Paragraphs of a text: what stands between empty lines."""
    text, remarks = decoded(path)
    paragraphs = re.split(r"\n[ \t]*(?:\n[ \t]*)+|\f", text)
    blocks = [Block("paragraph", part.strip("\n")) for part in paragraphs if part.strip()]
    return Document(blocks, remarks=remarks)


def decoded(path: Path) -> tuple[str, list[str]]:
    """Text of a file, in UTF-8, UTF-16 or Windows-1252; every line end becomes a line feed.

    Raises Unreadable when it is none of them, or binary.
    """
    if path.stat().st_size > MAX_BYTES:
        raise Unreadable(f"larger than {MAX_BYTES >> 20} MiB")
    content, remarks = path.read_bytes(), []
    if (wide := wide_encoding(content)) is not None:
        try:
            text = content[len(wide.mark) :].decode(wide.codec)
        except UnicodeDecodeError:
            raise Unreadable("a broken UTF-16 text") from None
        remarks.append(f"read as {wide.codec[:6].upper()}")
    elif b"\0" in content:
        raise Unreadable("a binary file, not text")
    else:
        try:
            text = content.removeprefix(codecs.BOM_UTF8).decode("utf-8")
        except UnicodeDecodeError:
            try:
                text = content.decode("cp1252")
            except UnicodeDecodeError:
                raise Unreadable("neither UTF-8 nor Windows-1252: write it again as UTF-8") from None
            remarks.append("read as Windows-1252")
    return text.replace("\r\n", "\n").replace("\r", "\n"), remarks


def read_markdown(path: Path) -> Document:
    """Headings, paragraphs, lists, tables and code of a Markdown text."""
    text, remarks = decoded(path)
    lines = text.split("\n")
    if lines[0].rstrip() == "---" and "---" in (rest := [line.rstrip() for line in lines[1:]]):
        end = rest.index("---") + 2
        remarks.append(f"{end} lines of front matter left out")
        lines = lines[end:]
    return Document(list(markdown_blocks(lines)), remarks=remarks)


def markdown_blocks(lines: list[str]) -> list[Block]:
    """Blocks of Markdown lines."""
    blocks: list[Block] = []
    waiting: list[str] = []
    fence = ""

    def flush() -> None:
        text = "\n".join(waiting).strip("\n")
        if text.strip():
            blocks.append(
                Block("lines" if LISTED.match(waiting[0]) or FENCE.match(text) else "paragraph", text)
            )
        waiting.clear()

    for line in lines:
        mark = FENCE.match(line)
        if fence:
            waiting.append(line)
            if mark and mark[1].startswith(fence) and not line.strip(" `~"):
                fence = ""
                flush()
        elif mark:
            flush()
            fence = mark[1]
            waiting.append(line)
        elif heading := HEADING.match(line):
            flush()
            if title := (heading[2] or "").strip():
                blocks.append(Block("heading", title, len(heading[1])))
        elif (under := UNDERLINE.match(line)) and waiting and not LISTED.match(waiting[0]):
            title = " ".join(part.strip() for part in waiting)
            waiting.clear()
            blocks.append(Block("heading", title, 1 if under[1][0] == "=" else 2))
        elif line.strip():
            waiting.append(line)
        else:
            flush()
    flush()
    return blocks
