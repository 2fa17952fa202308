"""Uniform samples of rows that fit into a time."""

import time
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from tunesmith.core.job import Job
from tunesmith.core.progress import duration

PROBE_ROWS = 8
"""Rows on which the speed is measured.  They belong to the sample."""
CHUNK_ROWS = 8


class Sample(NamedTuple):
    """Rows drawn without replacement, each equally likely."""

    positions: NDArray[np.int64]
    num_rows: int
    """Rows they were drawn from."""


def order_of(num_rows: int, seed: int) -> NDArray[np.int64]:
    """All rows in random order: any first part of it is a uniform sample."""
    return np.random.default_rng(seed).permutation(num_rows).astype(np.int64)


def run_on_sample(
    num_rows: int,
    work: Callable[[Sequence[int]], None],
    *,
    title: str,
    seconds: float,
    seed: int,
    job: Job,
    clock: Callable[[], float] = time.monotonic,
) -> Sample:
    """Do some work on as many rows, drawn at random, as fit into `seconds` (0: on all).

    How many that are is reckoned from a few rows before the others are begun, so that slow rows are as likely
    in the sample as fast ones.
    """
    order = order_of(num_rows, seed)
    started = clock()
    work(order[:PROBE_ROWS].tolist())
    pace = max(1e-9, clock() - started) / max(1, min(PROBE_ROWS, num_rows))
    count = num_rows
    if seconds:
        count = min(num_rows, max(PROBE_ROWS, int(seconds / pace)))
    if count > PROBE_ROWS:
        of = f"all {num_rows:,}" if count == num_rows else f"{count:,} of {num_rows:,}"
        job.progress.say(f"{title}: {of} rows, about {duration(count * pace)}")
    with job.progress.task(title, total=count, unit="rows") as task:
        task.advance(min(PROBE_ROWS, count))
        for start in range(PROBE_ROWS, count, CHUNK_ROWS):
            part = order[start : min(start + CHUNK_ROWS, count)].tolist()
            work(part)
            task.advance(len(part))
    return Sample(np.sort(order[:count]), num_rows)
