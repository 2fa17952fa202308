"""Asking what has not been answered yet; each sample is written when it is there."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from math import exp
from typing import Any, NamedTuple

from tunesmith.core.endpoint import (
    Answer,
    AnswerLikelihood,
    ChatRequest,
    Endpoint,
    Scored,
    ScoreRequest,
    in_parallel,
)
from tunesmith.core.errors import ModelError
from tunesmith.core.files import append_jsonl, keep_rows, read_jsonl
from tunesmith.core.job import Job
from tunesmith.core.scorers import Case, Likelihood, Reply, score_case
from tunesmith.core.workspace import Input, WorkFolder
from tunesmith.evaluate import cache
from tunesmith.evaluate.cache import Cache
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

    def to_json(self) -> dict[str, Any]:
        """What a cache keeps."""
        return {
            name: asdict(part) if part else None for name, part in self._asdict().items() if name != "request"
        }

    @classmethod
    def from_json(cls, request: ChatRequest | None, value: Mapping[str, Any]) -> "Heard":
        """Read what `to_json` wrote."""
        answer, scored = value["answer"], value["scored"]
        if scored is not None:
            scored = {**scored, "likelihoods": tuple(AnswerLikelihood(*one) for one in scored["likelihoods"])}
        if answer is not None:
            answer = {**answer, "tool_calls": tuple(answer["tool_calls"])}
        return cls(request, Answer(**answer) if answer else None, Scored(**scored) if scored else None)


def ask_missing(
    plan: Plan, config: EvaluateConfig, model: Input, names: Sequence[str], folder: WorkFolder, job: Job
) -> float:
    """Ask what neither an earlier, cut evaluation nor another suite has been answered.

    Returns the seconds of asking, without the server's start.  Raises ServerError when the server goes away,
    ModelError when it cannot give what a scorer needs: then too, what was answered is kept.
    """
    wanted = {ask.key for ask in plan.asks()}
    rows = keep_rows(folder / SAMPLES, lambda row: row["error"] is None and key_of(row) in wanted)
    kept = {key_of(row) for row in rows}
    missing = [ask for ask in plan.asks() if ask.key not in kept]
    if not missing:
        return 0.0
    with cache.opened(model, job, use=not config.fresh) as known:
        if config.endpoint is None:  # our own server, which need not start for what is known
            missing = take_known(plan, missing, known, folder, stops=True)
        if not missing:
            return 0.0
        with asked_server(config, names, job) as asked:
            if config.endpoint is not None:
                missing = take_known(plan, missing, known, folder, stops=asked.stops)
            return ask_all(plan, missing, asked, known, folder, job, concurrency=config.at_once)


def take_known(
    plan: Plan, asks: Sequence[Ask], known: Cache, folder: WorkFolder, *, stops: bool
) -> list[Ask]:
    """Write a sample for each answer that is known; returns what has to be asked."""
    left = []
    for ask in asks:
        sent = sent_for(plan, ask, stops=stops)
        found = known.get(known.key(*sent, ask.repeat))
        if found is None:
            left.append(ask)
        else:
            append_jsonl(folder / SAMPLES, sample_of(plan, ask, Heard.from_json(sent[0], found), cached=True))
    return left


def ask_all(
    plan: Plan,
    missing: Sequence[Ask],
    asked: Asked,
    known: Cache,
    folder: WorkFolder,
    job: Job,
    *,
    concurrency: int,
) -> float:
    """Ask everything that is missing, and write each sample when it is there; returns the seconds."""
    started, errors, total = time.perf_counter(), 0, len(plan.asks())

    def ask_one(ask: Ask) -> Heard:
        return hear(*sent_for(plan, ask, stops=asked.stops), asked.endpoint)

    with job.progress.task(f"asking ({plan.tasks[0].shape.name})", total=total, unit="items") as task:
        task.advance(total - len(missing))
        for place, heard in in_parallel(ask_one, missing, concurrency=concurrency):
            refuse_without_scores(heard, asked.endpoint)
            ask = missing[place]
            append_jsonl(folder / SAMPLES, sample_of(plan, ask, heard))
            if heard.error is None:
                sent = sent_for(plan, ask, stops=asked.stops)
                known.put(known.key(*sent, ask.repeat), heard.to_json())
            errors += heard.error is not None
            task.advance(1, note=f"{errors} errors" if errors else "")
    if errors:
        asked.endpoint.models()  # raises when the server is gone: its silence is not the model's
    return time.perf_counter() - started


def sent_for(plan: Plan, ask: Ask, *, stops: bool) -> tuple[ChatRequest | None, ScoreRequest | None]:
    """What the task's scorers need to be sent: a question, answers to be scored, or both."""
    task = plan.by_name()[ask.task]
    request = task.request(ask, stops=stops, seed=plan.seed) if task.generates else None
    return request, task.score_request(ask) if task.needs - {"answer"} else None


def hear(request: ChatRequest | None, scores: ScoreRequest | None, endpoint: Endpoint) -> Heard:
    """Send it."""
    answer = endpoint.ask(request) if request is not None else None
    return Heard(request, answer, score(scores, endpoint) if scores is not None else None)


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


def sample_of(plan: Plan, ask: Ask, heard: Heard, *, cached: bool = False) -> Sample:
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
        "origin": ask.item.origin,
        "slices": dict(ask.item.slices),
        "prompt": [message.to_json() for message in messages],
        "gold": ask.item.example.answer,
        "output": reply.text,
        "confidence": None if answer.mean_logprob is None else exp(min(0.0, answer.mean_logprob)),
        "tool_calls": [dict(call) for call in reply.tool_calls],
        "likelihood": reply.likelihood._asdict() if reply.likelihood else None,
        "choices": [one._asdict() for one in reply.choices],
        "finish_reason": answer.finish_reason,
        "error": heard.error,
        "cached": cached,
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


def key_of(row: Mapping[str, Any]) -> Key:
    """What tells a sample from the others."""
    return row["task"], row["id"], row["repeat"]


def was_answered(sample: Mapping[str, Any]) -> bool:
    """Whether an answer was given, and not only a likelihood; not every server says why one ended."""
    return bool(sample["finish_reason"] or sample["output"] or sample["tool_calls"])


def samples_in_order(plan: Plan, folder: WorkFolder) -> list[Sample]:
    """One sample for everything asked, in the suite's order."""
    found = {key_of(line.value): line.value for line in read_jsonl(folder / SAMPLES)}
    return [found[ask.key] for ask in plan.asks()]
