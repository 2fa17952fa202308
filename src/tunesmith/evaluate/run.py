"""Asking a model every item of a suite, and scoring what it says."""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from tunesmith.core.files import write_json, write_jsonl
from tunesmith.core.job import Job
from tunesmith.core.workspace import Input, Manifest
from tunesmith.evaluate.asking import SAMPLES, Sample, ask_missing, samples_in_order
from tunesmith.evaluate.items import fingerprint
from tunesmith.evaluate.judging import judged
from tunesmith.evaluate.people import people_on
from tunesmith.evaluate.plan import Plan, TaskPlan
from tunesmith.evaluate.schema import (
    OTHERS_AT_ONCE,
    EvaluateConfig,
    EvaluateResult,
    PeopleFacts,
    Score,
    TaskResult,
)
from tunesmith.evaluate.server import describe_model
from tunesmith.evaluate.summary import calibration_of, classes_of, summarise
from tunesmith.evaluate.swaps import swaps_of

SCORES = "scores.json"


def evaluate(config: EvaluateConfig, job: Job) -> EvaluateResult:
    """Ask every item and score the answers; a report folder.

    Samples are written as they come, so that a killed evaluation goes on with what is missing.  Raises
    ServerError when the server goes away: then too, what was answered is kept.
    """
    plan = Plan.of(config, job)
    people = {task.task.name: people_on(task.found, task.task.people, job) for task in plan.tasks}
    model, names = describe_model(config, job)
    inputs: dict[str, Path | Input] = {**plan.inputs(), "model": model}
    with job.folder(
        verb="evaluate",
        kind="report",
        name=slug(f"{plan.name}-{names[-1]}-{plan.tasks[0].shape.name}"),
        config=plan.settings(),
        inputs=inputs,
        seed=config.seed,
        resume=True,
    ) as folder:
        seconds = ask_missing(plan, config, model, names, folder, job)
        # A judge may be anybody's server.
        at_once = config.concurrency or OTHERS_AT_ONCE
        samples = judged(plan, samples_in_order(plan, folder), folder, job, concurrency=at_once)
        write_jsonl(folder / SAMPLES, samples)
        looks = {task.task.name: uses_of(fingerprint(task.found), job) for task in plan.tasks}
        scores = all_scores(plan, samples)
        tasks = [task_result(plan, task, samples, people, looks, scores) for task in plan.tasks]
        result = result_of(plan, config.model, samples, scores, tasks, seconds, folder.path)
        folder.summary = {key: value for key, value in result.to_json().items() if key != "folder"}
        write_json(folder / SCORES, folder.summary)
    return result


def result_of(
    plan: Plan,
    model: str,
    samples: Sequence[Sample],
    scores: dict[str, Score],
    tasks: list[TaskResult],
    seconds: float,
    folder: Path,
) -> EvaluateResult:
    """Every score with its interval, counts, tokens and times."""
    latencies = [sample["latency_seconds"] for sample in samples if sample["error"] is None] or [0.0]
    median, late = np.quantile(latencies, [0.5, 0.95])
    first = plan.tasks[0]
    return EvaluateResult(
        folder=folder,
        model=model,
        suite=plan.name,
        split=first.found.split,
        prompt=first.shape.name,
        items=sum(len(task.found.items) for task in plan.tasks),
        duplicates=sum(task.found.duplicates for task in plan.tasks),
        refused=sum(task.found.refused for task in plan.tasks),
        errors=sum(sample["error"] is not None for sample in samples),
        cached=sum(sample["cached"] for sample in samples),
        truncated=sum(sample["finish_reason"] == "length" for sample in samples),
        primary=plan.primary,
        scores=scores,
        tasks=tasks,
        max_tokens=max(task.max_tokens for task in plan.tasks),
        prompt_tokens=sum(sample["prompt_tokens"] for sample in samples),
        completion_tokens=sum(sample["completion_tokens"] for sample in samples),
        seconds=round(seconds, 3),
        latency_median=round(float(median), 4),
        latency_p95=round(float(late), 4),
    )


def all_scores(plan: Plan, samples: Sequence[Sample]) -> dict[str, Score]:
    """The scores of all tasks, the primary one first."""
    found = {}
    for task in plan.tasks:
        mine = [sample for sample in samples if sample["task"] == task.task.name]
        for chosen, name in zip(task.all_scorers, plan.score_names(task), strict=True):
            found[name] = summarise(chosen, name, mine, plan.seed)
    return found


def uses_of(items: str, job: Job) -> int:
    """Reports of the workspace that asked these items, the one that is being made included."""
    manifests = (Manifest.read(folder) for folder in job.workspace.folders("report"))
    return 1 + sum(
        any(task["fingerprint"] == items for task in manifest.summary.get("tasks", ()))
        for manifest in manifests
    )


def task_result(
    plan: Plan,
    task: TaskPlan,
    samples: Sequence[Sample],
    people: Mapping[str, PeopleFacts | None],
    looks: Mapping[str, int],
    scores: Mapping[str, Score],
) -> TaskResult:
    """What was asked of one task, what came of it, and what is known of its items."""
    mine = [sample for sample in samples if sample["task"] == task.task.name]
    return TaskResult(
        name=task.task.name,
        data=task.found.name,
        split=task.found.split,
        prompt=task.shape.name,
        items=len(task.found.items),
        repeats=task.task.repeats,
        errors=sum(sample["error"] is not None for sample in mine),
        truncated=sum(sample["finish_reason"] == "length" for sample in mine),
        scores=plan.score_names(task),
        fingerprint=fingerprint(task.found),
        uses=looks[task.task.name],
        vault=plan.vault,
        people=people[task.task.name],
        classes=classes_of(task, mine, plan.seed),
        calibration=calibration_of(task, plan.score_names(task)[0], mine),
        swaps=swaps_of(task.task.swap, plan.score_names(task), scores, mine, plan.seed),
    )


def slug(text: str) -> str:
    """A text as a folder name."""
    return re.sub(r"[^A-Za-z0-9._-]+", "-", text).strip("-.") or "report"
