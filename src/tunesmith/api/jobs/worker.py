"""The process of one job: `python -m tunesmith.api.jobs.worker FOLDER` runs its steps, one after the other.

It stops, with everything saved, when it is told to (SIGTERM) and when the server that started it is gone
(its standard input ends); the same command goes on from there.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from tunesmith.core.errors import EXIT_INTERRUPTED, FolderError, Interrupted, StepFailed
from tunesmith.core.files import folder_lock, read_json, write_json
from tunesmith.core.job import Job
from tunesmith.core.progress import Lines
from tunesmith.core.workspace import Workspace
from tunesmith.launch.steps import Step, run_step

ORDER, RESULTS, LOG = "order.json", "results.json", "worker.log"
TRAINED, FAULT = "train", "fault"
"""Among the results: the step that makes the model, and why a later one could not be done."""
LOCKED = ".worker"
"""Held while a worker is at it: one that outlived its server must be done before the next begins."""
LOOK_EVERY_SECONDS = 0.2


def write_order(folder: Path, workspace: Path, steps: list[Step]) -> None:
    """What the process is to do."""
    rows = [
        {
            "name": step.name,
            "title": step.title,
            "verb": step.verb,
            "config": dict(step.config),
            "out": str(step.out),
        }
        for step in steps
    ]
    write_json(folder / ORDER, {"workspace": str(workspace), "steps": rows})


def stop_at_eof() -> None:
    """Wait for the end of standard input, then stop this process as its server would."""
    while os.read(0, 1024):
        pass
    os.kill(os.getpid(), signal.SIGTERM)


def interrupt(signum: int, frame: object) -> None:
    """SIGTERM between two steps unwinds as it does within one."""
    raise KeyboardInterrupt


@contextmanager
def waited_lock(folder: Path) -> Iterator[None]:
    """Hold a folder, after whoever holds it now."""
    with ExitStack() as held:
        while True:
            try:
                held.enter_context(folder_lock(folder))
                break
            except FolderError:
                time.sleep(LOOK_EVERY_SECONDS)
        yield


def run_all(steps: Sequence[Step], job: Job) -> dict[str, Any]:
    """The results by name.  Once a model is trained, a step that fails ends the work and not the job."""
    results: dict[str, Any] = {}
    for step in steps:
        try:
            results[step.name] = run_step(step, job)
        except StepFailed as error:
            if TRAINED not in results:
                raise
            return results | {FAULT: str(error)}
    return results


def main(arguments: list[str]) -> int:
    """Run the steps of a folder; the exit code of the one that failed, or 0 with their results written."""
    folder = Path(arguments[0])
    signal.signal(signal.SIGTERM, interrupt)
    threading.Thread(target=stop_at_eof, daemon=True).start()
    order: dict[str, Any] = read_json(folder / ORDER)
    job = Job(Workspace(Path(order["workspace"])), Lines())
    try:
        with waited_lock(folder / LOCKED):
            steps = [Step(**{**row, "out": Path(row["out"])}) for row in order["steps"]]
            write_json(folder / RESULTS, run_all(steps, job))
    except (KeyboardInterrupt, Interrupted):
        return EXIT_INTERRUPTED
    except StepFailed as error:
        print(error, file=sys.stderr)  # noqa: T201  the log of the job
        return error.exit_code
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
