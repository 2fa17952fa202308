"""Jobs, their events and their checkpoints as OpenAI shows them; what is ours stands in `x_tunesmith`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tunesmith.api.jobs.queue import Standing
from tunesmith.api.jobs.tables import PAUSED, RUNNING

Row = Mapping[str, Any]


def job_json(row: Row, standing: Standing | None = None) -> dict[str, Any]:
    """A job, with its place in the queue when it waits.

    `hyperparameters` are what was asked until they are resolved.
    """
    resolved: Mapping[str, Any] = row["resolved"] or {}
    hyperparameters = {**row["hyperparameters"], **resolved.get("hyperparameters", {})}
    return {
        "object": "fine_tuning.job",
        "id": row["id"],
        "model": row["model"],
        "created_at": row["created_at"],
        "finished_at": row["finished_at"],
        "estimated_finish": row["estimated_finish"] if standing is None else standing.finish,
        "fine_tuned_model": row["fine_tuned_model"],
        "organization_id": row["organization"],
        "result_files": [row["result_file"]] if row["result_file"] else [],
        # "paused" is in OpenAI's examples and not in its list of states, where clients look it up.
        "status": RUNNING if row["state"] == PAUSED else row["state"],
        "validation_file": row["validation_file"],
        "training_file": row["training_file"],
        "hyperparameters": hyperparameters,
        "method": {"type": "supervised", "supervised": {"hyperparameters": hyperparameters}},
        "trained_tokens": row["trained_tokens"],
        "error": row["error"],
        "user_provided_suffix": row["suffix"],
        "seed": row["seed"],
        "integrations": row["integrations"] or [],
        "metadata": row["metadata"],
        "x_tunesmith": {
            "state": row["state"],
            "queue_position": None if standing is None else standing.position,
            "recipe": row["recipe"],
            "evaluate": row["evaluate"],
            "evaluation": row["evaluation"],
            **{key: value for key, value in resolved.items() if key != "hyperparameters"},
        },
    }


def event_json(row: Row) -> dict[str, Any]:
    """An event."""
    shown = {name: row[name] for name in ("id", "created_at", "level", "message", "type", "data")}
    return {"object": "fine_tuning.job.event", **shown}


def checkpoint_json(row: Row) -> dict[str, Any]:
    """A checkpoint."""
    return {
        "object": "fine_tuning.job.checkpoint",
        "id": row["id"],
        "created_at": row["created_at"],
        "fine_tuned_model_checkpoint": row["model"],
        "step_number": row["step"],
        "metrics": row["metrics"],
        "fine_tuning_job_id": row["job"],
    }
