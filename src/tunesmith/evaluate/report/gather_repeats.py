"""From a report with several answers to each item to what they say together."""

from collections.abc import Mapping, Sequence
from statistics import fmean, pvariance
from typing import Any

from tunesmith.evaluate.report.facts_models import FlakyFacts, PassFacts, RepeatFacts

Row = Mapping[str, Any]


def repeat_facts(part: Mapping[str, Any] | None) -> RepeatFacts | None:
    """What `scores.json` says of a score's repeats."""
    if part is None:
        return None
    passes = tuple(PassFacts(one["k"], one["any_right"], one["all_right"]) for one in part["passes"])
    names = ("number", "any_right", "all_right", "between", "within", "flaky")
    return RepeatFacts(**{name: part[name] for name in names}, passes=passes)


def by_item(rows: Sequence[Row]) -> dict[str, list[Row]]:
    """The answers to each item, in the order in which they were asked for."""
    found: dict[str, list[Row]] = {}
    for row in rows:
        found.setdefault(f"{row['task']}/{row['id']}", []).append(row)
    return {item: sorted(tries, key=lambda row: row["repeat"]) for item, tries in found.items()}


def mean_scores(tries: Sequence[Row]) -> dict[str, float]:
    """Each score's mean over the answers to an item."""
    names = dict.fromkeys(name for row in tries for name in row["scores"])
    return {name: fmean(row["scores"][name] for row in tries if name in row["scores"]) for name in names}


def flaky_items(items: Mapping[str, Sequence[Row]], primary: str, limit: int) -> tuple[FlakyFacts, ...]:
    """Items whose answers do not all have one score, the least settled first."""
    found = []
    for item, tries in items.items():
        scores = tuple(row["scores"][primary] for row in tries if primary in row["scores"])
        if len(set(scores)) > 1:
            texts = {row["output"] for row in tries}
            found.append(FlakyFacts(item, question(tries[0]), scores, len(texts)))
    return tuple(sorted(found, key=lambda one: (-pvariance(one.scores), one.id))[:limit])


def question(row: Row) -> str:
    """The last turn of the user."""
    turns = [turn for turn in row["prompt"] if turn["role"] == "user"]
    return str(turns[-1]["content"] or "") if turns else ""
