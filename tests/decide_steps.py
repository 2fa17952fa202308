"""The steps of `tunesmith decide` without their processes.

A base that answers with a function, and probes whose losses and scores follow laws that a test chooses.
"""

from collections.abc import Callable
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from servers import server

from tunesmith.core.dataset import DataSet
from tunesmith.core.errors import StepFailed
from tunesmith.core.files import read_json, write_json, write_jsonl
from tunesmith.core.job import Job
from tunesmith.core.workspace import AlreadyDone, Manifest
from tunesmith.decide import door, measure, methods, probing, quality
from tunesmith.evaluate import EvaluateConfig, EvaluateResult, evaluate
from tunesmith.launch.server import Served
from tunesmith.launch.steps import Step

TOKENS = 10


@dataclass
class Laws:
    """What trainings make of the data, and what they take."""

    loss: Callable[[int], float] = lambda rows: 0.05 + 4 * rows**-0.5
    score: Callable[[int], float] = lambda rows: min(0.9, rows / 100)
    seconds_per_step: float = 0.01
    peak_bytes: int = 2_000_000_000
    fails: tuple[str, ...] = ()
    """Methods that cannot be run."""
    faulty_rows: int = 0
    asked: list[str] = field(default_factory=list)
    """Names of the steps, in order."""


def install(monkeypatch: pytest.MonkeyPatch, answer: Callable[[Any], Any], laws: Laws) -> Laws:
    """Replace server and steps."""

    @contextmanager
    def serve(model: str, job: Job) -> Any:
        with server(answer) as script:
            yield Served(script.url, "fake")

    def run(step: Step, job: Job) -> dict[str, Any]:
        laws.asked.append(step.name)
        return VERBS[step.verb](step, job, laws)

    monkeypatch.setattr(measure, "temporary_server", serve)
    for module in (door, measure, methods, probing, quality):
        monkeypatch.setattr(module, "run_step", run)
    return laws


def evaluated(step: Step, job: Job, laws: Laws) -> dict[str, Any]:
    """A prompt is really evaluated; a probe follows the laws."""
    if "probes" in str(step.config["model"]):
        return measured_probe(step, job, laws)
    try:
        return evaluate(EvaluateConfig(**step.config), Job(job.workspace)).to_json()
    except AlreadyDone as done:
        fields = EvaluateResult.fields_from(Manifest.read(done.folder).summary, done.folder)
        return EvaluateResult(**fields).to_json()


def measured_probe(step: Step, job: Job, laws: Laws) -> dict[str, Any]:
    """Items whose losses lie around the law, the likelier ones answered rightly."""
    rows = read_json(Path(step.config["model"]) / "rows.json")
    validation = sorted(
        DataSet.find(step.config["suite"], job.workspace).split("validation"), key=lambda r: r.row_hash
    )
    chosen = validation[: step.config["limit"]]
    generates = any(name != probing.LOSS for name in step.config["scorers"])
    likely = probing.LOSS in step.config["scorers"]
    samples = []
    for place, row in enumerate(chosen):
        loss = laws.loss(rows) * TOKENS * (0.5 + place / max(1, len(chosen) - 1))
        score = (
            {step.config["scorers"][0]: float(place < laws.score(rows) * len(chosen))} if generates else {}
        )
        samples.append(
            {
                "id": row.row_hash,
                "group_id": row.group_id,
                "prompt": [turn.to_json() for turn in row.example.prompt],
                "likelihood": {"logprob": -loss, "tokens": TOKENS, "bytes": 40} if likely else None,
                "scores": score,
            }
        )
    step.out.mkdir(parents=True)
    write_jsonl(step.out / "samples.jsonl", samples)
    return {"folder": str(step.out)}


def trained(step: Step, job: Job, laws: Laws) -> dict[str, Any]:
    """Timed steps, or a run that remembers how many rows it saw."""
    if "time_steps" in step.config:
        if step.name in laws.fails:
            raise StepFailed(f"the step {step.title!r} (tunesmith train) failed", exit_code=1)
        return {
            "steps": step.config["time_steps"],
            "seconds_per_step": laws.seconds_per_step,
            "tokens_per_second": 100.0,
            "peak_memory_bytes": laws.peak_bytes,
        }
    rows = int(step.name.split("-")[1])
    write_json(step.out / "rows.json", rows)
    write_json(step.out / "config.json", dict(step.config))
    seconds = 0.0 if "proved_by" in step.config else 30.0
    return {"folder": str(step.out), "steps": rows // 8, "proofs": [{"name": "packing", "seconds": seconds}]}


def drawn(step: Step, job: Job, laws: Laws) -> dict[str, Any]:
    """The draw itself is the business of another room."""
    return {"folder": str(step.config["data"])}


def checked(step: Step, job: Job, laws: Laws) -> dict[str, Any]:
    """Findings."""
    data = DataSet.find(step.config["data"], job.workspace)
    rows = sum(len(data.split(name)) for name in data.split_names())
    one = {"check": "answer_empty", "errors": laws.faulty_rows, "example": "no answer in row 3"}
    return {
        "folder": "checks/set-1",
        "rows": rows,
        "rows_with_errors": laws.faulty_rows,
        "errors": laws.faulty_rows,
        "warnings": 0,
        "checks": [one],
    }


VERBS: dict[str, Callable[[Step, Job, Laws], dict[str, Any]]] = {
    "evaluate": evaluated,
    "train": trained,
    "data select": drawn,
    "data check": checked,
}
