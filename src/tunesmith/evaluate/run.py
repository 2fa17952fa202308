"""Asking a model every item of a suite, and scoring what it says."""

import re
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from tunesmith.core.endpoint import Answer, ChatRequest, Endpoint, key_in
from tunesmith.core.errors import FolderError, ModelError, nearest
from tunesmith.core.files import append_jsonl, hash_json, read_jsonl, write_json, write_jsonl
from tunesmith.core.job import Job
from tunesmith.core.prompts import AS_IS, PromptShape
from tunesmith.core.scorers import choose_scorers, score_all, scorer
from tunesmith.core.stats import bootstrap_mean, share_interval
from tunesmith.core.workspace import Input, Manifest, WorkFolder
from tunesmith.evaluate.schema import EvaluateConfig, EvaluateResult, Score
from tunesmith.evaluate.suite import Item, Suite, ends_at_brace, longest_answer, read_suite
from tunesmith.launch.server import temporary_server
from tunesmith.runtime.catalogue import CATALOGUE, FAKE, find_run, locate

SAMPLES, SCORES = "samples.jsonl", "scores.json"
KEEPS_STOP = frozenset({"tunesmith", "vllm"})
"""Owners of served models whose servers know `include_stop_str_in_output`."""

Sample = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Plan:
    """What is asked and how: with the model, all that a report depends on."""

    suite: Suite
    shape: PromptShape
    prompt: Path | None
    scorers: tuple[str, ...]
    max_tokens: int
    seed: int

    @classmethod
    def of(cls, config: EvaluateConfig, job: Job) -> "Plan":
        """Read suite and prompt, and settle what the configuration left open."""
        suite = read_suite(config, job)
        prompt = prompt_file(config.prompt)
        shape = PromptShape.read(prompt) if prompt is not None else AS_IS
        scorers = [scorer(name).name for name in config.scorers] or choose_scorers(suite.examples)
        max_tokens = config.max_tokens or longest_answer(suite)
        return cls(suite, shape, prompt, tuple(scorers), max_tokens, config.seed)

    def settings(self, limit: int | None) -> dict[str, Any]:
        """The configuration as the manifest holds it."""
        return {
            "split": self.suite.split,
            "limit": limit,
            "prompt": self.shape.name,
            "max_tokens": self.max_tokens,
            "temperature": 0,
            "scorers": list(self.scorers),
            "seed": self.seed,
        }

    def requests(self, items: Sequence[Item], *, stops: bool) -> list[ChatRequest]:
        """A request for each item; `stops` says that the server can end an answer at its closing brace."""
        stop = ("}",) if stops and ends_at_brace(self.suite) else ()
        return [
            ChatRequest(
                self.shape.apply(item.example),
                self.max_tokens,
                tools=item.example.tools,
                stop=stop,
                keep_stop=bool(stop),
            )
            for item in items
        ]


def evaluate(config: EvaluateConfig, job: Job) -> EvaluateResult:
    """Ask every item once, greedily, and score the answers; a report folder.

    Samples are written as they come, so that a killed evaluation goes on with what is missing.  Raises
    ServerError when the server goes away: then too, what was answered is kept.
    """
    plan = Plan.of(config, job)
    model, names = describe_model(config, job)
    inputs: dict[str, Path | Input] = {"suite": plan.suite.path, "model": model}
    if plan.prompt is not None:
        inputs["prompt"] = plan.prompt
    with job.folder(
        verb="evaluate",
        kind="report",
        name=slug(f"{plan.suite.name}-{names[-1]}-{plan.shape.name}"),
        config=plan.settings(config.limit),
        inputs=inputs,
        seed=config.seed,
        resume=True,
    ) as folder:
        seconds = ask_missing(plan, config, names, folder, job)
        samples = samples_in_order(plan, folder)
        write_jsonl(folder / SAMPLES, samples)
        result = result_of(plan, config.model, samples, seconds, folder.path)
        folder.summary = {key: value for key, value in result.to_json().items() if key != "folder"}
        write_json(folder / SCORES, folder.summary)
    return result


def result_of(
    plan: Plan, model: str, samples: Sequence[Sample], seconds: float, folder: Path
) -> EvaluateResult:
    """Every score with its interval, counts, tokens and times."""
    latencies = [sample["latency_seconds"] for sample in samples if sample["error"] is None] or [0.0]
    median, late = np.quantile(latencies, [0.5, 0.95])
    return EvaluateResult(
        folder=folder,
        model=model,
        suite=plan.suite.name,
        split=plan.suite.split,
        prompt=plan.shape.name,
        items=len(samples),
        duplicates=plan.suite.duplicates,
        refused=plan.suite.refused,
        errors=sum(sample["error"] is not None for sample in samples),
        truncated=sum(sample["finish_reason"] == "length" for sample in samples),
        primary=plan.scorers[0],
        scores={name: summary_of(name, samples, plan.seed) for name in plan.scorers},
        max_tokens=plan.max_tokens,
        prompt_tokens=sum(sample["prompt_tokens"] for sample in samples),
        completion_tokens=sum(sample["completion_tokens"] for sample in samples),
        seconds=round(seconds, 3),
        latency_median=round(float(median), 4),
        latency_p95=round(float(late), 4),
    )


