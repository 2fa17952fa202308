"""The door of the room: resolve the recipe, open the run folder, start the worker, watch it."""

from __future__ import annotations

import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from tunesmith.core.config import load
from tunesmith.core.errors import (
    EXIT_INTERRUPTED,
    EXIT_USER_ERROR,
    CheckFailed,
    FolderError,
    Interrupted,
    OutOfSpace,
    StepFailed,
    UserError,
)
from tunesmith.core.files import explain_disk_errors, read_json, read_jsonl, write_text
from tunesmith.core.job import Job
from tunesmith.core.progress import Task
from tunesmith.core.recipe import Recipe
from tunesmith.core.workspace import MANIFEST, STATE, Input, WorkFolder, input_from, work_key
from tunesmith.launch.process import child_environment
from tunesmith.runtime.catalogue import FAKE
from tunesmith.runtime.threads import choose_dtype, resolve_threads, worker_environment
from tunesmith.train.card import card
from tunesmith.train.checkpoints import newest, prune
from tunesmith.train.choices import FREE, flat, write_recipe
from tunesmith.train.evaluations import SAMPLES
from tunesmith.train.order import EVENTS, FAILED, FINISHED, METRICS, WORKER_LOG, WorkOrder
from tunesmith.train.preflight.schema import read_results
from tunesmith.train.result import proofs
from tunesmith.train.schema import CheckResult, TrainConfig, TrainResult
from tunesmith.train.sources import named_sources
from tunesmith.train.starts import Base, base_of
from tunesmith.train.trouble import BEGINS_ANEW, what_would_fit

POLL_SECONDS = 0.2
ROOM_TO_SPEAK_BYTES = 1 << 16
"""With less free space a worker that failed may not have been able to say why."""
NOT_IN_THE_KEY = ("data", *FREE)
"""The data is known by its content."""


@dataclass(frozen=True)
class Work:
    """A run that is asked for: what it is, and from what."""

    recipe: Recipe
    base: Base
    inputs: Mapping[str, Input]

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

    def order(self, *, check: bool = False) -> WorkOrder:
        """What the worker is told."""
        base = self.base
        return WorkOrder(self.recipe, base.name, base.folder, base.adapter, check=check)


def train(config: TrainConfig, job: Job) -> TrainResult | CheckResult:
    """Train what a recipe says, or with `check` only try the proofs.

    Raises UserError for what the user can mend, CheckFailed when a proof fails or a loss is not a number,
    Interrupted after Ctrl-C with everything saved, and StepFailed when the worker dies.
    """
    recipe, out = asked(config)
    job = replace(job, out=job.out or out)
    work = work_of(resolve(recipe, job), job)
    if config.check:
        return check(work, job)
    return run(work, config, job)


def asked(config: TrainConfig) -> tuple[Recipe, Path | None]:
    """The recipe of a file; or that of an unfinished run's folder, and the folder, to go on there."""
    if (config.recipe / STATE).exists() and not (config.recipe / MANIFEST).exists():
        if config.set:
            step = "leave --set out, or give the recipe to begin another run"
            raise FolderError("an interrupted run goes on as it is", where=config.recipe, next_step=step)
        return WorkOrder.read(config.recipe).recipe, config.recipe.resolve()
    return load(config.recipe, Recipe, overrides=config.set), None


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


def check(work: Work, job: Job) -> CheckResult:
    """Try the proofs in a folder that is thrown away."""
    with explain_disk_errors(job.workspace.root):
        job.workspace.root.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(prefix=".check-", dir=job.workspace.root) as name:
        folder = Path(name)
        work.order(check=True).write(folder)
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
    work.order().write(folder.path)


