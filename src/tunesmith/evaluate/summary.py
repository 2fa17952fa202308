"""Scores of a set with their intervals, overall and in each slice."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

from tunesmith.core.scorers import Chosen
from tunesmith.core.stats import (
    Interval,
    bootstrap_mean,
    calibration,
    pass_all,
    pass_at,
    share_interval,
    variance_of,
)
from tunesmith.core.stats.classification import classify
from tunesmith.evaluate.items import QUARTERS
from tunesmith.evaluate.plan import TaskPlan
from tunesmith.evaluate.schema import (
    CalibrationResult,
    ClassesResult,
    ClassResult,
    Pass,
    ReliabilityBin,
    Repeats,
    Score,
    SliceScore,
    TrustResult,
)

Sample = Mapping[str, Any]


class Scores(NamedTuple):
    """One score of each item, repeats averaged, in the order of the items."""

    values: list[float]
    weights: list[float]
    groups: list[str]
    repeated: list[list[float]]
    """Each item's scores, one for each repeat."""

    @property
    def is_repeated(self) -> bool:
        """Whether any item was answered more than once."""
        return any(len(tries) > 1 for tries in self.repeated)


def collect(name: str, samples: Sequence[Sample]) -> Scores:
    """The scores of one name; samples that have none are left out."""
    tries: dict[str, list[float]] = {}
    weights: dict[str, float] = {}
    groups: dict[str, str] = {}
    for sample in samples:
        if name in sample["scores"]:
            tries.setdefault(sample["id"], []).append(sample["scores"][name])
            weights[sample["id"]] = sample["weights"].get(name, 1.0)
            groups[sample["id"]] = sample["group_id"]
    means = [sum(scores) / len(scores) for scores in tries.values()]
    return Scores(means, list(weights.values()), list(groups.values()), list(tries.values()))


def interval_of(chosen: Chosen, scores: Scores, seed: int) -> Interval:
    """The score of a set: a share of right items, or a weighted mean, with its 95 % interval."""
    scorer = chosen.scorer
    if scorer.kind == "share" and not scores.is_repeated:
        return share_interval(scores.values, scores.groups)
    found = bootstrap_mean(
        scores.values,
        scores.groups,
        weights=scores.weights if scorer.weight is not None else None,
        lowest=0.0 if scorer.kind != "number" else None,
        seed=seed,
    )
    if scorer.shown is None:
        return found
    ends = sorted(map(scorer.shown, (found.low, found.high)))
    return replace(found, value=scorer.shown(found.value), low=ends[0], high=ends[1])


def summarise(chosen: Chosen, name: str, samples: Sequence[Sample], seed: int) -> Score:
    """A score with its interval, how many items lack it, and what repeats say."""
    scores = collect(name, samples)
    interval = interval_of(chosen, scores, seed)
    answered = [sample for sample in samples if sample["error"] is None]
    some_missing = 0 < len(answered) < len(samples)
    without = interval_of(chosen, collect(name, answered), seed).value if some_missing else None
    return Score(
        **interval.to_json(),
        without_errors=without,
        failed=sum(name in sample["failed"] for sample in samples),
        better=chosen.scorer.better,
        kind=chosen.scorer.kind,
        transformed=chosen.scorer.shown is not None,
        trust=trust_of(chosen),
        repeats=repeats_of(scores, chosen) if scores.is_repeated else None,
        slices=slices_of(chosen, name, samples, seed),
    )


def trust_of(chosen: Chosen) -> TrustResult | None:
    """What held-out texts say of a scorer that learned; None for one that computes."""
    trust = chosen.scorer.trust
    return TrustResult(**trust(**chosen.options)._asdict()) if trust is not None else None


def classes_of(task: TaskPlan, samples: Sequence[Sample], seed: int) -> ClassesResult | None:
    """Macro-F1, each label and the confusion table of a classification; None for another task.

    Of repeats the first counts; an item without an answer is of no known label.
    """
    if all(chosen.scorer.name != "label" for chosen in task.scorers):
        return None
    firsts = [sample for sample in samples if sample["repeat"] == 0]
    found = classify(
        [sample["gold"] for sample in firsts],
        [sample["output"] for sample in firsts],
        [sample["group_id"] for sample in firsts],
        seed=seed,
    )
    return ClassesResult(
        macro_f1=Score(**found.macro_f1.to_json()),
        classes=[ClassResult(**one._asdict()) for one in found.classes],
        confusion=found.confusion,
    )


def calibration_of(task: TaskPlan, name: str, samples: Sequence[Sample]) -> CalibrationResult | None:
    """Confidence against outcome; None when it was not asked for, or the server did not say."""
    known = [one for one in samples if one["confidence"] is not None and name in one["scores"]]
    if not task.task.confidence or not known:
        return None
    found = calibration([one["confidence"] for one in known], [one["scores"][name] for one in known])
    bins = [ReliabilityBin(**one._asdict()) for one in found.bins]
    return CalibrationResult(score=name, error=found.error, brier=found.brier, n=len(known), bins=bins)


def repeats_of(scores: Scores, chosen: Chosen) -> Repeats:
    """What several answers to one item say: the best of all, all of them, and where the variance lies."""
    variance = variance_of(scores.repeated)
    fewest = min(map(len, scores.repeated)) if chosen.scorer.kind == "share" else 0
    return Repeats(
        number=max(map(len, scores.repeated)),
        any_right=sum(max(tries) for tries in scores.repeated) / len(scores.repeated),
        all_right=sum(min(tries) for tries in scores.repeated) / len(scores.repeated),
        between=variance.between,
        within=variance.within,
        flaky=variance.flaky,
        passes=[passes(scores, k) for k in range(1, fewest + 1)],
    )


def passes(scores: Scores, k: int) -> Pass:
    """pass@k and pass^k, means over the items."""
    counts = [(round(sum(tries)), len(tries)) for tries in scores.repeated]
    any_right, all_right = (
        sum(one(right, tries, k) for right, tries in counts) / len(counts) for one in (pass_at, pass_all)
    )
    return Pass(k=k, any_right=any_right, all_right=all_right)


def slices_of(chosen: Chosen, name: str, samples: Sequence[Sample], seed: int) -> list[SliceScore]:
    """The score in every slice: quarters in their order, other slices with most items first."""
    parts: dict[tuple[str, str], list[Sample]] = {}
    for sample in samples:
        for key, value in sample["slices"].items():
            parts.setdefault((key, value), []).append(sample)
    found = []
    for (key, value), rows in parts.items():
        scores = collect(name, rows)
        if scores.values:
            interval = interval_of(chosen, scores, seed)
            found.append(SliceScore(key=key, value=value, **measures(interval)))
    return sorted(found, key=lambda one: (one.key, quarter(one.value), -one.n))


def quarter(value: str) -> int:
    """The place of a quarter among the quarters; 0 for any other slice."""
    return QUARTERS.index(value) if value in QUARTERS else 0


def measures(interval: Interval) -> dict[str, Any]:
    """Score, interval and items of a slice."""
    return {"score": interval.value, "low": interval.low, "high": interval.high, "n": interval.n}
