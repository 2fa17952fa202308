"""HTML: headings, paragraphs, lists, tables and preformatted text, without scripts and menus."""

import logging
import re
import warnings
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from bs4 import BeautifulSoup, Tag
from bs4.builder import ParserRejectedMarkup
from bs4.element import NavigableString, PreformattedString

from tunesmith.data.documents.blocks import Block, Document, Unreadable, table

MAX_BYTES = 64 << 20
MAX_DEPTH = 1000
"""Elements inside each other; browsers stop at 512."""

LEFT_OUT = ("script", "style", "noscript", "template", "iframe", "svg", "nav", "select", "button")
INLINE = frozenset(
    {"a", "abbr", "acronym", "b", "bdi", "bdo", "big", "cite", "code", "data", "del", "dfn", "em", "font"}
    | {"i", "ins", "kbd", "label", "mark", "q", "ruby", "rp", "rt", "s", "samp", "small", "span", "strike"}
    | {"strong", "sub", "sup", "time", "tt", "u", "var", "wbr"}
)
HEADING = re.compile(r"h[1-6]")


def read_html(path: Path) -> Document:
    """The text of a page.  Raises Unreadable when it is no page."""
    if path.stat().st_size > MAX_BYTES:
        raise Unreadable(f"larger than {MAX_BYTES >> 20} MiB")
    content = path.read_bytes()
    try:
        with quiet():
            soup = BeautifulSoup(content, "html.parser")
    except (ParserRejectedMarkup, AssertionError, RecursionError) as error:
        raise Unreadable(f"not readable as HTML ({error})") from None
    encoding = (soup.original_encoding or "utf-8").lower()
    remarks = [] if encoding in ("utf-8", "ascii") else [f"read as {encoding}"]
    if soup.contains_replacement_characters:
        remarks.append("some bytes are no text in that encoding: they became �")
    gone: Counter[str] = Counter()
    for tag in soup.find_all(LEFT_OUT):
        gone[tag.name] += 1
        tag.extract()
    if gone:
        remarks.append("left out: " + ", ".join(f"{count} {name}" for name, count in sorted(gone.items())))
    for tag in soup.find_all("br"):
        tag.replace_with("\n")
    return Document(blocks_of(soup), remarks=remarks)


@contextmanager
def quiet() -> Iterator[None]:
    """bs4 warns and logs about odd pages; what matters to the reader is a remark of ours."""
    logger = logging.getLogger("bs4.dammit")
    before = logger.level
    logger.setLevel(logging.CRITICAL)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(before)


def blocks_of(soup: BeautifulSoup) -> list[Block]:
    """Blocks in the order of the page: texts of one block element belong together."""
    blocks: list[Block] = []
    holder: Tag | None = None
    waiting: list[str] = []
    done_tables: set[int] = set()
    for text in soup.find_all(string=True):
        if isinstance(text, PreformattedString) or not isinstance(text, NavigableString):
            continue  # comments, doctypes, processing instructions
        block, outer_table = block_of(text)
        if block is not holder and holder is not None:
            add_block(blocks, holder, waiting)
            waiting = []
        if outer_table is not None:
            holder = None
            if id(outer_table) not in done_tables:
                done_tables.add(id(outer_table))
                add_table(blocks, outer_table)
            continue
        holder = block
        waiting.append(str(text))
    if holder is not None:
        add_block(blocks, holder, waiting)
    return blocks


def block_of(text: NavigableString) -> tuple[Tag, Tag | None]:
    """The nearest element around a text that is no inline one, and the outermost table around it."""
    block: Tag | None = None
    outer_table: Tag | None = None
    for depth, parent in enumerate(text.parents):
        if depth > MAX_DEPTH:
            raise Unreadable(f"elements inside each other, deeper than {MAX_DEPTH} levels")
        if block is None and parent.name not in INLINE:
            block = parent
        if parent.name == "table":
            outer_table = parent
    assert block is not None  # the document itself is none of the inline elements
    return block, outer_table


def add_block(blocks: list[Block], holder: Tag, texts: list[str]) -> None:
    """A block of one element's text."""
    text = "".join(texts)
    if not text.strip():
        return
    if holder.name == "pre":
        blocks.append(Block("lines", text.strip("\n")))
        return
    lines = [" ".join(line.split()) for line in text.split("\n")] if "\n" in text else [text]
    text = " ".join(" ".join(lines).split())
    if HEADING.fullmatch(holder.name):
        blocks.append(Block("heading", text, int(holder.name[1])))
    elif holder.name == "title":
        blocks.append(Block("mark", text, 1))
    elif holder.name in ("li", "dd"):
        blocks.append(Block("lines", f"- {text}"))
    else:
        blocks.append(Block("paragraph", text))


def add_table(blocks: list[Block], outer: Tag) -> None:
    """A table as Markdown; one of a single column is layout, and its cells are paragraphs."""
    if (caption := outer.find("caption")) is not None and caption.parent is outer:
        add_block(blocks, caption, [caption.get_text(" ")])
    rows = []
    for row in outer.find_all("tr"):
        if row.find_parent("table") is outer:
            cells = row.find_all(["td", "th"], recursive=False)
            rows.append([" ".join(cell.get_text(" ").split()) for cell in cells])
    rows = [row for row in rows if any(row)]
    if rows and max(map(len, rows)) > 1:
        blocks.append(Block("lines", table(rows)))
    else:
        text = " ".join(outer.get_text(" ").split())
        blocks += [Block("paragraph", cell) for row in rows for cell in row] or (
            [Block("paragraph", text)] if text else []
        )
