"""Two texts side by side, word by word."""

import re
from dataclasses import dataclass
from difflib import SequenceMatcher

WORD = re.compile(r"\s+|\w+|[^\w\s]")
LONGEST_TEXT = 1200
"""Characters of a text that are shown and compared; a model that runs on must not fill the page."""


@dataclass(frozen=True, slots=True)
class Piece:
    """Some text, marked when the other side does not have it."""

    text: str
    marked: bool


def clipped(text: str, longest: int = LONGEST_TEXT) -> str:
    """The start of a long text, and how much was left out."""
    if len(text) <= longest:
        return text
    return f"{text[:longest]} … {len(text) - longest} more characters"


def word_diff(gold: str, output: str) -> tuple[tuple[Piece, ...], tuple[Piece, ...]]:
    """Both texts cut into pieces, those without a partner marked."""
    left, right = WORD.findall(clipped(gold)), WORD.findall(clipped(output))
    gold_pieces, output_pieces = [], []
    for kind, a, b, c, d in SequenceMatcher(None, left, right, autojunk=False).get_opcodes():
        if a < b:
            gold_pieces.append(Piece("".join(left[a:b]), kind != "equal"))
        if c < d:
            output_pieces.append(Piece("".join(right[c:d]), kind != "equal"))
    return tuple(gold_pieces), tuple(output_pieces)
