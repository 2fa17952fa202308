"""A report folder as a comparison needs it, and its items beside those of another."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

from tunesmith.core.errors import ConfigError, DataError, FolderError
from tunesmith.core.files import read_jsonl
from tunesmith.core.job import Job
from tunesmith.core.workspace import Manifest
from tunesmith.evaluate.asking import SAMPLES, Sample

ItemKey = tuple[str, str]
KINDS = ("share", "unit", "number")
"""Kinds of scores, the narrowest first."""


@dataclass(frozen=True)
class Report:
    """A report folder as a comparison needs it."""

    folder: Path
    manifest: Manifest
    samples: Sequence[Sample]

    @property
    def label(self) -> str:
        """Model and prompt in words."""
        summary = self.manifest.summary
        return f"{Path(str(summary['model'])).name} ({summary['prompt']})"

    @property
    def scores(self) -> Mapping[str, Mapping[str, Any]]:
        """What the report says of each score."""
        found: Mapping[str, Mapping[str, Any]] = self.manifest.summary["scores"]
        return found

    @cached_property
    def by_item(self) -> Mapping[ItemKey, list[Sample]]:
        """The samples of each item, one for each repeat."""
        found: dict[ItemKey, list[Sample]] = {}
        for sample in self.samples:
            found.setdefault((sample["task"], sample["id"]), []).append(sample)
        return found

    def score(self, item: ItemKey, name: str) -> float | None:
        """The mean score of an item's repeats; None when it has none."""
        values = [sample["scores"][name] for sample in self.by_item[item] if name in sample["scores"]]
        return sum(values) / len(values) if values else None


class Pairs(NamedTuple):
    """One score of both reports on the items that both scored."""

    items: list[ItemKey]
    first: list[float]
    second: list[float]
    groups: list[str]
    weights: list[float]


def open_report(path: Path, job: Job) -> Report:
    """A finished report folder, by path, name or id."""
    folder = path if path.is_dir() else job.workspace.resolve(str(path), "report")
    manifest = Manifest.read(folder)
    if manifest.kind != "report":
        step = "give a folder that `tunesmith evaluate` made"
        raise FolderError(f"this folder is a {manifest.kind}, not a report", where=folder, next_step=step)
    samples = [line.value for line in read_jsonl(folder / SAMPLES)]
    return Report(folder.resolve(), manifest, samples)


def common_metrics(a: Report, b: Report) -> list[str]:
    """Scores that both reports hold and that have a better and a worse, in B's order.

    A perplexity is left out: gold_logprob says the same, and its differences mean something.
    """
    return [name for name, score in b.scores.items() if name in a.scores and comparable(score)]


def comparable(score: Mapping[str, Any]) -> bool:
    """Whether a difference of this score means something."""
    return score["better"] is not None and not score["transformed"]


def shared_score(a: Report, b: Report, name: str) -> Mapping[str, Any]:
    """What B's report says of a score, with values as wide as both reports' and repeats when either has them.

    The kind of an imported score is told from its values, so that two reports may differ in it.
    """
    kinds = (a.scores[name]["kind"], b.scores[name]["kind"])
    repeats = a.scores[name]["repeats"] or b.scores[name]["repeats"]
    return {**b.scores[name], "kind": max(kinds, key=KINDS.index), "repeats": repeats}


def common_items(a: Report, b: Report, at_least: int) -> list[ItemKey]:
    """Items that both reports hold, in B's order.  Raises DataError for too few."""
    common = [item for item in b.by_item if item in a.by_item]
    if len(common) < at_least:
        counts = f"{len(common)} in common, {len(a.by_item)} in A, {len(b.by_item)} in B"
        step = "evaluate both models on the same suite and split"
        raise DataError("the two reports share too few items", value=counts, next_step=step)
    return common


def pairs_of(a: Report, b: Report, common: Sequence[ItemKey], name: str) -> Pairs:
    """One score on the items where both have it."""
    found = Pairs([], [], [], [], [])
    for item in common:
        first, second = a.score(item, name), b.score(item, name)
        if first is None or second is None:
            continue
        sample = b.by_item[item][0]
        found.items.append(item)
        found.first.append(first)
        found.second.append(second)
        found.groups.append(sample["group_id"])
        found.weights.append(sample["weights"].get(name, 1.0))
    return found


