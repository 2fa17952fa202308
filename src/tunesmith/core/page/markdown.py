"""Texts of others inside GitHub Markdown: shown as they are, never as markup.

Values come from models and files.  In running text and cells they are escaped; what a model said stands in
code spans, inside which GitHub looks for no mention, link or issue number either.
Source: GitHub Flavored Markdown Spec 0.29.
"""

import re
from collections.abc import Iterable, Sequence

from markupsafe import Markup

from tunesmith.core.page.diff import clipped

LONGEST_CODE = 300
"""Characters of a text that a code span shows: a row of a table should stay one."""
PLAIN = re.compile(r"[\\`*_\[\]|~]")
ENTITIES = {"&": "&amp;", "<": "&lt;", ">": "&gt;", "$": "<span>$</span>"}
"""A dollar sign begins a formula on GitHub, and no backslash stops it."""
STARTS_BLOCK = re.compile(r"^(\d*)((?<=\d)[.)](?= |$)|(?<!\d)(?:[+-](?= |$)|-(?=-)|=(?=[= ]|$)|#(?=[# ]|$)))")
"""A heading, a list or the line under a heading: a sign alone, and not that of a number."""
LINKED = re.compile(r"(?<=[@#])(?=\w)|(?<=:)(?=//)|(?<=www)(?=\.)", re.IGNORECASE)
"""Where a mention, an issue number or an address would become a link."""
BREAKS = re.compile(r"\r\n|[\r\n\u2028\u2029]")
CONTROLS = re.compile(r"[\x00-\x1f\x7f-\x9f]")
SPACES = re.compile(r"[ \x00-\x1f\x7f-\x9f\u2028\u2029]+")
TICKS = re.compile(r"`+")


def text(value: str) -> Markup:
    """A value in a paragraph, list or table cell, on one line."""
    line = SPACES.sub(" ", value).strip(" ")
    safe = PLAIN.sub(lambda found: f"\\{found[0]}", line)
    safe = "".join(ENTITIES.get(letter, letter) for letter in safe)
    safe = STARTS_BLOCK.sub(lambda found: f"{found[1]}&#{ord(found[2])};", LINKED.sub("<!-- -->", safe))
    return Markup(safe)  # noqa: S704  escaped above


def code(value: str, *, cell: bool = False) -> Markup:
    """A value in a code span, in a table `cell` or elsewhere; line ends are shown as arrows."""
    line = CONTROLS.sub(
        "\N{REPLACEMENT CHARACTER}", BREAKS.sub("↵", clipped(value, LONGEST_CODE)).replace("\t", "→")
    )
    if not line.strip(" "):
        return Markup("*nothing*")
    fence = "`" * (1 + longest(TICKS.findall(line)))
    pad = " " if line[0] in "` " or line[-1] in "` " else ""
    span = f"{fence}{pad}{line}{pad}{fence}"
    return Markup(span.replace("|", "\\|") if cell else span)  # noqa: S704  shown as it is


def fenced(value: str, language: str = "") -> Markup:
    """Lines in a code block."""
    fence = "`" * max(3, 1 + longest(TICKS.findall(value)))
    return Markup(f"{fence}{language}\n{value}\n{fence}")  # noqa: S704  a code block shows everything as it is


def longest(runs: list[str]) -> int:
    """Length of the longest of some texts."""
    return max(map(len, runs), default=0)


def safe(value: str) -> Markup:
    """A value as it is when it is Markdown already, escaped otherwise."""
    return value if isinstance(value, Markup) else text(value)


def bold(value: str) -> Markup:
    """A value that stands out."""
    return Markup(f"**{safe(value)}**")  # noqa: S704  escaped


def joined(*parts: str) -> Markup:
    """Pieces of a line, each escaped unless it is Markdown already, with a space between them."""
    return Markup(" ".join(safe(part) for part in parts if part))  # noqa: S704  escaped


def heading(level: int, value: str) -> Markup:
    """A heading."""
    return Markup(f"{'#' * level} {safe(value)}")  # noqa: S704  escaped


def bullets(values: Iterable[str]) -> Markup:
    """A list, an item a line."""
    return Markup("\n".join(f"- {safe(value)}" for value in values))  # noqa: S704  escaped


def table(head: Sequence[str], rows: Iterable[Sequence[str]], *, words: int = 1) -> Markup:
    """A table: the first `words` columns stand left, the others, numbers, right."""
    sides = ["---" if place < words else "---:" for place in range(len(head))]
    lines = [[safe(cell) for cell in row] for row in (head, *rows)]
    lines.insert(1, [Markup(side) for side in sides])  # noqa: S704  our own
    return Markup("\n".join(f"| {' | '.join(line)} |" for line in lines))  # noqa: S704  escaped


def page(blocks: Iterable[str]) -> str:
    """Blocks with an empty line between them; empty blocks are left out."""
    return "\n\n".join(str(safe(block)) for block in blocks if block) + "\n"
