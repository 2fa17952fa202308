"""Checks for answers that repeat themselves: shares of repeated n-grams, and loops at the end."""

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import NamedTuple

from tunesmith.data.check.port import Check, Found, Severity
from tunesmith.data.check.texts.parts import answers_of, found_at, parts_of
from tunesmith.data.corpus import CorpusRow

TOP_SHARES = {2: 0.20, 3: 0.18, 4: 0.16}
"""Greatest share of the characters in the most frequent n-gram (Gopher, arXiv:2112.11446, table A1)."""
DUPLICATE_SHARES = {5: 0.15, 7: 0.13, 10: 0.10}
"""Greatest share of the characters in n-grams that occur more than once (the same table)."""
DUPLICATE_LINES = 0.30
"""Greatest share of lines that occurred before (the same table)."""
FULL_WORDS, LEAST_WORDS = 200, 50
"""From so many words on the limits hold as published; they double towards the least; below it none is set."""
GRAVE = 3.0
"""From here on a warning: under it most are choruses, tables and code, which repeat by nature."""
MAX_WORDS = 20_000
"""Longer texts are judged by their first words."""
TAIL = 1_200
MAX_UNIT = 300
TIMES, LOOP_CHARACTERS = 4, 60
"""A loop is a unit at least so often, and so long together."""


class Repeated(NamedTuple):
    """The worst measure of a text: how many times its limit, and the piece that repeats."""

    ratio: float
    measure: str
    piece: str


def limit_factor(num_words: int) -> float:
    """Two at `LEAST_WORDS`, one from `FULL_WORDS` on: in a short text every n-gram has a large share."""
    short = max(0, FULL_WORDS - num_words) / (FULL_WORDS - LEAST_WORDS)
    return 1 + min(1.0, short)


def measure_repetition(text: str) -> Repeated | None:
    """The worst of Gopher's shares against its limit; None for a text too short to tell."""
    words = text.split()[:MAX_WORDS]
    if len(words) < LEAST_WORDS:
        return None
    found = [*top_shares(words), *duplicate_shares(words), *line_share(text)]
    worst = max(found, default=Repeated(0.0, "", ""))
    return worst._replace(ratio=worst.ratio / limit_factor(len(words)))


def top_shares(words: Sequence[str]) -> Iterator[Repeated]:
    """The most frequent n-grams, by the share of characters they cover."""
    num_characters = sum(map(len, words))
    pair, times = Counter(pairwise(words)).most_common(1)[0]
    if times < 3:
        return
    for n, limit in TOP_SHARES.items():
        gram, times = (pair, times) if n == 2 else Counter(grams(words, n)).most_common(1)[0]
        share = times * sum(map(len, gram)) / num_characters
        if times > 2 and any(letter.isalnum() for letter in "".join(gram)):
            yield Repeated(share / limit, f"top {n}-gram", " ".join(gram))


def duplicate_shares(words: Sequence[str]) -> Iterator[Repeated]:
    """The share of characters inside n-grams that occurred before."""
    num_characters = sum(map(len, words))
    for n, limit in DUPLICATE_SHARES.items():
        seen: set[tuple[str, ...]] = set()
        covered, until, piece = 0, 0, ""
        for place, gram in enumerate(grams(words, n)):
            if gram in seen:
                covered += sum(map(len, words[max(until, place) : place + n]))
                until, piece = place + n, piece or " ".join(gram)
            seen.add(gram)
        if not piece:
            return
        yield Repeated(covered / num_characters / limit, f"repeated {n}-grams", piece)


def grams(words: Sequence[str], n: int) -> Iterator[tuple[str, ...]]:
    """Every run of n words."""
    return zip(*(words[shift:] for shift in range(n)), strict=False)


def line_share(text: str) -> Iterator[Repeated]:
    """The share of lines with letters that occurred before."""
    lines = [line for line in text.split("\n") if len(line) > 3 and not line.isspace()]
    if len(lines) >= 8 and len(set(lines)) < len(lines):
        line, _ = Counter(lines).most_common(1)[0]
        yield Repeated((1 - len(set(lines)) / len(lines)) / DUPLICATE_LINES, "repeated lines", line)


def find_repetition(row: CorpusRow, threshold: float) -> Iterator[Found]:
    """Texts to learn that repeat themselves."""
    for part in (part for part in parts_of(row.example) if part.is_answer):
        worst = measure_repetition(part.text)
        if worst is not None and worst.ratio >= threshold:
            start = max(0, part.text.find(worst.piece.split(" ")[0]))
            severity: Severity = "warning" if worst.ratio >= GRAVE else "note"
            yield found_at(part, start, start + 80, severity, round(worst.ratio, 2), measure=worst.measure)


class Loop(NamedTuple):
    """A unit repeated at the end of a text: its length, and how often."""

    unit: int
    times: int


def find_loop(text: str) -> Loop | None:
    """The loop at the end of a text, if there is one; a last, broken turn of it may follow."""
    tail = text.rstrip()[-TAIL:]
    key = tail[-12:]
    if tail.count(key) < 3 and len(set(key)) > 2:
        return None
    for unit in range(1, min(MAX_UNIT, len(tail) // TIMES) + 1):
        if tail[-unit:] != tail[-2 * unit : -unit]:
            continue
        times = 1
        while times * unit < len(tail) and tail[-(times + 1) * unit : -times * unit or None] == tail[-unit:]:
            times += 1
        if (
            times >= TIMES
            and times * unit >= LOOP_CHARACTERS
            and re.search(r"[^\W_]{2}|[^\W\d_]", tail[-unit:])
        ):
            return Loop(unit, times)
    return None


def find_loops(row: CorpusRow, threshold: float) -> Iterator[Found]:
    """Texts to learn that end in a loop."""
    for part in answers_of(row.example):
        loop = find_loop(part.text)
        if loop is not None and loop.times >= threshold:
            start = len(part.text.rstrip()) - 2 * loop.unit
            yield found_at(
                part, max(0, start), len(part.text), "error", loop.times, unit_characters=loop.unit
            )


CHECKS = (
    Check(
        "repetition",
        "Answers that repeat themselves: 1 is Gopher's limit for shares of repeated n-grams and lines, twice "
        "that for "
        "texts of 50 words.",
        "answers",
        row=find_repetition,
        threshold=1.5,
    ),
    Check(
        "loops",
        "Answers that end in the same piece again and again, at least this often: a generator was caught in "
        "a loop.",
        "answers",
        row=find_loops,
        threshold=TIMES,
    ),
)
