"""Worked examples that cover a task: the same ones for every question.

Which ones is decided by coverage and is the same every time.
"""

from collections import Counter, defaultdict
from collections.abc import Sequence
from math import sqrt

from tunesmith.core.conversation import Example
from tunesmith.core.prompts.shape import PromptShape, shot_turns
from tunesmith.core.prompts.wording import choices, flat_object, with_labels
from tunesmith.core.values import normalised

MAX_CANDIDATES = 5_000
"""Worked examples are chosen among so many rows (those with the smallest hashes: a random sample)."""


def candidates(train: Sequence[Example]) -> list[Example]:
    """The rows that worked examples are chosen among, whatever order they come in."""
    return sorted(train, key=lambda example: example.row_hash)[:MAX_CANDIDATES]


def few_shot(train: Sequence[Example], k: int, *, name: str | None = None) -> PromptShape:
    """`k` worked examples from training that cover its labels and words best, with the labels listed.

    Deterministic: depends on the set of rows only, not on their order.
    """
    labelled = with_labels(train)
    instruction = labelled.instruction if labelled is not None else None
    return PromptShape(name or f"few_shot_{k}", instruction, tuple(most_covering(train, k)))


def similar_shot(train: Sequence[Example], k: int) -> PromptShape:
    """The `k` training rows most like each question, with the labels listed."""
    labelled = with_labels(train)
    instruction = labelled.instruction if labelled is not None else None
    return PromptShape(f"similar_{k}", instruction, pool=tuple(candidates(train)), num_similar=k)


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
    rows = candidates(examples)
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
