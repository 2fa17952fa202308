"""General English prose in the public domain, out of the test files of the Brotli source distribution (MIT).

A novel (Lewis Carroll, Alice's Adventures in Wonderland, 1865) and the proceedings of a workshop (Library of
Congress, Workshop on Electronic Texts, 1992, a work of the United States government).  To measure what a
fine-tune forgets, to replay while it learns, and to try continued pre-training on.
"""

import re
from collections.abc import Iterator
from typing import Any, Final, NamedTuple

from tunesmith.core.errors import DataError
from tunesmith.core.packages import Package

PACKAGE = Package(
    name="brotli",
    version="1.2.1",
    kind="sdist",
    file_name="brotli-1.2.1.tar.gz",
    sha256="02b2f7b5a83485efe448a44ddf7983def05c3bb1dcf917d4f7154070260e13de",
    licence="MIT",
)


class Book(NamedTuple):
    """One text file, and the paragraphs between which its prose stands."""

    title: str
    member: str
    first: str
    """Beginning of the first paragraph of prose."""
    end: str
    """Beginning of the first paragraph behind it."""


BOOKS: Final = (
    Book(
        "alice",
        "brotli-1.2.1/tests/testdata/alice29.txt",
        first="Alice was beginning to get very tired",
        end="THE END",
    ),
    Book(
        "workshop",
        "brotli-1.2.1/tests/testdata/lcet10.txt",
        first="The Workshop on Electronic Texts (1) drew together",
        end="Appendix I: PROGRAM",
    ),
)
PASSAGE_CHARACTERS: Final = 1200
"""Paragraphs are joined up to this: about 300 tokens, a passage with a beginning and an end."""
PROSE_ENDS_WITH: Final = tuple(".!?:;,'\")]-*")
"""A paragraph that ends otherwise is a heading or a name."""


class Passages(NamedTuple):
    """The passages of a book, and the paragraphs that were left out."""

    rows: list[dict[str, Any]]
    paragraphs: int
    left_out: list[str]


def passages(content: bytes, book: Book) -> Passages:
    """Rows of plain text: consecutive paragraphs, lines joined, up to about 1,200 characters each.

    Raises DataError when the file is not the book that is expected.
    """
    found = list(paragraphs(content.decode("latin-1")))
    begin, end = (place_of(mark, found, book) for mark in (book.first, book.end))
    rows, left_out = [], [*found[:begin], *found[end:]]
    waiting: list[str] = []
    for text in found[begin:end]:
        if not text.endswith(PROSE_ENDS_WITH):
            left_out.append(text)
            continue
        waiting.append(text)
        if sum(map(len, waiting)) >= PASSAGE_CHARACTERS:
            rows.append(row_of(waiting, book))
            waiting = []
    if waiting:
        rows.append(row_of(waiting, book))
    return Passages(rows, len(found), left_out)


def row_of(waiting: list[str], book: Book) -> dict[str, Any]:
    """One passage as a row of plain text."""
    return {"text": "\n\n".join(waiting), "metadata": {"book": book.title}}


def place_of(mark: str, found: list[str], book: Book) -> int:
    """Where the paragraph stands that begins with `mark`."""
    place = next((at for at, text in enumerate(found) if text.startswith(mark)), None)
    if place is None:
        raise DataError("the text is not the book that was expected", value=mark, where=book.member)
    return place


def paragraphs(text: str) -> Iterator[str]:
    """What stands between empty lines or begins with an indent, its lines joined."""
    for block in re.split(r"\n\s*\n|\n(?=  \w|  `)", text.replace("\r\n", "\n")):
        joined = " ".join(block.split())
        if joined:
            yield joined
