"""Holding two reports against a rule."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from tunesmith.core.config import load
from tunesmith.core.errors import ConfigError, DataError, nearest
from tunesmith.core.files import write_json
from tunesmith.core.job import Job
from tunesmith.core.stats import Interval, bootstrap_mean, non_inferior, share_interval
from tunesmith.evaluate.asking import was_answered
from tunesmith.evaluate.comparison.differences import ALPHA, FEWEST_GROUPS, gains
from tunesmith.evaluate.comparison.differences import difference_of as difference
from tunesmith.evaluate.comparison.reports import (
    ItemKey,
    Pairs,
    Report,
    common_items,
    common_metrics,
    open_report,
    refuse_other_definition,
    scored_pairs,
    shared_score,
)
from tunesmith.evaluate.comparison.words import points, shown
from tunesmith.evaluate.gate.schema import (
    RELEASE,
    Condition,
    GateConfig,
    GateResult,
    Guard,
    Measure,
    Rule,
)
from tunesmith.evaluate.run import slug

SHARES: frozenset[Measure] = frozenset({"errors", "truncated"})
"""Measures of 0 and 1 for each answer; the others are compared relative to A."""


def gate(config: GateConfig, job: Job) -> GateResult:
    """Measure every condition of the rule; a gate folder.

    Raises ConfigError for a condition on what the reports do not hold, DataError for too few common items.
    """
    rule_file = RELEASE if str(config.rule) == RELEASE.stem and not config.rule.exists() else config.rule
    rule = load(rule_file, Rule)
    a, b = open_report(config.a, job), open_report(config.b, job)
    common = common_items(a, b, rule.at_least)
    with job.folder(
        verb="gate",
        kind="gate",
        name=slug(f"{b.label}-for-{a.label}"),
        config={"rule": rule.to_json(), "seed": config.seed},
        inputs={"rule": rule_file, "a": a.folder, "b": b.folder},
        seed=config.seed,
    ) as folder:
        conditions = [primary_condition(rule, a, b, common, config.seed)]
        conditions += [guard_condition(guard, rule, a, b, common, config.seed) for guard in rule.guards]
        result = GateResult(
            folder=folder.path,
            passed=all(one.holds for one in conditions),
            a=a.label,
            b=b.label,
            sentence=sentence_of(a.label, b.label, conditions),
            conditions=conditions,
        )
        folder.summary = {key: value for key, value in result.to_json().items() if key != "folder"}
        write_json(folder / "gate.json", folder.summary)
    return result


def known_score(name: str, a: Report, b: Report) -> Mapping[str, Any]:
    """What the reports say of a score.  Raises ConfigError when the two do not share it."""
    metrics = common_metrics(a, b)
    if name not in metrics:
        what = "the two reports have no such score in common"
        raise ConfigError(what, value=name, where="rule", next_step=nearest(name, metrics))
    refuse_other_definition(a, b, name)
    return shared_score(a, b, name)


def primary_condition(rule: Rule, a: Report, b: Report, common: Sequence[ItemKey], seed: int) -> Condition:
    """What the candidate has to show."""
    primary = rule.primary
    name = primary.score or str(b.manifest.summary["primary"])
    score = known_score(name, a, b)
    pairs = enough_pairs(a, b, common, name, rule.at_least)
    found = difference(pairs, score, seed)
    low, _ = gains(found)
    shown_better = low > 0 and found.p_value <= ALPHA
    holds = shown_better if primary.claim == "better" else non_inferior(low, primary.margin)
    facts = found.model_dump() | {"groups": len(set(pairs.groups))}
    return condition_of(name, primary.claim, primary.margin, facts, score["kind"], holds)


def enough_pairs(a: Report, b: Report, common: Sequence[ItemKey], name: str, at_least: int) -> Pairs:
    """A score on the items where both have it.  Raises DataError for fewer than the rule wants."""
    pairs = scored_pairs(a, b, common, name)
    if len(pairs.items) < at_least:
        counts = f"{len(pairs.items)} of {len(common)} common items"
        step = f"the rule wants {at_least}: evaluate more items, or lower at_least"
        raise DataError(f"too few items have the score {name} in both reports", value=counts, next_step=step)
    return pairs


def guard_condition(
    guard: Guard, rule: Rule, a: Report, b: Report, common: Sequence[ItemKey], seed: int
) -> Condition:
    """What must not get worse, or must stay within a limit."""
    if guard.measure is not None:
        return measure_condition(guard, guard.measure, a, b, common, seed)
    score = known_score(guard.name, a, b)
    pairs = enough_pairs(a, b, common, guard.name, rule.at_least)
    groups = {"groups": len(set(pairs.groups))}
    if guard.margin is not None:
        found = difference(pairs, score, seed)
        holds = non_inferior(gains(found)[0], guard.margin)
        facts = found.model_dump() | groups
        return condition_of(guard.name, "not worse", guard.margin, facts, score["kind"], holds)
    alone = interval_of(pairs.second, pairs.groups, kind=score["kind"], weights=pairs.weights, seed=seed)
    limit = guard.limit if guard.limit is not None else 0.0
    holds = alone.low >= limit if score["better"] == "higher" else alone.high <= limit
    before = float(np.average(pairs.first, weights=pairs.weights))
    facts = {"a": before, "b": alone.value, **ends(alone), **groups}
    return condition_of(guard.name, "within", limit, facts, score["kind"], holds)


def measure_condition(
    guard: Guard, measure: Measure, a: Report, b: Report, common: Sequence[ItemKey], seed: int
) -> Condition:
    """Latency, tokens, errors and cut answers: less is better.

    Failed requests are errors and nothing else: they are as fast as they are useless.
    """
    asked = [item for item in common if was_asked(a, item) and was_asked(b, item)]
    if measure != "errors":
        asked = [item for item in asked if has_answers(a, item) and has_answers(b, item)]
    if not asked:
        raise ConfigError("no item was answered in both reports", value=measure, where="rule")
    for report in (a, b):
        refuse_unknown(report, asked, measure)
    first, second = (np.array([measured(report, item, measure) for item in asked]) for report in (a, b))
    groups = [b.by_item[item][0]["group_id"] for item in asked]
    means = {"a": float(first.mean()), "b": float(second.mean()), "groups": len(set(groups))}
    kind = "unit" if measure in SHARES else "number"
    if guard.limit is not None:
        alone = interval_of(second.tolist(), groups, kind="share" if measure in SHARES else kind, seed=seed)
        return condition_of(
            measure, "within", guard.limit, {**means, **ends(alone)}, kind, alone.high <= guard.limit
        )
    margin = guard.margin if guard.margin is not None else 0.0
    scale = 1.0 if measure in SHARES else max(means["a"], 1e-9)
    lowest = -1.0 if measure in SHARES else None
    change = bootstrap_mean((second - first) / scale, groups, lowest=lowest, seed=seed)
    holds = non_inferior(-change.high, margin)
    return condition_of(measure, "not worse", margin, {**means, **ends(change)}, kind, holds)


def was_asked(report: Report, item: ItemKey) -> bool:
    """Whether an answer was asked for, and not only a likelihood."""
    return any(was_answered(sample) or sample["error"] for sample in report.by_item[item])


def refuse_unknown(report: Report, asked: Sequence[ItemKey], measure: Measure) -> None:
    """Raise ConfigError for what the report does not know, as that of another harness's results may not."""
    samples = [sample for item in asked for sample in report.by_item[item] if sample["error"] is None]
    keys = {"latency": "latency_seconds", "tokens": "completion_tokens", "truncated": "finish_reason"}
    if measure in keys and samples and not any(sample[keys[measure]] for sample in samples):
        what = f"nothing says of {report.label} what this guard asks for"
        raise ConfigError(what, value=measure, where="rule", next_step="leave the guard out")


