"""A report of what another harness asked and scored."""

import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from tunesmith.core.errors import ConfigError, DataError, nearest
from tunesmith.core.files import hash_file, hash_json, write_json, write_jsonl
from tunesmith.core.job import Job
from tunesmith.core.scorers import Case, Chosen, Faulty, Kind, Scorer
from tunesmith.core.workspace import Input
from tunesmith.evaluate.asking import SAMPLES, Sample
from tunesmith.evaluate.imported.port import Row
from tunesmith.evaluate.imported.reading import Taken, take
from tunesmith.evaluate.imported.schema import ImportConfig, ImportResult, Refusal
from tunesmith.evaluate.items import MISSING
from tunesmith.evaluate.run import SCORES, slug, uses_of
from tunesmith.evaluate.schema import Score, TaskResult
from tunesmith.evaluate.summary import summarise

REFUSED = "refused.jsonl"
HARNESS = "harness"
"""Subfolder of the harness's own files."""
SHOWN_REFUSALS = 20
EDITION = 2
"""Goes up when the same files are read in another way: an older report is other work then."""


class Origin(NamedTuple):
    """Where the results come from, as a report says it."""

    verb: str
    inputs: Mapping[str, Path | Input]
    model: str
    """The model as it was asked for."""
    raw: Path | None = None
    """Folder of the harness's own files, which the report then keeps; their content is a part of its key."""


def import_results(config: ImportConfig, job: Job) -> ImportResult:
    """Read, summarise as our own evaluations are; a report folder.

    Raises DataError when nothing can be taken, ConfigError for a metric or slice that is not there.
    """
    taken = take(config)
    files = {f"results:{place}": path for place, path in enumerate(taken.files, start=1)}
    origin = Origin("import-results", files, taken.rows[0].model)
    return ImportResult(**report_of(taken, config, origin, job))


def report_of(taken: Taken, config: ImportConfig, origin: Origin, job: Job, **more: Any) -> dict[str, Any]:
    """Fill a report folder; the fields of its result, with `more` that its summary holds too."""
    chosen, left_out = scorers_of(taken.rows)
    if not chosen:
        why = next((row.error for row in taken.rows if row.error), "they hold no numbers")
        raise DataError("no answer of these results has a score", where=config.results, value=why)
    primary = primary_of(config, list(chosen), left_out)
    refuse_unknown_slices(config, taken.rows)
    samples = [sample_of(row, chosen, config.slices) for row in taken.rows]
    way = taken.rows[0].way
    settings: dict[str, Any] = {
        "harness": taken.harness,
        "model": origin.model,
        "prompt": way,
        "metric": primary,
        # which way is better stands in a file beside the results, which is no input
        "better": {name: one.scorer.better for name, (_, one) in chosen.items()},
        "edition": EDITION,
    }
    if origin.raw is not None:
        settings["results"] = hash_json([hash_file(path) for path in taken.files])
    with job.folder(
        verb=origin.verb,
        kind="report",
        name=slug(f"{suite_of(taken)}-{origin.model.rstrip('/').split('/')[-1]}-{way}"[:80]),
        config={**settings, "slices": list(config.slices), "seed": config.seed},
        inputs=origin.inputs,
        seed=config.seed,
    ) as folder:
        if origin.raw is not None:
            shutil.copytree(origin.raw, folder / HARNESS)
        write_jsonl(folder / SAMPLES, samples)
        write_jsonl(folder / REFUSED, ({"where": one.where, "reason": one.reason} for one in taken.refused))
        scores = {
            name: summarise(one, name, of_task(samples, task), config.seed)
            for name, (task, one) in sorted(chosen.items(), key=lambda entry: entry[0] != primary)
        }
        facts = facts_of(taken, samples, scores, job)
        facts |= {"model": origin.model, "primary": primary, "left_out": left_out, **more}
        summary = ImportResult(folder=folder.path, **{key: facts[key] for key in facts if key not in more})
        folder.summary = {key: value for key, value in summary.to_json().items() if key != "folder"} | more
        write_json(folder / SCORES, folder.summary)
        return {"folder": folder.path, **folder.summary}


def suite_of(taken: Taken) -> str:
    """The task's name, or the harness's for several."""
    tasks = {row.task for row in taken.rows}
    return tasks.pop() if len(tasks) == 1 else taken.harness


def name_of(task: str, score: str, *, several: bool) -> str:
    """What a score is called in the report, as in reports of our own suites."""
    return f"{task}/{score}" if several else score


def scored_elsewhere(harness: str) -> Callable[[Case], float]:
    """In the place of a scorer's function: nothing is scored again."""

    def score(case: Case) -> float:
        raise Faulty(f"{harness} scored this")

    return score


def scorers_of(rows: Sequence[Row]) -> tuple[dict[str, tuple[str, Chosen]], dict[str, str]]:
    """Scores by their names in the report, with task and kind; and those that have no number anywhere."""
    several = len({row.task for row in rows}) > 1
    values: dict[tuple[str, str], list[float]] = {}
    unscored: dict[tuple[str, str], str] = {}
    lower = set()
    for row in rows:
        for name, value in row.scores.items():
            values.setdefault((row.task, name), []).append(value)
        for name, why in row.unscored.items():
            unscored.setdefault((row.task, name), why)
        lower |= {(row.task, name) for name in row.lower}
    function = scored_elsewhere("another harness")
    chosen = {}
    for (task, name), found in values.items():
        shown = name_of(task, name, several=several)
        better = "lower" if (task, name) in lower else "higher"
        scorer = Scorer(shown, function, kind_of(found), better=better)  # type: ignore[arg-type]
        chosen[shown] = (task, Chosen(shown, scorer, {}))
    left_out = {
        name_of(*key, several=several): why for key, why in unscored.items() if key not in values
    }  # fmt: skip
    return chosen, left_out


