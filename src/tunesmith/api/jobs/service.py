"""Jobs in the store: what clients may ask of them.  A change of state is one conditional statement.

validating_files → queued → running → succeeded | failed | cancelled.  A job that is paused stands still until
it is resumed, and goes through the queue again.  What has ended stays as it is.
"""

import secrets
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import sqlalchemy as sa

from tunesmith.api.call import Api, Caller
from tunesmith.api.files import service as files
from tunesmith.api.ids import new_id
from tunesmith.api.jobs.queue import standings
from tunesmith.api.jobs.recipes import check_own
from tunesmith.api.jobs.schema import CreateJob, ListCheckpoints, ListEvents, ListJobs
from tunesmith.api.jobs.shown import checkpoint_json, event_json, job_json
from tunesmith.api.jobs.tables import (
    CANCELLED,
    CHECKPOINT,
    ENDED,
    EVENT,
    JOB,
    PAUSED,
    QUEUED,
    RUNNING,
    VALIDATING,
)
from tunesmith.api.models import service as models
from tunesmith.api.pages import page
from tunesmith.core.errors import ConfigError
from tunesmith.core.store import now_row
from tunesmith.serve.problems import ApiProblem

MOST_SEED = 2_147_483_647
TRAINING_PURPOSE = "fine-tune"
Row = Mapping[str, Any]
Level = Literal["info", "warn", "error"]


def row_of(api: Api, caller: Caller, asked: CreateJob) -> dict[str, Any]:
    """A job as it would be taken on.  Raises ApiProblem for what can never run."""
    check_method(asked)
    if api.base_of(asked.model) is None and models.find(api, caller, asked.model) is None:
        message = f"Model {asked.model} is not available for fine-tuning or does not exist."
        raise ApiProblem(message, param="model", code="model_not_available")
    try:
        check_own(asked.x_tunesmith.recipe)
    except ConfigError as error:
        raise ApiProblem(str(error), param="x_tunesmith.recipe", code="invalid_value") from None
    named: dict[str, str | None] = {
        "training_file": asked.training_file,
        "validation_file": asked.validation_file,
    }
    for param, file_id in named.items():
        if file_id is not None:
            check_purpose(files.find(api, caller, file_id, param=param), param)
    return {
        "id": new_id("ftjob-"),
        "project": caller.project,
        "organization": caller.organization,
        "api_key": caller.key,
        "created_at": api.now(),
        "model": asked.model,
        **named,
        "suffix": asked.suffix,
        "seed": secrets.randbelow(MOST_SEED) if asked.seed is None else asked.seed,
        "metadata": asked.metadata,
        "integrations": [one.model_dump() for one in asked.integrations] if asked.integrations else None,
        "hyperparameters": asked.asked.model_dump(),
        "recipe": asked.x_tunesmith.recipe,
        "evaluate": asked.x_tunesmith.evaluate,
        "state": VALIDATING,
        "steps_seen": 0,
        "deaths": 0,
    }


def create(api: Api, caller: Caller, asked: CreateJob) -> dict[str, Any]:
    """Take a job on.  Raises ApiProblem for what can never run; a fault in the files fails the job later."""
    row = row_of(api, caller, asked)
    with api.store.writing() as connection:
        connection.execute(sa.insert(JOB).values(**row))
        tell(connection, api, row["id"], f"Created fine-tuning job: {row['id']}")
        for one in row["integrations"] or []:
            text = f"The integration {one['type']} is not told: nothing here reaches out of this machine"
            tell(connection, api, row["id"], text, level="warn")
        made = now_row(connection, sa.select(JOB).where(JOB.c.id == row["id"]))
        assert made is not None, "it was inserted above"
    api.woken.set()
    return shown(api, made)


def check_method(asked: CreateJob) -> None:
    """Refuse an objective that is not there."""
    kind = asked.method.type if asked.method is not None else "supervised"
    if kind != "supervised":
        message = f"Model {asked.model} is not available for fine-tuning with the method '{kind}'."
        raise ApiProblem(message, param="method.type", code="unsupported_value")


def check_purpose(file: Row, param: str) -> None:
    """Refuse a file that was uploaded for something else."""
    if file["purpose"] != TRAINING_PURPOSE:
        message = (
            f"Invalid file purpose: '{file['purpose']}' of {file['id']}. "
            f"Files for fine-tuning are uploaded with purpose '{TRAINING_PURPOSE}'."
        )
        raise ApiProblem(message, param=param, code="invalid_file_purpose")


def tell(
    connection: sa.Connection,
    api: Api,
    job_id: str,
    message: str,
    *,
    level: Level = "info",
    kind: Literal["message", "metrics"] = "message",
    data: Mapping[str, Any] | None = None,
) -> None:
    """Add an event."""
    connection.execute(
        sa.insert(EVENT).values(
            id=new_id("ftevent-"),
            job=job_id,
            created_at=api.now(),
            level=level,
            message=message,
            type=kind,
            data=dict(data or {}),
        )
    )


