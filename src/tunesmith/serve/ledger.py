"""What becomes of a request: one row of the record, and the words for what went wrong."""

import asyncio
import json
import logging
import time
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple, get_args

from tunesmith.core.errors import UserError
from tunesmith.core.record import CANCELLED, CHAT, Entry
from tunesmith.runtime.sampling.port import Busy, GrammarKind
from tunesmith.serve.backends.port import (
    Chunk,
    ContextExceeded,
    Conversation,
    PassedOn,
    Prompt,
    Score,
    Unsupported,
)
from tunesmith.serve.connection import ClientLeft
from tunesmith.serve.problems import INVALID_REQUEST, SERVER_ERROR, ApiProblem, overloaded, unsupported
from tunesmith.serve.protocol.answers import Answers, Head
from tunesmith.serve.protocol.body import Noted
from tunesmith.serve.protocol.score import sum_of
from tunesmith.serve.protocol.tools import joined
from tunesmith.serve.state import Served, State

log = logging.getLogger(__name__)

GRAMMAR_FIELDS = ("response_format", "structured_outputs")
"""Fields that say what an answer must look like."""


class Outcome(NamedTuple):
    """How a request ended, when it did not end well."""

    status: int
    error_type: str
    message: str


@dataclass
class Ledger:
    """Collects what becomes one row of the record."""

    state: State
    id: str
    started: float = field(default_factory=time.perf_counter)
    time: float = field(default_factory=time.time)
    noted: Noted | None = None
    model: Served | None = None
    answers: Answers = field(default_factory=Answers)
    scores: list[Score] = field(default_factory=list)
    first_token_seconds: float | None = None
    outcome: Outcome | None = None
    deviations: tuple[str, ...] = ()
    project: str = field(init=False)

    def __post_init__(self) -> None:
        self.project = self.state.project()

    def head(self) -> Head:
        """What every piece of the answer carries."""
        assert self.model is not None
        return Head(self.id, int(self.time), self.model.name)

    def deviates(self, prompt: Prompt) -> tuple[str, ...]:
        """Count how a conversation differs from what its model learned from."""
        assert self.model is not None
        if self.model.shape is not None and isinstance(prompt, Conversation):
            self.deviations = self.model.shape.deviations(prompt.messages, prompt.tools)
            self.state.metrics.deviated(self.model.name, self.deviations)
        return self.deviations

    def saw(self, prompt: int, chunk: Chunk) -> None:
        """Note a piece of an answer to a prompt."""
        if self.first_token_seconds is None:
            self.first_token_seconds = time.perf_counter() - self.started
        self.answers.saw(prompt, chunk)

    def failed(self, error: BaseException) -> ApiProblem:
        """Note what went wrong; returns the answer that says so."""
        problem = problem_of(error, self.noted)
        if isinstance(error, ClientLeft | asyncio.CancelledError):
            self.outcome = Outcome(CANCELLED, "cancelled", "the client left or the server stopped")
        else:
            self.outcome = Outcome(problem.status, problem.code or problem.kind, problem.message)
        return problem

    def close(self) -> int | None:
        """Hand the row to the writer; its number there, None when it is not kept."""
        counts = self.state.counts
        entry = self.entry()
        counts.requests += 1
        counts.errors += entry.failed
        self.state.metrics.saw(entry, known=self.model is not None)
        if self.state.writer is None:
            return None
        return self.state.writer.put(entry if self.state.content else entry.without_content("off"))

    def check_stored(self) -> None:
        """Refuse to keep an answer where nothing is kept.  Raises ApiProblem."""
        keeps = self.state.writer is not None and self.state.content
        if self.noted is not None and self.noted.stored and not keeps:
            reason = "is for a server that keeps answers (tunesmith serve --record content)"
            raise unsupported("store", reason)

    def entry(self) -> Entry:
        """The row."""
        outcome = self.outcome or Outcome(200, "", "")
        asked_for = (self.noted.model if self.noted is not None else None) or ""
        row = Entry(
            id=self.id,
            time=self.time,
            model=self.model.name if self.model is not None else asked_for,
            version=self.model.version if self.model is not None else "",
            status=outcome.status,
            total_seconds=time.perf_counter() - self.started,
            error_type=outcome.error_type or None,
            error_message=outcome.message or None,
            first_token_seconds=self.first_token_seconds,
            project=self.project,
        )
        if self.answers.usage is not None:
            row = replace(row, **self.answers.usage._asdict())
        if self.noted is not None:
            row = replace(row, **self._said(self.noted))
        return row

    def _said(self, noted: Noted) -> dict[str, Any]:
        """What was asked and answered.  Several answers are a JSON list in `answer`.

        The endpoint stands in the parameters unless it is chat; so do deviations from the prompts that
        were learned from, and the reasons why each of several answers ended.
        """
        reasons = [answer.finish_reason for answer in self.answers.all]
        texts = [answer.text for answer in self.answers.all]
        parameters = dict(noted.parameters)
        if self.deviations:
            parameters["deviations"] = list(self.deviations)
        if noted.endpoint != CHAT:
            parameters["endpoint"] = noted.endpoint
        several = len(texts) > 1
        if several:
            parameters["finish_reasons"] = reasons
        if any(answer.calls for answer in self.answers.all):
            parameters["tool_calls"] = [joined(answer.calls) for answer in self.answers.all]
        answer = json.dumps(texts, ensure_ascii=False) if several else texts[0]
        if self.scores:
            answer = json.dumps([sum_of(score) for score in self.scores])
        return {
            "streamed": noted.streamed,
            "parameters": parameters,
            "messages": noted.messages,
            "answer": answer,
            "content": "kept",
            "stored": noted.stored and self.outcome is None,
            "metadata": noted.metadata,
            # Of several the one that a reader should know of: an answer that was cut off.
            "finish_reason": "length" if "length" in reasons else reasons[0],
        }


def field_of(where: object, noted: Noted) -> str | None:
    """The request's field that an engine's error is about; None when it names none."""
    if where in noted.fields:
        return str(where)
    if str(where).partition(",")[0] in get_args(GrammarKind):
        return next((name for name in GRAMMAR_FIELDS if name in noted.parameters), None)
    return None


def problem_of(error: BaseException, noted: Noted | None) -> ApiProblem:
    """The answer to whatever was raised while a request was worked on."""
    if isinstance(error, ApiProblem):
        return error
    said = noted.said if noted is not None else None
    if isinstance(error, ContextExceeded):
        return ApiProblem(str(error), param=said, code="context_length_exceeded")
    if isinstance(error, PassedOn):
        kind = error.kind or (INVALID_REQUEST if error.status < 500 else SERVER_ERROR)
        return ApiProblem(error.message, status=error.status, kind=kind, param=error.param, code=error.code)
    if isinstance(error, Busy):
        return overloaded(error.what, error.retry_after)
    if isinstance(error, UserError):
        # An engine names the field that it cannot take; whatever else it refuses is about what was said.
        param = (field_of(error.where, noted) if noted is not None else None) or said
        if isinstance(error, Unsupported):
            return ApiProblem(error.message(), param=param, code="unsupported_parameter")
        return ApiProblem(error.message(), param=param, code="invalid_value")
    if isinstance(error, asyncio.CancelledError):
        return ApiProblem("The server is stopping.", status=503, kind=SERVER_ERROR)
    if not isinstance(error, ClientLeft):
        log.error("a request failed", exc_info=error)
    message = f"The server had an error while processing your request ({type(error).__name__})."
    return ApiProblem(message, status=500, kind=SERVER_ERROR)
