"""Scorers of two texts: the right answer, and what a model wrote."""

import re
from collections import Counter
from collections.abc import Iterator

from rapidfuzz.distance import LCSseq, Levenshtein

from tunesmith.core.errors import ConfigError
from tunesmith.core.scorers.port import text_scorers
from tunesmith.core.values import normalised

NUMBER = re.compile(r"[-+−]?(?:\d{1,3}(?:,\d{3})+|\d+)?(?:\.\d+)?(?:[eE][-+]?\d+)?%?")
LETTERS = (
    re.compile(r"^\W*([A-Za-z])(?=\W*$|[).:\]]|\s*\n)"),
    re.compile(r"\b(?i:answer|choice|option)(?:\s+is)?\W{0,4}([A-Z])\b"),
)
"""A letter that stands alone, or behind "answer", "choice", "option"; not the article at a start."""
CHRF_ORDER, CHRF_BETA = 6, 2.0


def overlap_f1(gold: Counter[str], output: Counter[str]) -> float:
    """F1 of two multisets: 1 when both are empty, 0 when only one is."""
    if not gold and not output:
        return 1.0
    return 2 * (gold & output).total() / (gold.total() + output.total())


def exact(gold: str, output: str) -> float:
    """1 when the texts are equal, white space at the ends apart."""
    return float(gold.strip() == output.strip())


def normalised_exact(gold: str, output: str) -> float:
    """1 when the texts are equal without case, punctuation and repeated white space."""
    return float(normalised(gold) == normalised(output))


def contains(gold: str, output: str, *, at_most_words: int = 0) -> float:
    """1 when the right answer's words stand in the output in one piece, normalised.

    `at_most_words`: a longer output is wrong, whatever it holds; 0 is any length.
    """
    words = normalised(output).split()
    too_long = 0 < at_most_words < len(words)
    return float(not too_long and f" {normalised(gold)} " in f" {' '.join(words)} ")


def regex(gold: str, output: str, *, pattern: str, whole: bool = False) -> float:
    """1 when a regular expression is found in the output (`whole`: is all of it)."""
    try:
        compiled = re.compile(pattern, re.DOTALL)
    except re.error as error:
        what = f"not a regular expression: {error}"
        raise ConfigError(what, value=pattern, where="pattern") from None
    found = compiled.fullmatch(output.strip()) if whole else compiled.search(output)
    return float(found is not None)


def numeric(gold: str, output: str, *, tolerance: float = 0.0, relative: bool = False) -> float:
    """1 when the last number of the output is the right answer's last one, within a tolerance.

    `relative`: the tolerance is a share of the right number.  Thousands commas and percent signs are read.
    """
    right, said = last_number(gold), last_number(output)
    if right is None or said is None:
        return 0.0
    allowed = tolerance * abs(right) if relative else tolerance
    return float(abs(right - said) <= allowed + 1e-12 * abs(right))


def last_number(text: str) -> float | None:
    """The last number in a text; a percentage is its hundredth."""
    found = [piece for piece in NUMBER.findall(text) if any(character.isdigit() for character in piece)]
    if not found:
        return None
    plain = found[-1].replace(",", "").replace("−", "-")
    return float(plain[:-1]) / 100 if plain.endswith("%") else float(plain)


def choice(gold: str, output: str, *, choices: list[str]) -> float:
    """1 when the output names the right letter of lettered choices (A is the first), or says that choice."""
    letters = [found.upper() for pattern in LETTERS for found in pattern.findall(output)]
    if letters:
        return float(letters[-1] == gold.strip().upper())
    said = [place for place, one in enumerate(choices) if normalised(one) == normalised(output)]
    return float(len(said) == 1 and chr(ord("A") + said[0]) == gold.strip().upper())


def token_f1(gold: str, output: str) -> float:
    """F1 of the words in both texts, normalised, order ignored (Rajpurkar et al. 2016)."""
    return overlap_f1(Counter(normalised(gold).split()), Counter(normalised(output).split()))


def rouge_l(gold: str, output: str) -> float:
    """ROUGE-L: F1 of the longest common subsequence of words, normalised (Lin 2004)."""
    right, said = normalised(gold).split(), normalised(output).split()
    if not right and not said:
        return 1.0
    return 2 * LCSseq.similarity(right, said) / (len(right) + len(said))


def chrf(gold: str, output: str) -> float:
    """chrF2: F-score of character n-grams up to 6, recall counted double (Popović 2015), from 0 to 1."""
    right, said = "".join(gold.split()), "".join(output.split())
    precisions, recalls = [], []
    for order in range(1, CHRF_ORDER + 1):
        one, other = Counter(grams(right, order)), Counter(grams(said, order))
        if one and other:
            common = (one & other).total()
            precisions.append(common / other.total())
            recalls.append(common / one.total())
    if not precisions:
        return float(right == said)
    precision, recall = sum(precisions) / len(precisions), sum(recalls) / len(recalls)
    weighted = CHRF_BETA**2 * precision + recall
    return (1 + CHRF_BETA**2) * precision * recall / weighted if weighted else 0.0


def grams(text: str, order: int) -> Iterator[str]:
    """Runs of `order` characters."""
    return (text[start : start + order] for start in range(len(text) - order + 1))


def edit_ratio(gold: str, output: str) -> float:
    """1 − Levenshtein distance over the longer length, white space at the ends apart."""
    return float(Levenshtein.normalized_similarity(gold.strip(), output.strip()))


SCORERS = (
    *text_scorers(exact, normalised_exact, contains, regex, numeric, choice, kind="share"),
    *text_scorers(token_f1, rouge_l, chrf, edit_ratio, kind="unit"),
)
