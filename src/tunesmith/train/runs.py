"""The runs of a workspace: finished, running, interrupted and failed ones, as their folders tell."""

from __future__ import annotations

import fcntl
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from shlex import quote
from typing import Any, Literal

import yaml

from tunesmith.core.errors import DataError, FolderError, UserError, nearest
from tunesmith.core.files import read_json, read_jsonl
from tunesmith.core.job import Job
from tunesmith.core.workspace import (
    KINDS,
    LOCK,
    MANIFEST,
    STATE,
    Manifest,
    Workspace,
    name_for_commands,
)
from tunesmith.train.choices import RECIPE, flat
from tunesmith.train.order import EVENTS, FAILED, METRICS
from tunesmith.train.preflight.schema import read_results
from tunesmith.train.schema import (
    Curve,
    Pair,
    ProofFacts,
    RunFacts,
    RunsCompareConfig,
    RunsCompareResult,
    RunsListConfig,
    RunsListResult,
    RunsPlotConfig,
    RunsPlotResult,
    RunsShowConfig,
    RunsShowResult,
    SourceFacts,
)

State = Literal["finished", "running", "interrupted", "failed"]


def list_runs(config: RunsListConfig, job: Job) -> RunsListResult:
    """Every run, the newest first."""
    found = sorted(
        (facts(folder) for folder in run_folders(job.workspace)), key=lambda run: run.updated, reverse=True
    )
    return RunsListResult(runs=tuple(found[: config.limit or None]))


def show_run(config: RunsShowConfig, job: Job) -> RunsShowResult:
    """All that a run's folder tells."""
    folder = find_run(config.run, job.workspace)
    run, summary = facts(folder), summary_of(folder)
    curves = [curve(folder, "loss"), curve(folder, "validation_loss")]
    return RunsShowResult(
        run=run,
        settings=flat(settings_of(folder)),
        sources=tuple(SourceFacts.model_validate(source) for source in summary.get("sources", ())),
        generation=summary.get("generation", {}),
        proofs=tuple(
            ProofFacts(name=proof.name, outcome=proof.outcome, evidence=proof.evidence, seconds=proof.seconds)
            for proof in read_results(folder)
        ),
        curves=tuple(found for found in curves if found.values),
        problem=problem(folder) if run.state == "failed" else "",
        next_commands=tuple(next_commands(run)),
    )


def compare_runs(config: RunsCompareConfig, job: Job) -> RunsCompareResult:
    """Two runs beside each other."""
    first, second = (find_run(name, job.workspace) for name in (config.a, config.b))
    a, b = facts(first), facts(second)
    data = [data_ids(folder) for folder in (first, second)]
    settings = [flat(settings_of(folder)) | data_ids(folder) for folder in (first, second)]
    names = sorted(settings[0].keys() | settings[1].keys())
    return RunsCompareResult(
        a=a,
        b=b,
        settings=tuple(
            Pair(name=name, a=settings[0].get(name), b=settings[1].get(name))
            for name in names
            if settings[0].get(name) != settings[1].get(name) and not name.startswith("data.")
        ),
        losses=tuple(losses(first, second, a, b)),
        cost=tuple(
            Pair(name=name, a=a.to_json()[name], b=b.to_json()[name])
            for name in ("steps", "seconds", "tokens_per_second", "peak_memory_bytes")
        ),
        same_data=bool(data[0]) and sorted(data[0].values()) == sorted(data[1].values()),
    )


def plot_runs(config: RunsPlotConfig, job: Job) -> RunsPlotResult:
    """A number of each run, over its steps.

    Raises UserError for a key that no row of a run has, naming those that it has.
    """
    curves = []
    for name in config.runs:
        folder = find_run(name, job.workspace)
        found = curve(folder, config.key)
        if not found.values:
            known = sorted(
                {key for row in metrics(folder) for key, value in flat(row).items() if number(value)}
            )
            advice = nearest(config.key, known) if known else "no step has been made yet"
            raise UserError("no such number in this run", where=folder, value=config.key, next_step=advice)
        curves.append(found)
    return RunsPlotResult(key=config.key, curves=tuple(curves), height=config.height)


