"""Two reports, item by item: the difference, what it rests on, and what can be said."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from math import ceil
from pathlib import Path
from typing import Any, NamedTuple

from tunesmith.core.errors import ConfigError, DataError, FolderError, nearest
from tunesmith.core.files import read_jsonl, write_json, write_jsonl
from tunesmith.core.job import Job
from tunesmith.core.stats import PairedDifference, benjamini_hochberg, holm, paired_difference, required_items
from tunesmith.core.workspace import Manifest
from tunesmith.evaluate.asking import SAMPLES, Sample
from tunesmith.evaluate.run import slug
from tunesmith.evaluate.schema import CompareConfig, CompareResult, Difference, SliceDifference, Verdict
from tunesmith.evaluate.summary import quarter

ALPHA = 0.05
FEWEST_GROUPS = 10
"""With fewer independent groups no verdict is given: one or two items would carry it."""

ItemKey = tuple[str, str]


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


def compare(config: CompareConfig, job: Job) -> CompareResult:
    """B against A on the items that both hold; a comparison folder.

    Raises DataError when they share fewer items than asked for.
    """
    a, b = open_report(config.a, job), open_report(config.b, job)
    metrics = common_metrics(a, b)
    primary = primary_of(config, b, metrics)
    common = common_items(a, b, config.at_least)
    pairs = scored_pairs(a, b, common, primary)
    settings = {"metric": primary, "at_least": config.at_least, "margin": config.margin, "seed": config.seed}
    with job.folder(
        verb="compare",
        kind="comparison",
        name=slug(f"{b.label}-against-{a.label}"),
        config=settings,
        inputs={"a": a.folder, "b": b.folder},
        seed=config.seed,
    ) as folder:
        differences = all_differences(a, b, common, metrics, primary, config.seed)
        difference, groups = differences[primary], len(set(pairs.groups))
        verdict = verdict_of(difference, groups, config.margin)
        fixes, regressions = changed_items(a, b, pairs, primary, difference.better)
        result = CompareResult(
            folder=folder.path,
            a=a.label,
            b=b.label,
            verdict=verdict,
            sentence=sentence_of(
                verdict, a.label, b.label, primary, difference, len(pairs.items), config.margin
            ),
            primary=primary,
            n=len(pairs.items),
            groups=groups,
            only_a=len(a.by_item) - len(common),
            only_b=len(b.by_item) - len(common),
            difference=difference,
            differences=differences,
            slices=slice_differences(a, b, common, primary, config.seed),
            fixes=len(fixes),
            regressions=len(regressions),
            notes=notes_on(a, b, len(common)),
        )
        folder.summary = {key: value for key, value in result.to_json().items() if key != "folder"}
        facts = {key: value for key, value in folder.summary.items() if key != "differences"}
        write_json(folder / "comparison.json", {**facts, "scores": folder.summary["differences"]})
        write_jsonl(folder / "fixes.jsonl", fixes)
        write_jsonl(folder / "regressions.jsonl", regressions)
    return result


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
    return [
        name
        for name, score in b.scores.items()
        if name in a.scores and score["better"] is not None and not score["transformed"]
    ]


def primary_of(config: CompareConfig, b: Report, metrics: Sequence[str]) -> str:
    """The score that decides.  Raises ConfigError when the reports do not share it."""
    primary = config.metric or str(b.manifest.summary["primary"])
    if primary not in metrics:
        where = "the two reports have no such score in common"
        raise ConfigError(where, value=primary, next_step=nearest(primary, metrics))
    return primary


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


def all_differences(
    a: Report, b: Report, common: Sequence[ItemKey], metrics: Sequence[str], primary: str, seed: int
) -> dict[str, Difference]:
    """Every score's difference; Holm's correction runs over those that do not decide."""
    found = {}
    for name in metrics:
        pairs = pairs_of(a, b, common, name)
        if pairs.items:
            found[name] = difference_of(pairs, b.scores[name], seed)
    others = [name for name in found if name != primary]
    for name, adjusted in zip(others, holm([found[name].p_value for name in others]), strict=True):
        found[name] = found[name].model_copy(update={"adjusted_p": adjusted})
    return found


def difference_of(pairs: Pairs, score: Mapping[str, Any], seed: int) -> Difference:
    """The difference of one score."""
    paired = paired_of(pairs, score, seed)
    total = sum(pairs.weights)
    first, second = (
        sum(value * weight for value, weight in zip(values, pairs.weights, strict=True)) / total
        for values in (pairs.first, pairs.second)
    )
    return Difference(
        a=first,
        b=second,
        value=paired.interval.value,
        low=paired.interval.low,
        high=paired.interval.high,
        method=paired.interval.method,
        p_value=paired.p_value,
        test=paired.test,
        adjusted_p=paired.p_value,
        detectable=paired.detectable,
        needed=items_needed(pairs, paired, score),
        n=len(pairs.items),
        better=score["better"],
        kind=score["kind"],
    )


def paired_of(pairs: Pairs, score: Mapping[str, Any], seed: int) -> PairedDifference:
    """Interval and test for a score of this kind."""
    return paired_difference(
        pairs.first,
        pairs.second,
        pairs.groups,
        shares=is_share(score),
        bounded=score["kind"] != "number",
        weights=pairs.weights if set(pairs.weights) != {1.0} else None,
        seed=seed,
    )


def items_needed(pairs: Pairs, paired: PairedDifference, score: Mapping[str, Any]) -> int | None:
    """Items that would see a true difference of the size seen four times in five; None for no difference."""
    size, n = abs(paired.interval.value), len(pairs.items)
    if not size:
        return None
    if is_share(score):
        differing = sum(first != second for first, second in zip(pairs.first, pairs.second, strict=True))
        return required_items(size, differing / n)
    return ceil(n * (paired.detectable / size) ** 2)


def is_share(score: Mapping[str, Any]) -> bool:
    """Whether every item scores 0 or 1; the mean of repeats lies between."""
    return bool(score["kind"] == "share" and score["repeats"] is None)


def slice_differences(
    a: Report, b: Report, common: Sequence[ItemKey], primary: str, seed: int
) -> list[SliceDifference]:
    """The deciding difference on each slice, with Benjamini and Hochberg's correction over all of them."""
    parts: dict[tuple[str, str], list[ItemKey]] = {}
    for item in common:
        for key, value in b.by_item[item][0]["slices"].items():
            parts.setdefault((key, value), []).append(item)
    found = []
    for (key, value), items in parts.items():
        pairs = pairs_of(a, b, items, primary)
        if pairs.items:
            paired = paired_of(pairs, b.scores[primary], seed)
            ends = {"low": paired.interval.low, "high": paired.interval.high}
            found.append(
                SliceDifference(
                    key=key,
                    value=value,
                    n=len(pairs.items),
                    difference=paired.interval.value,
                    **ends,
                    p_value=paired.p_value,
                    adjusted_p=paired.p_value,
                    detectable=paired.detectable,
                )
            )
    adjusted = benjamini_hochberg([one.p_value for one in found])
    corrected = [
        one.model_copy(update={"adjusted_p": p_value}) for one, p_value in zip(found, adjusted, strict=True)
    ]
    return sorted(corrected, key=lambda one: (one.key, quarter(one.value), -one.n))