@dataclass
class Watcher:
    """Turns the worker's events and metrics into progress; events of earlier parts are passed over."""

    folder: Path
    job: Job
    task: Task | None = None
    read: dict[str, int] = field(default_factory=dict)
    num_steps: int | None = None
    """Steps of the run, once the worker has said."""
    part: str = "starting"
    """What the worker was doing when it last said something."""
    loss: str = ""
    validation: str = ""
    speed: str = ""
    summary: dict[str, Any] | None = None
    failure: dict[str, Any] | None = None

    def __post_init__(self) -> None:
        self.new_rows(EVENTS)

    def new_rows(self, name: str) -> list[Any]:
        """Rows of a growing file that were not seen before."""
        if not (self.folder / name).exists():
            return []
        rows = [line.value for line in read_jsonl(self.folder / name)]
        fresh = rows[self.read.get(name, 0) :]
        self.read[name] = len(rows)
        return fresh

    def look(self) -> None:
        """Show everything new."""
        for event in self.new_rows(EVENTS):
            if event["event"] == "message":
                self.job.progress.say(event["text"])
            self.part = event.get("part", self.part)
            if event["event"] == "started":
                self.num_steps, self.part = event["num_steps"], "training"
            self.summary = event["summary"] if event["event"] == FINISHED else self.summary
            self.failure = event if event["event"] == FAILED else self.failure
        if self.task is not None:
            for row in self.new_rows(METRICS):
                self.show(row, self.task)

    def show(self, row: Mapping[str, Any], task: Task) -> None:
        """One row of metrics beside the bar."""
        if "validation_loss" in row:
            self.validation = f" · validation {row['validation_loss']:.4f}"
        if "loss" in row:
            self.part = f"training, after step {row['step']}"
            self.loss = f"loss {row['loss']:.4f}"
            gigabytes = row["memory_bytes"] / 1e9
            self.speed = f" · {row['tokens_per_second']:,.0f} tokens/s · {gigabytes:.1f} GB"
        task.advance(1 if "loss" in row else 0, note=f"{self.loss}{self.validation}{self.speed}")


def watch(folder: Path, job: Job) -> dict[str, Any]:
    """Run the worker to its end, showing progress; returns its summary."""
    watcher = Watcher(folder, job)
    with worker(folder) as child:
        try:
            while child.poll() is None and watcher.num_steps is None:
                watcher.look()
                time.sleep(POLL_SECONDS)
            watcher.look()
            if watcher.num_steps is not None:
                with job.progress.task("training", total=watcher.num_steps, unit="steps") as watcher.task:
                    while child.poll() is None:
                        watcher.look()
                        time.sleep(POLL_SECONDS)
                    watcher.look()
        except KeyboardInterrupt:
            at_work = watcher.num_steps is not None
            job.progress.say("stopping after this step, saving …" if at_work else "stopping …")
            child.send_signal(signal.SIGTERM)
            child.wait()
    watcher.look()
    return outcome(child.returncode, watcher)


@contextmanager
def worker(folder: Path) -> Iterator[subprocess.Popen[bytes]]:
    """The worker process, its output in the run's log; never left behind."""
    command = [sys.executable, "-m", "tunesmith.train.worker", str(folder)]
    order = WorkOrder.read(folder)
    with (folder / WORKER_LOG).open("ab") as log:
        child = subprocess.Popen(
            command, stdout=log, stderr=log, env=child_environment(worker_environment(order.recipe.threads))
        )
        try:
            yield child
        finally:
            if child.poll() is None:
                child.kill()
                child.wait()


def outcome(code: int, watcher: Watcher) -> dict[str, Any]:
    """The summary of a finished run, or the error that says how it ended."""
    if code == 0 and watcher.summary is not None:
        return watcher.summary
    if code == EXIT_INTERRUPTED:
        if newest(watcher.folder / "checkpoints") is None:
            raise Interrupted("stopped before the first step; the same command begins again")
        raise Interrupted(
            f"training stopped and saved in {watcher.folder}; the same command goes on from there"
        )
    if watcher.failure is not None:
        message = str(watcher.failure["message"])
        raise UserError(message) if code == EXIT_USER_ERROR else CheckFailed(message)
    if code < 0:
        name = signal.Signals(-code).name
        ways = what_would_fit(WorkOrder.read(watcher.folder).recipe)
        raise StepFailed(
            f"the training process was ended by {name} ({watcher.part}); when that was the system running "
            f"out of memory, try {ways}: {BEGINS_ANEW}"
        )
    log = (watcher.folder / WORKER_LOG).read_text(encoding="utf-8", errors="replace")
    if not log and shutil.disk_usage(watcher.folder).free < ROOM_TO_SPEAK_BYTES:
        advice = "free some space; the last checkpoint is kept, and the same command goes on from there"
        raise OutOfSpace("no space left on the disk", where=watcher.folder, next_step=advice)
    raise StepFailed(
        f"the training process failed; its log {watcher.folder / WORKER_LOG} ends:\n{log[-1500:]}"
    )
