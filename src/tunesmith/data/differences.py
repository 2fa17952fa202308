"""What makes two texts that look alike say different things: numbers, negations and names.

Cosines and shared words do not see it ("1.022 MeV" beside "1.032 MeV"; PAWS, arXiv:1904.01130), so such a
difference vetoes: the pair is shown, but nobody is told that it is one row twice.
"""

import re
from collections import Counter
from typing import Any, Final, NamedTuple

from tunesmith.core.similarity import normalise
from tunesmith.data.vectors import WORD

NUMBER: Final = re.compile(r"\d+(?:[.,:/]\d+)*")
COUNTING = (
    "zero one two three four five six seven eight nine ten eleven twelve thirteen fifteen twenty thirty "
    "forty fifty hundred thousand million billion first second third half double"
)
DENYING = (
    "not no never none nothing nobody neither nor without cannot isnt arent wasnt werent dont doesnt didnt "
    "wont wouldnt cant couldnt shouldnt mustnt neednt mightnt shant hasnt havent hadnt aint nicht kein keine "
    "keinen keinem keiner keines nie ohne pas jamais sin nunca"
)
NUMBER_WORDS: Final = frozenset(COUNTING.split())
NEGATIONS: Final = frozenset(DENYING.split())
NAME: Final = re.compile(r"(?<![.!?:\n\"“'(*-] )(?<!^)(?<![\w.])[A-Z][\w'’-]*[\w]")
"""A capitalised word that does not begin a sentence."""


class Differences(NamedTuple):
    """What only one of two texts has."""

    numbers: tuple[str, ...]
    negations: tuple[str, ...]
    names: tuple[str, ...]

    def __bool__(self) -> bool:
        return any(tuple(self))

    def to_json(self) -> dict[str, Any]:
        """Only the kinds that differ."""
        return {kind: list(found) for kind, found in self._asdict().items() if found}


def facts_of(text: str) -> tuple[tuple[str, ...], int]:
    """The numbers in a text, in order, and how often it negates: what differs here is no duplicate."""
    return tuple(NUMBER.findall(text)), negations(text).total()


def differences(left: str, right: str) -> Differences:
    """What stands in only one of two texts, or more often in one."""
    return Differences(
        apart(numbers(left), numbers(right)),
        apart(negations(left), negations(right)),
        apart_names(left, right),
    )


def apart(left: Counter[str], right: Counter[str]) -> tuple[str, ...]:
    """What one side has more often than the other."""
    return tuple(sorted({*(left - right), *(right - left)}))


def numbers(text: str) -> Counter[str]:
    """Numbers in digits and in words."""
    words = Counter(word for word in WORD.findall(normalise(text)) if word in NUMBER_WORDS)
    return Counter(NUMBER.findall(text)) + words


def negations(text: str) -> Counter[str]:
    """Words that turn a sentence round."""
    plain = normalise(text).replace("'", "").replace("’", "")
    return Counter(word for word in WORD.findall(plain) if word in NEGATIONS)


def apart_names(left: str, right: str) -> tuple[str, ...]:
    """Names of one text whose words do not stand in the other at all."""
    names = [set(NAME.findall(text)) for text in (left, right)]
    words = [set(WORD.findall(normalise(text))) for text in (left, right)]
    return tuple(
        sorted(
            name
            for mine, others in ((names[0], words[1]), (names[1], words[0]))
            for name in mine
            if not set(WORD.findall(normalise(name))) & others
        )
    )
