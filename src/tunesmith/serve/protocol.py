"""OpenAI's chat completions: reading requests, writing answers.

Every field of OpenAI's request is accepted, accepted at the value that changes nothing, or refused by name;
none is ignored when it would change the answer.
"""

import json
from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from tunesmith.core.conversation import Message
from tunesmith.serve.backends.port import GenerationRequest, Usage
from tunesmith.serve.problems import ApiProblem, invalid_field, unknown, unsupported

MAX_STOPS = 4


class Strict(BaseModel):
    """No conversions: "0.5" is no number, 1 is no boolean."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


class TextPart(Strict):
    """A text part of a message; the other kinds are refused before."""

    type: Literal["text"]
    text: str


class ChatMessage(Strict):
    """One turn, as OpenAI writes it."""

    role: Literal["system", "developer", "user", "assistant"]
    content: str | list[TextPart]
    name: str | None = None
    # A training file's mark of turns not to learn from: nothing to do with answering.
    weight: float | None = None

    def to_message(self) -> Message:
        """The turn as every room has it; text parts are joined by line breaks."""
        text = (
            self.content if isinstance(self.content, str) else "\n".join(part.text for part in self.content)
        )
        return Message(self.role, text, name=self.name)


class StreamOptions(Strict):
    """How a stream is written."""

    include_usage: bool | None = None
    # Random padding against observers of an encrypted stream: there is nothing to pad on this one.
    include_obfuscation: bool | None = None


class ChatRequest(Strict):
    """The fields that this server acts on."""

    model: str | None = None
    messages: Annotated[list[ChatMessage], Field(min_length=1)]
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    temperature: Annotated[float | None, Field(ge=0, le=2)] = None
    top_p: Annotated[float | None, Field(ge=0, le=1)] = None
    max_tokens: Annotated[int | None, Field(ge=1)] = None
    max_completion_tokens: Annotated[int | None, Field(ge=1)] = None
    stop: str | list[str] | None = None
    seed: Annotated[int | None, Field(ge=-(2**63), lt=2**63)] = None
    include_stop_str_in_output: bool | None = None

    @field_validator("stop", mode="before")
    @classmethod
    def _check_stop(cls, value: object) -> object:
        texts = [value] if isinstance(value, str) else value
        if value is not None and not (
            isinstance(texts, list) and all(isinstance(text, str) for text in texts)
        ):
            raise ValueError("expected a string or an array of strings")
        if isinstance(texts, list) and (len(texts) > MAX_STOPS or "" in texts):
            raise ValueError(f"expected at most {MAX_STOPS} stop strings, none of them empty")
        return value

    def to_generation(self) -> GenerationRequest:
        """What the engine is asked to do."""
        limits = [limit for limit in (self.max_completion_tokens, self.max_tokens) if limit is not None]
        return GenerationRequest(
            messages=tuple(message.to_message() for message in self.messages),
            max_tokens=min(limits, default=None),
            temperature=1.0 if self.temperature is None else self.temperature,
            top_p=1.0 if self.top_p is None else self.top_p,
            seed=self.seed,
            stop=(self.stop,) if isinstance(self.stop, str) else tuple(self.stop or ()),
            include_stop=bool(self.include_stop_str_in_output),
        )


NO_TOOLS = "is not offered yet: this server answers with text"
NEUTRAL: dict[str, tuple[tuple[object, ...], str]] = {
    "n": ((1,), "other than 1 is not offered yet: send the request several times"),
    "logprobs": ((False,), "is not offered yet"),
    "top_logprobs": ((0,), "is not offered yet"),
    "frequency_penalty": ((0,), "is not offered yet"),
    "presence_penalty": ((0,), "is not offered yet"),
    "logit_bias": (({},), "is not offered yet"),
    "response_format": (({"type": "text"},), "other than text is not offered yet"),
    "tools": (([],), NO_TOOLS),
    "tool_choice": (("none", "auto"), NO_TOOLS),
    "parallel_tool_calls": ((True, False), NO_TOOLS),
    "functions": (([],), NO_TOOLS),
    "function_call": (("none", "auto"), NO_TOOLS),
    "modalities": ((["text"],), "other than text is out of scope"),
    "audio": ((), "is out of scope: this server takes and gives text"),
    "web_search_options": ((), "is out of scope: this server does not search"),
    "moderation": ((), "is not offered"),
    "prediction": ((), "is not offered"),
    "store": ((False,), "is not offered yet; `tunesmith serve --record` says what the record keeps"),
    "metadata": (({},), "needs `store`, which is not offered yet"),
    "reasoning_effort": (("none",), "is not offered: the model does not reason apart"),
    "verbosity": (("medium",), "is not offered"),
    "service_tier": (("auto", "default"), "is not offered"),
}
"""OpenAI's fields that are not acted on → values (beside null) that ask for nothing, and why not others."""

IDENTIFIERS = {
    "user",
    "safety_identifier",
    "prompt_cache_key",
    "prompt_cache_options",
    "prompt_cache_retention",
}
"""OpenAI's fields that say who asks or what to keep ready, and never change an answer."""

MESSAGE_NEUTRAL = ("refusal", "annotations", "audio", "function_call", "tool_calls")
"""Fields of OpenAI's own answers, which clients send back as they came: accepted empty."""


