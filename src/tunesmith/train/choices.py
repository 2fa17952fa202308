"""Choices that a recipe leaves open, made once for a run: `auto` becomes a value that stays.

The learning rate is a rule of the model's size, the micro-batch is as large as the longest example, and the
pre-flight's memory trial decides about activation checkpointing.  A resumed run takes the choices of its
checkpoint, so that nothing measured anew can change what it computes.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from tunesmith.core.config import build
from tunesmith.core.errors import FolderError
from tunesmith.core.files import read_json, write_text
from tunesmith.core.recipe import Recipe
from tunesmith.train.checkpoints import Bound
from tunesmith.train.order import WorkOrder
from tunesmith.train.rates import AutoRate, auto_learning_rate

RECIPE = "recipe.yaml"
SMALLEST_MICROBATCH = 1024
WIDTHS = ("hidden_size", "n_embd", "d_model")
"""How configurations of models call the width of their hidden states."""
FREE = (
    "threads",
    "activation_checkpointing",
    "save_every_seconds",
    "save_every",
    "keep_checkpoints",
    "require_review",
)
"""Settings that may change on the way: they say where and when, not what.

`microbatch_tokens` is none of them: its gradient is the same but for rounding, so that a run which changed it
half way could not be repeated bit by bit.  Activations that are computed again have the same bits.
"""


def write_recipe(folder: Path, recipe: Recipe) -> None:
    """`recipe.yaml`: every setting, as the run has it."""
    write_text(folder / RECIPE, yaml.safe_dump(recipe.to_json(), sort_keys=False, allow_unicode=True))


def choose_rate(order: WorkOrder) -> AutoRate | None:
    """What `learning_rate: auto` becomes on this model; None where the recipe has a number."""
    if order.recipe.optimiser.learning_rate != "auto":
        return None
    assert order.model_folder is not None, "the recipe refuses auto for the fake engine"
    width, family = shape_of(order.model_folder)
    return auto_learning_rate(order.recipe, hidden_size=width, model_type=family)


def shape_of(model_folder: Path) -> tuple[int, str]:
    """Width of the hidden states and family of a model, from its configuration."""
    config: Mapping[str, Any] = read_json(model_folder / "config.json")
    inner = config.get("text_config") or config
    width = next((inner[name] for name in WIDTHS if name in inner), None)
    if width is None:
        raise FolderError(
            "the width of this model is not in its configuration, so learning_rate: auto has no rule",
            where=model_folder / "config.json",
            next_step="give optimiser.learning_rate a number",
        )
    return int(width), str(config.get("model_type", "unknown"))


def with_rate(recipe: Recipe, value: float) -> Recipe:
    """The recipe with a learning rate."""
    return recipe.model_copy(
        update={"optimiser": recipe.optimiser.model_copy(update={"learning_rate": value})}
    )


def with_microbatch(recipe: Recipe, longest: int) -> Recipe:
    """The recipe with a micro-batch: `auto` is the longest example, but at least 1,024 tokens."""
    if recipe.microbatch_tokens != "auto":
        return recipe
    return recipe.model_copy(update={"microbatch_tokens": max(SMALLEST_MICROBATCH, longest)})


def with_checkpointing(recipe: Recipe, decided: bool | None) -> Recipe:
    """The recipe with activation checkpointing on or off; off where the memory trial decided nothing."""
    if recipe.activation_checkpointing != "auto":
        return recipe
    return recipe.model_copy(update={"activation_checkpointing": "on" if decided else "off"})


def take_up(recipe: Recipe, fingerprints: Mapping[str, str], bound: Bound, folder: Path) -> Recipe:
    """The recipe of a checkpoint, for a run that goes on from it.

    Raises FolderError saying what differs when the checkpoint belongs to another recipe or other data.
    """
    asked, had = flat(recipe.to_json()), flat(dict(bound.recipe))
    changed = [
        f"{key}: {had.get(key)} → {asked.get(key)}"
        for key in sorted(asked.keys() | had.keys())
        if asked.get(key) != had.get(key) and asked.get(key) != "auto" and not is_free(key)
    ]
    changed += [
        f"the data of {name} changed"
        for name in sorted(fingerprints.keys() | bound.fingerprints.keys())
        if fingerprints.get(name) != bound.fingerprints.get(name)
    ]
    if changed:
        raise FolderError(
            f"the checkpoint is of another recipe or other data: {'; '.join(changed)}",
            where=folder,
            next_step="give its own recipe and data to go on, or begin anew with --restart",
        )
    free = {name: value for name, value in recipe.to_json().items() if name in FREE and value != "auto"}
    return build(Recipe, {**bound.recipe, **free, "data": recipe.to_json()["data"]}, source=str(folder))


def is_free(key: str) -> bool:
    """Whether a setting may change between a checkpoint and its resume; data are known by content."""
    return key in FREE or (key.startswith("data.") and key.endswith(".path")) or key == "init_from.path"


def flat(settings: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested settings with dotted keys; sections in lists by their place."""
    found: dict[str, Any] = {}
    for key, value in settings.items():
        if isinstance(value, list | tuple) and any(isinstance(part, Mapping) for part in value):
            value = {str(place): part for place, part in enumerate(value)}
        if isinstance(value, Mapping) and value:
            found |= flat(value, f"{prefix}{key}.")
        else:
            found[f"{prefix}{key}"] = value
    return found
