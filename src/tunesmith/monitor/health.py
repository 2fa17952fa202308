"""The door `monitor`: requests, errors and latency from the record."""

import time
from collections import Counter
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Any, TypeVar

import numpy as np

from tunesmith.core.errors import UserError, nearest
from tunesmith.core.job import Job
from tunesmith.core.record import CANCELLED, Entry, Facts, Record, read_since
from tunesmith.core.stats import wilson
from tunesmith.monitor.schema import (
    Failure,
    Health,
    HourHealth,
    ModelHealth,
    MonitorConfig,
    MonitorResult,
    Quantiles,
)

K = TypeVar("K")
NO_RECORD = (
    "nothing was recorded here yet; start `tunesmith serve MODEL` in this workspace and send it requests"
)
NONE_CHOSEN = "no request in this window; widen --since"


def monitor(config: MonitorConfig, job: Job) -> MonitorResult:
    """Read the record and count.  Raises UserError for a model that nobody asked for."""
    record = Record(job.workspace.record)
    since = read_since(config.since, time.time())
    facts = record.facts(since=since, model=config.model)
    known = record.models()
    if config.model is not None and known and config.model not in known:
        step = nearest(config.model, known)
        raise UserError("no request to this model was recorded", value=config.model, next_step=step)
    loss = record.loss(since=since)
    errors = record.errors(since=since, model=config.model, limit=config.last_errors)
    return MonitorResult(
        record=record.path,
        since=config.since,
        first=iso(facts[0].time) if facts else None,
        last=iso(facts[-1].time) if facts else None,
        overall=Health(**figures(facts)),
        by_model=by_model(facts),
        by_hour=by_hour(facts),
        error_types=counted(fact.error_type or str(fact.status) for fact in facts if failed(fact)),
        finish_reasons=counted(fact.finish_reason for fact in facts if fact.finish_reason),
        last_errors=tuple(failure(entry) for entry in errors),
        dropped_contents=loss.contents,
        dropped_requests=loss.requests,
        advice=None if facts else NONE_CHOSEN if known else NO_RECORD,
    )


def failed(fact: Facts) -> bool:
    """Whether a request ended in an error; a client that left is none."""
    return fact.status >= 400 and fact.status != CANCELLED


def figures(facts: Sequence[Facts]) -> dict[str, Any]:
    """The fields of `Health`."""
    errors = sum(failed(fact) for fact in facts)
    cancelled = sum(fact.status == CANCELLED for fact in facts)
    finished = len(facts) - cancelled
    low, high = wilson(errors, finished)
    answered = [fact for fact in facts if fact.status < 400]
    return {
        "requests": len(facts),
        "errors": errors,
        "cancelled": cancelled,
        "error_rate": errors / finished if finished else None,
        "error_rate_low": low,
        "error_rate_high": high,
        "total_seconds": quantiles([fact.total_seconds for fact in answered]),
        "first_token_seconds": quantiles([fact.first_token_seconds for fact in answered]),
        "prompt_tokens": sum(fact.prompt_tokens or 0 for fact in facts),
        "completion_tokens": sum(fact.completion_tokens or 0 for fact in facts),
    }


def quantiles(seconds: Sequence[float | None]) -> Quantiles:
    """Median and 95th percentile of the known values, as values that occurred."""
    known = [value for value in seconds if value is not None]
    if not known:
        return Quantiles(p50=None, p95=None)
    p50, p95 = np.quantile(known, [0.5, 0.95], method="inverted_cdf").tolist()
    return Quantiles(p50=p50, p95=p95)


def grouped(facts: Sequence[Facts], key: Callable[[Facts], K]) -> dict[K, list[Facts]]:
    """Facts by a key, in order of first appearance."""
    groups: dict[K, list[Facts]] = {}
    for fact in facts:
        groups.setdefault(key(fact), []).append(fact)
    return groups


def by_model(facts: Sequence[Facts]) -> tuple[ModelHealth, ...]:
    """Figures of each model version, busiest first."""
    groups = grouped(facts, lambda fact: (fact.model, fact.version))
    rows = [
        ModelHealth(model=name, version=version, **figures(own)) for (name, version), own in groups.items()
    ]
    return tuple(sorted(rows, key=lambda row: -row.requests))


def by_hour(facts: Sequence[Facts]) -> tuple[HourHealth, ...]:
    """Figures of each hour, oldest first."""
    groups = grouped(facts, lambda fact: int(fact.time // 3600))
    return tuple(HourHealth(hour=iso(hour * 3600), **figures(own)) for hour, own in sorted(groups.items()))


def counted(words: Any) -> dict[str, int]:
    """How often each word occurs, most frequent first."""
    return dict(Counter(words).most_common())


def failure(entry: Entry) -> Failure:
    """An error as the result lists it."""
    return Failure(
        time=iso(entry.time),
        id=entry.id,
        model=entry.model,
        status=entry.status,
        error_type=entry.error_type or "",
        message=entry.error_message or "",
    )


def iso(seconds: float) -> str:
    """Seconds since 1970 as ISO 8601 in UTC."""
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="seconds")
