"""Raw text for continued pre-training: documents as tokens, and rearranged ones to learn filling gaps.

Documents are packed end to end into full blocks by the corpus (`train/corpus.py`).  Pure functions.
"""

from __future__ import annotations

import hashlib
from typing import NamedTuple

from tunesmith.core.recipe import FillInTheMiddle
from tunesmith.runtime.templates import Tokenizer, token_ids


class Split(NamedTuple):
    """A document cut in three; the parts together are the document."""

    prefix: str
    middle: str
    suffix: str


class Chances(NamedTuple):
    """Numbers that a row's key decides: three in [0, 1) and two places to cut at."""

    rearrange: float
    suffix_first: float
    cuts: tuple[float, float]


def chances(seed: int, key: str) -> Chances:
    """The same for ever for the same seed and key: a document is rearranged alike in every process."""
    digest = hashlib.sha256(f"{seed}:fill in the middle:{key}".encode()).digest()
    first, second, third, fourth = (
        int.from_bytes(digest[start : start + 8], "little") / 2**64 for start in range(0, 32, 8)
    )
    return Chances(first, second, (third, fourth))


def cut(text: str, places: tuple[float, float]) -> Split:
    """Cut between characters, at two places that are uniform over the document."""
    first, second = sorted(int(place * (len(text) + 1)) for place in places)
    return Split(text[:first], text[first:second], text[second:])


def rearranged(
    text: str, settings: FillInTheMiddle, tokenizer: Tokenizer, *, seed: int, key: str
) -> list[int] | None:
    """Tokens of a document with its middle moved to the end; None when it stays as it is.

    Cut between characters, and each part has tokens of its own, so that the model can go on inside a word.
    PSM: ‹prefix› prefix ‹suffix› suffix ‹middle› middle.  SPM, in the form that shares what is learned with
    PSM: ‹prefix›‹suffix› suffix ‹middle› prefix middle (Bavarian et al. 2022, arXiv:2207.14255, section 3).
    """
    drawn = chances(seed, key)
    if drawn.rearrange >= settings.rate:
        return None
    split = cut(text, drawn.cuts)
    parts = [token_ids(part, tokenizer) for part in split]
    begin, middle, end = (
        token_ids(mark, tokenizer) for mark in (settings.prefix, settings.middle, settings.suffix)
    )
    if drawn.suffix_first < settings.spm_rate:
        return [*begin, *end, *parts[2], *middle, *parts[0], *parts[1]]
    return [*begin, *parts[0], *end, *parts[2], *middle, *parts[1]]


class Frame(NamedTuple):
    """What stands around every document: what the tokenizer puts before a text, and the end token."""

    begin: tuple[int, ...]
    end: int | None


def find_frame(tokenizer: Tokenizer) -> Frame:
    """The tokens that a tokenizer writes before a text (its BOS, if it has the habit), and its EOS."""
    bare = token_ids("text", tokenizer)
    framed = list(tokenizer("text")["input_ids"])
    places = range(len(framed) - len(bare) + 1)
    start = next((place for place in places if framed[place : place + len(bare)] == bare), 0)
    return Frame(tuple(framed[:start]), tokenizer.eos_token_id)
