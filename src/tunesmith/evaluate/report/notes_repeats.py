"""Words about several answers to one item."""

from collections.abc import Sequence

from tunesmith.core.page import numbers
from tunesmith.evaluate.report.facts_models import FlakyFacts, ModelFacts, RepeatFacts, Score

READING = (
    "Of a score of 0 and 1 the highest of n is pass@n, at least one answer right, and the lowest is pass^n,"
    " all of them right. Answers elsewhere on this page are the first of each item, with their mean score."
)


def repeated(models: Sequence[ModelFacts]) -> list[ModelFacts]:
    """The models that answered more than once."""
    return [model for model in models if any(score.repeats is not None for score in model.scores)]


def scores(model: ModelFacts) -> list[tuple[Score, RepeatFacts]]:
    """The scores that have repeats."""
    return [(score, score.repeats) for score in model.scores if score.repeats is not None]


def deciding(model: ModelFacts) -> RepeatFacts | None:
    """What is drawn: the deciding score's probabilities, when it is one of 0 and 1."""
    score = model.score(model.primary)
    return score.repeats if score is not None and score.repeats is not None and score.repeats.passes else None


def share_within(found: RepeatFacts) -> float | None:
    """How much of the variance lies between the answers to one item."""
    total = found.between + found.within
    return found.within / total if total else None


def variance(found: RepeatFacts) -> str:
    """'0.021, 34 % of all'."""
    part = share_within(found)
    return f"{found.within:.3g}" + (f", {numbers.percent(part)} of all" if part is not None else "")


def settled(one: FlakyFacts) -> str:
    """'right 2 of 5 times', or the scores of one that is not only right or wrong."""
    if set(one.scores) <= {0, 1}:
        return f"right {sum(one.scores):.0f} of {len(one.scores)} times"
    return ", ".join(f"{score:.3g}" for score in one.scores)


def flaky(model: ModelFacts) -> str:
    """How many items flicker by the deciding score."""
    score = model.score(model.primary)
    if score is None or score.repeats is None or not score.repeats.flaky:
        return ""
    shown = ", the least settled first" if len(model.flaky) < score.repeats.flaky else ""
    count = f"{numbers.count(score.repeats.flaky)} of {numbers.count(score.num_items)}"
    return f"{count} items are answered now so, now otherwise{shown}"