def prompt_file(given: Path | None) -> Path | None:
    """The prompt's file; a plan folder stands for the best prompt that it found."""
    if given is None or not given.is_dir():
        return given
    manifest = Manifest.read(given)
    if manifest.kind != "plan":
        step = "give a prompt file, or a folder that `tunesmith decide` made"
        raise FolderError(f"this folder is a {manifest.kind}, not a plan", where=given, next_step=step)
    return given / str(manifest.summary["best_prompt"])


def slug(text: str) -> str:
    """A text as a folder name."""
    return re.sub(r"[^A-Za-z0-9._-]+", "-", text).strip("-.") or "report"


def describe_model(config: EvaluateConfig, job: Job) -> tuple[Input, list[str]]:
    """The model as an input, and the names a server may have for it, most telling first.

    A model that is only behind the URL is known by URL and name; any other by its content.
    """
    if config.endpoint is not None and config.served_as is None and not is_here(config.model, job):
        identity = hash_json({"url": config.endpoint, "model": config.model})
        return Input("model", "remote", identity, config.model), [config.model]
    located = locate(config.model, job)
    names = [config.served_as] if config.served_as is not None else [config.model]
    return located.as_input(), [*names, located.name]


def is_here(ref: str, job: Job) -> bool:
    """Whether a model is on this machine, without looking for it anywhere else."""
    return ref == FAKE or ref in CATALOGUE or Path(ref).exists() or find_run(ref, job) is not None


@contextmanager
def asked_server(config: EvaluateConfig, names: Sequence[str], job: Job) -> Iterator[tuple[Endpoint, bool]]:
    """The server to ask, and whether it can keep a stop text in its answer."""
    if config.endpoint is None:
        job.progress.say(f"starting a server for {config.model}")
        with temporary_server(config.model, job) as served, Endpoint(served.url, served.model) as endpoint:
            yield endpoint, True
        return
    with Endpoint(config.endpoint, names[0], key_in(config.api_key_variable)) as endpoint:
        listed = {model.id: model.owner for model in endpoint.models()}
        found = [name for name in names if name in listed]
        if not found:
            step = nearest(names[0], listed)
            raise ModelError(
                "the server has no model of this name", value=names[0], where=config.endpoint, next_step=step
            )
        endpoint.model = found[0]
        yield endpoint, listed[found[0]].lower() in KEEPS_STOP


def kept_samples(plan: Plan, folder: WorkFolder) -> dict[str, Sample]:
    """Samples in the folder by item; a torn last line and lines of other items are left out."""
    path = folder / SAMPLES
    wanted = {item.id for item in plan.suite.items}
    rows = [line.value for line in read_jsonl(path)] if path.exists() else []
    return {row["id"]: row for row in rows if row["id"] in wanted}


def samples_in_order(plan: Plan, folder: WorkFolder) -> list[Sample]:
    """One sample for each item, in the suite's order."""
    kept = kept_samples(plan, folder)
    return [kept[item.id] for item in plan.suite.items]


def ask_missing(
    plan: Plan, config: EvaluateConfig, names: Sequence[str], folder: WorkFolder, job: Job
) -> float:
    """Ask what an earlier, cut evaluation has not answered; each sample is written when it comes.

    Returns the seconds of asking, without the server's start.
    """
    kept = {key: row for key, row in kept_samples(plan, folder).items() if row["error"] is None}
    write_jsonl(folder / SAMPLES, kept.values())  # without the torn line that the next one would join
    missing = [item for item in plan.suite.items if item.id not in kept]
    if not missing:
        return 0.0
    with asked_server(config, names, job) as (endpoint, stops):
        started, errors = time.perf_counter(), 0
        requests = plan.requests(missing, stops=stops)
        title = f"asking ({plan.shape.name})"
        with job.progress.task(title, total=len(plan.suite.items), unit="items") as task:
            task.advance(len(kept))
            for position, answer in endpoint.chat_many(requests, concurrency=config.concurrency, task=task):
                sample = sample_of(missing[position], requests[position], answer, plan.scorers)
                append_jsonl(folder / SAMPLES, sample)
                errors += answer.error is not None
        if errors:
            endpoint.models()  # raises when the server is gone: its silence says nothing about the model
        return time.perf_counter() - started


def sample_of(item: Item, request: ChatRequest, answer: Answer, scorers: Sequence[str]) -> Sample:
    """One line of `samples.jsonl`; an item without an answer scores 0."""
    gold = item.example.answer
    answered = answer.error is None
    return {
        "id": item.id,
        "group_id": item.group_id,
        "prompt": [message.to_json() for message in request.messages],
        "gold": gold,
        "output": answer.text,
        "finish_reason": answer.finish_reason,
        "error": answer.error,
        "latency_seconds": round(answer.latency_seconds, 4),
        "prompt_tokens": answer.prompt_tokens,
        "completion_tokens": answer.completion_tokens,
        "scores": score_all(scorers, gold, answer.text) if answered else dict.fromkeys(scorers, 0.0),
    }


def summary_of(name: str, samples: Sequence[Sample], seed: int) -> Score:
    """A scorer's mean with its interval; with errors, also the mean without them."""
    values = [sample["scores"][name] for sample in samples]
    groups = [sample["group_id"] for sample in samples]
    share = scorer(name).share
    interval = share_interval(values, groups) if share else bootstrap_mean(values, groups, seed=seed)
    answered = [sample["scores"][name] for sample in samples if sample["error"] is None]
    some_missing = 0 < len(answered) < len(samples)
    without = sum(answered) / len(answered) if some_missing else None
    return Score(**interval.to_json(), without_errors=without)