def find(api: Api, caller: Caller, job_id: str) -> Row:
    """The row of a job; raises ApiProblem (404)."""
    with api.store.reading() as connection:
        query = sa.select(JOB).where(JOB.c.id == job_id, JOB.c.project == caller.project)
        row = now_row(connection, query)
    if row is None:
        message = f"Could not find fine tune: {job_id}"
        raise ApiProblem(message, status=404, param="fine_tune_id", code="fine_tune_not_found")
    return row


def retrieve(api: Api, caller: Caller, job_id: str) -> dict[str, Any]:
    """One job; raises ApiProblem (404)."""
    return shown(api, find(api, caller, job_id))


def shown(api: Api, row: Row) -> dict[str, Any]:
    """A job with its place in the queue."""
    waits = row["state"] in (VALIDATING, QUEUED)
    return job_json(row, standings(api).get(row["id"]) if waits else None)


def list_jobs(
    api: Api, caller: Caller, asked: ListJobs, metadata: Mapping[str, str | None]
) -> dict[str, Any]:
    """A page of jobs; `metadata` are pairs that they must have, None a job without any."""
    wanted: list[sa.ColumnElement[bool]] = [JOB.c.project == caller.project]
    for key, value in metadata.items():
        if not key:
            wanted.append(sa.cast(JOB.c.metadata, sa.Text).in_(("null", "{}")))
        else:
            wanted.append(JOB.c.metadata[key].as_string() == (value or ""))
    placed = standings(api)
    to_json = lambda row: job_json(row, placed.get(row["id"]))  # noqa: E731  it is one
    return page(api.store, JOB, wanted, to_json, after=asked.after, limit=asked.limit)


def cancel(api: Api, caller: Caller, job_id: str) -> dict[str, Any]:
    """Stop a job for good; checkpoints that it made stay."""
    return move(api, caller, job_id, (VALIDATING, QUEUED, RUNNING, PAUSED), CANCELLED, "cancelled")


def pause(api: Api, caller: Caller, job_id: str) -> dict[str, Any]:
    """Let a job stand still; what it learned is saved."""
    return move(api, caller, job_id, (VALIDATING, QUEUED, RUNNING), PAUSED, "paused")


def resume(api: Api, caller: Caller, job_id: str) -> dict[str, Any]:
    """Let a paused job go on from where it stood."""
    validated = find(api, caller, job_id)["resolved"] is not None
    return move(api, caller, job_id, (PAUSED,), QUEUED if validated else VALIDATING, "resumed")


def move(
    api: Api, caller: Caller, job_id: str, before: Sequence[str], after: str, word: str
) -> dict[str, Any]:
    """Change the state of a job where it is one of `before`; raises ApiProblem elsewhere."""
    row = find(api, caller, job_id)
    with api.store.writing() as connection:
        moved = change(connection, job_id, before, after, **ending(api, after))
        if moved:
            tell(connection, api, job_id, f"The job was {word}", level="info")
    row = find(api, caller, job_id)
    if not moved:
        raise refusal(row, word)
    api.woken.set()
    return shown(api, row)


def ending(api: Api, state: str) -> dict[str, Any]:
    """What else changes with a state."""
    if state in ENDED:
        return {"finished_at": api.now(), "estimated_finish": None}
    return {"estimated_finish": None} if state == PAUSED else {}


def change(connection: sa.Connection, job_id: str, before: Sequence[str], after: str, **values: Any) -> bool:
    """Change a state if it is one of `before`; whether it was."""
    done = connection.execute(
        sa.update(JOB).where(JOB.c.id == job_id, JOB.c.state.in_(before)).values(state=after, **values)
    )
    return done.rowcount == 1


def refusal(row: Row, word: str) -> ApiProblem:
    """Why a job's state cannot be changed so."""
    if row["state"] in ENDED:
        return ApiProblem(f"Job has already completed: {row['id']}")
    return ApiProblem(f"Job {row['id']} is {row['state']}: it cannot be {word}.")


def events(api: Api, caller: Caller, job_id: str, asked: ListEvents) -> dict[str, Any]:
    """A page of a job's events."""
    find(api, caller, job_id)
    return page(api.store, EVENT, [EVENT.c.job == job_id], event_json, after=asked.after, limit=asked.limit)


def checkpoints(api: Api, caller: Caller, job_id: str, asked: ListCheckpoints) -> dict[str, Any]:
    """A page of a job's checkpoints."""
    find(api, caller, job_id)
    return page(
        api.store,
        CHECKPOINT,
        [CHECKPOINT.c.job == job_id],
        checkpoint_json,
        after=asked.after,
        limit=asked.limit,
    )
