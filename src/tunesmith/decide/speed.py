"""How long the proposed training takes here: a few real steps, timed."""

import math
from pathlib import Path

from tunesmith.core.job import Job
from tunesmith.core.recipe import Recipe
from tunesmith.decide.schema import Training
from tunesmith.launch.steps import Step, run_step

PROBE_STEPS = 4
"""Enough to see past the first step's start-up cost, few enough to take seconds."""
SHARE_FOR_STEPS = 0.9
"""Of the time allowed; the rest is for validation and checkpoints."""


def measure_training(recipe: Recipe, train_rows: int, *, minutes: float, plan: Path, job: Job) -> Training:
    """Time a few steps of the recipe (`plan / "recipe.yaml"`), and say how many fit into so many minutes.

    Nothing is kept of them, and the proofs of what is learned are left to the run itself.
    """
    settings = {"recipe": str(plan / "recipe.yaml"), "time_steps": PROBE_STEPS}
    probe = run_step(Step("speed", "a few training steps", "train", settings), job)
    seconds_per_step = probe["seconds_per_step"]
    wanted = max(1, round(recipe.epochs * math.ceil(train_rows / recipe.step_examples)))
    fitting = max(1, int(SHARE_FOR_STEPS * 60 * minutes / seconds_per_step))
    steps = min(wanted, fitting)
    return Training(
        tokens_per_second=probe["tokens_per_second"],
        seconds_per_step=seconds_per_step,
        steps=steps,
        steps_wanted=wanted,
        minutes=steps * seconds_per_step / SHARE_FOR_STEPS / 60,
    )
