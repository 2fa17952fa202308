"""Where jobs stand in the queue, and when they would be done."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import sqlalchemy as sa

from tunesmith.api.call import Api
from tunesmith.api.jobs.recipes import resolve
from tunesmith.api.jobs.tables import JOB, QUEUED, RUNNING, SUCCEEDED, VALIDATING

Row = Mapping[str, Any]


class Standing(NamedTuple):
    """Of a job that waits."""

    position: int
    """1 is begun next."""
    finish: int | None
    """Seconds since 1970; None while nobody knows how long it, or one before it, will take."""


def standings(api: Api) -> dict[str, Standing]:
    """Every job that waits, by id; jobs of all projects stand in one queue."""
    with api.store.reading() as connection:
        query = sa.select(JOB).where(JOB.c.state.in_((VALIDATING, QUEUED))).order_by(JOB.c.seq)
        waiting = [dict(row) for row in connection.execute(query).mappings()]
        if not waiting:
            return {}
        finishes = sa.select(JOB.c.estimated_finish).where(JOB.c.state == RUNNING)
        running: list[int | None] = list(connection.scalars(finishes))
        speeds = {model: speed(connection, model) for model in {row["model"] for row in waiting}}
    places = running + [api.now()] * (api.jobs_at_once - len(running))
    found = {}
    for position, row in enumerate(waiting, 1):
        free = None if None in places else min(place for place in places if place is not None)
        seconds = duration(row, speeds[row["model"]])
        finish = None if free is None or seconds is None else max(free, api.now()) + seconds
        places[places.index(free)] = finish
        found[row["id"]] = Standing(position, finish)
    return found


def speed(connection: sa.Connection, model: str) -> float | None:
    """Seconds for each example that the newest job with this model took; None before there was one."""
    query = sa.select(JOB).where(JOB.c.state == SUCCEEDED, JOB.c.model == model).order_by(JOB.c.seq.desc())
    row = connection.execute(query.limit(1)).mappings().first()
    return None if row is None else (row["finished_at"] - row["started_at"]) / seen(dict(row))


def duration(row: Row, seconds_per_example: float | None) -> int | None:
    """Seconds that a job would take; None for one whose examples were not counted yet, too."""
    if seconds_per_example is None or row["resolved"] is None:
        return None
    return round(seconds_per_example * seen(row))


def seen(row: Row) -> int:
    """Examples that a job learns from, each as often as it comes."""
    examples = int(row["resolved"]["examples"])
    return examples * int(resolve(row["hyperparameters"], examples)["n_epochs"])
