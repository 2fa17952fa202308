"""From report and comparison folders to facts."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tunesmith.core.files import read_json
from tunesmith.core.workspace import Manifest
from tunesmith.evaluate.report import folders
from tunesmith.evaluate.report.facts import ComparisonFacts, Difference, SliceFacts
from tunesmith.evaluate.report.facts_models import (
    JudgeFacts,
    ModelFacts,
    Sample,
    Score,
    SureFacts,
    TaskFacts,
    TrustFacts,
)
from tunesmith.evaluate.report.gather_repeats import (
    by_item,
    flaky_items,
    mean_scores,
    question,
    repeat_facts,
)
from tunesmith.evaluate.report.gather_speed import speed_facts

SHOWN_FLAKY = 8
PROMPTS = {"as_is": "prompt as in the data", "zero_shot": "zero-shot prompt"}


def model_facts(reports: Sequence[Path], labels: Sequence[str]) -> tuple[ModelFacts, ...]:
    """What report folders show, in the given order; equal names get a number, so that they differ."""
    manifests = [folders.opened(folder, "report", "--reports") for folder in reports]
    names = list(labels) or [label(manifest) for manifest in manifests]
    names = [name if names.count(name) == 1 else f"{name} ({at + 1})" for at, name in enumerate(names)]
    return tuple(one_model(*entry) for entry in zip(reports, manifests, names, strict=True))


def is_tuned(manifest: Manifest) -> bool:
    """Whether the model that answered is a run."""
    return any(entry.kind == "run" for entry in manifest.inputs)


def label(manifest: Manifest) -> str:
    """A report's name for people: which model, asked how."""
    prompt = str(manifest.summary["prompt"])
    if is_tuned(manifest):
        return "Tuned model" if prompt == "as_is" else f"Tuned model, {prompt_words(prompt)}"
    return f"Base model, {prompt_words(prompt)}"


def prompt_words(prompt: str) -> str:
    """'few_shot_8' → '8-shot prompt'."""
    if prompt.startswith("similar_"):
        return f"{prompt.removeprefix('similar_')}-shot prompt by similarity"
    if prompt.startswith("few_shot_"):
        return f"{prompt.removeprefix('few_shot_')}-shot prompt"
    return PROMPTS.get(prompt, f"prompt {prompt}")


def one_model(folder: Path, manifest: Manifest, shown_as: str) -> ModelFacts:
    """What one report folder shows."""
    rows = folders.maybe_rows(folder / "samples.jsonl")
    items = by_item(rows)
    samples = {item: sample(tries) for item, tries in items.items()}
    summary = read_json(folder / "scores.json")
    return ModelFacts(
        label=shown_as,
        model=folders.public(str(summary["model"])),
        tuned=is_tuned(manifest),
        prompt=summary["prompt"],
        suite=summary["suite"],
        suite_ids=data_ids(manifest),
        primary=summary["primary"],
        scores=tuple(score(name, part) for name, part in summary["scores"].items()),
        samples=samples,
        num_errors=summary["errors"],
        num_cut=summary["truncated"],
        speed=speed_facts(rows),
        settings=dict(folders.leaves(manifest.config)),
        tasks=tuple(task(part) for part in summary["tasks"]),
        judges=judges(manifest),
        flaky=flaky_items(items, summary["primary"], SHOWN_FLAKY),
    )


def judges(manifest: Manifest) -> tuple[JudgeFacts, ...]:
    """The models that graded; where they are served is left out."""
    tasks = manifest.config.get("tasks", {})
    found = {
        f"{name}/judge" if len(tasks) > 1 else "judge": part.get("judge") for name, part in tasks.items()
    }
    return tuple(
        JudgeFacts(name, folders.public(one["model"]), one["question"], one["highest"], one["with_reference"])
        for name, one in found.items()
        if one is not None
    )


def data_ids(manifest: Manifest) -> tuple[str, ...]:
    """The data that a report asked: those of a suite's tasks, or the data set that was named."""
    of_tasks = tuple(entry.id for entry in manifest.inputs if entry.role.startswith("data:"))
    return of_tasks or tuple(entry.id for entry in manifest.inputs if entry.role == "suite")


