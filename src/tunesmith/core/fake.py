"""A model without a neural network: it learns which word belongs to which field, or repeats its neighbour.

It lets the whole journey run in a second without torch, and it really learns, so that a tuned fake
model beats a prompted one and a prompted one beats a bare one.  Not meant to be good at anything.
"""

import json
import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

from tunesmith.core.conversation import Example, Message

WORD = re.compile(r"\S+")


def shape(word: str) -> str:
    """'Main' → 'Xx', '60601' → '9', 'IL,' → 'X,': what a word looks like."""
    kinds = "".join("9" if c.isdigit() else "X" if c.isupper() else "x" if c.islower() else c for c in word)
    return re.sub(r"(.)\1+", r"\1", kinds)


def bare(word: str) -> str:
    """The word without punctuation at its ends."""
    return word.strip(",.;:()")


def flat_fields(answer: str) -> dict[str, str] | None:
    """The answer as a flat JSON object of texts, or None when it is something else."""
    try:
        value = json.loads(answer)
    except json.JSONDecodeError:
        return None
    flat = isinstance(value, dict) and all(isinstance(part, str) for part in value.values())
    return value if flat else None


@dataclass
class FakeModel:
    """Counts of which field each word and each shape of word stood in, and the answers seen."""

    words: dict[str, Counter[str]] = field(default_factory=lambda: defaultdict(Counter))
    answers: dict[str, str] = field(default_factory=dict)

    def learn(self, examples: Iterable[tuple[str, str]], *, words: bool = True) -> float:
        """Learn (question, answer) pairs; returns the share of them it answered wrongly before.

        Without `words` only what words look like is learned.
        """
        wrong = total = 0
        for question, answer in examples:
            total += 1
            wrong += self.reply(question) != answer
            self.answers[question] = answer
            for name, text in (flat_fields(answer) or {}).items():
                for word in WORD.findall(text):
                    if words:
                        self.words[bare(word).lower()][name] += 1
                    self.words[shape(bare(word))][name] += 1
        return wrong / total if total else 0.0

    def answer(self, messages: Sequence[Message]) -> str:
        """Answer a conversation; what pairs of turns in it show of the form of answers is learned first."""
        pairs = [
            (first.content or "", second.content or "")
            for first, second in pairwise(messages)
            if first.role == "user" and second.role == "assistant"
        ]
        knows = self
        if pairs:
            knows = FakeModel.from_json(self.to_json())
            knows.learn(pairs, words=False)
        question = next(
            (message.content or "" for message in reversed(messages) if message.role == "user"), ""
        )
        return knows.reply(question)

    def reply(self, question: str) -> str:
        """Fields of a text when answers were fields, the nearest known answer, or the question itself."""
        if not self.answers:
            return question
        if self.words:
            return json.dumps(self._fields(question), ensure_ascii=False)
        words = set(question.lower().split())
        return max(self.answers.items(), key=lambda known: overlap(words, set(known[0].lower().split())))[1]

    def _fields(self, question: str) -> dict[str, str]:
        fields: dict[str, list[str]] = {}
        for word in (bare(word) for word in WORD.findall(question)):
            counts = self.words.get(word.lower()) or self.words.get(shape(word))
            if counts:
                fields.setdefault(counts.most_common(1)[0][0], []).append(word)
        return {name: " ".join(words) for name, words in fields.items()}

    def to_json(self) -> dict[str, Any]:
        """Everything learned, as JSON can hold it."""
        return {"words": {word: dict(counts) for word, counts in self.words.items()}, "answers": self.answers}

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> "FakeModel":
        """Read what `to_json` wrote."""
        model = cls(answers=dict(value["answers"]))
        for word, counts in value["words"].items():
            model.words[word] = Counter(counts)
        return model


def overlap(left: set[str], right: set[str]) -> float:
    """Jaccard similarity of two sets of words."""
    return len(left & right) / len(left | right) if left | right else 0.0


def pair(example: Example) -> tuple[str, str]:
    """The last question of an example and its answer."""
    question = next((turn.content or "" for turn in reversed(example.prompt) if turn.role == "user"), "")
    return question, example.answer
