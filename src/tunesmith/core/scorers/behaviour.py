"""Scorers of what an answer is like: refusals, length, how it reads, how it is laid out."""

import math
import re
from collections import Counter

from tunesmith.core.refusals import is_refusal
from tunesmith.core.scorers.port import Case, Scorer
from tunesmith.core.scorers.texts import grams

WORD = re.compile(r"[^\W\d_]+(?:['’-][^\W\d_]+)*")
SENTENCE_END = re.compile(r"[.!?…]+(?=\s|$)|[。！？]")
VOWELS = re.compile(r"[aeiouyàáâäèéêëìíîïòóôöùúûü]+", re.IGNORECASE)
LIST_LINE = re.compile(r"^\s*(?:[-*+•]|\d+[.)])\s+\S", re.MULTILINE)
HEADING = re.compile(r"^#{1,6}\s+\S", re.MULTILINE)
BOLD = re.compile(r"\*\*[^*\n]+\*\*|__[^_\n]+__")
STYLE_ORDER = 3


def refusal(case: Case) -> float:
    """1 when the answer opens by refusing (patterns, above all English ones: a floor, not a judgement)."""
    return float(is_refusal(case.reply.text))


def length_words(case: Case) -> float:
    """Words of the answer."""
    return float(len(case.reply.text.split()))


def readability(case: Case) -> float:
    """Flesch reading ease (1948) of an English answer: about 100 is very easy, 0 very hard.

    Syllables are counted as groups of vowels, without a silent final e.
    """
    words = WORD.findall(case.reply.text)
    if not words:
        return 0.0
    sentences = max(1, len(SENTENCE_END.findall(case.reply.text)))
    syllables = sum(map(syllables_of, words))
    return 206.835 - 1.015 * len(words) / sentences - 84.6 * syllables / len(words)


def syllables_of(word: str) -> int:
    """Groups of vowels, at least one."""
    groups = len(VOWELS.findall(word))
    silent = word.lower().endswith("e") and not word.lower().endswith(("le", "ee")) and groups > 1
    return max(1, groups - silent)


def lists(case: Case) -> float:
    """Share of the answer's lines that are items of a list."""
    return share_of_lines(LIST_LINE, case.reply.text)


def headings(case: Case) -> float:
    """Share of the answer's lines that are Markdown headings."""
    return share_of_lines(HEADING, case.reply.text)


def bold(case: Case) -> float:
    """Pieces of bold text for each hundred words."""
    return 100 * len(BOLD.findall(case.reply.text)) / max(1, len(case.reply.text.split()))


def share_of_lines(pattern: re.Pattern[str], text: str) -> float:
    """Lines that match over lines with anything in them."""
    filled = sum(bool(line.strip()) for line in text.splitlines())
    return len(pattern.findall(text)) / filled if filled else 0.0


def style_similarity(case: Case) -> float:
    """Cosine of the character trigrams of the answer and of the right answer, from 0 to 1.

    It sees wording, spelling and punctuation together; compare it between models, not with 1.
    """
    one, other = (
        Counter(grams(" ".join(text.split()), STYLE_ORDER)) for text in (case.golds[0], case.reply.text)
    )
    norm = math.sqrt(sum(n * n for n in one.values()) * sum(n * n for n in other.values()))
    return sum(count * other[gram] for gram, count in one.items()) / norm if norm else 0.0


SCORERS = (
    Scorer("refusal", refusal, "share", better=None),
    Scorer("length_words", length_words, "number", better=None),
    Scorer("readability", readability, "number", better=None),
    Scorer("lists", lists, "unit", better=None),
    Scorer("headings", headings, "unit", better=None),
    Scorer("bold", bold, "number", better=None),
    Scorer("style_similarity", style_similarity, "unit"),
)
