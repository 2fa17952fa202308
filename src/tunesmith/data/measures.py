"""What the rows of one split are like: lengths, answers, instructions."""

import json
from collections import Counter
from dataclasses import dataclass, field

from tunesmith.core.conversation import Example

MAX_DISTINCT = 2000
"""More different answers or instructions than this are not told apart any further."""

MANY = "(others)"


@dataclass
class Measures:
    """Filled by `add`, one example at a time; lengths are in characters."""

    rows: int = 0
    documents: int = 0
    """Rows of plain text without a prompt: they answer nothing."""
    prompt_lengths: list[int] = field(default_factory=list)
    answer_lengths: list[int] = field(default_factory=list)
    turns: Counter[int] = field(default_factory=Counter)
    instructions: Counter[str] = field(default_factory=Counter)
    answers: Counter[str] = field(default_factory=Counter)
    json_answers: int = 0
    keys: Counter[str] = field(default_factory=Counter)
    """Keys of the answers that are JSON objects."""
    first: Example | None = None

    def add(self, example: Example) -> None:
        """Measure one example."""
        self.rows += 1
        self.first = self.first or example
        self.prompt_lengths.append(sum(len(turn.content or "") for turn in example.prompt))
        self.answer_lengths.append(len(example.answer))
        if not example.prompt:
            self.documents += 1
            return
        self.turns[len(example.messages)] += 1
        system = [turn.content or "" for turn in example.messages if turn.role in ("system", "developer")]
        count(self.instructions, "\n".join(system))
        count(self.answers, example.answer)
        if (keys := answer_keys(example.answer)) is not None:
            self.json_answers += 1
            for key in keys:
                count(self.keys, key)


def count(counter: Counter[str], text: str) -> None:
    """Count a text; past `MAX_DISTINCT` different ones the new ones are counted together."""
    counter[text if text in counter or len(counter) < MAX_DISTINCT else MANY] += 1


def answer_keys(answer: str) -> list[str] | None:
    """Keys of an answer that is a JSON object; None for any other answer."""
    if not answer.lstrip().startswith("{"):
        return None
    try:
        value = json.loads(answer)
    except (ValueError, RecursionError):
        return None
    return list(value) if isinstance(value, dict) else None
