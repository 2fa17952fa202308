"""The door of the room: resolve the recipe, open the run folder, start the worker, watch it."""

from __future__ import annotations

import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from tunesmith.core.config import load
from tunesmith.core.dataset import DataSet
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
from tunesmith.core.files import read_json, read_jsonl, write_text
from tunesmith.core.job import Job
from tunesmith.core.progress import Task
from tunesmith.core.recipe import Recipe
from tunesmith.core.workspace import MANIFEST, STATE, Input, WorkFolder, input_from, work_key
from tunesmith.launch.process import child_environment
from tunesmith.runtime.catalogue import FAKE, Located, locate
from tunesmith.runtime.threads import choose_dtype, resolve_threads, worker_environment
from tunesmith.train.card import card
from tunesmith.train.loop import METRICS
from tunesmith.train.order import EVENTS, FAILED, FINISHED, WORKER_LOG, WorkOrder
from tunesmith.train.schema import TrainConfig, TrainResult

POLL_SECONDS = 0.2
ROOM_TO_SPEAK_BYTES = 1 << 16
"""With less free space a worker that failed may not have been able to say why."""
NOT_IN_THE_KEY = ("data", "threads", "save_every_seconds")
"""Settings that say where and when, not what: the data is known by its content."""


def train(config: TrainConfig, job: Job) -> TrainResult:
    """Train what a recipe says.

    Raises UserError for what the user can mend, CheckFailed when the loss is not a number, Interrupted after
    Ctrl-C with everything saved, and StepFailed when the worker dies.
    """
    recipe = resolve(load(config.recipe, Recipe, overrides=config.set), job)
    data = DataSet.open(recipe.data)
    located = locate(recipe.model, job)
    inputs = {"data": input_from("data", data.folder), "model": located.as_input()}
    settings = {name: value for name, value in recipe.to_json().items() if name not in NOT_IN_THE_KEY}
    check_resume(config, job, recipe.name, settings, inputs)
    with job.folder(
        verb="train",
        kind="run",
        name=recipe.name,
        config=settings,
        inputs=inputs,
        seed=recipe.seed,
        resume=True,
    ) as folder:
        prepare_folder(folder, config, recipe, located, settings, inputs)
        folder.summary = watch(folder.path, job)
        write_text(folder / "card.md", card(recipe, folder.summary, data.fingerprint))
        shutil.rmtree(folder / "checkpoints")
        return TrainResult.model_validate(TrainResult.fields_from(folder.summary, folder.path))


def resolve(recipe: Recipe, job: Job) -> Recipe:
    """Freeze what depends on the machine: number type, threads, the place of the data; pair up the fakes."""
    if (recipe.model == FAKE) != (recipe.engine == "fake"):
        job.progress.say("the fake engine and the fake model go together: using both")
    fake = recipe.model == FAKE or recipe.engine == "fake"
    return recipe.model_copy(
        update={
            "engine": "fake" if fake else recipe.engine,
            "model": FAKE if fake else recipe.model,
            "dtype": choose_dtype(recipe.dtype),
            "threads": resolve_threads(recipe.threads),
            "data": recipe.data.resolve(),
        }
    )


def check_resume(
    config: TrainConfig, job: Job, name: str, settings: Mapping[str, Any], inputs: Mapping[str, Input]
) -> None:
    """Refuse to go on with a run of another recipe or other data, saying what differs."""
    key = work_key("train", settings, {role: entry.id for role, entry in inputs.items()})
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
    mine = {"settings": dict(settings), "inputs": {role: entry.id for role, entry in inputs.items()}}
    if states and (config.resume or job.out):
        folder, state = max(states.items(), key=lambda entry: str(entry[1]["updated"]))
        raise FolderError(
            f"the interrupted run is of another recipe or other data: {'; '.join(differences(state, mine))}",
            where=folder,
            next_step="give its own recipe and data to go on, or start a new run without --resume and --out",
        )
    if config.resume:
        raise FolderError(
            "there is no interrupted run of this recipe and data",
            value=name,
            next_step="run without --resume to start one",
        )


def differences(state: Mapping[str, Any], mine: Mapping[str, Any]) -> list[str]:
    """What differs between an interrupted run and this one: 'optimiser.learning_rate: 0.002 → 0.001'."""
    ids = state.get("inputs", {})
    changed = [f"the {role} changed" for role, found in mine["inputs"].items() if ids.get(role) != found]
    before, after = flat(state.get("settings", {})), flat(mine["settings"])
    return changed + [
        f"{key}: {before.get(key)} → {after.get(key)}"
        for key in sorted(before.keys() | after.keys())
        if before.get(key) != after.get(key)
    ]


