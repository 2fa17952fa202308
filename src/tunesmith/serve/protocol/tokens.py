"""`/tokenize`, `/detokenize` and `/tokenizer_info`, as vLLM has them; OpenAI has no such endpoints."""

from collections.abc import Sequence
from typing import Annotated, Any, NamedTuple

from pydantic import Field

from tunesmith.serve.backends.port import Conversation, Prompt, Text, TokenPiece
from tunesmith.serve.problems import ApiProblem
from tunesmith.serve.protocol.body import Strict, check, read_object
from tunesmith.serve.protocol.chat import ChatMessage, conversation, plain_messages

NEUTRAL = {
    "add_generation_prompt": ((True,), "is always true here: a prompt ends where the answer begins"),
    "continue_final_message": ((False,), "is not supported"),
}


class TokenizeRequest(Strict):
    """The fields of a request for tokens."""

    model: str | None = None
    prompt: str | None = None
    messages: Annotated[list[ChatMessage] | None, Field(min_length=1)] = None
    add_special_tokens: bool = True
    return_token_strs: bool | None = None


class DetokenizeRequest(Strict):
    """The fields of a request for text."""

    model: str | None = None
    tokens: list[Annotated[int, Field(ge=0)]]


class AskedTokens(NamedTuple):
    """A request as the server works on it."""

    model: str | None
    prompt: Prompt
    special: bool
    strings: bool


def ask(body: bytes) -> AskedTokens:
    """Read a request for tokens; raises ApiProblem for the first thing wrong."""
    value = read_object(body)
    if isinstance(value.get("messages"), list):
        value["messages"] = plain_messages(value["messages"], "messages")
    request = check(TokenizeRequest, value, NEUTRAL)
    if (request.messages is None) == (request.prompt is None):
        raise ApiProblem(
            "Give either 'prompt' or 'messages'.", param="prompt", code="missing_required_parameter"
        )
    prompt: Prompt = Conversation(()) if request.prompt is None else Text(request.prompt)
    if request.messages is not None:
        prompt = conversation(request.messages)
    return AskedTokens(
        request.model, prompt, request.add_special_tokens, strings=bool(request.return_token_strs)
    )


def ask_text(body: bytes) -> DetokenizeRequest:
    """Read a request for text; raises ApiProblem for the first thing wrong."""
    return check(DetokenizeRequest, read_object(body), {})


def write(pieces: Sequence[TokenPiece], *, context_tokens: int, strings: bool) -> dict[str, Any]:
    """The answer."""
    return {
        "count": len(pieces),
        "max_model_len": context_tokens,
        "tokens": [piece.token_id for piece in pieces],
        "token_strs": [piece.text for piece in pieces] if strings else None,
    }
