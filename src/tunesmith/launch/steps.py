"""Steps: how one room gets another's work without importing it.

A step is a verb with its configuration, run as a process of its own.  The verb itself answers at once
when its folder is complete with the same inputs, so a journey that was cut goes on where it stopped.
A journey is a list of steps; `From` lets a later step take what an earlier one made.
"""

import json
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from tunesmith.core.errors import (
    EXIT_FAILED,
    EXIT_INTERRUPTED,
    EXIT_USER_ERROR,
    Interrupted,
    StepFailed,
)
from tunesmith.core.files import write_json
from tunesmith.core.job import Job
from tunesmith.core.progress import Silent, duration
from tunesmith.launch.process import run_child, tunesmith_command

Results = Mapping[str, Mapping[str, Any]]


@dataclass(frozen=True)
class From:
    """A value out of an earlier step's result: a field, and a path below it when it is a folder."""

    step: str
    field: str = "folder"
    below: str = ""

    def resolve(self, results: Results) -> Any:
        """The value, once the step has run."""
        value = results[self.step][self.field]
        return str(Path(value) / self.below) if self.below else value


@dataclass(frozen=True)
class Step:
    """One verb to run: its words, its configuration, and where its folder goes (None: the workspace)."""

    name: str
    title: str
    verb: str
    config: Mapping[str, Any] = field(default_factory=dict)
    out: Path | None = None
    may_say_no: bool = False
    """Whether a result that does not pass (exit code 1) is an outcome, with which the journey goes on."""

    def resolved(self, results: Results) -> "Step":
        """The step with every `From` in its configuration replaced."""
        return replace(self, config={key: resolve(value, results) for key, value in self.config.items()})

    def command(self, config_file: Path, job: Job) -> list[str]:
        """The command line of the step's process."""
        options = ["--config", str(config_file), "--workspace", str(job.workspace.root), "--json"]
        if self.out is not None:
            options += ["--out", str(self.out)]
        if isinstance(job.progress, Silent):
            options.append("--quiet")
        return tunesmith_command(*self.verb.split(), *options)


def resolve(value: Any, results: Results) -> Any:
    """Replace `From` in a value or in the items of a list."""
    if isinstance(value, From):
        return value.resolve(results)
    if isinstance(value, list | tuple):
        return [resolve(part, results) for part in value]
    return value


def run_step(step: Step, job: Job) -> dict[str, Any]:
    """Run one resolved step and return its result (the JSON its verb prints).

    Raises Interrupted when it was stopped, StepFailed with its exit code when it failed (it has then
    said why on standard error).
    """
    with tempfile.TemporaryDirectory(prefix="tunesmith-") as folder:
        config_file = Path(folder) / "config.json"
        write_json(config_file, dict(step.config))
        code, output = run_child(step.command(config_file, job))
    if code == EXIT_INTERRUPTED:
        raise Interrupted(f"stopped during {step.title!r}; the same command goes on from here")
    said_no = code == EXIT_FAILED and step.may_say_no and bool(output)
    if code != 0 and not said_no:
        what = f"the step {step.title!r} (tunesmith {step.verb}) failed"
        raise StepFailed(what, exit_code=max(code, 1), said=code == EXIT_USER_ERROR)
    result: dict[str, Any] = json.loads(output)
    return result


def nothing(step: Step, result: Mapping[str, Any]) -> str:
    """No line about a step."""
    return ""


def run_steps(
    steps: Sequence[Step], job: Job, *, in_short: Callable[[Step, Mapping[str, Any]], str] = nothing
) -> dict[str, dict[str, Any]]:
    """Run a journey in order; returns each step's result by name.

    `in_short` says in one line what came out of a step; an empty line is not shown.
    """
    results: dict[str, dict[str, Any]] = {}
    started = time.monotonic()
    for number, step in enumerate(steps, start=1):
        job.progress.heading(f"[{number}/{len(steps)}] {step.title}")
        results[step.name] = run_step(step.resolved(results), job)
        if line := in_short(step, results[step.name]):
            job.progress.say(f"→ {line}")
    job.progress.say(f"all {len(steps)} steps took {duration(time.monotonic() - started)}")
    return results
