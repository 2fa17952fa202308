"""Cuts a document into chunks on its structure: headings, else paragraphs, else sentences, else words."""

import re
from collections.abc import Callable, Iterator
from typing import NamedTuple

from tunesmith.data.documents.blocks import Block

Count = Callable[[str], int]

IDEOGRAPH = "\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uac00-\ud7af\uf900-\ufaff"
WORD = re.compile(rf"[{IDEOGRAPH}]|[^\s{IDEOGRAPH}]+")
"""Between white spaces; where a script has none (Chinese, Japanese), each character counts as a word."""

PARAGRAPH = re.compile(r"\n[ \t]*\n\s*")
LINE = re.compile(r"\n")
BEFORE_WORD = re.compile(rf"\s+|(?<=[{IDEOGRAPH}])|(?=[{IDEOGRAPH}])")
SENTENCE = re.compile(r"(?<=[.!?…])[\"'”’»)\]]*\s+(?=[^\s\da-zà-ÿ])|(?<=[。！？])")
"""A full stop before white space and no small letter: 'e.g. this' stays whole, 'Dr. Smith' does not."""


class Chunk(NamedTuple):
    """Text that goes into one row."""

    text: str
    headings: tuple[str, ...]
    """Headings above its first line, the outermost first."""
    first_page: int | None
    last_page: int | None
    size: int
    """In the unit that was counted."""


class Unit(NamedTuple):
    """A piece that stays whole unless it is itself too long."""

    text: str
    headings: tuple[str, ...]
    page: int | None
    has_lines: bool
    """A table, a list or code: cut between lines, not between sentences."""
    joint: str
    """What stands between it and the piece before it in the same chunk."""
    cuts_words: bool = False
    """The first words of a sentence that is too long for a chunk."""


def count_words(text: str) -> int:
    """How many words a text has."""
    return sum(1 for _ in WORD.finditer(text))


def chunks(blocks: list[Block], limit: int, count: Count) -> Iterator[Chunk]:
    """Chunks of at most `limit` as `count` counts, except where one word is longer.

    Sections are kept together while they fit; a heading is never the last line of a chunk.
    """
    waiting: list[Unit] = []
    for section in sections(blocks):
        if waiting and count(joined([*waiting, *section])) <= limit:
            waiting += section
            continue
        if waiting:
            yield made(waiting, count)
        waiting = []
        if count(joined(section)) <= limit:
            waiting = section
        else:
            *full, waiting = list(packed(section, limit, count))
            yield from (made(units, count) for units in full)
    if waiting:
        yield made(waiting, count)


def sections(blocks: list[Block]) -> Iterator[list[Unit]]:
    """Runs of blocks under one heading; each heading is glued to the block after it."""
    path: list[tuple[int, str]] = []
    section: list[Unit] = []
    glue: list[str] = []
    for block in blocks:
        if block.kind in ("heading", "mark"):
            if section:
                yield section
                section = []
            path = [entry for entry in path if entry[0] < block.level] + [(block.level, block.text)]
            if block.kind == "heading":
                glue.append(f"{'#' * block.level} {block.text}")
            continue
        text = "\n\n".join([*glue, block.text])
        glue = []
        section.append(
            Unit(text, tuple(title for _, title in path), block.page, block.kind == "lines", "\n\n")
        )
    if glue:
        section.append(Unit("\n\n".join(glue), tuple(title for _, title in path), None, False, "\n\n"))
    if section:
        yield section


def packed(section: list[Unit], limit: int, count: Count) -> Iterator[list[Unit]]:
    """Units of a section that is too long, put together as far as they fit."""
    waiting: list[Unit] = []
    for unit in section:
        for piece in pieces(unit, limit, count):
            is_full = bool(waiting) and count(joined([*waiting, piece])) > limit
            # a sentence that has to be cut anyway does not lend its first words to what stands before it
            if is_full or (piece.cuts_words and 2 * count(joined(waiting)) >= limit):
                yield waiting
                waiting = []
            waiting.append(piece)
    if waiting:
        yield waiting


def pieces(unit: Unit, limit: int, count: Count) -> Iterator[Unit]:
    """A unit, cut by the first of paragraphs, lines or sentences, and words that makes it short enough.

    What stands between two parts stays with the first, so that nothing is lost where they meet again.
    """
    if count(unit.text) <= limit:
        yield unit
        return
    for cut in (PARAGRAPH, LINE if unit.has_lines else SENTENCE, BEFORE_WORD):
        parts = cut_at(cut, unit.text)
        if len(parts) > 1:
            for number, part in enumerate(parts):
                joint = unit.joint if number == 0 else ""
                cuts_words = cut is BEFORE_WORD and number == 0
                part_unit = unit._replace(text=part, joint=joint, cuts_words=cuts_words)
                yield from pieces(part_unit, limit, count)
            return
    yield unit  # one word, which is never cut


def cut_at(pattern: re.Pattern[str], text: str) -> list[str]:
    """Parts of a text that end where the pattern does; none is only white space."""
    ends = [found.end() for found in pattern.finditer(text)]
    parts = [text[start:end] for start, end in zip([0, *ends], [*ends, len(text)], strict=True)]
    found: list[str] = []
    for part in parts:
        if part.strip() and (not found or found[-1].strip()):
            found.append(part)
        elif found:
            found[-1] += part
        elif part:
            found.append(part)
    return found


def joined(units: list[Unit]) -> str:
    """Units as one text."""
    parts = [unit.joint + unit.text for unit in units]
    return "".join(parts).strip()


def made(units: list[Unit], count: Count) -> Chunk:
    """Units as a chunk."""
    text = joined(units)
    pages = [unit.page for unit in units if unit.page is not None]
    return Chunk(text, units[0].headings, min(pages, default=None), max(pages, default=None), count(text))
