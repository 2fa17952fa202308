"""What a job begins from, and the steps that its worker takes."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tunesmith.api.call import Api, Caller
from tunesmith.api.jobs.recipes import Start
from tunesmith.api.jobs.validation import Unusable
from tunesmith.api.models import service as models
from tunesmith.launch.steps import Step

WHOLE_MODEL, ADAPTER = "config.json", "adapter_config.json"
Row = Mapping[str, Any]


def start_of(api: Api, row: Row) -> Start:
    """What a job's model means: a base, or an earlier job's result that goes on learning.

    Raises Unusable for one that was deleted while the job waited.
    """
    if (base := api.base_of(row["model"])) is not None:
        return Start(base)
    earlier = models.find(api, Caller(row["organization"], row["project"]), row["model"])
    if earlier is None:
        message = f"Model {row['model']} was deleted before the job began."
        raise Unusable({"code": "model_not_available", "message": message, "param": "model"})
    folder = Path(earlier["folder"])
    if (folder / WHOLE_MODEL).exists() and not (folder / ADAPTER).exists():
        return Start(str(folder))
    return Start(earlier["base"], str(folder))


def steps_of(folder: Path, row: Row) -> list[Step]:
    """The files become a data set, the data set trains a run; finished steps are not done again."""
    prepare: dict[str, Any] = {
        "source": str(folder / "training_file.jsonl"),
        "name": row["id"],
        "validation": 0,
        "test": 0,
        "deduplicate": False,
        "near_duplicates": 0,
        "max_refused": 0,
        "shape": row["resolved"]["layout"],
    }
    if row["validation_file"] is not None:
        prepare["validation_file"] = str(folder / "validation_file.jsonl")
    return [
        Step("prepare", "Check and write the data set", "data prepare", prepare, folder / "data"),
        Step("train", "Train", "train", {"recipe": str(folder / "recipe.yaml")}, folder / "run"),
    ]
