"""What a request, an event and a sampler are.  Importable without torch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal, NamedTuple, Protocol

from tunesmith.core.errors import ModelError, UserError

FinishReason = Literal["stop", "length", "cancelled"]
GrammarKind = Literal["json_schema", "json_object", "regex", "lark", "choice"]

MAX_SEED = 2**63 - 1
MAX_TOP_LOGPROBS = 20


@dataclass(frozen=True)
class Grammar:
    """What an answer must look like.

    `text` is a JSON schema, nothing (json_object), a regular expression, a Lark grammar, or a JSON list of
    strings of which the answer is one.
    """

    kind: GrammarKind
    text: str = ""


@dataclass(frozen=True)
class Request:
    """One prompt to go on from.

    `temperature` 0 is greedy.  `seed` None takes a random one.  `adapter` None is the base model alone.
    Random numbers depend on seed and position alone, never on who shares the batch.
    """

    token_ids: tuple[int, ...]
    max_tokens: int
    """0 computes the prompt only, for `prompt_logprobs`."""
    temperature: float = 0.0
    top_k: int = 0
    """Draw from the k likeliest tokens; 0 is off."""
    top_p: float = 1.0
    """Draw from the likeliest tokens that hold this share of the probability."""
    min_p: float = 0.0
    """Draw from the tokens with at least this share of the likeliest one's probability; 0 is off."""
    presence_penalty: float = 0.0
    """Taken off the logit of each token that the answer holds already."""
    frequency_penalty: float = 0.0
    """Taken off the logit of a token for each time that the answer holds it."""
    repetition_penalty: float = 1.0
    """Divides positive and multiplies negative logits of tokens in prompt or answer; 1 is off."""
    logit_bias: Mapping[int, float] = field(default_factory=dict)
    """Token → what is added to its logit."""
    seed: int | None = None
    stop: tuple[str, ...] = ()
    stop_token_ids: frozenset[int] = frozenset()
    include_stop: bool = False
    show_special: bool = False
    """Special tokens stand in the text, too: some announce calls of tools."""
    grammar: Grammar | None = None
    adapter: str | None = None
    logprobs: int | None = None
    """None: none; k: of each generated token, and of the k likeliest in its place."""
    prompt_logprobs: int | None = None
    """The same for the prompt's own tokens, given with the first event."""
    prompt_logprobs_from: int = 1
    """Index of the first prompt token whose log-probability is wanted; what precedes it may be cached."""


class TokenLogprob(NamedTuple):
    """Natural log-probability of a token as the model gives it: before temperature, penalties and grammar."""

    token_id: int
    logprob: float
    top: tuple[tuple[int, float], ...] = ()
    """The likeliest tokens in its place with their log-probabilities, the likeliest first."""


class SampleEvent(NamedTuple):
    """News of one request: text that may be shown, the tokens behind it, and at the end why it ended."""

    key: int
    text: str
    num_generated: int
    num_cached: int
    finish_reason: FinishReason | None
    logprobs: tuple[TokenLogprob, ...] = ()
    """Of the tokens generated since the last event, when asked for, without one that ends the turn."""
    prompt_logprobs: tuple[TokenLogprob, ...] | None = None
    """Of the prompt tokens from `prompt_logprobs_from` on, with the request's first event, when asked for."""
    ended_by: TokenLogprob | None = None
    """The stop token that ended the answer, when log-probabilities are asked for."""


class CannotAdmit(UserError):
    """A request that this sampler can never answer: too long for its memory, unknown adapter, bad grammar."""


class CannotStep(ModelError):
    """A model that our attention does not compute token by token: transformers' own forward may."""


class Busy(UserError):
    """More requests wait than the sampler takes; another try later can succeed."""

    retry_after: str | None = None
    """When, as HTTP's header of this name says it, where another server did."""


class Sampling(Protocol):
    """What `thread.SamplingThread` steps; one thread calls it."""

    @property
    def longest(self) -> int:
        """Tokens of the longest sequence (prompt and answer) that the memory holds, alone."""

    @property
    def note(self) -> str | None:
        """What a user should know of how this model is sampled from; None for nothing."""

    @property
    def busy(self) -> bool:
        """Whether a step has anything to do."""

    def submit(self, request: Request) -> int:
        """Queue a request; returns the key that its events carry.  Raises CannotAdmit."""

    def cancel(self, key: int) -> list[SampleEvent]:
        """Drop a request; its last event, or nothing when it is not here any more."""

    def step(self) -> list[SampleEvent]:
        """Go on with every running request, and report."""

    def reset(self) -> list[int]:
        """Forget every request (after a failure in a step); returns their keys."""
