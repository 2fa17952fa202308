"""From a report's samples to what its answers cost: seconds, tokens, cut and failed ones."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from tunesmith.core.stats import share_interval
from tunesmith.evaluate.asking import was_answered
from tunesmith.evaluate.report.facts_models import Score, SpeedFacts

Row = Mapping[str, Any]


def speed_facts(rows: Sequence[Row]) -> SpeedFacts:
    """What answers cost; items of which only a likelihood was asked are left out."""
    asked = [row for row in rows if row["error"] is not None or was_answered(row)]
    came = [row for row in asked if row["error"] is None]
    seconds = [row["latency_seconds"] for row in came]
    if not any(seconds):  # another harness did not say
        seconds = []
    median, late = np.quantile(seconds, [0.5, 0.95]).tolist() if seconds else (None, None)
    prompt, answer = (sum(row[name] for row in came) for name in ("prompt_tokens", "completion_tokens"))
    return SpeedFacts(
        num_asked=len(asked),
        num_answers=len(came),
        num_known=sum(row["cached"] for row in came),
        median_seconds=median,
        late_seconds=late,
        prompt_tokens=prompt,
        answer_tokens=answer,
        tokens_per_second=answer / sum(seconds) if answer and sum(seconds) > 0 else None,
        cut=share("cut", asked, [row["finish_reason"] == "length" for row in asked]),
        failed=share("failed", asked, [row["error"] is not None for row in asked]),
    )


def share(name: str, rows: Sequence[Row], found: Sequence[bool]) -> Score | None:
    """How many of the requests, with an interval over groups; None of nothing."""
    if not rows:
        return None
    interval = share_interval([float(yes) for yes in found], [row["group_id"] for row in rows])
    return Score(name, interval.value, interval.low, interval.high, interval.n, "share", "lower")
