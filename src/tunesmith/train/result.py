"""What a run leaves behind: the result where a server looks for it, and the summary of its manifest."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from tunesmith.core.dataset import DataSet
from tunesmith.core.files import explain_disk_errors, read_jsonl
from tunesmith.core.prompt_shape import PROMPT_SHAPE
from tunesmith.core.recipe import Recipe
from tunesmith.train import loop
from tunesmith.train.checkpoints import Position, best_folder
from tunesmith.train.order import METRICS, WorkOrder
from tunesmith.train.preflight.schema import read_results
from tunesmith.train.runs import kind_of
from tunesmith.train.schedule import Schedule

ADAPTER, WEIGHTS = "adapter", "weights"
WHOLE_MODEL = "config.json"
"""A published folder with this file is a model; one without it goes on top of one."""


def publish(folder: Path, step: int) -> None:
    """Put the published state of a step where a server looks for it: `adapter/` or `weights/`."""
    source = best_folder(folder / "checkpoints", step)
    name = WEIGHTS if (source / WHOLE_MODEL).exists() else ADAPTER
    growing = folder / "checkpoints" / "result.part"
    with explain_disk_errors(folder):
        for old in (folder / ADAPTER, folder / WEIGHTS, growing):
            shutil.rmtree(old, ignore_errors=True)
        shutil.copytree(source, growing, copy_function=link)
        shutil.copyfile(folder / PROMPT_SHAPE, growing / PROMPT_SHAPE)
        growing.rename(folder / name)


def link(source: str, target: str) -> None:
    """A second name of a file, which takes no room; a copy where the file system knows no second names."""
    try:
        os.link(source, target)
    except OSError:
        shutil.copy2(source, target)


def summary(
    folder: Path,
    order: WorkOrder,
    schedule: Schedule,
    data: Mapping[str, DataSet],
    *,
    position: Position,
    num_trainable: int,
) -> dict[str, Any]:
    """The fields of the result, without the folder."""
    recipe = order.recipe
    settings = recipe.to_json()
    rows = [line.value for line in read_jsonl(folder / METRICS)]
    steps = [row for row in rows if "loss" in row]
    last = steps[-max(1, len(steps) // 10) :]
    step = loop.published_step(recipe, position)
    loss, by_source = validation_of(recipe, position)
    return {
        "name": recipe.name,
        "model": recipe.model,
        "method": kind_of(settings, "method"),
        "objective": recipe.objective.kind,
        "optimiser": recipe.optimiser.kind,
        "learning_rate": recipe.optimiser.learning_rate,
        "steps": position.step,
        "planned_steps": schedule.num_steps,
        "epochs": round(schedule.epoch_after(position.step), 4),
        "examples": schedule.num_examples,
        "sources": sources(recipe, schedule, data, last, by_source),
        "tokens": position.num_tokens,
        "supervised_tokens": position.num_supervised,
        "trainable_parameters": num_trainable,
        "first_loss": position.first_loss,
        "last_loss": mean(row["loss"] for row in last),
        "validation_loss": loss,
        "best_step": step,
        "generation": dict(position.generation),
        "proofs": proofs(folder),
        "seconds": position.seconds,
        "tokens_per_second": position.num_tokens / max(position.step_seconds, 1e-9),
        "peak_memory_bytes": max([loop.peak_bytes(), *(row["memory_bytes"] for row in steps)]),
        "dtype": recipe.dtype,
        "threads": recipe.threads,
    }


def validation_of(recipe: Recipe, position: Position) -> tuple[float | None, Mapping[str, float]]:
    """Validation losses of the published state, where they were measured."""
    if recipe.publish == "best":
        return position.best_loss, position.best_by_source
    if position.measured_at == position.step:
        return position.measured_loss, position.measured_by_source
    return None, {}


def sources(
    recipe: Recipe,
    schedule: Schedule,
    data: Mapping[str, DataSet],
    last: Sequence[Mapping[str, Any]],
    validation: Mapping[str, float],
) -> list[dict[str, Any]]:
    """Each data set with its losses."""
    facts = []
    for source, part, (name, data_set) in zip(recipe.data, schedule.parts, data.items(), strict=True):
        losses = [row["loss_by_source"][name] for row in last if name in row["loss_by_source"]]
        facts.append(
            {
                "name": name,
                "weight": source.weight,
                "fingerprint": data_set.fingerprint,
                "examples": len(part.rows),
                "training_loss": mean(losses) if losses else None,
                "validation_loss": validation.get(name),
            }
        )
    return facts


def proofs(folder: Path) -> list[dict[str, Any]]:
    """The pre-flight's results, without what only programs read."""
    found = [asdict(result) for result in read_results(folder)]
    return [{key: row[key] for key in ("name", "outcome", "evidence", "seconds")} for row in found]


def mean(values: Iterable[float]) -> float:
    """Mean of at least one number."""
    numbers = list(values)
    return sum(numbers) / len(numbers)
