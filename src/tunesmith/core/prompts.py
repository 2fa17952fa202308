"""Prompt shapes: what stands before an example's own question.

A shape replaces the system turn and puts worked examples before the question.  Examples come from the
training split only; which ones is decided by coverage and is the same every time.
"""

import json
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import sqrt
from pathlib import Path
from typing import Any

from tunesmith.core.conversation import Example, Message
from tunesmith.core.errors import DataError
from tunesmith.core.files import read_json, write_json
from tunesmith.core.values import NotJSON, normalised, parse_json

SYSTEM_ROLES = ("system", "developer")
MAX_CHOICES = 20
"""A field (or a whole answer) with at most this many different values is a choice; they are listed."""
ROWS_PER_CHOICE = 5
"""…and each value must have been seen this often on average."""
MAX_CANDIDATES = 5_000
"""Worked examples are chosen among so many rows (those with the smallest hashes: a random sample)."""


@dataclass(frozen=True, slots=True)
class PromptShape:
    """A name, an instruction for the system turn (None keeps the data's own), worked examples."""

    name: str = "as_is"
    instruction: str | None = None
    shots: tuple[Example, ...] = ()

    def apply(self, example: Example) -> tuple[Message, ...]:
        """The messages to ask the model: system turn, worked examples as turns, the example's question."""
        system, question = parted(example.prompt)
        if self.instruction is not None:
            system = (Message("system", self.instruction),)
        shown = tuple(turn for shot in self.shots for turn in shot_turns(shot))
        return (*system, *shown, *question)

    def to_json(self) -> dict[str, Any]:
        """The shape as its file holds it."""
        return {
            "name": self.name,
            "instruction": self.instruction,
            "shots": [shot.to_json() for shot in self.shots],
        }

    def write(self, path: Path) -> None:
        """Write the shape's file."""
        write_json(path, self.to_json())

    @classmethod
    def read(cls, path: Path) -> "PromptShape":
        """Read a shape's file; a file that is something else is a DataError."""
        value = read_json(path)
        try:
            shots = tuple(Example.from_json(shot) for shot in value.get("shots", ()))
            shape = cls(str(value["name"]), value.get("instruction"), shots)
            for shot in shape.shots:
                shot_turns(shot)
        except (AttributeError, KeyError, TypeError) as error:
            keys = "a prompt file has the keys name, instruction (text or null) and shots (examples)"
            raise DataError("not a prompt file", where=path, value=str(error), next_step=keys) from None
        if shape.instruction is not None and not isinstance(shape.instruction, str):
            raise DataError("the instruction must be a text or null", where=f"{path}#/instruction")
        return shape


AS_IS = PromptShape()
"""The data's own prompt, unchanged."""


def parted(messages: Sequence[Message]) -> tuple[tuple[Message, ...], tuple[Message, ...]]:
    """System turns, and the others."""
    system = tuple(turn for turn in messages if turn.role in SYSTEM_ROLES)
    return system, tuple(turn for turn in messages if turn.role not in SYSTEM_ROLES)


def shot_turns(shot: Example) -> tuple[Message, ...]:
    """A worked example's turns, from its first question to its answer."""
    return (*parted(shot.prompt)[1], shot.messages[len(shot.prompt)])


def flat_object(answer: str) -> dict[str, Any] | None:
    """The answer as a JSON object without objects or lists in it, or None."""
    try:
        value = parse_json(answer)
    except NotJSON:
        return None
    nested = isinstance(value, dict) and any(isinstance(part, dict | list) for part in value.values())
    return value if isinstance(value, dict) and not nested else None


def common_system(examples: Sequence[Example]) -> str | None:
    """The system text that all examples share ('' when none has one); None when they differ."""
    texts = {"\n".join(turn.content or "" for turn in parted(example.prompt)[0]) for example in examples}
    return next(iter(texts)) if len(texts) == 1 else None


def choices(values: Sequence[str]) -> list[str] | None:
    """The different values, most frequent first, when there are few of them; None when it is free text."""
    counts = Counter(values)
    if len(counts) <= MAX_CHOICES and len(values) >= ROWS_PER_CHOICE * len(counts):
        return [value for value, _ in sorted(counts.items(), key=lambda pair: (-pair[1], pair[0]))]
    return None


def allowed_answers(examples: Sequence[Example]) -> str | None:
    """The form of the answers in words: keys of flat JSON with their choices, or the list of answers.

    None when the answers are free text or nested JSON, where there is no short list to give.
    """
    objects = [flat_object(example.answer) for example in examples]
    if examples and all(value is not None for value in objects):
        return describe_fields([value for value in objects if value is not None])
    listed = choices([example.answer.strip() for example in examples])
    if examples and listed is not None and len(listed) > 1:
        lines = "\n".join(f"- {text}" for text in listed)
        return f"Answer with exactly one of these and nothing else:\n{lines}"
    return None


