"""OpenAI's chat completions: reading requests, writing answers."""

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal

from pydantic import Field

from tunesmith.core.conversation import Message
from tunesmith.core.record import CHAT
from tunesmith.runtime.sampling.port import MAX_TOP_LOGPROBS
from tunesmith.serve.backends.port import Chunk, Conversation, GenerationRequest, TokenInfo, Usage
from tunesmith.serve.problems import ApiProblem, unsupported
from tunesmith.serve.protocol.answers import Answer, Answers, Asked, Head, token_body, usage_body
from tunesmith.serve.protocol.body import (
    Metadata,
    Neutral,
    Noted,
    Strict,
    check,
    names_of,
    read_object,
    shown,
)
from tunesmith.serve.protocol.settings import OLD_NAMES, Settings
from tunesmith.serve.protocol.tools import (
    MOST_TOOLS,
    Tool,
    ToolCall,
    ToolChoice,
    calling_of,
    delta_of,
    joined,
)


class TextPart(Strict):
    """A text part of a message; the other kinds are refused before."""

    type: Literal["text"]
    text: str


class ChatMessage(Strict):
    """One turn, as OpenAI writes it."""

    role: Literal["system", "developer", "user", "assistant", "tool"]
    content: str | list[TextPart] | None = None
    name: str | None = None
    tool_calls: Annotated[list[ToolCall] | None, Field(min_length=1)] = None
    tool_call_id: str | None = None
    # A training file's mark of turns not to learn from: nothing to do with answering.
    weight: float | None = None

    def to_message(self) -> Message:
        """The turn as every room has it; text parts are joined by line breaks."""
        text = self.content
        if isinstance(text, list):
            text = "\n".join(part.text for part in text)
        calls = tuple(call.model_dump() for call in self.tool_calls or ())
        return Message(self.role, text, name=self.name, tool_calls=calls, tool_call_id=self.tool_call_id)


class ChatRequest(Settings):
    """The fields that this server acts on."""

    messages: Annotated[list[ChatMessage], Field(min_length=1)]
    max_tokens: Annotated[int | None, Field(ge=1)] = None
    max_completion_tokens: Annotated[int | None, Field(ge=1)] = None
    logprobs: bool | None = None
    top_logprobs: Annotated[int | None, Field(ge=0, le=MAX_TOP_LOGPROBS)] = None
    store: bool | None = None
    metadata: Metadata | None = None
    tools: Annotated[list[Tool] | None, Field(max_length=MOST_TOOLS)] = None
    tool_choice: ToolChoice | None = None
    parallel_tool_calls: bool | None = None

    def to_generation(self) -> GenerationRequest:
        """What the engine is asked to do; raises ApiProblem for fields that do not go together."""
        self.check_together(self.answers)
        if self.top_logprobs and not self.logprobs:
            message = "The 'top_logprobs' parameter is only allowed when 'logprobs' is enabled."
            raise ApiProblem(message, param="top_logprobs", code="invalid_value")
        if self.metadata and not self.store:
            message = "The 'metadata' parameter is only allowed when 'store' is enabled."
            raise ApiProblem(message, param="metadata", code="invalid_value")
        calling = calling_of(self.tools, self.tool_choice, self.parallel_tool_calls)
        limits = [limit for limit in (self.max_completion_tokens, self.max_tokens) if limit is not None]
        return GenerationRequest(
            prompt=conversation(self.messages, () if calling is None else calling.tools),
            calling=calling,
            max_tokens=min(limits, default=None),
            n=self.answers,
            logprobs=(self.top_logprobs or 0) if self.logprobs else None,
            **self.choices(),
        )


OLD_TOOLS = "is not taken any more (OpenAI deprecated it in 2023): use 'tools' and 'tool_choice'"
NEUTRAL: Neutral = {
    "functions": (([],), OLD_TOOLS),
    "function_call": (("none", "auto"), OLD_TOOLS),
    "modalities": ((["text"],), "other than text is out of scope"),
    "audio": ((), "is out of scope: this server takes and gives text"),
    "web_search_options": ((), "is out of scope: this server does not search"),
    "moderation": ((), "is not offered"),
    "prediction": ((), "is not offered"),
    "reasoning_effort": (("none",), "is not offered: the model does not reason apart"),
    "verbosity": (("medium",), "is not offered"),
    "service_tier": (("auto", "default"), "is not offered"),
    **OLD_NAMES,
}
"""Fields of OpenAI's chat requests (and old ones of vLLM's) that are not acted on."""

MESSAGE_NEUTRAL = ("refusal", "annotations", "audio", "function_call")
"""Fields of OpenAI's own answers, which clients send back as they came: accepted empty."""


def conversation(messages: Sequence[ChatMessage], tools: Sequence[Mapping[str, Any]] = ()) -> Conversation:
    """Turns as the engine takes them, with the tools that are shown to it."""
    return Conversation(tuple(message.to_message() for message in messages), tuple(tools))


def parse(body: bytes) -> ChatRequest:
    """Read a request body; raises ApiProblem with OpenAI's wording for the first thing wrong."""
    value = read_object(body)
    if isinstance(value.get("messages"), list):
        value["messages"] = plain_messages(value["messages"], "messages")
    return check(ChatRequest, value, NEUTRAL)


