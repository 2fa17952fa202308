"""Asking what has not been answered yet; each sample is written when it is there."""

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from tunesmith.core.endpoint import Answer, ChatRequest, Endpoint, Scored, ScoreRequest, in_parallel
from tunesmith.core.errors import ModelError
from tunesmith.core.files import append_jsonl, read_jsonl, write_jsonl
from tunesmith.core.job import Job
from tunesmith.core.scorers import Case, Likelihood, Reply, score_case
from tunesmith.core.workspace import WorkFolder
from tunesmith.evaluate.plan import Ask, Plan, TaskPlan
from tunesmith.evaluate.schema import EvaluateConfig
from tunesmith.evaluate.server import Asked, asked_server

SAMPLES = "samples.jsonl"
NOT_FOUND = ("HTTP 404", "HTTP 405", "HTTP 501")
"""How a server says that it has no such endpoint."""

Sample = dict[str, Any]
Key = tuple[str, str, int]


class Heard(NamedTuple):
    """What came back for one thing asked: an answer, likelihoods, or both."""

    request: ChatRequest | None
    answer: Answer | None
    scored: Scored | None

    @property
    def error(self) -> str | None:
        """The first reason for which something is missing."""
        return next((part.error for part in (self.answer, self.scored) if part and part.error), None)


def ask_missing(
    plan: Plan, config: EvaluateConfig, names: Sequence[str], folder: WorkFolder, job: Job
) -> float:
    """Ask what an earlier, cut evaluation has not answered.

    Returns the seconds of asking, without the server's start.  Raises ServerError when the server goes away,
    ModelError when it cannot give what a scorer needs: then too, what was answered is kept.
    """
    kept = {key: row for key, row in kept_samples(plan, folder).items() if row["error"] is None}
    write_jsonl(folder / SAMPLES, kept.values())  # without the torn line that the next one would join
    asks = plan.asks()
    missing = [ask for ask in asks if ask.key not in kept]
    if not missing:
        return 0.0
    with asked_server(config, names, job) as asked:
        started, errors = time.perf_counter(), 0
        ask_one = asker(plan, asked)
        with job.progress.task(f"asking ({plan.tasks[0].shape.name})", total=len(asks), unit="items") as task:
            task.advance(len(kept))
            for place, heard in in_parallel(ask_one, missing, concurrency=config.concurrency):
                refuse_without_scores(heard, asked.endpoint)
                append_jsonl(folder / SAMPLES, sample_of(plan, missing[place], heard))
                errors += heard.error is not None
                task.advance(1, note=f"{errors} errors" if errors else "")
        if errors:
            asked.endpoint.models()  # raises when the server is gone: its silence is not the model's
        return time.perf_counter() - started


def asker(plan: Plan, asked: Asked) -> Callable[[Ask], Heard]:
    """A function that asks one thing in all the ways that its task's scorers need."""
    tasks = plan.by_name()

    def ask_one(ask: Ask) -> Heard:
        task = tasks[ask.task]
        request = answer = scored = None
        if task.generates:
            request = task.request(ask, stops=asked.stops, seed=plan.seed)
            answer = asked.endpoint.ask(request)
        if task.needs - {"answer"}:
            scored = score(task.score_request(ask), asked.endpoint)
        return Heard(request, answer, scored)

    return ask_one


def score(request: ScoreRequest, endpoint: Endpoint) -> Scored:
    """Likelihoods; an item whose choices are missing is an outcome of its own."""
    if not request.answers or not all(request.answers):
        return Scored(
            (), 0.0, error="there is nothing to compare: the item has no choices, or an empty answer"
        )
    return endpoint.score(request)


def refuse_without_scores(heard: Heard, endpoint: Endpoint) -> None:
    """Raise ModelError when the server has no endpoint for likelihoods."""
    error = heard.scored.error if heard.scored else None
    if error is not None and error.startswith(NOT_FOUND):
        raise ModelError(
            f"this server does not say how likely a given text is (POST x/score: {error})",
            where=endpoint.url,
            next_step="serve the model with tunesmith, or leave out the scorers that need it",
        )


def sample_of(plan: Plan, ask: Ask, heard: Heard) -> Sample:
    """One line of `samples.jsonl`; what has no answer scores 0 where 0 is the worst."""
    task = plan.by_name()[ask.task]
    messages = heard.request.messages if heard.request else task.score_request(ask).messages
    reply = reply_of(task, ask, heard)
    answer = heard.answer or Answer("", None, 0, 0, heard.scored.latency_seconds if heard.scored else 0.0)
    return {
        "id": ask.item.id,
        "task": ask.task,
        "repeat": ask.repeat,
        "group_id": ask.item.group_id,
        "slices": dict(ask.item.slices),
        "prompt": [message.to_json() for message in messages],
        "gold": ask.item.example.answer,
        "output": reply.text,
        "tool_calls": [dict(call) for call in reply.tool_calls],
        "likelihood": reply.likelihood._asdict() if reply.likelihood else None,
        "choices": [one._asdict() for one in reply.choices],
        "finish_reason": answer.finish_reason,
        "error": heard.error,
        "latency_seconds": round(answer.latency_seconds, 4),
        "prompt_tokens": answer.prompt_tokens,
        "completion_tokens": answer.completion_tokens,
        **scores_of(plan, task, Case(ask.item.example, reply), heard.error),
    }


def scores_of(plan: Plan, task: TaskPlan, case: Case, error: str | None) -> dict[str, Any]:
    """Scores and weights by the names that the report gives them, and why some could not be given."""
    names = {chosen.name: plan.score_name(task, chosen.name) for chosen in task.scorers}
    given, failed = ({}, {}) if error is not None else score_case(task.scorers, case)
    scores: dict[str, float] = {}
    weights: dict[str, float] = {}
    for chosen in task.scorers:
        name, scorer = names[chosen.name], chosen.scorer
        if chosen.name in given:
            scores[name] = given[chosen.name]
            if scorer.weight is not None:
                weights[name] = scorer.weight(case)
        elif scorer.kind != "number" and scorer.better == "higher":
            scores[name] = 0.0
    return {"scores": scores, "weights": weights, "failed": {names[key]: why for key, why in failed.items()}}


def reply_of(task: TaskPlan, ask: Ask, heard: Heard) -> Reply:
    """What the model said, as scorers see it."""
    answer = heard.answer or Answer("", None, 0, 0, 0.0)
    likelihood: Likelihood | None = None
    choices: tuple[Likelihood, ...] = ()
    if heard.scored is not None and heard.scored.error is None:
        measured = [
            Likelihood(one.logprob, one.tokens, len(text.encode("utf-8")))
            for one, text in zip(heard.scored.likelihoods, task.score_request(ask).answers, strict=True)
        ]
        if "likelihood" in task.needs:
            likelihood = measured.pop(0)
        choices = tuple(measured)
    return Reply(answer.text, answer.tool_calls, answer.finish_reason, likelihood, choices)


def kept_samples(plan: Plan, folder: WorkFolder) -> Mapping[Key, Sample]:
    """Samples in the folder; a torn last line and lines of other items are left out."""
    path = folder / SAMPLES
    wanted = {ask.key for ask in plan.asks()}
    rows = [line.value for line in read_jsonl(path)] if path.exists() else []
    found = {(row["task"], row["id"], row["repeat"]): row for row in rows}
    return {key: row for key, row in found.items() if key in wanted}


def samples_in_order(plan: Plan, folder: WorkFolder) -> list[Sample]:
    """One sample for everything asked, in the suite's order."""
    kept = kept_samples(plan, folder)
    return [kept[ask.key] for ask in plan.asks()]