def verdict_of(difference: Difference, groups: int, margin: float) -> Verdict:
    """What can be said: a claim needs interval and test, a tie needs an interval inside the margin."""
    low, high = gains(difference)
    if groups < FEWEST_GROUPS:
        return "not enough data"
    if difference.p_value <= ALPHA and low > 0:
        return "better"
    if difference.p_value <= ALPHA and high < 0:
        return "worse"
    return "tied" if -margin <= low and high <= margin else "not enough data"


def gains(difference: Difference) -> tuple[float, float]:
    """The interval's ends, turned so that more is better."""
    if difference.better == "lower":
        return -difference.high, -difference.low
    return difference.low, difference.high


def sentence_of(
    verdict: Verdict, a: str, b: str, metric: str, difference: Difference, n: int, margin: float
) -> str:
    """The verdict in one sentence with difference, interval, n, method and what n could have seen."""
    kind = difference.kind
    claim = {
        "better": f"{b} is better than {a}",
        "worse": f"{b} is worse than {a}",
        "tied": f"{b} and {a} are tied within ±{points(margin, kind)}",
        "not enough data": f"There is not enough data to tell {b} from {a}",
    }[verdict]
    first, second = (shown(value, kind) for value in (difference.a, difference.b))
    more = ""
    if verdict == "not enough data" and difference.needed is not None:
        more = f" A true difference of the size seen needs about {difference.needed:,} items."
    return (
        f"{claim}: {metric} {second} against {first}, a difference of"
        f" {points(difference.value, kind, signed=True)} (95 % interval"
        f" {points(difference.low, kind, signed=True)} to {points(difference.high, kind, signed=True)},"
        f" p = {difference.p_value:.2g}) on {n} items ({difference.test}, {difference.method}); so many items"
        f" see a difference of {points(difference.detectable, kind)} or more four times in five.{more}"
    )


def shown(value: float, kind: str) -> str:
    """A share as a percentage, another number as it is."""
    return f"{value:.4g}" if kind == "number" else f"{value:.1%}"


def points(value: float, kind: str = "share", *, signed: bool = False) -> str:
    """A difference of shares as percentage points, of other numbers as it is."""
    sign = "+" if signed else ""
    return format(value, f"{sign}.3g") if kind == "number" else f"{format(100 * value, f'{sign}.1f')} points"


def changed_items(
    a: Report, b: Report, pairs: Pairs, metric: str, better: str | None
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
            notes.append(f"{errors} items of {side} have no answer and score 0")
        failed = {name: score["failed"] for name, score in report.scores.items() if score["failed"]}
        notes += [f"{name} could not score {count} items of {side}" for name, count in failed.items()]
    for name in ("max_tokens", "limit", "split", "temperature", "stop"):
        first, second = a.manifest.config.get(name), b.manifest.config.get(name)
        if first != second:
            notes.append(f"the reports differ in {name}: {first} in A, {second} in B")
    return notes
