"""What the server asks of an engine."""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any, Literal, NamedTuple, Protocol, TypeVar

from tunesmith.core.conversation import Message
from tunesmith.core.errors import UserError
from tunesmith.runtime.sampling.port import Grammar
from tunesmith.runtime.tool_calls import CallFormat

FinishReason = Literal["stop", "length", "tool_calls"]
AT_ONCE = 64
"""Answers of one request that an engine is asked for at the same time: other clients want some, too."""
Item = TypeVar("Item")
Result = TypeVar("Result")


@dataclass(frozen=True)
class Conversation:
    """Turns to answer, in the model's own template."""

    messages: tuple[Message, ...]
    tools: tuple[Mapping[str, Any], ...] = ()


@dataclass(frozen=True)
class Text:
    """Text to go on from, without a template."""

    text: str


@dataclass(frozen=True)
class Tokens:
    """Token ids to go on from."""

    token_ids: tuple[int, ...]


Prompt = Conversation | Text | Tokens
NO_TOKENS: Mapping[str, int] = MappingProxyType({})


@dataclass(frozen=True)
class Calling:
    """Which tools an answer may call."""

    tools: tuple[Mapping[str, Any], ...]
    required: bool = False
    """The answer is a call and nothing else."""
    only: str | None = None
    """The tool that has to be called; None leaves the choice."""
    several: bool = True
    """There may be more than one call."""


class CallPiece(NamedTuple):
    """A call of a tool, or a piece of one: id and name come with its first piece."""

    number: int
    """Which call of the answer, from 0."""
    id: str
    name: str
    arguments: str
    """JSON text."""


class ToolUse(NamedTuple):
    """How an engine that writes text writes calls."""

    form: CallFormat
    special: Mapping[str, int] = NO_TOKENS
    """Tokens that stand for themselves, by their text."""


@dataclass(frozen=True)
class GenerationRequest:
    """What to go on from, and how.  `max_tokens` None is as many as fit the context.

    The settings mean what they mean in `runtime.sampling.port.Request`.
    """

    prompt: Prompt
    max_tokens: int | None = None
    n: int = 1
    """Answers to the same prompt; answer i is drawn with seed + i."""
    temperature: float = 1.0
    top_k: int = 0
    top_p: float = 1.0
    min_p: float = 0.0
    presence_penalty: float = 0.0
    frequency_penalty: float = 0.0
    repetition_penalty: float = 1.0
    logit_bias: Mapping[int, float] = field(default_factory=dict)
    seed: int | None = None
    stop: tuple[str, ...] = ()
    include_stop: bool = False
    show_special: bool = False
    grammar: Grammar | None = None
    logprobs: int | None = None
    echo: bool = False
    """The prompt's own tokens come with the first chunk, with log-probabilities when `logprobs` is set."""
    calling: Calling | None = None
    """Tools that the answer may call; the conversation shows them, too."""


class Usage(NamedTuple):
    """Tokens of a request; `cached_tokens` of the prompt did not have to be computed."""

    prompt_tokens: int
    completion_tokens: int
    cached_tokens: int = 0


class TokenInfo(NamedTuple):
    """A token as clients see it."""

    text: str
    """What it decodes to alone; half a character is shown as OpenAI does."""
    raw: bytes
    logprob: float | None
    """Natural logarithm; None for the first token of a prompt, or when none was asked for."""
    top: tuple["TokenInfo", ...] = ()


class Chunk(NamedTuple):
    """A piece of one answer; the last piece of an answer says why it ended.

    `usage` comes with the very last chunk of the request, for all its answers.
    """

    text: str
    finish_reason: FinishReason | None = None
    usage: Usage | None = None
    # A tuple's own `index` is of no use on a chunk.
    index: int = 0  # type: ignore[assignment]
    logprobs: tuple[TokenInfo, ...] = ()
    """Of the tokens since the answer's last chunk, also of those in a stop string that was cut off."""
    prompt: tuple[TokenInfo, ...] = ()
    """The prompt's tokens, with the request's first chunk, when `echo` asked for them."""
    end: TokenInfo | None = None
    """The token that ended this answer, with its last chunk, when a token did and `logprobs` asked for them.

    It has no text to show, but clients that count (lm-eval) expect one entry for each token computed.
    """
    calls: tuple[CallPiece, ...] = ()
    """Of tools, told from the text."""


