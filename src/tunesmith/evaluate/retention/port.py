"""What an item of the pack is, what a family of items is, and how a question gets its wording."""

import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

WORDS: Mapping[str, Any] = {"type": "normalised_exact"}
FOUND: Mapping[str, Any] = {"type": "contains"}
SAID: Mapping[str, Any] = {"type": "contains", "at_most_words": 12}
"""In a short answer, as a sentence or alone: small models answer with sentences whatever they are told."""
NUMBER: Mapping[str, Any] = {"type": "numeric", "tolerance": 0.0}


class Item(NamedTuple):
    """One question of the pack."""

    family: str
    level: int
    """1 easy, 2 middling, 3 hard."""
    prompt: str
    """The user's message."""
    gold: str
    """A right answer: its own scorer gives it 1."""
    scorer: Mapping[str, Any]
    """`type` (normalised_exact, contains, numeric, choice or rules) and its options."""
    group_id: str
    """Family and template; items of one template are not independent."""


class Family(NamedTuple):
    """A kind of ability, and how one item of it is made."""

    name: str
    what: str
    """What it measures, in one sentence."""
    make: Callable[[random.Random, int], Item]
    """Of a level from 1 to 3."""


@dataclass(frozen=True, slots=True)
class Form:
    """One kind of question of a family: its wordings, and how answers to it are scored."""

    family: str
    kind: str
    wordings: tuple[str, ...]
    """Templates with fields in braces; any of them asks the same."""
    scorer: Mapping[str, Any] = field(default_factory=lambda: NUMBER)

    def scored(self, scorer: Mapping[str, Any]) -> "Form":
        """The same form for an answer that needs a scorer of its own."""
        return replace(self, scorer=scorer)

    def ask(self, rng: random.Random, level: int, gold: object, **fields: object) -> Item:
        """An item in one of the wordings, with its fields filled in."""
        place = rng.randrange(len(self.wordings))
        prompt = self.wordings[place].format(**fields)
        group = f"{self.family}/{self.kind}-{place + 1}"
        return Item(self.family, level, prompt, str(gold), self.scorer, group)


def exactly(text: str) -> Mapping[str, Any]:
    """A scorer for answers where capitals and punctuation count."""
    return {"type": "rules", "rules": [{"rule": "is_exactly", "text": text}]}


def a(noun: str) -> str:
    """The noun with its indefinite article, by its first letter."""
    return f"{'an' if noun[0] in 'aeiou' else 'a'} {noun}"


def listed(words: list[str]) -> str:
    """Words as a list of text."""
    return ", ".join(words)
