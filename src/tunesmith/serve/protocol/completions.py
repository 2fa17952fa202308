"""OpenAI's text completions, the older endpoint: base models, token ids, log-probabilities of prompts."""

import codecs
from collections.abc import Sequence
from typing import Annotated, Any

from pydantic import Field, field_validator

from tunesmith.core.record import COMPLETIONS
from tunesmith.serve.backends.port import Chunk, GenerationRequest, Prompt, Text, TokenInfo, Tokens, Usage
from tunesmith.serve.problems import ApiProblem, unsupported
from tunesmith.serve.protocol.answers import Answer, Answers, Asked, Head, finite, usage_body
from tunesmith.serve.protocol.body import Neutral, Noted, check, names_of, read_object, shown
from tunesmith.serve.protocol.settings import OLD_NAMES, Settings

DEFAULT_MAX_TOKENS = 16
MAX_PROMPTS = 2048
MAX_TOGETHER = 2048
"""Answers of one request."""
MAX_TOKEN_ID = 2**31 - 1
PROMPT = "a string, an array of strings, an array of token ids or an array of arrays of token ids, none empty"


class CompletionRequest(Settings):
    """The fields that this server acts on."""

    prompt: Any
    max_tokens: Annotated[int | None, Field(ge=0)] = None
    best_of: Annotated[int | None, Field(ge=0, le=20)] = None
    echo: bool | None = None
    logprobs: Annotated[int | None, Field(ge=0, le=5)] = None

    @field_validator("prompt")
    @classmethod
    def _check_prompt(cls, value: object) -> object:
        if isinstance(value, str) or is_token_ids(value):
            return value
        several = isinstance(value, list) and value
        if not several or not (
            all(isinstance(one, str) for one in value) or all(is_token_ids(one) for one in value)  # type: ignore[attr-defined]
        ):
            raise ValueError(f"expected {PROMPT}")
        if len(value) > MAX_PROMPTS:  # type: ignore[arg-type]
            raise ValueError(f"expected at most {MAX_PROMPTS} prompts")
        return value

    @property
    def prompts(self) -> list[str | list[int]]:
        """Each prompt as the client wrote it."""
        several = isinstance(self.prompt, list) and not isinstance(self.prompt[0], int)
        return self.prompt if several else [self.prompt]

    @property
    def drawn(self) -> int:
        """How many answers to each prompt are drawn; `best_of` 0 or null is as many as are returned."""
        return self.best_of or self.answers

    def to_generations(self) -> tuple[GenerationRequest, ...]:
        """What the engine is asked to do, prompt by prompt; raises ApiProblem."""
        self.check_together(self.drawn)
        self._check_counts()
        max_tokens = DEFAULT_MAX_TOKENS if self.max_tokens is None else self.max_tokens
        # The best are found by their log-probabilities, whether or not the client wants to see them.
        logprobs = 0 if self.logprobs is None and self.drawn > self.answers else self.logprobs
        settings = {**self.choices(), "logprobs": logprobs, "echo": bool(self.echo), "n": self.drawn}
        return tuple(
            GenerationRequest(prompt=to_prompt(one), max_tokens=max_tokens, **settings)
            for one in self.prompts
        )

    def _check_counts(self) -> None:
        if self.drawn < self.answers:
            message = (
                f"Invalid 'best_of': expected at least n = {self.answers}, but got {self.best_of} instead."
            )
            raise ApiProblem(message, param="best_of", code="invalid_value")
        if self.drawn > self.answers and self.stream:
            raise unsupported("best_of", "over n cannot be streamed: the best is known at the end")
        if self.max_tokens == 0 and not self.echo:
            message = "Invalid 'max_tokens': 0 is only allowed with 'echo', there would be nothing to answer."
            raise ApiProblem(message, param="max_tokens", code="invalid_value")
        if len(self.prompts) * self.drawn > MAX_TOGETHER:
            message = (
                f"Invalid 'n': {len(self.prompts)} prompts with {self.drawn} answers each are more than "
                f"{MAX_TOGETHER} answers. Send them in several requests."
            )
            raise ApiProblem(message, param="n", code="invalid_value")


NEUTRAL: Neutral = {
    "suffix": (("",), "is not offered: the model only goes on from a prompt"),
    **OLD_NAMES,
}
"""Fields of OpenAI's completion requests (and old ones of vLLM's) that are not acted on."""


def is_token_ids(value: object) -> bool:
    """Whether this is a list of token ids."""
    return (
        isinstance(value, list)
        and bool(value)
        and all(type(token) is int and 0 <= token <= MAX_TOKEN_ID for token in value)
    )


def to_prompt(prompt: str | Sequence[int]) -> Prompt:
    """A prompt as the engine takes it."""
    return Text(prompt) if isinstance(prompt, str) else Tokens(tuple(prompt))


def text_message(prompt: str | Sequence[int]) -> dict[str, Any]:
    """A prompt as the record keeps it."""
    if isinstance(prompt, str):
        return {"role": "text", "content": prompt}
    return {"role": "text", "content": None, "token_ids": list(prompt)}


def parse(body: bytes) -> CompletionRequest:
    """Read a request body; raises ApiProblem with OpenAI's wording for the first thing wrong."""
    return check(CompletionRequest, read_object(body), NEUTRAL)


