"""Message and Example: the one type for data in every room."""

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from json.encoder import encode_basestring as quote
from typing import Any, Literal, NamedTuple, get_args

from tunesmith.core.errors import DataError
from tunesmith.core.files import hash_json

Role = Literal["system", "developer", "user", "assistant", "tool", "text"]
ROLES: tuple[str, ...] = get_args(Role)


@dataclass(frozen=True, slots=True)
class Message:
    """One turn of a conversation, with the fields of OpenAI's chat format."""

    role: Role
    content: str | None
    name: str | None = None
    tool_calls: tuple[Mapping[str, Any], ...] = ()
    tool_call_id: str | None = None
    weight: float | None = None
    """0 keeps an assistant turn out of the loss; None leaves it to the recipe."""
    parts: tuple[tuple[str, float], ...] = ()
    """Pieces of `content` with a weight each (0 is not learned); empty: `weight` holds for all of it."""
    reasoning: str | None = None
    """What an assistant thought before it said `content`, where the data keep the two apart."""

    def to_json(self) -> dict[str, Any]:
        """The message as OpenAI writes it: absent fields are left out, `content` never is.

        Content in parts is a list of text parts, each with its weight (ours; OpenAI weighs whole messages).
        Reasoning stands beside it as `reasoning_content`, the key of vLLM, DeepSeek and most chat templates.
        """
        parts = [{"type": "text", "text": text, "weight": weight} for text, weight in self.parts]
        row: dict[str, Any] = {"role": self.role, "content": parts or self.content}
        if self.name is not None:
            row["name"] = self.name
        if self.tool_calls:
            row["tool_calls"] = [dict(call) for call in self.tool_calls]
        if self.tool_call_id is not None:
            row["tool_call_id"] = self.tool_call_id
        if self.weight is not None:
            row["weight"] = self.weight
        if self.reasoning is not None:
            row["reasoning_content"] = self.reasoning
        return row

    @classmethod
    def from_json(cls, row: Mapping[str, Any]) -> "Message":
        """Read what `to_json` wrote (already validated: `core.formats` reads strangers' files)."""
        content = row.get("content")
        parts = tuple((part["text"], part["weight"]) for part in content) if isinstance(content, list) else ()
        return cls(
            role=row["role"],
            content="".join(text for text, _ in parts) if parts else content,
            name=row.get("name"),
            tool_calls=tuple(row.get("tool_calls") or ()),
            tool_call_id=row.get("tool_call_id"),
            weight=row.get("weight"),
            parts=parts,
            reasoning=row.get("reasoning_content"),
        )

    @property
    def is_learned(self) -> bool:
        """Whether its weight, or that of one of its parts, leaves anything to learn."""
        return self.weight != 0 and (not self.parts or any(weight != 0 for _, weight in self.parts))


Kind = Literal["conversation", "text", "pair", "rated", "steps"]


class GradedStep(NamedTuple):
    """One step of an answer, and whether it is right (process supervision, arXiv:2305.20050)."""

    text: str
    is_right: bool


@dataclass(frozen=True, slots=True)
class Example:
    """One conversation to learn from or to be tested on; or plain text, as messages of role `text`.

    A row of plain text is one text message; a prompt with its completion is two, the prompt with weight 0.
    A preference pair holds what both answers share in `messages`, and each answer's turns apart; graded steps
    stand apart from their prompt too.  A rated conversation is one with a `label`.
    """

    messages: tuple[Message, ...]
    tools: tuple[Mapping[str, Any], ...] = ()
    metadata: Mapping[str, Any] = field(default_factory=dict)
    chosen: tuple[Message, ...] = ()
    """The turns of the better answer; empty when the row is no pair."""
    rejected: tuple[Message, ...] = ()
    """The turns of the worse answer."""
    label: bool | None = None
    """Whether the answer is wanted; None when nobody said."""
    steps: tuple[GradedStep, ...] = ()

    @property
    def kind(self) -> Kind:
        """What the row teaches from."""
        if self.chosen:
            return "pair"
        if self.steps:
            return "steps"
        if self.label is not None:
            return "rated"
        return "text" if self.is_text else "conversation"

    @property
    def is_text(self) -> bool:
        """Whether this is plain text, which no chat template is put around."""
        return bool(self.messages) and self.messages[0].role == "text"

    @property
    def prompt(self) -> tuple[Message, ...]:
        """Everything before the last assistant turn, or before the last part of plain text."""
        return self.messages if self.chosen or self.steps else self.messages[: self._last_answer()]

    @property
    def answer(self) -> str:
        """Text of the last assistant turn (of a pair, in its better answer), or of the last plain text."""
        if self.chosen:
            return self.chosen[-1].content or ""
        if self.steps:
            return "\n".join(step.text for step in self.steps)
        return self.messages[self._last_answer()].content or ""

    @property
    def row_hash(self) -> str:
        """Content hash of all but the metadata: the identity that leak checks compare."""
        parts: list[Any] = [[message.to_json() for message in self.messages], list(self.tools)]
        if self.chosen or self.steps or self.label is not None:
            row = self.to_json()
            parts.append({key: row.get(key) for key in ("chosen", "rejected", "label", "steps")})
        return hash_json(parts)

    def to_json(self) -> dict[str, Any]:
        """The example as one row of OpenAI's chat format (plain text: messages of role `text`)."""
        row: dict[str, Any] = {"messages": [message.to_json() for message in self.messages]}
        if self.tools:
            row["tools"] = [dict(tool) for tool in self.tools]
        for key, turns in (("chosen", self.chosen), ("rejected", self.rejected)):
            if turns:
                row[key] = [message.to_json() for message in turns]
        if self.label is not None:
            row["label"] = self.label
        if self.steps:
            row["steps"] = [{"text": text, "label": is_right} for text, is_right in self.steps]
        if self.metadata:
            row["metadata"] = dict(self.metadata)
        return row

    @classmethod
    def from_json(cls, row: Mapping[str, Any]) -> "Example":
        """Read what `to_json` wrote."""
        turns = {
            key: tuple(Message.from_json(message) for message in row.get(key) or ())
            for key in ("messages", "chosen", "rejected")
        }
        return cls(
            **turns,
            tools=tuple(row.get("tools") or ()),
            metadata=dict(row.get("metadata") or {}),
            label=row.get("label"),
            steps=tuple(GradedStep(step["text"], step["label"]) for step in row.get("steps") or ()),
        )

    def _last_answer(self) -> int:
        for position in reversed(range(len(self.messages))):
            if self.messages[position].role in ("assistant", "text"):
                return position
        raise DataError("the conversation has no assistant turn", value=str(self.messages)[:80])


