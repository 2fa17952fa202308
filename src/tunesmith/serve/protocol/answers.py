"""The answers of one request as their pieces come in."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from statistics import fmean
from typing import Any, NamedTuple, Protocol

from tunesmith.serve.backends.port import CallPiece, Chunk, FinishReason, GenerationRequest, TokenInfo, Usage
from tunesmith.serve.protocol.body import Noted

LOWEST = -9999.0
"""What OpenAI writes for a probability of nought; JSON has no infinity."""


class Head(NamedTuple):
    """What every piece of an answer carries."""

    id: str
    created: int
    model: str


class Asked(NamedTuple):
    """A request as the server works on it."""

    noted: Noted
    generations: tuple[GenerationRequest, ...]
    """One for each prompt, all with the same number of answers."""
    returned: int
    """Answers to each prompt that the client gets: the best of those drawn."""
    include_usage: bool
    logprobs: int | None
    texts: tuple[str | None, ...] = ()
    """The prompts as the client wrote them, to be echoed; None where it sent token ids."""

    @property
    def drawn(self) -> int:
        """Answers drawn to each prompt."""
        return self.generations[0].n


@dataclass
class Answer:
    """One answer, as far as it has come."""

    pieces: list[str] = field(default_factory=list)
    tokens: list[TokenInfo] = field(default_factory=list)
    prompt: tuple[TokenInfo, ...] = ()
    end: TokenInfo | None = None
    finish_reason: FinishReason | None = None
    calls: list[CallPiece] = field(default_factory=list)

    @property
    def text(self) -> str:
        """Its text."""
        return "".join(self.pieces)

    @property
    def mean_logprob(self) -> float:
        """Mean log-probability of its tokens, the end included: what `best_of` compares."""
        tokens = [*self.tokens, *([self.end] if self.end is not None else [])]
        known = [token.logprob for token in tokens if token.logprob is not None]
        return fmean(known) if known else -math.inf


class Answers:
    """All answers of a request: those to the first prompt, then those to the second, and so on."""

    def __init__(self, prompts: int = 1, drawn: int = 1) -> None:
        self.drawn = drawn
        self.all = [Answer() for _ in range(prompts * drawn)]
        self.usages: dict[int, Usage] = {}

    def saw(self, prompt: int, chunk: Chunk) -> None:
        """Note a piece of an answer to the prompt."""
        own = self.all[prompt * self.drawn : (prompt + 1) * self.drawn]
        if chunk.prompt:
            for answer in own:
                answer.prompt = chunk.prompt
        answer = own[chunk.index]
        answer.pieces.append(chunk.text)
        answer.tokens.extend(chunk.logprobs)
        answer.calls.extend(chunk.calls)
        if chunk.finish_reason is not None:
            answer.finish_reason, answer.end = chunk.finish_reason, chunk.end
        if chunk.usage is not None:
            self.usages[prompt] = chunk.usage

    @property
    def usage(self) -> Usage | None:
        """Tokens of all prompts and answers; None while no prompt is done."""
        if not self.usages:
            return None
        return Usage(*(sum(column) for column in zip(*self.usages.values(), strict=True)))

    def best(self, wanted: int) -> "Answers":
        """The likeliest answers to each prompt by mean log-probability, the likeliest first."""
        if wanted == self.drawn:
            return self
        chosen = Answers(0, wanted)
        chosen.usages = self.usages
        for start in range(0, len(self.all), self.drawn):
            own = self.all[start : start + self.drawn]
            chosen.all += sorted(own, key=lambda answer: -answer.mean_logprob)[:wanted]
        return chosen


class Writer(Protocol):
    """Writes the answers to one request as its endpoint does."""

    def whole(self, answers: Answers) -> dict[str, Any]:
        """All answers as one object."""

    def begin(self) -> Sequence[dict[str, Any]]:
        """Events before any text."""

    def events(self, prompt: int, chunk: Chunk) -> Sequence[dict[str, Any]]:
        """Events for one piece of an answer to a prompt."""

    def usage(self, usage: Usage) -> dict[str, Any]:
        """The event after the last one, when usage was asked for."""


def usage_body(usage: Usage) -> dict[str, Any]:
    """Tokens as OpenAI counts them."""
    return {
        "prompt_tokens": usage.prompt_tokens,
        "completion_tokens": usage.completion_tokens,
        "total_tokens": usage.prompt_tokens + usage.completion_tokens,
        "prompt_tokens_details": {"cached_tokens": usage.cached_tokens, "audio_tokens": 0},
        "completion_tokens_details": {"reasoning_tokens": 0, "audio_tokens": 0},
    }


def finite(logprob: float | None) -> float:
    """A log-probability that JSON can hold."""
    return LOWEST if logprob is None else max(logprob, LOWEST)


def token_body(token: TokenInfo) -> dict[str, Any]:
    """A token as the chat endpoint writes it."""
    return {"token": token.text, "logprob": finite(token.logprob), "bytes": list(token.raw)}