def has_answers(report: Report, item: ItemKey) -> bool:
    """Whether any of the item's requests was answered."""
    return any(sample["error"] is None for sample in report.by_item[item])


def measured(report: Report, item: ItemKey, measure: Measure) -> float:
    """The mean of a measure over an item's repeats; over those that were answered, errors apart."""
    samples = report.by_item[item]
    if measure == "errors":
        return float(np.mean([sample["error"] is not None for sample in samples]))
    answered = [sample for sample in samples if sample["error"] is None]
    values = {
        "latency": [sample["latency_seconds"] for sample in answered],
        "tokens": [sample["completion_tokens"] for sample in answered],
        "truncated": [sample["finish_reason"] == "length" for sample in answered],
    }[measure]
    return float(np.mean(values))


def interval_of(
    values: Sequence[float],
    groups: Sequence[str],
    *,
    kind: str,
    weights: Sequence[float] | None = None,
    seed: int,
) -> Interval:
    """The candidate's own mean with its interval."""
    if kind == "share" and set(values) <= {0.0, 1.0}:
        return share_interval(values, groups)
    lowest = None if kind == "number" else 0.0
    return bootstrap_mean(values, groups, lowest=lowest, weights=weights, seed=seed)


def ends(interval: Interval) -> dict[str, float]:
    """Value, interval and items of a condition."""
    return {"value": interval.value, "low": interval.low, "high": interval.high, "n": interval.n}


def condition_of(
    name: str, claim: str, bound: float, facts: Mapping[str, Any], kind: str, holds: bool
) -> Condition:
    """A condition with its sentence."""
    numbers = {key: facts[key] for key in ("a", "b", "value", "low", "high", "n")}
    is_enough = facts["groups"] >= FEWEST_GROUPS
    part = Condition(name=name, claim=claim, bound=bound, **numbers, holds=holds and is_enough, sentence="")
    few = "" if is_enough else f"; {facts['groups']} independent items, and {FEWEST_GROUPS} are the fewest"
    return part.model_copy(update={"sentence": in_words(part, kind) + few})


def in_words(part: Condition, kind: str) -> str:
    """'retention/numeric is not shown to be at most 5.0 points worse: …'."""
    interval = f"95 % interval {{}} to {{}} on {part.n} items"
    if part.claim == "within":
        told = interval.format(shown(part.low, kind), shown(part.high, kind))
        verb = "keeps to" if part.holds else "is not shown to keep to"
        return f"{part.name} {verb} {shown(part.bound, kind)}: {shown(part.value, kind)} ({told})"
    told = interval.format(change(part, part.low, kind), change(part, part.high, kind))
    margin = change(part, part.bound, kind).lstrip("+")
    claim = "better" if part.claim == "better" else f"at most {margin} worse"
    verb = "is" if part.holds else "is not shown to be"
    return f"{part.name} {verb} {claim}: {change(part, part.value, kind)} ({told})"


def change(part: Condition, value: float, kind: str) -> str:
    """A difference in the condition's own units; latency and tokens are relative to A."""
    if part.name in ("latency", "tokens"):
        return f"{value:+.1%}"
    return points(value, kind, signed=True)


def sentence_of(a: str, b: str, conditions: Sequence[Condition]) -> str:
    """The outcome in one sentence."""
    failed = [one for one in conditions if not one.holds]
    if not failed:
        return f"{b} may take the place of {a}: all {len(conditions)} conditions hold."
    return f"{b} may not take the place of {a}: {'; '.join(one.sentence for one in failed)}."
