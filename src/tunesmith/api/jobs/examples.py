"""How well a job's model predicts each example, step by step: what is hard to learn is often wrong."""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path
from typing import Any, Literal

from pydantic import Field

from tunesmith.api.call import Api, Caller
from tunesmith.api.jobs.service import find
from tunesmith.api.query import Order, Query
from tunesmith.train.order import EXAMPLES
from tunesmith.train.watching import Tail


class ListExamples(Query):
    """Which examples to list."""

    limit: int = Field(20, ge=1, le=10_000)
    sort: Literal["loss", "line"] = "loss"
    order: Order = "desc"


def examples(api: Api, caller: Caller, job_id: str, asked: ListExamples) -> dict[str, Any]:
    """The lines of a job's training file with their losses, the hardest first.

    A loss is measured just before the step that learns from the example: at its first it is the model's as
    it was without it.  Raises ApiProblem (404).
    """
    row = find(api, caller, job_id)
    found = by_line(api.folder / "jobs" / job_id / "run" / EXAMPLES)
    lines = [{"line": line, "last_loss": seen[-1]["loss"], "seen": seen} for line, seen in found.items()]
    lines.sort(key=lambda one: one["line" if asked.sort == "line" else "last_loss"])
    if asked.order == "desc":
        lines.reverse()
    return {
        "object": "list",
        "training_file": row["training_file"],
        "num_examples": len(lines),
        "data": [{"object": "x.fine_tuning.example", **one} for one in lines[: asked.limit]],
        "has_more": len(lines) > asked.limit,
    }


def by_line(path: Path) -> dict[int, list[dict[str, Any]]]:
    """Line → what was found each time a step came to it; nothing before the first step."""
    found: dict[int, list[dict[str, Any]]] = defaultdict(list)
    for row in Tail(path).new_rows():
        for _, line, nll, right, learned in row["examples"]:
            if not line:  # a block of several documents
                continue
            tokens = max(1, learned)
            said = {"step": row["step"], "loss": nll / tokens, "mean_token_accuracy": right / tokens}
            found[line].append({**said, "tokens": learned})
    return found