def run_folders(workspace: Workspace) -> list[Path]:
    """Every run that the index knows, and those below the root that have not finished."""
    below = (workspace.root / KINDS["run"]).glob(f"*/{STATE}")
    growing = [path.parent for path in below if not (path.parent / MANIFEST).exists()]
    return [*workspace.folders("run"), *(path.resolve() for path in growing)]


def find_run(name: str, workspace: Workspace, *, suggest_unfinished: bool = True) -> Path:
    """The run that a path, a folder name or the start of an id means, finished or not.

    Raises FolderError for what is no run, and for a name that means none or several; it suggests one of a
    name like it, where only a finished one would serve none that is not.
    """
    here = Path(name)
    folders = run_folders(workspace)
    named = [here.resolve()] if (here / STATE).exists() else [path for path in folders if path.name == name]
    if not named and len(name) >= 4:
        named = [path for path in folders if run_id(path).startswith(name)]
    if len(named) > 1:
        raise FolderError(
            "more than one run matches", value=name, next_step="give more of the id, or the path"
        )
    if not named:
        known = [path.name for path in folders if suggest_unfinished or (path / MANIFEST).exists()]
        advice = nearest(name, known)
        raise FolderError("no run of this name, folder or id", value=name, next_step=advice)
    if (kind := read_json(named[0] / STATE)["kind"]) != "run":
        raise FolderError(f"this folder is a {kind}, not a run", where=named[0], next_step="give a run")
    return named[0]


def run_id(folder: Path) -> str:
    """A finished run's content id; a growing one has none yet."""
    return Manifest.read(folder).id if (folder / MANIFEST).exists() else ""


def facts(folder: Path) -> RunFacts:
    """A run as a list shows it."""
    settings, summary = settings_of(folder), summary_of(folder)
    rows = metrics(folder)
    steps = [row for row in rows if "loss" in row]
    measured = [row["validation_loss"] for row in rows if "validation_loss" in row]
    newest: Mapping[str, Any] = steps[-1] if steps else {}
    return RunFacts(
        name=folder.name,
        folder=folder,
        state=state_of(folder),
        updated=Manifest.read(folder).created if summary else str(read_json(folder / STATE)["updated"]),
        model=str(settings.get("model", "?")),
        method=kind_of(settings, "method"),
        objective=kind_of(settings, "objective"),
        data=tuple(source_names(settings)),
        steps=summary.get("steps", newest.get("step", 0)),
        planned_steps=summary.get("planned_steps") or planned(folder),
        training_loss=summary.get("last_loss", newest.get("loss")),
        validation_loss=summary.get("validation_loss", measured[-1] if measured else None),
        tokens_per_second=summary.get("tokens_per_second", speed(steps)),
        peak_memory_bytes=summary.get("peak_memory_bytes", newest.get("memory_bytes")),
        seconds=summary.get("seconds", sum(row["seconds"] for row in rows) if rows else None),
    )


def state_of(folder: Path) -> State:
    """Finished when it has a manifest, running while a process holds its lock."""
    if (folder / MANIFEST).exists():
        return "finished"
    if is_held(folder / LOCK):
        return "running"
    told = [row["event"] for row in events(folder) if row["event"] in ("started", FAILED)]
    return "failed" if told and told[-1] == FAILED else "interrupted"


def is_held(lock: Path) -> bool:
    """Whether a process works in the folder; asking holds the lock for an instant itself."""
    if not lock.exists():
        return False
    with lock.open("rb") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
    return False


def settings_of(folder: Path) -> dict[str, Any]:
    """The resolved recipe; a run that broke before it was written has none."""
    path = folder / RECIPE
    if not path.exists():
        return {}
    try:
        found = yaml.safe_load(path.read_text(encoding="utf-8"))
    except yaml.YAMLError as error:
        raise DataError("not valid YAML", where=path, value=str(error)) from None
    return found if isinstance(found, dict) else {}


def kind_of(settings: Mapping[str, Any], section: str) -> str:
    """The tag of a section: `lora`; PEFT's methods say which."""
    found = settings.get(section) or {}
    kind = str(found.get("kind", "?"))
    return f"{kind} {found['peft_type']}" if "peft_type" in found else kind