class TokenPiece(NamedTuple):
    """A token of a prompt: its id, and how it reads."""

    token_id: int
    text: str


class ScoreRequest(NamedTuple):
    """An answer to judge: its tokens' log-probabilities behind this prompt."""

    prompt: Prompt
    answer: str


class Score(NamedTuple):
    """Log-probabilities of an answer's tokens, the end of the turn included after a conversation."""

    tokens: tuple[TokenInfo, ...]


class Unsupported(UserError):
    """This back-end cannot do what the request asks for; says what and why."""


class PassedOn(Exception):
    """What a server behind this one answered instead; told to the client as it came."""

    def __init__(
        self,
        message: str,
        *,
        status: int,
        kind: str | None = None,
        param: str | None = None,
        code: str | None = None,
    ) -> None:
        self.message, self.status, self.kind, self.param, self.code = message, status, kind, param, code
        super().__init__(message)


class ContextExceeded(UserError):
    """Prompt and answer do not fit the model's context."""

    def __init__(self, *, context_tokens: int, prompt_tokens: int, max_tokens: int) -> None:
        self.context_tokens, self.prompt_tokens, self.max_tokens = context_tokens, prompt_tokens, max_tokens
        super().__init__(
            f"This model's maximum context length is {context_tokens} tokens. However, you requested "
            f"{prompt_tokens + max_tokens} tokens ({prompt_tokens} in the messages, {max_tokens} in the "
            "completion). Please reduce the length of the messages or completion."
        )


class Backend(Protocol):
    """One served model."""

    context_tokens: int
    at_once: int
    """Answers of one request that it is asked for at the same time; the others wait outside."""
    calls_itself: bool
    """It tells calls of tools from text by itself; else whoever asks does, by `tool_use`."""

    def tool_use(self) -> ToolUse | None:
        """How it writes calls of tools; None when it cannot, or in a form that is not read."""

    def start(self, request: GenerationRequest) -> AsyncGenerator[Chunk, None]:
        """Answer a request piece by piece; closing the generator cancels the work.

        The first chunk comes as soon as the first token is there (its text may be empty).  Raises, before
        the first chunk, ContextExceeded, Unsupported, `runtime.sampling.port`'s CannotAdmit and Busy, and
        the UserErrors of rendering.
        """

    async def score(self, requests: Sequence[ScoreRequest]) -> list[Score]:
        """Log-probabilities of given answers, in order.  Raises as `start` does."""

    async def tokenize(self, prompt: Prompt, *, special: bool = True) -> list[TokenPiece]:
        """The tokens of a prompt; those of a text without what begins a document unless `special`.

        Raises Unsupported and what rendering raises.
        """

    async def detokenize(self, token_ids: Sequence[int]) -> str:
        """The text of tokens, special ones included.  Raises CannotAdmit for ids that no token has."""

    async def tokenizer_info(self) -> dict[str, Any]:
        """What clients need of the tokenizer to write prompts by themselves.  Raises Unsupported."""

    def close(self) -> None:
        """Give everything back; requests that still run are dropped."""


class Host(Protocol):
    """A served base that adapters join and leave while it answers."""

    def why_alone(self, adapter: Path) -> str | None:
        """Why an adapter cannot share it, in words; None when it can."""

    def join(self, name: str, adapter: Path) -> Backend:
        """A back-end for an adapter; closing it takes the adapter out again.  Raises ModelError."""


def room_for_answer(*, context_tokens: int, prompt_tokens: int, max_tokens: int | None) -> int:
    """Tokens that the answer may have; raises ContextExceeded when it cannot have what was asked for."""
    wanted = 1 if max_tokens is None else max_tokens
    if prompt_tokens + wanted > context_tokens:
        raise ContextExceeded(context_tokens=context_tokens, prompt_tokens=prompt_tokens, max_tokens=wanted)
    return context_tokens - prompt_tokens if max_tokens is None else max_tokens


async def gathered(
    work: Callable[[Item], Awaitable[Result]], items: Sequence[Item], *, at_once: int
) -> list[Result]:
    """What the work makes of each item, in order; the first failure ends the others and is raised."""
    places = asyncio.Semaphore(at_once)

    async def placed(item: Item) -> Result:
        async with places:
            return await work(item)

    tasks = [asyncio.ensure_future(placed(item)) for item in items]
    try:
        return await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
