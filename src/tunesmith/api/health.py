"""What `/readyz` and `/metrics` say of files and jobs."""

import shutil
from pathlib import Path

import sqlalchemy as sa

from tunesmith.api.call import Api
from tunesmith.api.jobs.tables import ENDED, JOB, PAUSED, QUEUED, RUNNING, VALIDATING
from tunesmith.core.errors import TunesmithError

LEAST_FREE_BYTES = 500_000_000
"""Below this a checkpoint may not find room."""
STATES = (VALIDATING, QUEUED, RUNNING, PAUSED, *ENDED)


def store_fault(api: Api) -> str | None:
    """Whether the store answers."""
    try:
        with api.store.writing() as connection:
            connection.execute(sa.select(sa.literal(1)))
    except TunesmithError as error:
        return str(error)
    return None


def disk_fault(folder: Path, *, least: int = LEAST_FREE_BYTES) -> str | None:
    """Whether there is room for files and checkpoints."""
    here = next(one for one in (folder, *folder.parents) if one.is_dir())
    free = shutil.disk_usage(here).free
    if free < least:
        return f"only {free / 1e6:,.0f} MB are free where files and checkpoints are kept ({folder})"
    return None


def jobs_by_state(api: Api) -> dict[str, float]:
    """How many jobs there are in each state."""
    with api.store.reading() as connection:
        rows = connection.execute(sa.select(JOB.c.state, sa.func.count()).group_by(JOB.c.state)).all()
    return {**dict.fromkeys(STATES, 0.0), **{str(state): float(number) for state, number in rows}}
