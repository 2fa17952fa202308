"""Watching the worker process: its events and metrics become progress, its end a summary or an error."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tunesmith.core.errors import (
    EXIT_INTERRUPTED,
    EXIT_USER_ERROR,
    CheckFailed,
    Interrupted,
    StepFailed,
    UserError,
)
from tunesmith.core.job import Job
from tunesmith.core.progress import Task
from tunesmith.launch.process import child_environment
from tunesmith.runtime.threads import worker_environment
from tunesmith.train.checkpoints import newest
from tunesmith.train.order import EVENTS, FAILED, FINISHED, METRICS, WORKER_LOG, WorkOrder
from tunesmith.train.trouble import BEGINS_ANEW, disk_is_full, no_space, what_would_fit

POLL_SECONDS = 0.2


@dataclass
class Tail:
    """The rows of a growing file, each read once; a line that is not whole yet waits."""

    path: Path
    place: int = 0

    def new_rows(self) -> list[Any]:
        """Rows that were not seen before; none while there is no file."""
        if not self.path.exists():
            return []
        with self.path.open("rb") as file:
            file.seek(self.place)
            text = file.read()
        whole = text[: text.rfind(b"\n") + 1]
        self.place += len(whole)
        return [json.loads(line) for line in whole.splitlines()]


@dataclass
class Watcher:
    """Turns the worker's events and metrics into progress; events of earlier parts are passed over."""

    folder: Path
    job: Job
    task: Task | None = None
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
        self.events, self.metrics = Tail(self.folder / EVENTS), Tail(self.folder / METRICS)
        self.events.new_rows()

    def look(self) -> None:
        """Show everything new."""
        for event in self.events.new_rows():
            if event["event"] == "message":
                self.job.progress.say(event["text"])
            self.part = event.get("part", self.part)
            if event["event"] == "started":
                self.num_steps, self.part = event["num_steps"], "training"
            self.summary = event["summary"] if event["event"] == FINISHED else self.summary
            self.failure = event if event["event"] == FAILED else self.failure
        if self.task is not None:
            for row in self.metrics.new_rows():
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
    if not log and disk_is_full(watcher.folder):
        then = "the last checkpoint is kept, and the same command goes on from there"
        raise no_space(watcher.folder, then)
    raise StepFailed(
        f"the training process failed; its log {watcher.folder / WORKER_LOG} ends:\n{log[-1500:]}"
    )