def ask(body: bytes) -> Asked:
    """Read a request body as the server works on it; raises ApiProblem."""
    request = parse(body)
    generation = request.to_generation()
    noted = Noted(
        endpoint=CHAT,
        model=request.model,
        streamed=bool(request.stream),
        parameters=shown(request, {"messages", "model", "stream", "store", "metadata"}),
        messages=[message.model_dump(exclude_none=True) for message in request.messages],
        fields=frozenset(names_of(ChatRequest)),
        said="messages",
        stored=bool(request.store),
        metadata=request.metadata,
    )
    return Asked(noted, (generation,), generation.n, request.include_usage, generation.logprobs)


def plain_messages(turns: Sequence[object], place: str) -> list[object]:
    """Messages without the empty fields of OpenAI's answers; raises ApiProblem for what is not text."""
    return [plain_message(turn, f"{place}[{index}]") for index, turn in enumerate(turns)]


def plain_message(turn: object, place: str) -> object:
    """A message without the empty fields of OpenAI's answers; what is not text is refused by name."""
    if not isinstance(turn, dict):
        return turn
    for name in MESSAGE_NEUTRAL:
        if turn.get(name):
            raise unsupported(f"{place}.{name}", OLD_TOOLS if "call" in name else "is not taken back")
    content = turn.get("content")
    check_calls(turn, place)
    if "content" not in turn and not turn.get("tool_calls"):
        message = f"Missing required parameter: '{place}.content'."
        raise ApiProblem(message, param=f"{place}.content", code="missing_required_parameter")
    if content is None and not turn.get("tool_calls"):
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
    empty = [name for name in (*MESSAGE_NEUTRAL, "tool_calls") if not turn.get(name)]
    return {name: value for name, value in turn.items() if name not in empty}


def check_calls(turn: Mapping[str, Any], place: str) -> None:
    """Refuse calls and results of tools that stand with the wrong role.  Raises ApiProblem."""
    role = turn.get("role")
    if role == "function":
        raise unsupported(f"{place}.role", OLD_TOOLS)
    if turn.get("tool_calls") and role != "assistant":
        message = f"Invalid '{place}.tool_calls': only an assistant calls tools."
        raise ApiProblem(message, param=f"{place}.tool_calls", code="invalid_value")
    if (role == "tool") != (turn.get("tool_call_id") is not None):
        message = f"Invalid '{place}': a turn with the role 'tool', and no other, has a 'tool_call_id'."
        raise ApiProblem(message, param=f"{place}.tool_call_id", code="invalid_value")


class ChatWriter:
    """Writes `chat.completion` and its chunks."""

    def __init__(self, head: Head, asked: Asked) -> None:
        self._head, self._asked = head._asdict(), asked

    def whole(self, answers: Answers) -> dict[str, Any]:
        """A `chat.completion`."""
        assert answers.usage is not None
        choices = [self._choice(index, answer) for index, answer in enumerate(answers.all)]
        usage = usage_body(answers.usage)
        return {**self._head, "object": "chat.completion", "choices": choices, "usage": usage}

    def begin(self) -> list[dict[str, Any]]:
        """The chunks that say who speaks."""
        opening = {"role": "assistant", "content": "", "refusal": None}
        return [self._chunk(index, opening, None) for index in range(self._asked.drawn)]

    def events(self, prompt: int, chunk: Chunk) -> list[dict[str, Any]]:
        """The chunks for a piece of one answer: its text, and why it ended."""
        found = []
        if chunk.text or chunk.logprobs:
            found.append(self._chunk(chunk.index, {"content": chunk.text}, None, chunk.logprobs))
        found += [self._chunk(chunk.index, {"tool_calls": [delta_of(piece)]}, None) for piece in chunk.calls]
        if chunk.finish_reason is not None:
            found.append(self._chunk(chunk.index, {}, chunk.finish_reason))
        return found

    def usage(self, usage: Usage) -> dict[str, Any]:
        """The chunk after the last one, when usage was asked for."""
        return {**self._head, "object": "chat.completion.chunk", "choices": [], "usage": usage_body(usage)}

    def _choice(self, index: int, answer: Answer) -> dict[str, Any]:
        message: dict[str, Any] = {
            "role": "assistant",
            "content": answer.text,
            "refusal": None,
            "annotations": [],
        }
        if answer.calls:
            message |= {"content": answer.text or None, "tool_calls": joined(answer.calls)}
        logprobs = None if self._asked.logprobs is None else logprobs_body(answer.tokens)
        return {
            "index": index,
            "message": message,
            "logprobs": logprobs,
            "finish_reason": answer.finish_reason,
        }

    def _chunk(
        self,
        index: int,
        delta: Mapping[str, Any],
        finish_reason: str | None,
        tokens: Sequence[TokenInfo] = (),
    ) -> dict[str, Any]:
        choice = {
            "index": index,
            "delta": dict(delta),
            "logprobs": logprobs_body(tokens) if tokens else None,
            "finish_reason": finish_reason,
        }
        chunk = {**self._head, "object": "chat.completion.chunk", "choices": [choice]}
        return {**chunk, "usage": None} if self._asked.include_usage else chunk


def logprobs_body(tokens: Sequence[TokenInfo]) -> dict[str, Any]:
    """The log-probabilities of a choice."""
    content = [
        {**token_body(token), "top_logprobs": [token_body(top) for top in token.top]} for token in tokens
    ]
    return {"content": content, "refusal": None}