def parse(body: bytes) -> ChatRequest:
    """Read a request body; raises ApiProblem with OpenAI's wording for the first thing wrong."""
    try:
        value = json.loads(body)
        if b"\\u" in body:
            # An escaped half of a surrogate pair is JSON but no text: nothing behind here could write it.
            json.dumps(value, ensure_ascii=False).encode("utf-8")
    except (ValueError, RecursionError) as error:
        raise ApiProblem(
            f"We could not parse the JSON body of your request ({error}). The body must be valid JSON."
        ) from None
    if not isinstance(value, dict):
        raise ApiProblem("The JSON body of your request must be an object.")
    fields = {name: given for name, given in value.items() if not is_neutral(name, given)}
    if isinstance(fields.get("messages"), list):
        fields["messages"] = [
            plain_message(turn, f"messages[{index}]") for index, turn in enumerate(fields["messages"])
        ]
    try:
        request = ChatRequest.model_validate(fields)
    except ValidationError as error:
        raise invalid_field(error.errors()[0], [*ChatRequest.model_fields, *NEUTRAL, *IDENTIFIERS]) from None
    if request.stream_options is not None and not request.stream:
        message = "The 'stream_options' parameter is only allowed when 'stream' is enabled."
        raise ApiProblem(message, param="stream_options", code="invalid_value")
    return request


def is_neutral(name: str, value: object) -> bool:
    """Whether a field asks for nothing; raises ApiProblem when it asks for what is not done here."""
    if name in IDENTIFIERS:
        return True
    if name in NEUTRAL:
        values, reason = NEUTRAL[name]
        # `1 == True` in Python, and `n: true` is no number.
        same = any(
            value == neutral and isinstance(value, bool) == isinstance(neutral, bool) for neutral in values
        )
        if value is not None and not same:
            raise unsupported(name, reason)
        return True
    if name not in ChatRequest.model_fields:
        raise unknown(name, [*ChatRequest.model_fields, *NEUTRAL, *IDENTIFIERS])
    return False


def plain_message(turn: object, place: str) -> object:
    """A message without the empty fields of OpenAI's answers; what is not text is refused by name."""
    if not isinstance(turn, dict):
        return turn
    for name in MESSAGE_NEUTRAL:
        if turn.get(name):
            raise unsupported(f"{place}.{name}", NO_TOOLS if "call" in name else "is not taken back")
    if turn.get("role") in ("tool", "function") or "tool_call_id" in turn:
        raise unsupported(f"{place}.role", f"'{turn.get('role')}': tools are not offered yet")
    content = turn.get("content", "")
    if content is None:
        raise ApiProblem(
            f"Invalid value for '{place}.content': expected a string, got null.",
            param=f"{place}.content",
            code="invalid_type",
        )
    for index, part in enumerate(content if isinstance(content, list) else []):
        if isinstance(part, dict) and part.get("type") not in (None, "text"):
            raise ApiProblem(
                f"Invalid content type: '{part['type']}' is refused, this server takes text only.",
                param=f"{place}.content[{index}].type",
                code="invalid_value",
            )
    return {name: value for name, value in turn.items() if name not in MESSAGE_NEUTRAL}


class Reply:
    """Writes the answers to one request; every piece carries the same id, time and model."""

    def __init__(self, request_id: str, created: int, model: str, *, include_usage: bool = False) -> None:
        self._common = {"id": request_id, "created": created, "model": model}
        self._include_usage = include_usage

    def whole(self, text: str, finish_reason: str, usage: Usage) -> dict[str, Any]:
        """A `chat.completion`."""
        message: dict[str, Any] = {"role": "assistant", "content": text, "refusal": None, "annotations": []}
        choice = {"index": 0, "message": message, "logprobs": None, "finish_reason": finish_reason}
        return {**self._common, "object": "chat.completion", "choices": [choice], "usage": usage_body(usage)}

    def first(self) -> dict[str, Any]:
        """The chunk that says who speaks."""
        return self._chunk({"role": "assistant", "content": "", "refusal": None}, None)

    def piece(self, text: str) -> dict[str, Any]:
        """A chunk of text."""
        return self._chunk({"content": text}, None)

    def last(self, finish_reason: str) -> dict[str, Any]:
        """The chunk that says why the answer ended."""
        return self._chunk({}, finish_reason)

    def usage(self, usage: Usage) -> dict[str, Any]:
        """The chunk after the last one, when usage was asked for."""
        return {**self._common, "object": "chat.completion.chunk", "choices": [], "usage": usage_body(usage)}

    def _chunk(self, delta: Mapping[str, Any], finish_reason: str | None) -> dict[str, Any]:
        choice = {"index": 0, "delta": dict(delta), "logprobs": None, "finish_reason": finish_reason}
        chunk = {**self._common, "object": "chat.completion.chunk", "choices": [choice]}
        return {**chunk, "usage": None} if self._include_usage else chunk


def usage_body(usage: Usage) -> dict[str, Any]:
    """Tokens as OpenAI counts them."""
    return {
        "prompt_tokens": usage.prompt_tokens,
        "completion_tokens": usage.completion_tokens,
        "total_tokens": usage.prompt_tokens + usage.completion_tokens,
        "prompt_tokens_details": {"cached_tokens": usage.cached_tokens, "audio_tokens": 0},
        "completion_tokens_details": {"reasoning_tokens": 0, "audio_tokens": 0},
    }


def sse(value: Mapping[str, Any]) -> bytes:
    """One server-sent event."""
    return b"data: " + json.dumps(value, ensure_ascii=False).encode("utf-8", errors="replace") + b"\n\n"


DONE = b"data: [DONE]\n\n"