def identity(row: Mapping[str, Any]) -> str:
    """What an item is known by on the page."""
    return f"{row['task']}/{row['id']}"


def task(part: Mapping[str, Any]) -> TaskFacts:
    """One task of a report."""
    people, calibration = part["people"], part["calibration"]
    return TaskFacts(
        name=part["name"],
        data=part["data"],
        num_items=part["items"],
        repeats=part["repeats"],
        uses=part["uses"],
        vault=part["vault"],
        accepted=people["accepted"] if people else None,
        twice=people["twice"] if people else 0,
        kappa=people["kappa"] if people else None,
        calibration_error=calibration["error"] if calibration else None,
        sure=tuple(sure(one) for one in calibration["bins"]) if calibration else (),
    )


def sure(part: Mapping[str, Any]) -> SureFacts:
    """One bin of a calibration."""
    return SureFacts(part["confidence"], part["right"], part["low"], part["high"], part["items"])


def sample(tries: Sequence[Mapping[str, Any]]) -> Sample:
    """An item of `samples.jsonl`: its first answer, and the mean scores of all."""
    row = tries[0]
    return Sample(
        id=identity(row),
        question=question(row),
        gold=row["gold"] or "",
        output=row["output"] or "",
        finish_reason=row["finish_reason"],
        error=row["error"],
        scores=mean_scores(tries),
    )


def score(name: str, part: Mapping[str, Any]) -> Score:
    """One scorer of `scores.json`."""
    kind, better, failed = part.get("kind", "unit"), part.get("better", "higher"), part.get("failed", 0)
    ends = part["low"], part["high"]
    again = repeat_facts(part.get("repeats"))
    trust = TrustFacts(**part["trust"]) if part.get("trust") else None
    return Score(name, part["value"], *ends, part["n"], kind, better, failed, again, trust)


def compared_facts(folder: Path, reports: Sequence[Path], models: Sequence[ModelFacts]) -> ComparisonFacts:
    """What a comparison folder shows; its two reports are found among the given ones by content id."""
    manifest = folders.opened(folder, "comparison", "--comparison")
    value = read_json(folder / "comparison.json")
    labels = {Manifest.read(path).id: model.label for path, model in zip(reports, models, strict=True)}
    role = value.get("role", "b")  # of several candidates the foremost one
    shown = {"a": value["a"], role: value["b"]}
    sides = {
        entry.role: labels.get(entry.id, shown[entry.role])
        for entry in manifest.inputs
        if entry.role in shown
    }
    ending = f"-{role}" if value.get("candidates") else ""
    return ComparisonFacts(
        outcome=value["verdict"],
        first=sides["a"],
        second=sides[role],
        primary=value["primary"],
        differences=tuple(difference(name, part) for name, part in value["scores"].items()),
        regressions=identities(folder / f"regressions{ending}.jsonl"),
        fixes=identities(folder / f"fixes{ending}.jsonl"),
        num_items=value["n"],
        in_full=value["sentence"],
        notes=tuple(value["notes"]),
        slices=tuple(slice_of(part) for part in value["slices"]),
    )


def slice_of(part: Mapping[str, Any]) -> SliceFacts:
    """One part of the items of `comparison.json`."""
    return SliceFacts(
        key=part["key"],
        part=part["value"],
        num_items=part["n"],
        value=part["difference"],
        low=part["low"],
        high=part["high"],
        p_value=part["adjusted_p"],
        detectable=part["detectable"],
    )


def difference(scorer: str, part: Mapping[str, Any]) -> Difference:
    """One scorer of `comparison.json`, with the p-value corrected for having looked at several."""
    return Difference(
        scorer,
        first=part["a"],
        second=part["b"],
        value=part["value"],
        low=part["low"],
        high=part["high"],
        p_value=part["adjusted_p"],
        detectable=part["detectable"],
        kind=part["kind"],
        better=part["better"],
    )


def identities(path: Path) -> tuple[str, ...]:
    """The ids of the items in a file of a comparison."""
    return tuple(identity(row) for row in folders.maybe_rows(path))