AS_WRITTEN = json.JSONEncoder(ensure_ascii=False)


class Line(NamedTuple):
    """An example as one line of JSON in UTF-8 (`to_json`), and its row hash, 32 bytes."""

    text: bytes
    row_hash: bytes


def write_line(example: Example) -> Line:
    """`to_json` and `row_hash` at once: the texts of a plain conversation are quoted only once."""
    if example.tools or example.chosen or example.rejected or example.steps or example.label is not None:
        return write_any(example)
    turns, hashed = [], []
    for turn in example.messages:
        if (
            turn.content is None
            or turn.name is not None
            or turn.tool_calls
            or turn.tool_call_id is not None
            or turn.weight is not None
            or turn.parts
            or turn.reasoning is not None
        ):
            return write_any(example)
        content = quote(turn.content)
        turns.append(f'{{"role": "{turn.role}", "content": {content}}}')
        hashed.append(f'{{"content":{content},"role":"{turn.role}"}}')
    rest = f', "metadata": {AS_WRITTEN.encode(dict(example.metadata))}' if example.metadata else ""
    text = f'{{"messages": [{", ".join(turns)}]{rest}}}'
    canonical = f"[[{','.join(hashed)}],[]]"
    digest = hashlib.sha256(canonical.encode("utf-8", errors="surrogatepass")).digest()
    return Line(text.encode("utf-8", errors="surrogatepass"), digest)


def write_any(example: Example) -> Line:
    """The same of any example."""
    text = AS_WRITTEN.encode(example.to_json())
    return Line(text.encode("utf-8", errors="surrogatepass"), bytes.fromhex(example.row_hash))


KINDS: Mapping[str, str] = {
    "pair": "preference pairs (chosen, rejected)",
    "rated": "rated answers (label)",
    "steps": "graded steps",
}
"""Kinds of rows that hold more than one right answer, in words."""


def check_single_answer(example: Example, *, what_for: str) -> None:
    """Raise DataError for a row without the one answer that imitation and scoring need."""
    if (kind := example.kind) in KINDS:
        step = "keep the answers that are wanted: tunesmith data convert FILE --to openai-chat --take chosen"
        raise DataError(f"{what_for}, and this row is one of {KINDS[kind]}", value=kind, next_step=step)


def check_conversations(examples: Iterable[Example], where: object) -> None:
    """Raise DataError for plain text, and for rows without the one right answer that scoring needs."""
    examples = list(examples)
    for kind, words in KINDS.items():
        if num_rows := sum(example.kind == kind for example in examples):
            raise DataError(
                f"{words} have no single right answer, so they cannot be evaluated",
                where=where,
                value=f"{num_rows} rows",
                next_step="keep the answers that are wanted: tunesmith data convert FILE --to openai-chat "
                "--take chosen",
            )
    plain = sum(example.is_text for example in examples)
    if plain:
        raise DataError(
            "plain text has no question to ask by chat, so it cannot be evaluated",
            where=where,
            value=f"{plain} rows",
            next_step="train on it with a recipe and read the run's validation loss, or write the rows as "
            "`messages`",
        )


def chat(turns: Sequence[tuple[Role, str]]) -> Example:
    """An example from (role, text) pairs; short to write in tests and examples."""
    return Example(tuple(Message(role, text) for role, text in turns))
