"""What the rows of one split are like: lengths, answers, keys of JSON answers."""

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from tunesmith.core.conversation import Example

MAX_DISTINCT = 2000
"""More different answers or sets of keys than this are not told apart any further."""
MOST_IN_PARCEL = 400
"""The same within the rows that are read at a time."""
OTHERS = -1
MANY = "(others)"


class Numbers:
    """Numbers texts in the order they come, up to a limit; `OTHERS` for what comes after."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.known: dict[str, int] = {}

    def number(self, text: str) -> int:
        """The number of a text."""
        found = self.known.get(text)
        if found is None:
            found = OTHERS if len(self.known) >= self.limit else self.known.setdefault(text, len(self.known))
        return found

    def renumber(self, names: Sequence[str], numbers: NDArray[np.int64]) -> NDArray[np.int64]:
        """Numbers that somebody else gave to `names`, as this gives them."""
        table = np.array([*(self.number(name) for name in names), OTHERS], dtype=np.int64)
        return table[numbers]

    def count(self, numbers: NDArray[np.int64]) -> Counter[str]:
        """How often each text occurs, the texts that are not told apart together."""
        counts = np.bincount(numbers + 1, minlength=len(self.known) + 1).tolist()
        return +Counter(dict(zip((MANY, *self.known), counts, strict=True)))


@dataclass
class Measures:
    """Lengths are in characters."""

    rows: int = 0
    documents: int = 0
    """Rows of plain text without a prompt: they answer nothing."""
    prompt_lengths: Sequence[int] = ()
    answer_lengths: Sequence[int] = ()
    answers: Counter[str] = field(default_factory=Counter)
    num_answers: int = 0
    """Different answers, all told apart."""
    json_answers: int = 0
    keys: Counter[str] = field(default_factory=Counter)
    """Keys of the answers that are JSON objects."""
    first: Example | None = None


def answer_keys(answer: str) -> str:
    """Keys of an answer that is a JSON object, as a JSON list; empty for any other answer."""
    if not answer.lstrip().startswith("{"):
        return ""
    try:
        value = json.loads(answer)
    except (ValueError, RecursionError):
        return ""
    return json.dumps(list(value), ensure_ascii=False) if isinstance(value, dict) else ""


def count_keys(key_sets: Counter[str]) -> Counter[str]:
    """How many answers have each key."""
    found: Counter[str] = Counter()
    for keys, count in key_sets.items():
        for key in [MANY] if keys == MANY else json.loads(keys or "[]"):
            found[key] += count
    return found
