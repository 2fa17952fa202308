"""The door of the room: resolve the recipe, open the run folder, and have the worker fill it."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from tunesmith.core.config import load
from tunesmith.core.errors import CheckFailed, FolderError
from tunesmith.core.files import explain_disk_errors, read_json, write_text
from tunesmith.core.job import Job
from tunesmith.core.recipe import Recipe
from tunesmith.core.recipe.recipe import PROOFS, Generation
from tunesmith.core.workspace import MANIFEST, STATE, Input, WorkFolder, input_from, work_key
from tunesmith.runtime.catalogue import FAKE
from tunesmith.runtime.threads import choose_dtype, resolve_threads
from tunesmith.train.card import card
from tunesmith.train.checkpoints import prune
from tunesmith.train.choices import FREE, flat, write_recipe
from tunesmith.train.evaluations import SAMPLES
from tunesmith.train.order import EVENTS, METRICS, WorkOrder
from tunesmith.train.preflight import check_standing, read_results
from tunesmith.train.result import proofs
from tunesmith.train.runs import find_run, run_folders
from tunesmith.train.schema import CheckResult, SpeedResult, TrainConfig, TrainResult
from tunesmith.train.sources import check_reviews, named_sources
from tunesmith.train.starts import Base, base_of
from tunesmith.train.watching import watch

NOT_IN_THE_KEY = ("data", *FREE)
"""The data is known by its content."""
TIMED_WITH = ("memory",)
"""What of the pre-flight is tried before steps are timed."""
NOT_TIMED = {
    "evaluations": 0,
    "eval_every": 0,
    "generation": Generation(),
    "patience": 0,
    "publish": "last",
    "keep_checkpoints": 0,
}
"""Settings under which nothing but steps is done."""


@dataclass(frozen=True)
class Work:
    """A run that is asked for: what it is, and from what."""

    recipe: Recipe
    base: Base
    inputs: Mapping[str, Input]
    proved_by: Path | None = None
    """An earlier run whose proofs stand."""

    @property
    def settings(self) -> dict[str, Any]:
        """What makes it this run and no other, beside the content of its inputs."""
        settings = {
            name: value for name, value in self.recipe.to_json().items() if name not in NOT_IN_THE_KEY
        }
        settings["data"] = [{"name": source.name, "weight": source.weight} for source in self.recipe.data]
        if self.recipe.init_from is not None:
            settings["init_from"] = {"mode": self.recipe.init_from.mode}
        return settings | {"model": self.base.serve_as}

    @property
    def ids(self) -> dict[str, str]:
        """Role → content id of the inputs."""
        return {role: entry.id for role, entry in self.inputs.items()}

    @property
    def order(self) -> WorkOrder:
        """What the worker is told."""
        base = self.base
        return WorkOrder(self.recipe, base.name, base.folder, base.adapter, proved_by=self.proved_by)


def train(config: TrainConfig, job: Job) -> TrainResult | CheckResult | SpeedResult:
    """Train what a recipe says; with `check` only try the proofs, with `time_steps` only time some steps.

    Raises UserError for what the user can mend, CheckFailed when a proof fails or a loss is not a number,
    Interrupted after Ctrl-C with everything saved, and StepFailed when the worker dies.
    """
    recipe, out = asked(config, job)
    job = replace(job, out=job.out or out)
    recipe = resolve(recipe, job)
    check_reviews(recipe, job.workspace)
    work = work_of(recipe, job)
    if config.check:
        return check(work, job)
    if config.time_steps:
        return time_steps(work, config.time_steps, job)
    proved_by = find_run(config.proved_by, job.workspace) if config.proved_by else None
    if proved_by is not None:
        check_standing(proved_by, work.settings, work.ids)
    return run(replace(work, proved_by=proved_by), config, job)


def asked(config: TrainConfig, job: Job) -> tuple[Recipe, Path | None]:
    """The recipe of a file; or that of an unfinished run, and its folder, to go on there."""
    folder = config.recipe
    if not folder.exists():
        named = [run for run in run_folders(job.workspace) if run.name == str(config.recipe)]
        folder = named[0] if named else folder
    if not (folder / STATE).exists() or read_json(folder / STATE)["kind"] != "run":
        return load(config.recipe, Recipe, overrides=config.set), None
    if (folder / MANIFEST).exists():
        step = "give a recipe; one with `init_from: {path: …}` begins from what a run learned"
        raise FolderError("this run has finished: it cannot go on", where=folder, next_step=step)
    if config.set:
        step = "leave --set out, or give the recipe to begin another run"
        raise FolderError("an interrupted run goes on as it is", where=folder, next_step=step)
    return WorkOrder.read(folder).recipe, folder.resolve()


def work_of(recipe: Recipe, job: Job) -> Work:
    """Find the inputs of a resolved recipe, by content."""
    base = base_of(recipe, job)
    single = len(recipe.data) == 1
    inputs: dict[str, Input] = {}
    for source in recipe.data:
        role = "data" if single else f"data.{source.name}"
        inputs[role] = input_from(role, source.path)
    inputs["model"] = base.model
    if base.start is not None:
        inputs["init_from"] = base.start
    return Work(recipe, base, inputs)


def run(work: Work, config: TrainConfig, job: Job) -> TrainResult:
    """Fill a run folder."""
    recipe = work.recipe
    check_resume(config, job, work)
    with job.folder(
        verb="train",
        kind="run",
        name=recipe.name,
        config=work.settings,
        inputs=work.inputs,
        seed=recipe.seed,
        resume=True,
    ) as folder:
        prepare_folder(folder, config, work)
        folder.summary = watch(folder.path, job)
        write_text(folder / "card.md", card(folder.path, folder.summary, work.inputs))
        prune(folder / "checkpoints", keep=recipe.keep_checkpoints)
        return TrainResult.model_validate(TrainResult.fields_from(folder.summary, folder.path))


@contextmanager
def thrown_away(order: WorkOrder, job: Job) -> Iterator[Path]:
    """A folder with an order, for as long as the block runs."""
    with explain_disk_errors(job.workspace.root):
        job.workspace.root.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(prefix=".check-", dir=job.workspace.root) as name:
        order.write(Path(name))
        yield Path(name)


def check(work: Work, job: Job) -> CheckResult:
    """Try the proofs and keep nothing."""
    with thrown_away(replace(work.order, check=True), job) as folder:
        message = ""
        try:
            watch(folder, job)
        except CheckFailed as error:
            if not read_results(folder):
                raise
            message = str(error)
        found = proofs(folder)
    return CheckResult.model_validate(
        {
            "passed": not message,
            "name": work.recipe.name,
            "model": work.recipe.model,
            "proofs": found,
            "seconds": sum(proof["seconds"] for proof in found),
            "message": message,
        }
    )


def time_steps(work: Work, count: int, job: Job) -> SpeedResult:
    """Train a few steps for their time and keep nothing.

    Of the pre-flight only the memory trial runs, which settles whether activations are computed again; the
    other proofs are about what is learned, and nothing of that stays.
    """
    rest = ", ".join(name for name in PROOFS if name not in TIMED_WITH)
    job.progress.say(f"only timing {count} steps: the proofs {rest} are left to the run itself")
    recipe = work.recipe.model_copy(update={"max_steps": count, **NOT_TIMED})
    with thrown_away(replace(work.order, recipe=recipe, proofs=TIMED_WITH), job) as folder:
        found = watch(folder, job)
        tried = [int(proof.details.get("most_bytes", 0)) for proof in read_results(folder)]
    seconds = found["tokens"] / found["tokens_per_second"] / found["steps"]
    return SpeedResult(
        name=recipe.name,
        model=recipe.model,
        steps=found["steps"],
        tokens=found["tokens"],
        tokens_per_second=found["tokens_per_second"],
        seconds_per_step=seconds,
        peak_memory_bytes=max(found["peak_memory_bytes"], *tried, 0),
    )


def resolve(recipe: Recipe, job: Job) -> Recipe:
    """Freeze what depends on the machine: number type, threads, the place of the data; pair up the fakes."""
    if (recipe.model == FAKE) != (recipe.engine == "fake"):
        job.progress.say("the fake engine and the fake model go together: using both")
    fake = recipe.model == FAKE or recipe.engine == "fake"
    return named_sources(recipe).model_copy(
        update={
            "engine": "fake" if fake else recipe.engine,
            "model": FAKE if fake else recipe.model,
            "dtype": choose_dtype(recipe.dtype),
            "threads": resolve_threads(recipe.threads),
        }
    )


def check_resume(config: TrainConfig, job: Job, work: Work) -> None:
    """Refuse to go on with a run of another recipe or other data, saying what differs."""
    name = work.recipe.name
    key = work_key("train", work.settings, work.ids)
    place = job.out or job.workspace.place("run", name, key)
    if (place / MANIFEST).exists():
        return
    others = [place] if job.out else sorted(job.workspace.place("run", name, key).parent.glob(f"{name}-*"))
    states = {
        folder: read_json(folder / STATE)
        for folder in others
        if (folder / STATE).exists() and not (folder / MANIFEST).exists()
    }
    if place in states and states[place]["key"] == key:
        return
    if states and (config.resume or job.out):
        folder, state = max(states.items(), key=lambda entry: str(entry[1]["updated"]))
        raise FolderError(
            f"the interrupted run is of another recipe or other data: {'; '.join(differences(state, work))}",
            where=folder,
            next_step="give its own recipe and data to go on, or start a new run without --resume and --out",
        )
    if config.resume:
        raise FolderError(
            "there is no interrupted run of this recipe and data",
            value=name,
            next_step="run without --resume to start one",
        )


def differences(state: Mapping[str, Any], work: Work) -> list[str]:
    """What differs between an interrupted run and this one: 'optimiser.learning_rate: 0.002 → 0.001'."""
    had, now = dict(state.get("inputs", {})), work.ids
    changed = [
        f"the {role} changed"
        if role in had and role in now
        else f"{role} was {'added' if role in now else 'left out'}"
        for role in sorted(had.keys() | now.keys())
        if had.get(role) != now.get(role)
    ]
    before, after = flat(state.get("settings", {})), flat(work.settings)
    return changed + [
        f"{key}: {before.get(key)} → {after.get(key)}"
        for key in sorted(before.keys() | after.keys())
        if before.get(key) != after.get(key)
    ]


def prepare_folder(folder: WorkFolder, config: TrainConfig, work: Work) -> None:
    """Write what the worker reads; with --restart forget what was done before."""
    if config.restart:
        shutil.rmtree(folder / "checkpoints", ignore_errors=True)
        for name in (METRICS, SAMPLES, EVENTS):
            (folder / name).unlink(missing_ok=True)
    folder.write_state(status="running", settings=work.settings, inputs=work.ids)
    write_recipe(folder.path, work.recipe)
    work.order.write(folder.path)
