"""What the server asks of an engine."""

from collections.abc import AsyncGenerator
from dataclasses import dataclass
from typing import Literal, NamedTuple, Protocol

from tunesmith.core.conversation import Message
from tunesmith.core.errors import UserError

FinishReason = Literal["stop", "length"]


@dataclass(frozen=True)
class GenerationRequest:
    """A conversation to go on from, and how.  `max_tokens` None is as many as fit the context."""

    messages: tuple[Message, ...]
    max_tokens: int | None = None
    temperature: float = 1.0
    top_p: float = 1.0
    seed: int | None = None
    stop: tuple[str, ...] = ()
    include_stop: bool = False


class Usage(NamedTuple):
    """Tokens of a request; `cached_tokens` of the prompt did not have to be computed."""

    prompt_tokens: int
    completion_tokens: int
    cached_tokens: int = 0


class Chunk(NamedTuple):
    """A piece of the answer; the last one says why it ended and what it took."""

    text: str
    finish_reason: FinishReason | None = None
    usage: Usage | None = None


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

    def start(self, request: GenerationRequest) -> AsyncGenerator[Chunk, None]:
        """Answer a request piece by piece; closing the generator cancels the work.

        The first chunk comes as soon as the first token is there (its text may be empty).  Raises, before
        the first chunk, ContextExceeded and the UserErrors of rendering.
        """

    def close(self) -> None:
        """Give everything back; requests that still run are dropped."""


def room_for_answer(*, context_tokens: int, prompt_tokens: int, max_tokens: int | None) -> int:
    """Tokens that the answer may have; raises ContextExceeded when it cannot have what was asked for."""
    wanted = 1 if max_tokens is None else max_tokens
    if prompt_tokens + wanted > context_tokens:
        raise ContextExceeded(context_tokens=context_tokens, prompt_tokens=prompt_tokens, max_tokens=wanted)
    return context_tokens - prompt_tokens if max_tokens is None else max_tokens
