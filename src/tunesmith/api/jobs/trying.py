"""Before a job is asked for: what is wrong with its files, what the model would learn, what it would cost.

OpenAI has nothing like it: there a file is found wanting after the job has waited, one fault at a time.
"""

from __future__ import annotations

import shutil
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from tempfile import mkdtemp
from typing import Any

from pydantic import Field

from tunesmith.api.call import TRIALS, Api, Caller
from tunesmith.api.files import service as files
from tunesmith.api.jobs.recipes import resolve, steps_an_epoch
from tunesmith.api.jobs.schema import CreateJob
from tunesmith.api.jobs.service import row_of
from tunesmith.api.jobs.starting import RECIPE, steps_of, take_files, write_recipe
from tunesmith.api.jobs.validation import FEW, SHOWN, Unusable, layout_of, read_all
from tunesmith.core.errors import UserError
from tunesmith.core.files import explain_disk_errors
from tunesmith.core.job import Job
from tunesmith.core.workspace import Workspace
from tunesmith.data import prepare
from tunesmith.data import show as show_rows
from tunesmith.data.schema import PrepareConfig, ShowConfig
from tunesmith.runtime.catalogue import FAKE
from tunesmith.serve.problems import ApiProblem, overloaded
from tunesmith.train import train
from tunesmith.train.schema import SpeedResult, TrainConfig

TIMED_STEPS = 4
MOST_ROWS = 50
TURN = threading.BoundedSemaphore(1)
"""One trial at a time: they take both of a small machine's cores."""
Row = Mapping[str, Any]


class PreviewJob(CreateJob):
    """A job that is not asked for yet, and which of its examples to show."""

    rows: int = Field(3, ge=1, le=MOST_ROWS)
    skip: int = Field(0, ge=0)


def named_files(row: Row) -> dict[str, str]:
    """The files of a job by their fields."""
    return {param: row[param] for param in ("training_file", "validation_file") if row[param] is not None}


def validate(api: Api, caller: Caller, asked: CreateJob) -> dict[str, Any]:
    """Every fault of every line of both files, and what the hyperparameters would become."""
    row = row_of(api, caller, asked)
    layout: str | None = None
    found: list[dict[str, Any]] = []
    for param, file_id in named_files(row).items():
        place = files.content_of(api, file_id)
        layout = layout if found else layout_of(place)
        found.append({"param": param, "id": file_id, **of_file(place, param, layout)})
    examples = found[0]["examples"]
    result = {
        "object": "x.fine_tuning.validation",
        "valid": not any(one["num_problems"] for one in found) and bool(examples),
        "files": found,
        "hyperparameters": None,
        "warnings": [f"fewer than {FEW} examples teach little"] if examples < FEW else [],
    }
    if examples:
        numbers = resolve(row["hyperparameters"], examples)
        steps = numbers["n_epochs"] * steps_an_epoch(examples, numbers["batch_size"])
        result |= {"hyperparameters": numbers, "steps": steps}
    return result


def of_file(place: Path, param: str, layout: str | None) -> dict[str, Any]:
    """What a file holds, and what of it cannot be used."""
    try:
        examples, problems = read_all(place, param, layout)
    except Unusable as error:
        problem = {"line": 0, "pointer": "", "reason": error.error["message"]}
        return {"examples": 0, "num_problems": 1, "problems": [problem]}
    shown = [problem.to_json() for problem in problems[:SHOWN]]
    return {"examples": examples, "num_problems": len(problems), "problems": shown}


def preview(api: Api, caller: Caller, asked: PreviewJob) -> dict[str, Any]:
    """Some examples token by token, with what of each is learned, and counts over all of them."""
    row = row_of(api, caller, asked)
    if api.base_of(row["model"]) == FAKE:
        message = "The fake model has no tokens to show."
        raise ApiProblem(message, param="model", code="unsupported_value")
    with trial(api, row) as (folder, job, _):
        config = ShowConfig(data=str(folder / RECIPE), rows=asked.rows, skip=asked.skip, count=0)
        found = show_rows(config, job)
    return {
        "object": "x.fine_tuning.preview",
        "template": found.template,
        "notes": found.notes,
        "examples": [one.model_dump(exclude={"source"}) for one in found.examples],
        "counts": None if found.counts is None else found.counts.model_dump(),
    }


def estimate(api: Api, caller: Caller, asked: CreateJob) -> dict[str, Any]:
    """Time and memory of a job, from a few of its own steps."""
    row = row_of(api, caller, asked)
    with trial(api, row) as (folder, job, resolved):
        timed = train(TrainConfig(recipe=folder / RECIPE, time_steps=TIMED_STEPS), job)
        assert isinstance(timed, SpeedResult)
    steps = resolved["hyperparameters"]["n_epochs"] * resolved["steps_per_epoch"]
    return {
        "object": "x.fine_tuning.estimate",
        "hyperparameters": resolved["hyperparameters"],
        "learning_rate": resolved["learning_rate"],
        "examples": resolved["examples"],
        "steps": steps,
        "tokens": round(timed.tokens / timed.steps * steps),
        "seconds": round(timed.seconds_per_step * steps, 1),
        "peak_memory_bytes": timed.peak_memory_bytes,
        "timed_steps": timed.steps,
        "tokens_per_second": timed.tokens_per_second,
    }


@contextmanager
def trial(api: Api, row: Row) -> Iterator[tuple[Path, Job, dict[str, Any]]]:
    """A job's data set and recipe in a folder that is gone afterwards.

    Raises ApiProblem for files that cannot be learned from (400) and while another trial is made (429).
    """
    if not TURN.acquire(blocking=False):
        raise overloaded("another job is being tried out", retry_after="5")
    trials = api.folder / TRIALS
    try:
        with explain_disk_errors(trials):
            trials.mkdir(parents=True, exist_ok=True)
            folder = Path(mkdtemp(dir=trials))
        try:
            examples, layout = take_files(api, folder, named_files(row))
            row = {**row, "resolved": {"examples": examples, "layout": layout}}
            resolved = write_recipe(api, row, folder)
            work = Job(Workspace(folder))
            written = steps_of(folder, row)[0]
            prepare(PrepareConfig(**written.config), Job(work.workspace, out=written.out))
            yield folder, work, resolved
        except Unusable as error:
            said = error.error
            raise ApiProblem(said["message"], param=said["param"], code=said["code"]) from None
        except UserError as error:
            raise ApiProblem(error.message(), code="invalid_value") from error
        finally:
            shutil.rmtree(folder, ignore_errors=True)
    finally:
        TURN.release()