def ask(body: bytes) -> Asked:
    """Read a request body as the server works on it; raises ApiProblem."""
    request = parse(body)
    noted = Noted(
        endpoint=COMPLETIONS,
        model=request.model,
        streamed=bool(request.stream),
        parameters=shown(request, {"prompt", "model", "stream"}),
        messages=[text_message(prompt) for prompt in request.prompts],
        fields=frozenset(names_of(CompletionRequest)),
        said="prompt",
    )
    texts = tuple(prompt if isinstance(prompt, str) else None for prompt in request.prompts)
    return Asked(
        noted, request.to_generations(), request.answers, request.include_usage, request.logprobs, texts
    )


class Place:
    """Where the tokens of one choice stand in its text, in characters, as they come.

    A token that holds half a character stands where the character does.  `ahead` characters of the first
    tokens (a beginning-of-text token before a written prompt) are not in the text.
    """

    def __init__(self, ahead: int = 0) -> None:
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._read = -ahead

    def of(self, raw: bytes) -> int:
        """The place of the next token."""
        place = max(self._read, 0)
        self._read += len(self._decoder.decode(raw))
        return place


def legacy_logprobs(tokens: Sequence[TokenInfo], place: Place) -> dict[str, Any]:
    """Four lists with an entry for each token; null where there is nothing before a token."""
    return {
        "tokens": [token.text for token in tokens],
        "token_logprobs": [None if token.logprob is None else finite(token.logprob) for token in tokens],
        "top_logprobs": [None if token.logprob is None else likeliest(token) for token in tokens],
        "text_offset": [place.of(token.raw) for token in tokens],
    }


def likeliest(token: TokenInfo) -> dict[str, float]:
    """Texts of the likeliest tokens and of the token itself; of several with one text the likeliest."""
    found: dict[str, float] = {}
    for one in (*token.top, token):
        found[one.text] = max(found.get(one.text, finite(None)), finite(one.logprob))
    return found


def text_of(tokens: Sequence[TokenInfo]) -> str:
    """The text of whole tokens."""
    return b"".join(token.raw for token in tokens).decode("utf-8", errors="replace")


class CompletionWriter:
    """Writes `text_completion`, whole and in pieces."""

    def __init__(self, head: Head, asked: Asked) -> None:
        self._common, self._asked = {**head._asdict(), "object": "text_completion"}, asked
        self._places: dict[int, Place] = {}

    def whole(self, answers: Answers) -> dict[str, Any]:
        """All choices as one object."""
        assert answers.usage is not None
        choices = [self._whole(index, answer) for index, answer in enumerate(answers.all)]
        return {**self._common, "choices": choices, "usage": usage_body(answers.usage)}

    def begin(self) -> tuple[dict[str, Any], ...]:
        """Nothing comes before the text."""
        return ()

    def events(self, prompt: int, chunk: Chunk) -> list[dict[str, Any]]:
        """Pieces of the choice, and before the first one the prompt, when it is echoed."""
        found = []
        first = prompt * self._asked.returned
        for index in range(first, first + self._asked.returned) if chunk.prompt else ():
            self._places[index] = Place(self._ahead(prompt, chunk.prompt))
            found.append(self._piece(index, self._echoed(prompt, chunk.prompt), chunk.prompt, None))
        tokens = (*chunk.logprobs, *([chunk.end] if chunk.end is not None else []))
        if chunk.text or tokens or chunk.finish_reason is not None:
            found.append(self._piece(first + chunk.index, chunk.text, tokens, chunk.finish_reason))
        return found

    def usage(self, usage: Usage) -> dict[str, Any]:
        """The event after the last one, when usage was asked for."""
        return {**self._common, "choices": [], "usage": usage_body(usage)}

    def _whole(self, index: int, answer: Answer) -> dict[str, Any]:
        prompt = index // self._asked.returned
        logprobs = None
        if self._asked.logprobs is not None:
            end = [answer.end] if answer.end is not None else []
            place = Place(self._ahead(prompt, answer.prompt))
            logprobs = legacy_logprobs([*answer.prompt, *answer.tokens, *end], place)
        text = (self._echoed(prompt, answer.prompt) if answer.prompt else "") + answer.text
        return {"index": index, "text": text, "logprobs": logprobs, "finish_reason": answer.finish_reason}

    def _piece(
        self, index: int, text: str, tokens: Sequence[TokenInfo], finish_reason: str | None
    ) -> dict[str, Any]:
        place = self._places.setdefault(index, Place())
        logprobs = legacy_logprobs(tokens, place) if self._asked.logprobs is not None and tokens else None
        choice = {"index": index, "text": text, "logprobs": logprobs, "finish_reason": finish_reason}
        piece = {**self._common, "choices": [choice]}
        return {**piece, "usage": None} if self._asked.include_usage else piece

    def _echoed(self, prompt: int, tokens: Sequence[TokenInfo]) -> str:
        """The prompt as it was written; token ids as they read."""
        written = self._asked.texts[prompt]
        return text_of(tokens) if written is None else written

    def _ahead(self, prompt: int, tokens: Sequence[TokenInfo]) -> int:
        """Characters of tokens before the written prompt."""
        written, read = self._asked.texts[prompt], text_of(tokens)
        return len(read) - len(written) if written is not None and read.endswith(written) else 0
