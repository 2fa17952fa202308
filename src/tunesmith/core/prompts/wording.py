"""The task in words: which answers are allowed, by what the training rows answer."""

import json
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

from tunesmith.core.conversation import Example
from tunesmith.core.prompts.shape import PromptShape, parted
from tunesmith.core.values import NotJSON, parse_json

MAX_CHOICES = 20
"""A field (or a whole answer) with at most this many different values is a choice; they are listed."""
ROWS_PER_CHOICE = 5
"""…and each value must have been seen this often on average."""


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
