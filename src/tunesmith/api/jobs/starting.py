"""What a job begins from: its files, its model, its recipe, and the steps that its worker takes."""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from tunesmith.api.call import Api, Caller
from tunesmith.api.files import service as files
from tunesmith.api.jobs.recipes import Start, recipe_of, resolve, steps_an_epoch
from tunesmith.api.jobs.validation import Unusable, check_file, layout_of
from tunesmith.api.models import service as models
from tunesmith.core.files import explain_disk_errors, write_text
from tunesmith.launch.steps import Step

RECIPE = "recipe.yaml"
WHOLE_MODEL, ADAPTER = "config.json", "adapter_config.json"
Row = Mapping[str, Any]


def take_files(api: Api, folder: Path, named: Mapping[str, str]) -> tuple[int, str | None]:
    """Copies of the files that stay with the job; training examples and layout.  Raises Unusable."""
    examples: dict[str, int] = {}
    layout = None
    with explain_disk_errors(folder):
        folder.mkdir(parents=True, exist_ok=True)
        for param, file_id in named.items():
            source, place = files.content_of(api, file_id), folder / f"{param}.jsonl"
            place.unlink(missing_ok=True)
            try:
                os.link(source, place)
            except FileNotFoundError:
                message = f"The file {file_id} was deleted before the job began."
                raise Unusable({"code": f"invalid_{param}", "message": message, "param": param}) from None
            except OSError:  # a file system without second names
                shutil.copyfile(source, place)
            layout = layout if examples else layout_of(place)
            examples[param] = check_file(place, param, layout)
    return examples["training_file"], layout


def write_recipe(api: Api, row: Row, folder: Path) -> dict[str, Any]:
    """Write the recipe of a job that has taken its files; what its hyperparameters became.

    Raises Unusable for a model that was deleted while the job waited.
    """
    start = start_of(api, row)
    examples = row["resolved"]["examples"]
    recipe = recipe_of(row, start, folder / "data", examples=examples, rate=api.rate_of(start.base))
    text = yaml.safe_dump(recipe.to_json(), sort_keys=False, allow_unicode=True)
    write_text(folder / RECIPE, text)
    return {
        **row["resolved"],
        "hyperparameters": resolve(row["hyperparameters"], examples),
        "learning_rate": recipe.optimiser.learning_rate,
        "steps_per_epoch": steps_an_epoch(examples, recipe.step_examples),
        "base": start.base,
    }


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


def steps_of(folder: Path, row: Row, out: Path | None = None) -> list[Step]:
    """The files of a folder become a data set, the data set trains a run; finished steps are not done again.

    What they make stands in `out`, without it beside the files.
    """
    made = out or folder
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
        Step("prepare", "Check and write the data set", "data prepare", prepare, made / "data"),
        Step("train", "Train", "train", {"recipe": str(folder / RECIPE)}, made / "run"),
        *(evaluating(made, row) if row["evaluate"] else ()),
    ]


def evaluating(folder: Path, row: Row) -> list[Step]:
    """The base and the new model answer the same validation examples."""
    suite = {"suite": str(folder / "data"), "split": "validation", "limit": row["evaluate"]}
    base, tuned, compared = (folder / "evaluation" / name for name in ("base", "tuned", "compared"))
    return [
        Step("base", "Test the base", "evaluate", {**suite, "model": row["resolved"]["base"]}, base),
        Step("tuned", "Test the new model", "evaluate", {**suite, "model": str(folder / "run")}, tuned),
        Step("compare", "Compare them", "compare", {"a": str(base), "b": str(tuned)}, compared),
    ]
