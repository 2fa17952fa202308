"""`tunesmith power`."""

from collections.abc import Callable
from math import ceil
from typing import NamedTuple

import numpy as np

from tunesmith.core.errors import ConfigError, DataError, nearest
from tunesmith.core.job import Job
from tunesmith.core.stats import Floats, cluster_error, required_items
from tunesmith.core.stats.planning import discordance, required_for_means, smallest_difference
from tunesmith.evaluate.comparison.differences import ALPHA, FEWEST_GROUPS, is_share
from tunesmith.evaluate.comparison.reports import Report, comparable, open_report
from tunesmith.evaluate.comparison.words import points, shown
from tunesmith.evaluate.power.schema import PowerConfig, PowerResult, Scenario
from tunesmith.evaluate.summary import Scores, collect

ROUNDING = 1e-9


class Known(NamedTuple):
    """What the report says of its items."""

    name: str
    kind: str
    is_share: bool
    better: str
    value: float
    spread: float
    items: int
    groups: int
    design_effect: float

    @property
    def effective(self) -> float:
        """Independent items that would say as much."""
        return self.items / self.design_effect

    @property
    def most(self) -> float:
        """The largest difference that a candidate can have."""
        if self.kind == "number":
            return 1e3 * self.spread  # no bound: beyond any that could be missed
        return max(self.value, 1 - self.value)

    def other(self, difference: float) -> float:
        """The share of a candidate that differs by this: better if there is room, else worse."""
        higher, lower = self.value + difference, self.value - difference
        wanted, rest = (higher, lower) if self.better == "higher" else (lower, higher)
        return min(1.0, max(0.0, wanted if -ROUNDING <= wanted <= 1 + ROUNDING else rest))


def power(config: PowerConfig, job: Job) -> PowerResult:
    """Items needed and differences seen, for each correlation.

    Raises ConfigError for a score or a difference that cannot be, DataError when no item has the score or all
    items have the same.
    """
    report = open_report(config.report, job)
    known = known_of(report, metric_of(config, report))
    if config.difference is not None and known.kind != "number" and config.difference > known.most:
        what = f"no candidate can differ by that much from {shown(known.value, known.kind)}"
        step = f"give at most {known.most:.2f}"
        raise ConfigError(what, value=config.difference, where="--difference", next_step=step)
    scenarios = [scenario(known, one, config) for one in sorted(set(config.correlation))]
    return PowerResult(
        report=report.label,
        metric=known.name,
        kind=report.scores[known.name]["kind"],
        value=known.value,
        spread=known.spread,
        items=known.items,
        groups=known.groups,
        design_effect=known.design_effect,
        difference=config.difference,
        candidates=config.candidates,
        scenarios=scenarios,
        sentence=sentence_of(report.label, known, scenarios, config.difference),
        notes=notes_of(known, config),
    )


def metric_of(config: PowerConfig, report: Report) -> str:
    """The score.  Raises ConfigError for one that the report lacks, or that cannot be compared."""
    name = config.metric or str(report.manifest.summary["primary"])
    known = [one for one, score in report.scores.items() if comparable(score)]
    if name not in known:
        what = "the report has no such score with a better and a worse"
        raise ConfigError(what, value=name, where="--metric", next_step=nearest(name, known))
    return name


def known_of(report: Report, name: str) -> Known:
    """Mean, spread and groups of a score, repeats averaged."""
    scores = collect(name, report.samples)
    if not scores.values:
        raise DataError("no item of the report has this score", value=name, where=report.folder)
    value, influence = influence_of(scores)
    spread, groups = float(influence.std()), len(set(scores.groups))
    score = report.scores[name]
    if spread == 0 and not is_share(score):
        step = "evaluate more items, or items on which the model does not always do the same"
        raise DataError("all items have the same score: its spread is unknown", value=name, next_step=step)
    effect = 1.0
    if 1 < groups < len(influence) and spread > 0:
        effect = max(1.0, (cluster_error(influence, scores.groups) / cluster_error(influence)) ** 2)
    return Known(
        name, score["kind"], is_share(score), score["better"], value, spread, len(influence), groups, effect
    )


def influence_of(scores: Scores) -> tuple[float, Floats]:
    """The (weighted) mean, and how far each item moves it."""
    values, weights = np.array(scores.values), np.array(scores.weights)
    value = float((values * weights).sum() / weights.sum())
    influence: Floats = (values - value) * weights / weights.mean()
    return value, influence


def scenario(known: Known, correlation: float, config: PowerConfig) -> Scenario:
    """What follows if the scores of the two models are so correlated."""
    needed = needed_for(known, correlation, 1 - ALPHA / config.candidates)
    visible = smallest_difference(needed, known.effective, known.most)
    wanted = config.difference if config.difference is not None else visible
    return Scenario(
        correlation=correlation,
        discordance=discordance(known.value, known.other(wanted), correlation)
        if known.is_share and wanted is not None
        else None,
        needed=ceil(known.design_effect * needed(config.difference)) if config.difference else None,
        visible=visible,
    )


def needed_for(known: Known, correlation: float, confidence: float) -> Callable[[float], int]:
    """Independent items that a difference needs: McNemar's for shares, else that of a mean."""

    def needed(difference: float) -> int:
        if known.is_share:
            differing = discordance(known.value, known.other(difference), correlation)
            return max(FEWEST_GROUPS, required_items(difference, differing, confidence=confidence))
        found = required_for_means(difference, known.spread, correlation, confidence=confidence)
        return max(FEWEST_GROUPS, found)

    return needed


def sentence_of(label: str, known: Known, scenarios: list[Scenario], difference: float | None) -> str:
    """The range of items needed, and what the report's own items see."""
    seen = [one.visible for one in scenarios if one.visible is not None]
    sees = (
        f"{label}'s {known.items:,} items see a difference in {known.name} of"
        f" {between([points(one, known.kind) for one in sorted(seen)])} or more four times in five"
        if seen
        else f"{label}'s {known.items:,} items are too few to see any difference in {known.name}"
    )
    if difference is None:
        return f"{sees}."
    counts = sorted(one.needed for one in scenarios if one.needed is not None)
    asked = f"a difference of {points(difference, known.kind)} in {known.name}"
    takes = f"To see {asked} four times in five takes {between([f'{one:,}' for one in counts])} items"
    return f"{takes}; {sees}."


def between(figures: list[str]) -> str:
    """'120 to 480', or one figure."""
    return figures[0] if figures[0] == figures[-1] else f"{figures[0]} to {figures[-1]}"


def notes_of(known: Known, config: PowerConfig) -> list[str]:
    """What the figures take for granted."""
    notes = []
    if known.design_effect > 1:
        notes.append(
            f"{known.items} items stand in {known.groups} groups and say as much as"
            f" {known.effective:.0f} independent ones: more items are taken to come in groups alike"
        )
    if not known.is_share:
        notes.append("the candidate's scores are taken to spread as the report's do")
    if config.difference is not None and known.is_share:
        other = known.other(config.difference)
        if (other > known.value) != (known.better == "higher"):
            room = points(abs((1.0 if known.better == "higher" else 0.0) - known.value))
            notes.append(f"no candidate can be better by more than {room}: the figures are for a worse one")
    if config.candidates > 1:
        notes.append(f"each of {config.candidates} candidates is tested at 5 % / {config.candidates}")
    return notes
