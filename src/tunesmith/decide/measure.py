"""Measuring the base model with one prompt after another, as evaluations on the validation split."""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from tunesmith.core.conversation import Example
from tunesmith.core.files import read_jsonl
from tunesmith.core.job import Job
from tunesmith.core.prompts import AS_IS, PromptShape, few_shot, with_labels
from tunesmith.core.scorers import choose
from tunesmith.core.stats import bootstrap_mean, share_interval
from tunesmith.decide.schema import DecideConfig, Measurement
from tunesmith.launch.server import Served, temporary_server
from tunesmith.launch.steps import Step, run_step

ALPHA = 0.05
ALWAYS = 2
"""The first prompts (the data's own, the labels listed) are measured whatever the budget."""


@dataclass(frozen=True, slots=True)
class Probe:
    """A prompt to try, and its file below the plan."""

    shape: PromptShape
    file: str


class Measured(NamedTuple):
    """What was measured, what was not and why, and the score that decides."""

    measurements: list[Measurement]
    skipped: list[str]
    primary: str
    seconds: float


def probes_for(train: Sequence[Example], shots: Sequence[int]) -> tuple[list[Probe], list[str]]:
    """The prompts to try, cheapest first, and those that this data rules out, with the reason."""
    shapes, skipped = [AS_IS], []
    if (labelled := with_labels(train)) is not None:
        shapes.append(labelled)
    else:
        skipped.append("zero_shot: the answers are free text or the system turns differ; no labels to list")
    for k in sorted(set(shots)):
        if k < len(train):
            shapes.append(few_shot(train, k))
        else:
            skipped.append(f"few_shot_{k}: training has only {len(train)} rows")
    return [Probe(shape, f"prompts/{shape.name}.json") for shape in shapes], skipped


def measure(probes: Sequence[Probe], config: DecideConfig, data: Path, plan: Path, job: Job) -> Measured:
    """Run an evaluation for each probe against one server, within the budget.

    A report that is already there is taken as it is.
    """
    started, longest = time.perf_counter(), 0.0
    results: list[tuple[Probe, dict[str, Any]]] = []
    skipped: list[str] = []
    with temporary_server(config.model, job) as served:
        for position, probe in enumerate(probes):
            spent = time.perf_counter() - started
            if position >= ALWAYS and spent + longest > 60 * config.budget_minutes:
                skipped.append(
                    f"{probe.shape.name}: the budget of {config.budget_minutes:g} minutes was spent"
                )
                continue
            results.append((probe, run_step(step_for(probe, config, data, plan, served), job)))
            longest = max(longest, time.perf_counter() - started - spent)
    confidence = max(1 - ALPHA, 1 - 2 * ALPHA / len(results))  # only the lower end is looked at: one-sided
    measurements = [measurement(probe, result, confidence, config.seed) for probe, result in results]
    primary = str(results[0][1]["primary"])
    return Measured(measurements, skipped, primary, round(time.perf_counter() - started, 3))


def step_for(probe: Probe, config: DecideConfig, data: Path, plan: Path, served: Served) -> Step:
    """The evaluation of one prompt."""
    settings = {
        "suite": str(data),
        "split": "validation",
        "model": config.model,
        "prompt": None if probe.shape == AS_IS else str(plan / probe.file),
        "limit": config.limit,
        "seed": config.seed,
        "endpoint": served.url,
        "served_as": served.model,
    }
    return Step(probe.shape.name, f"the base with the prompt {probe.shape.name}", "evaluate", settings)


def measurement(probe: Probe, result: dict[str, Any], confidence: float, seed: int) -> Measurement:
    """What one evaluation says, with a lower bound that holds although the best of several is looked at.

    Bonferroni: each prompt's one-sided bound at 1 − 0.05 / number of prompts.
    """
    primary = result["primary"]
    score = result["scores"][primary]
    samples = [line.value for line in read_jsonl(Path(result["folder"]) / "samples.jsonl")]
    values = [sample["scores"][primary] for sample in samples]
    groups = [sample["group_id"] for sample in samples]
    if choose(primary).scorer.kind == "share":
        safe = share_interval(values, groups, confidence=confidence)
    else:
        safe = bootstrap_mean(values, groups, confidence=confidence, seed=seed)
    return Measurement(
        prompt=probe.shape.name,
        file=probe.file,
        shots=len(probe.shape.shots),
        value=score["value"],
        low=score["low"],
        high=score["high"],
        safe_low=safe.low,
        n=score["n"],
        errors=result["errors"],
        scores={name: entry["value"] for name, entry in result["scores"].items()},
        prompt_tokens=round(result["prompt_tokens"] / max(1, result["items"]), 1),
        seconds=result["seconds"],
        report=Path(result["folder"]).name,
    )


def best_of(measurements: Sequence[Measurement]) -> Measurement:
    """The prompt with the best scores in sum, of those that are not clearly worse on the primary one.

    A small model has one or two answers fully right whatever the prompt; its other scores then say more.
    Of equals the shortest prompt.
    """
    best = max(one.value for one in measurements)
    open_ones = [one for one in measurements if one.high >= best]
    return max(open_ones, key=lambda one: (sum(one.scores.values()), -one.prompt_tokens))
