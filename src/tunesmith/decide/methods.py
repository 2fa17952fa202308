"""What each training method takes on this machine: a few real steps, timed and weighed."""

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tunesmith.core.errors import StepFailed
from tunesmith.core.job import Job
from tunesmith.core.machine import machine
from tunesmith.core.recipe import AdamW, Lora, Recipe
from tunesmith.core.recipe.methods import Full, Method, Qlora
from tunesmith.decide.budget import METHODS, Budget
from tunesmith.decide.proposal import write_recipe
from tunesmith.decide.schema import DecideConfig, MethodCost, Training
from tunesmith.launch.steps import Step, run_step

TIMED_STEPS = 4
"""Enough to see past the first step's start-up cost, few enough to take seconds."""
SHARE_FOR_STEPS = 0.9
"""Of the time; the rest is for validation and checkpoints."""
FULL_RATE = 1e-4
"""All weights learn with smaller steps than an adapter."""


def methods_of(recipe: Recipe) -> Mapping[str, Recipe]:
    """The proposed recipe by each method, the preferred one first."""
    if not isinstance(recipe.method, Lora):
        raise TypeError(f"a proposed recipe is one of LoRA, not {type(recipe.method).__name__}")
    shape = {"rank": recipe.method.rank, "alpha": recipe.method.alpha}
    variants: Mapping[str, tuple[Method, AdamW]] = {
        "lora": (recipe.method, AdamW(learning_rate=recipe.optimiser.learning_rate)),
        "qlora": (Qlora(**shape), AdamW(learning_rate=recipe.optimiser.learning_rate)),
        "full": (Full(), AdamW(learning_rate=FULL_RATE)),
    }
    return {
        name: recipe.model_copy(update={"method": method, "optimiser": optimiser})
        for name, (method, optimiser) in variants.items()
    }


def weigh(
    recipe: Recipe, rows: int, config: DecideConfig, plan: Path, budget: Budget, job: Job
) -> tuple[list[MethodCost], list[str]]:
    """Time each method as long as there is time, LoRA always; without probes only until one fits.

    What was left out is named.
    """
    costs: list[MethodCost] = []
    skipped: list[str] = []
    longest = 0.0
    until = METHODS if config.probe else 1.0
    for name, variant in methods_of(recipe).items():
        if costs and longest > budget.left(until):
            skipped.append(f"{name}: no time was left to time it (the last method took {longest:.0f} s)")
            continue
        if not config.probe and any(cost.fits for cost in costs):
            skipped.append(f"{name}: {costs[-1].method} fits, and nothing is probed")
            continue
        if costs and has_one_method(recipe):
            skipped.append(f"{name}: the fake engine has one method")
            continue
        before = budget.spent
        costs.append(cost_of(name, variant, rows, config, plan, job))
        longest = max(longest, budget.spent - before)
    return costs, skipped


def has_one_method(recipe: Recipe) -> bool:
    """Whether every method is the same to the engine."""
    return recipe.engine == "fake"


def cost_of(name: str, recipe: Recipe, rows: int, config: DecideConfig, plan: Path, job: Job) -> MethodCost:
    """Time a few steps; one that fails is an answer, too."""
    path = plan / "recipes" / f"{name}.yaml"
    write_recipe(path, recipe)
    settings = {"recipe": str(path), "time_steps": TIMED_STEPS}
    try:
        found = run_step(Step(name, f"a few training steps ({name})", "train", settings), job)
    except StepFailed as failure:
        problem = f"a few steps of it could not be run: {failure}"
        return MethodCost(
            method=name,
            fits=False,
            seconds_per_step=None,
            tokens_per_second=None,
            minutes=None,
            peak_memory_bytes=None,
            problem=problem,
        )
    return costed(name, found, recipe, rows, config)


def costed(
    name: str, found: Mapping[str, Any], recipe: Recipe, rows: int, config: DecideConfig
) -> MethodCost:
    """What the timed steps say of all the data."""
    allowed = memory_allowed(config)
    peak = int(found["peak_memory_bytes"])
    problem = ""
    if peak > allowed:
        problem = f"it takes {peak / 1e9:.1f} GB of memory, and {allowed / 1e9:.1f} GB are allowed"
    return MethodCost(
        method=name,
        fits=not problem,
        seconds_per_step=found["seconds_per_step"],
        tokens_per_second=found["tokens_per_second"],
        minutes=steps_wanted(recipe, rows) * found["seconds_per_step"] / SHARE_FOR_STEPS / 60,
        peak_memory_bytes=peak,
        problem=problem,
    )


def memory_allowed(config: DecideConfig) -> float:
    """Bytes that training may take."""
    return config.memory_gb * 1e9 if config.memory_gb is not None else float(machine().memory_bytes)


def steps_wanted(recipe: Recipe, rows: int) -> int:
    """Optimiser steps that a recipe takes over so many rows."""
    return max(1, round(recipe.epochs * math.ceil(rows / recipe.step_examples)))


def training_of(
    costs: list[MethodCost], recipe: Recipe, rows: int, minutes: float
) -> tuple[Training, Recipe] | None:
    """The first method that fits, cut to the steps that the time allows; None when none fits."""
    for cost in costs:
        if cost.fits and cost.seconds_per_step is not None:
            wanted = steps_wanted(recipe, rows)
            fitting = max(1, int(SHARE_FOR_STEPS * 60 * minutes / cost.seconds_per_step))
            steps = min(wanted, fitting)
            chosen = methods_of(recipe)[cost.method]
            if steps < wanted:
                chosen = chosen.model_copy(update={"max_steps": steps})
            training = Training(
                method=cost.method,
                tokens_per_second=cost.tokens_per_second or 0.0,
                seconds_per_step=cost.seconds_per_step,
                steps=steps,
                steps_wanted=wanted,
                minutes=steps * cost.seconds_per_step / SHARE_FOR_STEPS / 60,
                peak_memory_bytes=cost.peak_memory_bytes or 0,
            )
            return training, chosen
    return None
