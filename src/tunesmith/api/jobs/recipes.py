"""What a job's hyperparameters mean: `auto` by a published rule, and the recipe of the run.

The rule, for n examples:

* `n_epochs`: 3, but so many that about 100 examples are seen (at most 25), and no more than 25,000 (at
  least 1); the rule of OpenAI's own cookbook.
* `batch_size`: 16, but so few that there are about 100 steps: at least 1.
* `learning_rate_multiplier`: 1, times the rate that `learning_rate: auto` has for the model (`train.rates`).
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from tunesmith.api.jobs.schema import AUTO
from tunesmith.core.config import build
from tunesmith.core.errors import ConfigError
from tunesmith.core.job import Job
from tunesmith.core.recipe import Recipe
from tunesmith.runtime.catalogue import FAKE, locate
from tunesmith.train.choices import shape_of
from tunesmith.train.rates import auto_learning_rate

EPOCHS, MOST_EPOCHS = 3, 25
FEWEST_SEEN, MOST_SEEN = 100, 25_000
STEP_EXAMPLES, WANTED_STEPS = 16, 100
FAKE_RATE = 1e-3
"""The fake engine has no rule, and no use for a rate."""
OURS = (
    "data",
    "model",
    "name",
    "seed",
    "engine",
    "init_from",
    "require_review",
    "threads",
    "keep_checkpoints",
)
"""Fields of a recipe that the job says by itself, or the server."""
TEMPLATES = ("model", "chatml")
"""A template from a file would be a file of this machine."""


def resolve(asked: Mapping[str, Any], examples: int) -> dict[str, Any]:
    """The hyperparameters in numbers."""
    epochs, batch, multiplier = (
        asked[name] for name in ("n_epochs", "batch_size", "learning_rate_multiplier")
    )
    epochs = auto_epochs(examples) if epochs == AUTO else epochs
    batch = auto_batch(examples, epochs) if batch == AUTO else batch
    return {
        "n_epochs": epochs,
        "batch_size": batch,
        "learning_rate_multiplier": 1.0 if multiplier == AUTO else float(multiplier),
    }


def auto_epochs(examples: int) -> int:
    """Passes over a file of so many examples."""
    if examples * EPOCHS < FEWEST_SEEN:
        return min(MOST_EPOCHS, FEWEST_SEEN // examples)
    if examples * EPOCHS > MOST_SEEN:
        return max(1, MOST_SEEN // examples)
    return EPOCHS


def auto_batch(examples: int, epochs: int) -> int:
    """Examples of a step."""
    return max(1, min(STEP_EXAMPLES, examples * epochs // WANTED_STEPS))


def steps_an_epoch(examples: int, batch: int) -> int:
    """Steps of one pass: checkpoints are made at its end."""
    return -(-examples // batch)


def rate_of(base: str, *, job: Job) -> float:
    """What `learning_rate: auto` means for LoRA on a base, by the published rule."""
    located = locate(base, job)
    if base == FAKE or located.model_folder is None:
        return FAKE_RATE
    width, family = shape_of(located.model_folder)
    recipe = Recipe.model_validate({"data": "file", "model": base})
    return auto_learning_rate(recipe, hidden_size=width, model_type=family).value


def check_own(fields: Mapping[str, Any]) -> None:
    """Refuse fields that no recipe has, and those that are not a client's.  Raises ConfigError."""
    for name in fields:
        if name in OURS:
            step = "leave it out: the job and the server say it"
            raise ConfigError(
                "this field of the recipe is not a client's", where=f"recipe.{name}", next_step=step
            )
    if (template := fields.get("template", "model")) not in TEMPLATES:
        step = f"give one of {', '.join(TEMPLATES)}"
        raise ConfigError("no such template here", where="recipe.template", value=template, next_step=step)
    build(Recipe, {"data": "file", **fields}, source="x_tunesmith.recipe")


class Start(NamedTuple):
    """What a job begins from."""

    base: str
    """What `tunesmith train` calls the model."""
    adapter: str | None = None
    """Folder of the adapter that goes on learning."""


def recipe_of(job: Mapping[str, Any], start: Start, data: Path, *, examples: int, rate: float) -> Recipe:
    """The recipe that a job means.  Raises ConfigError for fields of its own that no recipe has."""
    numbers = resolve(job["hyperparameters"], examples)
    every = steps_an_epoch(examples, numbers["batch_size"])
    has_validation = job["validation_file"] is not None
    value: dict[str, Any] = {
        "epochs": numbers["n_epochs"],
        "step_examples": numbers["batch_size"],
        "optimiser": {"learning_rate": rate * numbers["learning_rate_multiplier"]},
        **({"eval_every": every} if has_validation else {"evaluations": 0}),
        "publish": "last",
        "save_every": every,
        "keep_checkpoints": numbers["n_epochs"] + 1,
        "waive": [],
    }
    for name, given in job["recipe"].items():
        inner = value.get(name)
        value[name] = {**inner, **given} if isinstance(inner, dict) and isinstance(given, dict) else given
    mine: dict[str, Any] = {
        "name": job["id"],
        "model": start.base,
        "data": str(data),
        "seed": job["seed"],
    }
    if start.adapter is not None:
        mine["init_from"] = {"path": start.adapter, "mode": "continue"}
    return build(Recipe, {**value, **mine}, source=f"the job {job['id']}")
