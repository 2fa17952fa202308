"""What the teacher is asked, and how its reply is read (self-instruct, arXiv:2212.10560)."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from tunesmith.core.conversation import Example, Message
from tunesmith.core.endpoint import ChatRequest
from tunesmith.core.files import hash_text
from tunesmith.core.values import NotJSON, first_json

STANDING = ("system", "developer")
TASK = (
    "You write training examples for a language model. You are shown examples of one task, each a JSON object"
    " with a user's message and the assistant's right answer. Write one more example of the same task:"
    " another case, in the same form and of the same quality, with an answer that is right. Use none of the"
    " names, numbers or wordings shown. Reply with one JSON object with the keys user and assistant, and"
    " nothing else."
)


class Unusable(Exception):
    """A reply that holds no example; says why."""


def draw(count: int, shots: int, *, seed: int, position: int) -> list[int]:
    """Which of `count` rows are shown in a request: the same for ever for the same seed and position."""
    order = np.random.default_rng([seed, position]).permutation(count)
    return [int(place) for place in order[:shots]]


def request(
    shown: Sequence[Example], slice_of: str | None, *, max_tokens: int, temperature: float, seed: int
) -> ChatRequest:
    """The request that shows some rows."""
    parts = []
    if system := system_text(shown[0]):
        parts.append(f"The assistant was told: {system}")
    if slice_of is not None:
        parts.append(f"All examples are of the kind: {slice_of}")
    parts += [json.dumps(as_pair(example), ensure_ascii=False) for example in shown]
    turns = (Message("system", TASK), Message("user", "\n\n".join(parts)))
    return ChatRequest(turns, max_tokens, temperature=temperature, seed=seed)


def is_usable_seed(example: Example) -> bool:
    """One question and one text answer, which is the form that the teacher writes."""
    rest = [turn for turn in example.messages if turn.role not in STANDING]
    return (
        example.kind == "conversation"
        and [turn.role for turn in rest] == ["user", "assistant"]
        and not example.tools
        and all(turn.content and not turn.tool_calls for turn in rest)
    )


def as_pair(example: Example) -> dict[str, str]:
    """A row as it is shown."""
    question = next(turn.content or "" for turn in example.messages if turn.role == "user")
    return {"user": question, "assistant": example.answer}


def system_text(example: Example) -> str:
    """What the standing turns say."""
    return "\n".join(turn.content or "" for turn in example.messages if turn.role in STANDING)


def read_reply(text: str, like: Example, metadata: Mapping[str, Any]) -> Example:
    """The example in a reply, with the standing turns of a row that was shown.  Raises Unusable."""
    try:
        found = first_json(text)
    except NotJSON:
        raise Unusable("no JSON object in the reply") from None
    if not isinstance(found, dict):
        raise Unusable("no JSON object in the reply")
    question, answer = found.get("user"), found.get("assistant")
    if isinstance(answer, dict | list):  # the answer itself is JSON, and the teacher did not quote it
        answer = json.dumps(answer, ensure_ascii=False, separators=(",", ":"))
    if not isinstance(question, str) or not isinstance(answer, str):
        raise Unusable("user or assistant is missing or no text")
    if not question.strip() or not answer.strip():
        raise Unusable("user or assistant is empty")
    standing = tuple(turn for turn in like.messages if turn.role in STANDING)
    turns = (Message("user", question.strip()), Message("assistant", answer.strip()))
    return Example((*standing, *turns), metadata=dict(metadata))


def prompt_hash(asked: ChatRequest) -> str:
    """Hash of what the teacher was asked."""
    return hash_text(json.dumps([turn.to_json() for turn in asked.messages], ensure_ascii=False))
