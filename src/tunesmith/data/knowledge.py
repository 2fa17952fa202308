"""What is known of a data set, for its card: how it came about, and what folders and people say of its rows.

Its rows were in other data sets before.  What was said of those is carried on, with the step that followed.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from tunesmith.core.dataset import DataSet
from tunesmith.core.job import Job
from tunesmith.core.lineage import is_there, standing
from tunesmith.core.progress import counted
from tunesmith.core.reviews.store import reviews_of
from tunesmith.core.workspace import Input, Manifest
from tunesmith.data.review.schema import ReviewResult
from tunesmith.data.review.status import status

Summary = Mapping[str, Any]
ROWS = ("file", "rows", "documents", "package")
"""Kinds of inputs that are no folders of ours: files, parts and folders of them, and what pip fetches."""
NOT_ROWS = ("findings", "target", "model")
"""As what a step takes folders that none of its rows come from."""


class StepTaken(NamedTuple):
    """One step of the lineage."""

    folder: Path
    manifest: Manifest
    parents: tuple[str, ...]
    """Ids of the folders that its rows come from."""


class Source(NamedTuple):
    """Rows at the start of the lineage."""

    name: str
    sha256: str
    origin: str
    licence: str


class Lineage:
    """Every step and source that a folder was made by, parents by content hash, the newest step last."""

    def __init__(self, job: Job, folder: Path) -> None:
        self._job = job
        self._steps: dict[str, StepTaken] = {}
        self._sources: dict[str, Source] = {}
        self._missing: dict[str, None] = {}
        self._visit(folder)

    @property
    def steps(self) -> list[StepTaken]:
        """The steps, each after those that it takes rows from."""
        return list(self._steps.values())

    @property
    def sources(self) -> list[Source]:
        """The rows that no step made."""
        return list(self._sources.values())

    @property
    def missing(self) -> list[str]:
        """Inputs that stand nowhere any more."""
        return list(self._missing)

    def _visit(self, folder: Path) -> str:
        manifest = Manifest.read(folder)
        if manifest.id not in self._steps:
            found = {entry: self._follow(entry, manifest) for entry in manifest.inputs}
            parents = [parent for entry, parent in found.items() if parent and entry.role not in NOT_ROWS]
            self._steps[manifest.id] = StepTaken(folder, manifest, tuple(parents))
        return manifest.id

    def _follow(self, entry: Input, child: Manifest) -> str | None:
        """Walk on to the folder that made an input, if one did; returns its id."""
        place = standing(self._job.workspace, entry.id, Path(entry.path))
        if entry.kind in ROWS:
            # what pip fetches has its origin in the folder that it was fetched into
            about = (
                child.summary if entry.kind == "package" else Manifest.read(place).summary if place else {}
            )
            name = entry.path if entry.kind == "package" else Path(entry.path).name
            said = str(about.get("origin", "")), str(about.get("licence", ""))
            self._sources[entry.id] = Source(name, entry.id, *said)
        elif place is None and not is_there(entry, Path(entry.path)):
            self._missing[f"{entry.role} {Path(entry.path).name} ({entry.id[:16]})"] = None
        return self._visit(place) if place is not None else None


class Before(NamedTuple):
    """A data set that rows come from, and the step that followed."""

    data: DataSet
    verb: str

    @property
    def words(self) -> str:
        """Where it stands, for a sentence about it."""
        return f"before `{self.verb}` ({self.data.folder.name})"


def data_sets_before(lineage: Lineage) -> list[Before]:
    """The data sets that the newest step's rows come from, the newest first."""
    *_, newest = lineage.steps
    reached = {newest.manifest.id: ""}
    found = []
    for step in reversed(lineage.steps):
        if step.manifest.id not in reached:
            continue
        for parent in step.parents:
            reached.setdefault(parent, step.manifest.verb)
        if step is not newest and step.manifest.kind == "data-set":
            found.append(Before(DataSet.open(step.folder), reached[step.manifest.id]))
    return found


class Reviewed(NamedTuple):
    """What people said of a data set; `before` is None for the very rows, "" where their folder is gone."""

    result: ReviewResult
    before: str | None


def reviews(job: Job, data: DataSet, before: Sequence[Before]) -> list[Reviewed]:
    """What people said of these rows, then of those that they come from, each review once.

    A data set that verdicts were put into says which: more may have come since.
    """
    store = reviews_of(job.workspace)
    applied: dict[str, ReviewResult] = {}
    for one in (data, *(earlier.data for earlier in before)):
        if "review" in one.manifest.summary:
            result = ReviewResult(**one.manifest.summary["review"])
            applied.setdefault(result.fingerprint, result)
    found = {data.fingerprint: Reviewed(status(data, store), None)}
    for earlier in before:
        mark = earlier.data.fingerprint
        result = applied.get(mark) or status(earlier.data, store)
        found.setdefault(mark, Reviewed(result, earlier.words))
    for mark, result in applied.items():
        found.setdefault(mark, Reviewed(result, ""))
    return [one for one in found.values() if one.result.queued]


def knowledge(job: Job, wanted: Sequence[str]) -> dict[str, list[Path]]:
    """For each data set's id the folders that say something about this very one, by content hash."""
    found: dict[str, dict[str, Path]] = {identity: {} for identity in wanted}
    for folder in sorted(job.workspace.folders()):
        manifest = Manifest.read(folder)
        if manifest.kind in MEASURED:
            for entry in manifest.inputs:
                if entry.id in found:
                    found[entry.id].setdefault(manifest.id, folder)
    return {identity: list(folders.values()) for identity, folders in found.items()}


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
    checks, rows = counted(len(summary["checks"]), "check"), counted(summary["rows"], "row")
    yield f"{checks} over {rows}: {counts}"
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