def flat(settings: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested settings with dotted keys."""
    found: dict[str, Any] = {}
    for key, value in settings.items():
        if isinstance(value, Mapping):
            found |= flat(value, f"{prefix}{key}.")
        else:
            found[f"{prefix}{key}"] = value
    return found


def prepare_folder(
    folder: WorkFolder,
    config: TrainConfig,
    recipe: Recipe,
    located: Located,
    settings: Mapping[str, Any],
    inputs: Mapping[str, Input],
) -> None:
    """Write what the worker reads; with --restart forget what was done before."""
    if config.restart:
        shutil.rmtree(folder / "checkpoints", ignore_errors=True)
        (folder / METRICS).unlink(missing_ok=True)
    (folder / EVENTS).unlink(missing_ok=True)
    ids = {role: entry.id for role, entry in inputs.items()}
    folder.write_state(status="running", settings=dict(settings), inputs=ids)
    write_text(folder / "recipe.yaml", yaml.safe_dump(recipe.to_json(), sort_keys=False))
    path = None if located.kind == "fake" else located.path
    WorkOrder(recipe, recipe.data, located.name, path, recipe.threads).write(folder.path)


@dataclass
class Watcher:
    """Turns the worker's events and metrics into progress."""

    folder: Path
    job: Job
    task: Task | None = None
    read: dict[str, int] = field(default_factory=dict)
    validation: str = ""
    summary: dict[str, Any] | None = None
    failure: dict[str, Any] | None = None

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
            self.summary = event["summary"] if event["event"] == FINISHED else self.summary
            self.failure = event if event["event"] == FAILED else self.failure
        if self.task is not None:
            for row in self.new_rows(METRICS):
                self.show(row, self.task)

    def show(self, row: Mapping[str, Any], task: Task) -> None:
        """One row of metrics beside the bar."""
        if "validation_loss" in row:
            self.validation = f" · validation {row['validation_loss']:.4f}"
            return
        gigabytes = row["memory_bytes"] / 1e9
        speed = f"{row['tokens_per_second']:,.0f} tokens/s · {gigabytes:.1f} GB"
        task.advance(note=f"loss {row['loss']:.4f}{self.validation} · {speed}")

    def num_steps(self) -> int | None:
        """Steps of the run, once the worker has said."""
        started = (
            [line.value for line in read_jsonl(self.folder / EVENTS)]
            if (self.folder / EVENTS).exists()
            else []
        )
        return next((event["num_steps"] for event in started if event["event"] == "started"), None)


def watch(folder: Path, job: Job) -> dict[str, Any]:
    """Run the worker to its end, showing progress; returns its summary."""
    watcher = Watcher(folder, job)
    with worker(folder) as child:
        try:
            while child.poll() is None and watcher.num_steps() is None:
                watcher.look()
                time.sleep(POLL_SECONDS)
            watcher.look()
            with job.progress.task("training", total=watcher.num_steps() or 1, unit="steps") as watcher.task:
                while child.poll() is None:
                    watcher.look()
                    time.sleep(POLL_SECONDS)
                watcher.look()
        except KeyboardInterrupt:
            job.progress.say("stopping after this step, saving …")
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
            command, stdout=log, stderr=log, env=child_environment(worker_environment(order.num_threads))
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
        raise Interrupted(
            f"training stopped and saved in {watcher.folder}; the same command goes on from there"
        )
    if watcher.failure is not None:
        message = str(watcher.failure["message"])
        raise UserError(message) if code == EXIT_USER_ERROR else CheckFailed(message)
    if code < 0:
        name = signal.Signals(-code).name
        raise StepFailed(
            f"the training process was ended by {name}; when that was the system running out of memory, "
            f"lower microbatch_tokens. The last checkpoint is kept: the same command goes on from there"
        )
    log = (watcher.folder / WORKER_LOG).read_text(encoding="utf-8", errors="replace")
    if not log and shutil.disk_usage(watcher.folder).free < ROOM_TO_SPEAK_BYTES:
        advice = "free some space; the last checkpoint is kept, and the same command goes on from there"
        raise OutOfSpace("no space left on the disk", where=watcher.folder, next_step=advice)
    raise StepFailed(
        f"the training process failed; its log {watcher.folder / WORKER_LOG} ends:\n{log[-1500:]}"
    )
