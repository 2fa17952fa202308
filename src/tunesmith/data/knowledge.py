"""What check, selftest and ablation folders say of the data set that they looked at, for its card."""

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from tunesmith.core.dataset import DataSet
from tunesmith.core.job import Job
from tunesmith.core.progress import counted
from tunesmith.core.workspace import Manifest

Summary = Mapping[str, Any]


def knowledge(job: Job, data: DataSet) -> Iterator[Path]:
    """Folders that say something about this very data set, by content hash."""
    for folder in sorted(job.workspace.folders()):
        manifest = Manifest.read(folder)
        if manifest.kind in MEASURED and data.manifest.id in {entry.id for entry in manifest.inputs}:
            yield folder


def found_by_check(summary: Summary) -> Iterator[str]:
    """A sentence for each check with errors or warnings; notes stay in its own report."""
    for check in summary["checks"]:
        words = [
            counted(check[f"{severity}s"], severity)
            for severity in ("error", "warning")
            if check[f"{severity}s"]
        ]
        if words:
            rows = f" in {check['rows']:,} of {check['looked_at']:,} rows" if check["rows"] else ""
            yield f"{check['check']}: {' and '.join(words)}{rows}"


def measured_by_check(summary: Summary) -> Iterator[str]:
    """One sentence of counts, and the checks that did not run."""
    counts = ", ".join(
        counted(summary[f"{severity}s"], severity) for severity in ("error", "warning", "note")
    )
    yield f"{len(summary['checks'])} checks over {summary['rows']:,} rows: {counts}"
    if summary["not_run"]:
        yield "not run: " + ", ".join(part["check"] for part in summary["not_run"])


def measured_by_selftest(summary: Summary) -> Iterator[str]:
    """How well each planted fault was found."""
    for part in summary["outcomes"]:
        rates = [f"recall {interval(part['recall'])}"]
        rates += [f"{name} {interval(part[name])}" for name in ("precision", "auc") if part[name] is not None]
        yield f"{part['planted']} × {part['plant']} planted, {part['check']}: {', '.join(rates)}"
    for part in summary["not_planted"]:
        yield f"{part['plant']} not planted: {part['reason']}"


def interval(rate: Mapping[str, float]) -> str:
    """A rate with its 95 % interval."""
    return f"{rate['value']:.2f} ({rate['low']:.2f} to {rate['high']:.2f})"


def measured_by_ablation(summary: Summary) -> Iterator[str]:
    """The verdict with its numbers."""
    yield str(summary["sentence"])


FOUND: Mapping[str, Callable[[Summary], Iterator[str]]] = {"check": found_by_check}
"""By kind of folder: what is open."""

MEASURED: Mapping[str, Callable[[Summary], Iterator[str]]] = {
    "check": measured_by_check,
    "selftest": measured_by_selftest,
    "ablation": measured_by_ablation,
}
"""By kind of folder: what was measured."""


def open_findings(manifest: Manifest) -> list[str]:
    """What a folder leaves open, one sentence each."""
    return list(FOUND[manifest.kind](manifest.summary)) if manifest.kind in FOUND else []


def measurements(manifest: Manifest) -> list[str]:
    """What a folder measured, one sentence each."""
    return list(MEASURED[manifest.kind](manifest.summary))
