"""`/v1/x/score`: how likely given answers are.  OpenAI has no such endpoint."""

import math
from collections.abc import Sequence
from typing import Annotated, Any, NamedTuple

from pydantic import Field, field_validator

from tunesmith.core.record import SCORE
from tunesmith.serve.backends.port import Prompt, Score, ScoreRequest
from tunesmith.serve.problems import ApiProblem
from tunesmith.serve.protocol.answers import Head, finite, token_body
from tunesmith.serve.protocol.body import Noted, Strict, check, names_of, read_object
from tunesmith.serve.protocol.chat import ChatMessage, conversation, plain_messages
from tunesmith.serve.protocol.completions import is_token_ids, to_prompt

MAX_ITEMS = 1024


class Item(Strict):
    """An answer, and the conversation or the prompt before it."""

    messages: Annotated[list[ChatMessage] | None, Field(min_length=1)] = None
    prompt: Any = None
    answer: Annotated[str, Field(min_length=1)]

    @field_validator("prompt")
    @classmethod
    def _check_prompt(cls, value: object) -> object:
        if value is not None and not isinstance(value, str) and not is_token_ids(value):
            raise ValueError("expected a string or an array of token ids, not empty")
        return value

    def to_prompt(self, place: str) -> Prompt:
        """What stands before the answer; raises ApiProblem unless it is given in exactly one way."""
        if (self.messages is None) == (self.prompt is None):
            message = f"'{place}' needs either 'messages' or 'prompt'."
            raise ApiProblem(message, param=place, code="invalid_value")
        if self.messages is not None:
            return conversation(self.messages)
        return to_prompt(self.prompt)


class ScoresRequest(Strict):
    """The fields of a request."""

    model: str | None = None
    items: Annotated[list[Item], Field(min_length=1, max_length=MAX_ITEMS)]
    per_token: bool | None = None


class AskedScores(NamedTuple):
    """A request as the server works on it."""

    noted: Noted
    requests: tuple[ScoreRequest, ...]
    per_token: bool


def ask(body: bytes) -> AskedScores:
    """Read a request body; raises ApiProblem for the first thing wrong."""
    value = read_object(body)
    for index, item in enumerate(value["items"] if isinstance(value.get("items"), list) else ()):
        if isinstance(item, dict) and isinstance(item.get("messages"), list):
            item["messages"] = plain_messages(item["messages"], f"items[{index}].messages")
    request = check(ScoresRequest, value, {})
    requests = tuple(
        ScoreRequest(item.to_prompt(f"items[{index}]"), item.answer)
        for index, item in enumerate(request.items)
    )
    noted = Noted(
        endpoint=SCORE,
        model=request.model,
        streamed=False,
        parameters={} if request.per_token is None else {"per_token": request.per_token},
        messages=[item.model_dump(exclude_none=True) for item in request.items],
        fields=frozenset(names_of(ScoresRequest)),
        said="items",
    )
    return AskedScores(noted, requests, bool(request.per_token))


def write(head: Head, scores: Sequence[Score], *, per_token: bool) -> dict[str, Any]:
    """The answer."""
    data = [item_body(index, score, per_token=per_token) for index, score in enumerate(scores)]
    return {**head._asdict(), "object": "x.score", "data": data}


def item_body(index: int, score: Score, *, per_token: bool) -> dict[str, Any]:
    """One item's natural log-probability: summed, by token, and as perplexity."""
    total = sum_of(score)
    mean = total / len(score.tokens)
    body = {
        "index": index,
        "logprob": total,
        "mean_logprob": mean,
        "perplexity": perplexity(mean),
        "num_tokens": len(score.tokens),
    }
    return {**body, "tokens": [token_body(token) for token in score.tokens]} if per_token else body


def sum_of(score: Score) -> float:
    """An answer's log-probability."""
    return math.fsum(finite(token.logprob) for token in score.tokens)


def perplexity(mean: float) -> float | None:
    """Exp of the loss; None when that is larger than a number can be."""
    try:
        return math.exp(-mean)
    except OverflowError:
        return None