def source_names(settings: Mapping[str, Any]) -> Iterator[str]:
    """Names of the data sets of a resolved recipe."""
    for source in settings.get("data", ()):
        yield str(source["name"]) if isinstance(source, Mapping) else Path(str(source)).name


def summary_of(folder: Path) -> Mapping[str, Any]:
    """What a finished run says about itself; empty while it grows."""
    return Manifest.read(folder).summary if (folder / MANIFEST).exists() else {}


def data_ids(folder: Path) -> dict[str, str]:
    """Role → start of the content id of the data sets of a run, finished or not."""
    if (folder / MANIFEST).exists():
        return {
            entry.role: entry.id[:16] for entry in Manifest.read(folder).inputs if entry.kind == "data-set"
        }
    inputs = read_json(folder / STATE).get("inputs", {})
    return {role: found[:16] for role, found in inputs.items() if role.startswith("data")}


def metrics(folder: Path) -> list[Mapping[str, Any]]:
    """Rows of metrics, whole ones."""
    return rows_of(folder / METRICS)


def events(folder: Path) -> list[Mapping[str, Any]]:
    """What happened, in order."""
    return rows_of(folder / EVENTS)


def rows_of(path: Path) -> list[Mapping[str, Any]]:
    """Rows of a file that may still grow, or not be there yet."""
    return [line.value for line in read_jsonl(path)] if path.exists() else []


def planned(folder: Path) -> int | None:
    """Steps that the worker announced last."""
    return next((row["num_steps"] for row in reversed(events(folder)) if row["event"] == "started"), None)


def problem(folder: Path) -> str:
    """What a failed run said last."""
    return next((str(row["message"]) for row in reversed(events(folder)) if row["event"] == FAILED), "")


def speed(steps: Sequence[Mapping[str, Any]]) -> float | None:
    """Tokens over seconds of the steps so far."""
    seconds = sum(row["seconds"] for row in steps)
    return sum(row["tokens"] for row in steps) / seconds if seconds else None


def number(value: object) -> bool:
    """Whether a value can be drawn."""
    return isinstance(value, int | float) and not isinstance(value, bool)


def curve(folder: Path, key: str) -> Curve:
    """A number of a run over its steps; a step that was made again counts once."""
    by_step = {row["step"]: flat(row)[key] for row in metrics(folder) if number(flat(row).get(key))}
    return Curve(run=folder.name, key=key, steps=tuple(by_step), values=tuple(by_step.values()))


def losses(first: Path, second: Path, a: RunFacts, b: RunFacts) -> Iterable[Pair]:
    """Losses and scores of both runs; those by source where a run has several."""
    yield Pair(name="training loss", a=a.training_loss, b=b.training_loss)
    yield Pair(name="validation loss", a=a.validation_loss, b=b.validation_loss)
    sides = [by_name(summary_of(folder)) for folder in (first, second)]
    for name in sorted(sides[0].keys() | sides[1].keys()):
        pair = Pair(name=name, a=sides[0].get(name), b=sides[1].get(name))
        if pair.a is not None or pair.b is not None:
            yield pair


def by_name(summary: Mapping[str, Any]) -> dict[str, float]:
    """Losses by source and generation scores of a finished run, with names for people."""
    found = {}
    sources = summary.get("sources", ())
    for source in sources if len(sources) > 1 else ():
        found[f"training loss, {source['name']}"] = source["training_loss"]
        found[f"validation loss, {source['name']}"] = source["validation_loss"]
    return found | {f"generated: {name}": value for name, value in summary.get("generation", {}).items()}


def next_commands(run: RunFacts) -> list[str]:
    """What can be done with a run now."""
    name = quote(name_for_commands(run.folder))
    if run.state == "finished":
        return [f"tunesmith chat {name}", f"tunesmith runs plot {name}", f"tunesmith replay {name}"]
    if run.state == "running":
        return [f"tunesmith runs plot {name}"]
    return [f"tunesmith train {name}"]