def describe_fields(objects: Sequence[Mapping[str, Any]]) -> str:
    """Which keys an answer may have, most frequent first, and the values of those that are a choice."""
    by_key: dict[str, list[str]] = defaultdict(list)
    for value in objects:
        for key, part in value.items():
            by_key[key].append(json.dumps(part, ensure_ascii=False))
    lines = []
    for key, values in sorted(by_key.items(), key=lambda pair: (-len(pair[1]), pair[0])):
        listed = choices(values)
        lines.append(f"- {key}" + (f": one of {', '.join(listed)}" if listed and len(listed) > 1 else ""))
    every = all(len(values) == len(objects) for values in by_key.values())
    which = "with exactly these keys" if every else "with only those of these keys that apply"
    return f"Answer with one flat JSON object and nothing else, {which}:\n" + "\n".join(lines)


def with_labels(train: Sequence[Example], *, name: str = "zero_shot") -> PromptShape | None:
    """The data's own system text plus the allowed labels.

    None when there are none to list, or when system texts differ and one cannot stand for all.
    """
    allowed, system = allowed_answers(train), common_system(train)
    if allowed is None or system is None:
        return None
    return PromptShape(name, f"{system}\n\n{allowed}".strip())


def few_shot(train: Sequence[Example], k: int, *, name: str | None = None) -> PromptShape:
    """`k` worked examples from training that cover its labels and words best, with the labels listed.

    Deterministic: depends on the set of rows only, not on their order.
    """
    labelled = with_labels(train)
    instruction = labelled.instruction if labelled is not None else None
    return PromptShape(name or f"few_shot_{k}", instruction, tuple(most_covering(train, k)))


def choice_keys(examples: Sequence[Example]) -> frozenset[str]:
    """Keys of flat JSON answers whose values are a choice among few."""
    values: dict[str, list[str]] = defaultdict(list)
    for example in examples:
        for key, part in (flat_object(example.answer) or {}).items():
            values[key].append(str(part))
    return frozenset(key for key, found in values.items() if choices(found) is not None)


def words_of(example: Example) -> frozenset[str]:
    """The words of a worked example's turns."""
    return frozenset(normalised(" ".join(turn.content or "" for turn in shot_turns(example))).split())


def labels_of(example: Example, chosen_from: frozenset[str]) -> frozenset[str]:
    """Keys of an example's JSON answer with the values of choice keys; else its words and its answer."""
    value = flat_object(example.answer)
    if value is None:
        return words_of(example) | {f"answer {example.answer.strip()}"}
    picked = {f"{key} = {part}" for key, part in value.items() if key in chosen_from}
    return frozenset(f"key {key}" for key in value) | picked


def most_covering(examples: Sequence[Example], k: int) -> list[Example]:
    """Greedy choice of `k` examples: most new coverage of labels for their length, unlike each other.

    A label counts by how many examples have it, with diminishing returns (square roots) in both that
    number and how often it is shown already; for such a coverage greed is near the best choice
    (Nemhauser et al. 1978).  What only one example has says nothing about others and does not count.
    """
    rows = sorted(examples, key=lambda example: example.row_hash)[:MAX_CANDIDATES]
    chosen_from = choice_keys(rows)
    labels = [labels_of(row, chosen_from) for row in rows]
    frequency = Counter(label for found in labels for label in found)
    known = [sorted(label for label in found if frequency[label] > 1) for found in labels]
    words = [words_of(row) for row in rows]
    lengths = [sum(len(turn.content or "") for turn in shot_turns(row)) for row in rows]
    typical = max(1.0, sum(lengths) / max(1, len(lengths)))
    shown: Counter[str] = Counter()
    chosen: list[int] = []

    def gain(position: int) -> float:
        new = sum(
            sqrt(frequency[name]) * (sqrt(shown[name] + 1) - sqrt(shown[name])) for name in known[position]
        )
        alike = max((jaccard(words[position], words[other]) for other in chosen), default=0.0)
        return new * (1 - alike) / (1 + lengths[position] / typical)

    for _ in range(min(k, len(rows))):
        left = [position for position in range(len(rows)) if position not in chosen]
        best = max(left, key=lambda position: (gain(position), -position))
        chosen.append(best)
        shown.update(known[best])
    return [rows[position] for position in chosen]


def jaccard(left: frozenset[str], right: frozenset[str]) -> float:
    """Share of common words."""
    return len(left & right) / len(left | right) if left or right else 0.0