def scored_pairs(a: Report, b: Report, common: Sequence[ItemKey], name: str) -> Pairs:
    """The same for a score that something rests on.  Raises DataError when no item has it in both reports."""
    pairs = pairs_of(a, b, common, name)
    if not pairs.items:
        step = "look at `failed` and `error` in their samples.jsonl"
        raise DataError("no item has this score in both reports", value=name, next_step=step)
    return pairs


def changed_items(
    a: Report, b: Report, pairs: Pairs, better: str | None
) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Items that B does better and items that B does worse, the largest change first."""
    rows = []
    for item, first, second in zip(pairs.items, pairs.first, pairs.second, strict=True):
        samples = {"a": a.by_item[item][0], "b": b.by_item[item][0]}
        row = {"id": item[1], "task": item[0], "group_id": samples["b"]["group_id"], "change": second - first}
        row |= {"prompt": samples["b"]["prompt"], "gold": samples["b"]["gold"]}
        for side, sample in samples.items():
            row |= {f"{side}_output": sample["output"], f"{side}_error": sample["error"]}
        rows.append(row | {"a_score": first, "b_score": second})
    rows.sort(key=lambda row: -abs(row["change"]))
    sign = -1 if better == "lower" else 1
    gained = [row for row in rows if sign * row["change"] > 0]
    return gained, [row for row in rows if sign * row["change"] < 0]


def notes_on(a: Report, b: Report, common: int) -> list[str]:
    """What a reader should know: items left out, unanswered ones, different settings."""
    notes = []
    if left_out := len(a.by_item) + len(b.by_item) - 2 * common:
        notes.append(f"{left_out} items stand in one report only and were left out")
    for side, report in (("A", a), ("B", b)):
        if errors := report.manifest.summary["errors"]:
            notes.append(
                f"{errors} items of {side} have no answer: they score 0 where more is better, and are left"
                " out of numbers and of scores where less is"
            )
        failed = {name: score["failed"] for name, score in report.scores.items() if score["failed"]}
        notes += [f"{name} could not score {count} items of {side}" for name, count in failed.items()]
    return [*notes, *different_settings(a, b)]


SETTINGS = ("max_tokens", "limit", "split", "temperature", "repeats", "stop")
"""What can move a score and may still differ between two reports: a note says so."""


def settings_of(report: Report) -> Mapping[str, Mapping[str, Any]]:
    """The settings of each task; those of a single one stand for themselves."""
    config = report.manifest.config
    tasks: Mapping[str, Mapping[str, Any]] = config.get("tasks", {"": config})
    return tasks


def different_settings(a: Report, b: Report) -> list[str]:
    """Settings of the tasks in common that can move a score and are not the same."""
    notes = []
    first, second = settings_of(a), settings_of(b)
    if len(first) == len(second) == 1:  # whatever the only task is called
        first, second = {"": next(iter(first.values()))}, {"": next(iter(second.values()))}
    for task in (name for name in first if name in second):
        where = f" of {task}" if task else ""
        one, other = first[task], second[task]
        notes += [
            f"the reports differ in {name}{where}: {one[name]} in A, {other[name]} in B"
            for name in SETTINGS
            if name in one and name in other and one[name] != other[name]
        ]
    return notes


def refuse_other_definition(a: Report, b: Report, name: str) -> None:
    """Raise ConfigError when a score of one name was made in two ways: by other options or another judge."""
    first, second = definition_of(a, name), definition_of(b, name)
    if first is not None and second is not None and first != second:
        what = f"the two reports mean two things by {name}"
        step = "evaluate both with the same suite, or give another --metric"
        raise ConfigError(what, value=f"{first} in A, {second} in B", next_step=step)


def definition_of(report: Report, name: str) -> Any:
    """How a score was made: its scorer with its options, or its judge; None where nothing says so."""
    task, _, score = name.rpartition("/")
    tasks = settings_of(report)
    settings = tasks.get(task) if task else next(iter(tasks.values()))
    if settings is None:
        return None
    if score == "judge":
        return settings.get("judge")
    named = {one if isinstance(one, str) else one["name"]: one for one in settings.get("scorers", ())}
    return named.get(score)
