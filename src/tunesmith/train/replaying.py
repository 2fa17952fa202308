"""`tunesmith replay RUN`: repeat a finished run from its folder, and compare every number and every byte."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import zip_longest
from pathlib import Path
from typing import Any, Final

from tunesmith.core.config import load
from tunesmith.core.errors import FolderError
from tunesmith.core.files import read_json
from tunesmith.core.job import Job
from tunesmith.core.lineage import standing
from tunesmith.core.recipe import Recipe
from tunesmith.core.workspace import AlreadyDone, Input, Manifest, Workspace
from tunesmith.runtime.catalogue import locate
from tunesmith.train.choices import RECIPE, flat
from tunesmith.train.door import resolve, run, work_of
from tunesmith.train.evaluations import SAMPLES
from tunesmith.train.order import METRICS
from tunesmith.train.runs import find_run, rows_of, state_of
from tunesmith.train.schema import Difference, ReplayConfig, ReplayResult, TrainConfig

CLOCK = ("seconds", "tokens_per_second", "memory_bytes")
"""Numbers of a step that depend on the machine's mood."""
RESULT = ("adapter/", "weights/")
"""Folders that hold what was learned."""
NOTHING: Final[Mapping[str, Any]] = {}
"""Stands for the row that one of the two runs does not have."""
ENVIRONMENT = ("processor", "system", "threads", "dtype", "versions")


def replay(config: ReplayConfig, job: Job) -> ReplayResult:
    """Train again what a run's folder says, into a folder of its own, and compare the two.

    Raises FolderError when the run has not finished, and when its data, its model or its start is no longer
    what it was, naming it.
    """
    folder = find_run(config.run, job.workspace, suggest_unfinished=False)
    if state_of(folder) != "finished":
        raise FolderError("this run has not finished", where=folder, next_step="finish it, then replay it")
    again = repeat(recipe_of(folder, job), job)
    found = first_difference(folder, again)
    return ReplayResult(
        passed=found is None,
        run=folder,
        replay=again,
        steps=Manifest.read(folder).summary["steps"],
        files=len(result_files(folder)),
        difference=found,
        elsewhere=tuple(differences_around(folder, again)),
    )


def recipe_of(folder: Path, job: Job) -> Recipe:
    """The run's resolved recipe, on the data and the model that its manifest names by content."""
    manifest = Manifest.read(folder)
    recipe = load(folder / RECIPE, Recipe)
    sources = tuple(
        source.model_copy(update={"path": place_of(role_input(manifest, role), job.workspace)})
        for role, source in zip(data_roles(manifest), recipe.data, strict=True)
    )
    changes: dict[str, Any] = {"name": f"{recipe.name}-replay", "data": sources}
    if recipe.init_from is not None:
        start = place_of(role_input(manifest, "init_from"), job.workspace)
        changes["init_from"] = recipe.init_from.model_copy(update={"path": str(start)})
    model = role_input(manifest, "model")
    if (now := locate(recipe.model, job, needs_template=False).id) != model.id:
        raise changed(model, f"it is now {now[:16]}")
    return recipe.model_copy(update=changes)


def data_roles(manifest: Manifest) -> list[str]:
    """Roles of the data sets, in the recipe's order."""
    return [entry.role for entry in manifest.inputs if entry.kind == "data-set"]


def role_input(manifest: Manifest, role: str) -> Input:
    """The input of a role."""
    return next(entry for entry in manifest.inputs if entry.role == role)


def place_of(entry: Input, workspace: Workspace) -> Path:
    """Where something of this very content stands now; FolderError when it is nowhere."""
    place = standing(workspace, entry.id, Path(entry.path))
    if place is None:
        raise changed(entry, f"nothing of its content stands at {entry.path} or in the workspace")
    return place


def changed(entry: Input, what: str) -> FolderError:
    """The refusal to repeat a run on something else."""
    return FolderError(
        f"the {entry.role.replace('_', ' ')} of this run is gone or changed: {what}",
        value=f"content {entry.id[:16]}",
        next_step="put it back as it was (tunesmith lineage RUN names it), or train a new run",
    )


def repeat(recipe: Recipe, job: Job) -> Path:
    """Train the recipe; a replay that stands there complete is compared again instead."""
    try:
        return run(work_of(resolve(recipe, job), job), TrainConfig(recipe=Path(RECIPE)), job).folder
    except AlreadyDone as done:
        job.progress.say(f"replayed before: {done.folder} (move it away to train once more)")
        return done.folder


def first_difference(folder: Path, again: Path) -> Difference | None:
    """The first number of a step, then the first file of the result, that is not the same."""
    for name in (METRICS, SAMPLES):
        pairs = zip_longest(rows_of(folder / name), rows_of(again / name), fillvalue=NOTHING)
        for first, second in pairs:
            if (found := row_difference(name, first, second)) is not None:
                return found
    before, after = result_files(folder), result_files(again)
    for name in sorted(before.keys() | after.keys()):
        if before.get(name) != after.get(name):
            return Difference(what=name, first=before.get(name), second=after.get(name))
    return None


def row_difference(name: str, first: Mapping[str, Any], second: Mapping[str, Any]) -> Difference | None:
    """The first number of a row that differs; `first` and `second` are of the same place in the file."""
    before, after = (
        {key: value for key, value in flat(row).items() if key not in CLOCK} for row in (first, second)
    )
    for key in [*before, *(key for key in after if key not in before)]:
        if before.get(key) != after.get(key):
            step = first.get("step", second.get("step"))
            return Difference(what=name, step=step, key=key, first=before.get(key), second=after.get(key))
    return None


def result_files(folder: Path) -> dict[str, str]:
    """What was learned: file → SHA-256, as the manifest holds it."""
    files = Manifest.read(folder).files
    return {name: found for name, found in files.items() if name.startswith(RESULT)}


def differences_around(folder: Path, again: Path) -> Iterator[str]:
    """Versions, processor and threads that are not those of the run."""
    before, after = around(folder), around(again)
    for key in sorted(before.keys() | after.keys()):
        if before.get(key) != after.get(key):
            yield f"{key}: {before.get(key)} → {after.get(key)}"


def around(folder: Path) -> dict[str, Any]:
    """What else a result can depend on."""
    facts = flat(read_json(folder / "environment.json"))
    return {key: value for key, value in facts.items() if key.startswith(ENVIRONMENT)}
