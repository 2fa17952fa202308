"""Gold against output: by field when both are JSON objects, by word otherwise."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import inf
from typing import Any, Literal

from tunesmith.core.page.diff import Piece, clipped, word_diff
from tunesmith.evaluate.report.facts import ComparisonFacts
from tunesmith.evaluate.report.facts_models import ModelFacts, Sample

State = Literal["same", "different", "missing", "added"]


@dataclass(frozen=True, slots=True)
class Field:
    """One field of two answers; a side that lacks it has no pieces."""

    name: str
    state: State
    gold: tuple[Piece, ...]
    output: tuple[Piece, ...]


@dataclass(frozen=True, slots=True)
class Answers:
    """Two answers side by side: fields when both are JSON objects, else the two texts."""

    fields: tuple[Field, ...] | None
    gold: tuple[Piece, ...]
    output: tuple[Piece, ...]
    note: str


def flat(value: Mapping[str, Any], prefix: str = "") -> dict[str, str]:
    """Dotted path → text of every leaf of a JSON object, in the object's order."""
    leaves: dict[str, str] = {}
    for name, part in value.items():
        path = f"{prefix}{name}"
        if isinstance(part, dict) and part:
            leaves |= flat(part, f"{path}.")
        else:
            leaves[path] = part if isinstance(part, str) else json.dumps(part, ensure_ascii=False)
    return leaves


def json_object(text: str) -> dict[str, str] | None:
    """The leaves of a text that is a JSON object, else None."""
    try:
        value = json.loads(text)
        return flat(value) if isinstance(value, dict) else None
    except (ValueError, RecursionError):  # no JSON, a number of thousands of digits, nested too deeply
        return None


def field_diff(gold: Mapping[str, str], output: Mapping[str, str]) -> tuple[Field, ...]:
    """Every field of either side: gold's in gold's order, then what the output added."""
    fields = []
    for name, right in gold.items():
        if name not in output:
            fields.append(Field(name, "missing", (Piece(clipped(right), True),), ()))
        elif output[name] == right:
            same = (Piece(clipped(right), False),)
            fields.append(Field(name, "same", same, same))
        else:
            fields.append(Field(name, "different", *word_diff(right, output[name])))
    added = [name for name in output if name not in gold]
    return (*fields, *(Field(name, "added", (), (Piece(clipped(output[name]), True),)) for name in added))


def compared(sample: Sample) -> Answers:
    """The gold answer and the output of one item, ready to show."""
    if sample.error:
        return Answers(None, (Piece(clipped(sample.gold), False),), (), f"no answer: {clipped(sample.error)}")
    gold, output = json_object(sample.gold), json_object(sample.output)
    if gold is not None and output is not None:
        return Answers(field_diff(gold, output), (), (), "")
    note = "the output is not a JSON object" if gold is not None else ""
    return Answers(None, *word_diff(sample.gold, sample.output), note)


def wrong(model: ModelFacts, primary: str) -> list[Sample]:
    """Items that the model did not get right, worst first; of a number, which has no right, all of them.

    Equals by the mean of the scores of which more is better, then by id; without a score is worst.
    """
    score = model.score(primary)
    is_lower = score is not None and score.better == "lower"
    is_number = score is not None and score.kind == "number"
    others = {one.scorer for one in model.scores if one.better == "higher" and one.kind != "number"}

    def goodness(sample: Sample) -> float:
        worst = inf if is_lower else -inf if is_number else 0.0
        value = sample.scores.get(primary, worst)
        return -value if is_lower else value

    def order(sample: Sample) -> tuple[float, float, str]:
        values = [value for name, value in sample.scores.items() if name in others]
        return goodness(sample), sum(values) / len(values) if values else 0.0, sample.id

    right = 0.0 if is_lower else 1.0
    missed = [one for one in model.samples.values() if is_number or goodness(one) < right]
    return sorted(missed, key=order)


def chosen(keys: Sequence[str], model: ModelFacts, limit: int) -> list[Sample]:
    """The first few of the named items that the model was asked."""
    return [model.samples[key] for key in keys if key in model.samples][:limit]


def named(
    comparison: ComparisonFacts | None, models: Sequence[ModelFacts]
) -> tuple[ModelFacts, ModelFacts] | None:
    """The two reports of a comparison among the given ones."""
    if comparison is None:
        return None
    by_label = {model.label: model for model in models}
    if comparison.first in by_label and comparison.second in by_label:
        return by_label[comparison.first], by_label[comparison.second]
    return None