def kind_of(values: Sequence[float]) -> Kind:
    """What values a score has, as far as they tell."""
    if set(values) <= {0.0, 1.0}:
        return "share"
    return "unit" if min(values) >= 0 and max(values) <= 1 else "number"


def primary_of(config: ImportConfig, known: Sequence[str], left_out: Mapping[str, str]) -> str:
    """The score that decides.  Raises ConfigError."""
    if config.metric is None:
        return known[0]
    if config.metric in known:
        return config.metric
    why = f" ({left_out[config.metric]})" if config.metric in left_out else ""
    step = nearest(config.metric, known)
    raise ConfigError(f"the results have no such score{why}", value=config.metric, where="--metric",
                      next_step=step)  # fmt: skip


def refuse_unknown_slices(config: ImportConfig, rows: Sequence[Row]) -> None:
    """Raise ConfigError for a key that no item has."""
    known = {str(key) for row in rows for key in row.metadata}
    for key in config.slices:
        if key not in known:
            step = nearest(key, known)
            raise ConfigError("no item has this in its metadata", value=key, where="--slices", next_step=step)


def sample_of(row: Row, chosen: Mapping[str, tuple[str, Chosen]], slices: Sequence[str]) -> Sample:
    """An answer as a line of `samples.jsonl`; one that did not come scores 0 where 0 is the worst."""
    several = len({task for task, _ in chosen.values()}) > 1
    scores = {name_of(row.task, name, several=several): value for name, value in row.scores.items()}
    failed = {name_of(row.task, name, several=several): why for name, why in row.unscored.items()}
    if row.error is not None:
        mine = [one.scorer for task, one in chosen.values() if task == row.task]
        worst = [one.name for one in mine if one.kind != "number" and one.better == "higher"]
        scores = dict.fromkeys(worst, 0.0)
    return {
        "id": row.item,
        "task": row.task,
        "repeat": row.repeat,
        "group_id": str(row.metadata.get("group_id", row.item)),
        "origin": "",
        "slices": {key: str(row.metadata.get(key, MISSING)) for key in slices},
        "prompt": row.prompt,
        "gold": row.gold,
        "output": row.output,
        "confidence": None,
        "tool_calls": [],
        "likelihood": None,
        "choices": [],
        "finish_reason": row.finish_reason or None,
        "error": row.error,
        "cached": False,
        "latency_seconds": round(row.latency_seconds, 4),
        "prompt_tokens": row.prompt_tokens,
        "completion_tokens": row.completion_tokens,
        "scores": scores,
        "weights": {},
        "failed": {name: why for name, why in failed.items() if name in chosen},
    }


def of_task(samples: Sequence[Sample], task: str) -> list[Sample]:
    """The samples of a task."""
    return [sample for sample in samples if sample["task"] == task]


def facts_of(taken: Taken, samples: Sequence[Sample], scores: dict[str, Score], job: Job) -> dict[str, Any]:
    """All that the result says beside its scores."""
    latencies = [sample["latency_seconds"] for sample in samples if sample["error"] is None] or [0.0]
    median, late = np.quantile(latencies, [0.5, 0.95])
    first, num_refused = taken.rows[0], len(taken.refused)
    tasks = list(tasks_of(taken, samples, scores, job))
    return {
        "suite": suite_of(taken),
        "split": None,
        "prompt": first.way,
        "items": sum(task.items for task in tasks),
        "duplicates": 0,
        "refused": num_refused,
        "errors": sum(task.errors for task in tasks),
        "cached": 0,
        "truncated": sum(task.truncated for task in tasks),
        "scores": scores,
        "tasks": tasks,
        "max_tokens": 0,
        "prompt_tokens": sum(sample["prompt_tokens"] for sample in samples),
        "completion_tokens": sum(sample["completion_tokens"] for sample in samples),
        "seconds": 0.0,
        "latency_median": round(float(median), 4),
        "latency_p95": round(float(late), 4),
        "harness": taken.harness,
        "rows": len(samples) + num_refused + taken.elsewhere,
        "kept": len(samples),
        "elsewhere": taken.elsewhere,
        "refusals": [Refusal(**one._asdict()) for one in taken.refused[:SHOWN_REFUSALS]],
        "notes": taken.notes,
    }


def tasks_of(
    taken: Taken, samples: Sequence[Sample], scores: Mapping[str, Score], job: Job
) -> Iterator[TaskResult]:
    """Each task, in the order of the files."""
    several = len({row.task for row in taken.rows}) > 1
    for task in dict.fromkeys(row.task for row in taken.rows):
        mine = of_task(samples, task)
        items = {sample["id"] for sample in mine}
        identity = hash_json(sorted(items))
        yield TaskResult(
            name=task,
            data=task,
            split=None,
            prompt=taken.rows[0].way,
            items=len(items),
            repeats=max(sample["repeat"] for sample in mine) + 1,
            errors=sum(sample["error"] is not None for sample in mine),
            truncated=sum(sample["finish_reason"] == "length" for sample in mine),
            scores=[name for name in scores if not several or name.startswith(f"{task}/")],
            fingerprint=identity,
            uses=uses_of(identity, job),
            vault=False,
            people=None,
            classes=None,
            calibration=None,
            swaps=[],
        )
