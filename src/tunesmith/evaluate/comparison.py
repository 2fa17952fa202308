"""Two reports, item by item: the difference, what it rests on, and what can be said."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tunesmith.core.errors import ConfigError, DataError, FolderError, nearest
from tunesmith.core.files import read_jsonl, write_json, write_jsonl
from tunesmith.core.job import Job
from tunesmith.core.scorers import scorer
from tunesmith.core.stats import holm, paired_difference
from tunesmith.core.workspace import Manifest
from tunesmith.evaluate.run import SAMPLES, slug
from tunesmith.evaluate.schema import CompareConfig, CompareResult, Difference, Verdict

ALPHA = 0.05
FEWEST_GROUPS = 10
"""With fewer independent groups no verdict is given: one or two items would carry it."""


@dataclass(frozen=True, slots=True)
class Report:
    """A report folder as a comparison needs it."""

    folder: Path
    manifest: Manifest
    samples: Mapping[str, Mapping[str, Any]]

    @property
    def label(self) -> str:
        """Model and prompt in words."""
        summary = self.manifest.summary
        return f"{Path(str(summary['model'])).name} ({summary['prompt']})"


def compare(config: CompareConfig, job: Job) -> CompareResult:
    """B against A on the items that both hold; a comparison folder.

    Raises DataError when they share fewer items than asked for.
    """
    a, b = open_report(config.a, job), open_report(config.b, job)
    metrics = common_metrics(a, b)
    primary = config.metric or str(b.manifest.summary["primary"])
    if primary not in metrics:
        where = "the two reports have no such score in common"
        raise ConfigError(where, value=primary, next_step=nearest(primary, metrics))
    common = [identity for identity in b.samples if identity in a.samples]
    if len(common) < config.at_least:
        counts = f"{len(common)} in common, {len(a.samples)} in A, {len(b.samples)} in B"
        step = "evaluate both models on the same suite and split"
        raise DataError("the two reports share too few items", value=counts, next_step=step)
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
        groups = len({b.samples[identity]["group_id"] for identity in common})
        verdict = verdict_of(differences[primary], groups, config.margin)
        fixes, regressions = changed_items(a, b, common, primary)
        result = CompareResult(
            folder=folder.path,
            a=a.label,
            b=b.label,
            verdict=verdict,
            sentence=sentence_of(
                verdict, a.label, b.label, primary, differences[primary], len(common), config.margin
            ),
            primary=primary,
            n=len(common),
            groups=groups,
            only_a=len(a.samples) - len(common),
            only_b=len(b.samples) - len(common),
            difference=differences[primary],
            differences=differences,
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
    folder = path if path.is_dir() else job.workspace.resolve(str(path))
    manifest = Manifest.read(folder)
    if manifest.kind != "report":
        step = "give a folder that `tunesmith evaluate` made"
        raise FolderError(f"this folder is a {manifest.kind}, not a report", where=folder, next_step=step)
    samples = {line.value["id"]: line.value for line in read_jsonl(folder / SAMPLES)}
    return Report(folder.resolve(), manifest, samples)


def common_metrics(a: Report, b: Report) -> list[str]:
    """Scores that both reports hold, in B's order."""
    known = a.manifest.summary["scores"]
    return [name for name in b.manifest.summary["scores"] if name in known]


def all_differences(
    a: Report, b: Report, common: Sequence[str], metrics: Sequence[str], primary: str, seed: int
) -> dict[str, Difference]:
    """Every score's difference; Holm's correction runs over those that do not decide."""
    groups = [b.samples[identity]["group_id"] for identity in common]
    found = {}
    for name in metrics:
        first = [a.samples[identity]["scores"][name] for identity in common]
        second = [b.samples[identity]["scores"][name] for identity in common]
        paired = paired_difference(first, second, groups, shares=scorer(name).share, seed=seed)
        found[name] = Difference(
            a=sum(first) / len(first),
            b=sum(second) / len(second),
            value=paired.interval.value,
            low=paired.interval.low,
            high=paired.interval.high,
            method=paired.interval.method,
            p_value=paired.p_value,
            test=paired.test,
            adjusted_p=paired.p_value,
            detectable=paired.detectable,
        )
    others = [name for name in metrics if name != primary]
    for name, adjusted in zip(others, holm([found[name].p_value for name in others]), strict=True):
        found[name] = found[name].model_copy(update={"adjusted_p": adjusted})
    return found


def verdict_of(difference: Difference, groups: int, margin: float) -> Verdict:
    """What can be said: a claim needs interval and test, a tie needs an interval inside the margin."""
    if groups < FEWEST_GROUPS:
        return "not enough data"
    if difference.p_value <= ALPHA and difference.low > 0:
        return "better"
    if difference.p_value <= ALPHA and difference.high < 0:
        return "worse"
    return "tied" if -margin <= difference.low and difference.high <= margin else "not enough data"


def sentence_of(
    verdict: Verdict, a: str, b: str, metric: str, difference: Difference, n: int, margin: float
) -> str:
    """The verdict in one sentence with difference, interval, n, method and what n could have seen."""
    claim = {
        "better": f"{b} is better than {a}",
        "worse": f"{b} is worse than {a}",
        "tied": f"{b} and {a} are tied within ±{points(margin)}",
        "not enough data": f"There is not enough data to tell {b} from {a}",
    }[verdict]
    return (
        f"{claim}: {metric} {difference.b:.1%} against {difference.a:.1%}, a difference of"
        f" {points(difference.value, signed=True)} (95 % interval {points(difference.low, signed=True)} to"
        f" {points(difference.high, signed=True)}, p = {difference.p_value:.2g}) on {n} items"
        f" ({difference.test}, {difference.method}); so many items see a difference of"
        f" {points(difference.detectable)} or more four times in five."
    )


def points(share: float, *, signed: bool = False) -> str:
    """A share as percentage points."""
    return f"{100 * share:+.1f} points" if signed else f"{100 * share:.1f} points"


def changed_items(
    a: Report, b: Report, common: Sequence[str], metric: str
) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Items that B does better and items that B does worse, the largest change first."""
    rows = []
    for identity in common:
        first, second = a.samples[identity], b.samples[identity]
        change = second["scores"][metric] - first["scores"][metric]
        row = {"id": identity, "group_id": second["group_id"], "change": change}
        row |= {"prompt": second["prompt"], "gold": second["gold"]}
        for side, sample in (("a", first), ("b", second)):
            row |= {f"{side}_output": sample["output"], f"{side}_error": sample["error"]}
            row |= {f"{side}_score": sample["scores"][metric]}
        rows.append(row)
    rows.sort(key=lambda row: -abs(row["change"]))
    return [row for row in rows if row["change"] > 0], [row for row in rows if row["change"] < 0]


def notes_on(a: Report, b: Report, common: int) -> list[str]:
    """What a reader should know: items left out, unanswered ones, different settings."""
    notes = []
    if left_out := len(a.samples) + len(b.samples) - 2 * common:
        notes.append(f"{left_out} items stand in one report only and were left out")
    for side, report in (("A", a), ("B", b)):
        if errors := report.manifest.summary["errors"]:
            notes.append(f"{errors} items of {side} have no answer and score 0")
    for name in ("max_tokens", "limit", "split"):
        first, second = a.manifest.config.get(name), b.manifest.config.get(name)
        if first != second:
            notes.append(f"the reports differ in {name}: {first} in A, {second} in B")
    return notes
