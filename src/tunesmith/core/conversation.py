"""Message and Example: the one type for data in every room."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, get_args

from tunesmith.core.errors import DataError
from tunesmith.core.files import hash_json

Role = Literal["system", "developer", "user", "assistant", "tool"]
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

    def to_json(self) -> dict[str, Any]:
        """The message as OpenAI writes it: absent fields are left out, `content` never is."""
        row: dict[str, Any] = {"role": self.role, "content": self.content}
        if self.name is not None:
            row["name"] = self.name
        if self.tool_calls:
            row["tool_calls"] = [dict(call) for call in self.tool_calls]
        if self.tool_call_id is not None:
            row["tool_call_id"] = self.tool_call_id
        if self.weight is not None:
            row["weight"] = self.weight
        return row

    @classmethod
    def from_json(cls, row: Mapping[str, Any]) -> "Message":
        """Read what `to_json` wrote (already validated: `core.formats` reads strangers' files)."""
        return cls(
            role=row["role"],
            content=row.get("content"),
            name=row.get("name"),
            tool_calls=tuple(row.get("tool_calls") or ()),
            tool_call_id=row.get("tool_call_id"),
            weight=row.get("weight"),
        )


@dataclass(frozen=True, slots=True)
class Example:
    """One conversation to learn from or to be tested on."""

    messages: tuple[Message, ...]
    tools: tuple[Mapping[str, Any], ...] = ()
    metadata: Mapping[str, Any] = field(default_factory=dict)

    @property
    def prompt(self) -> tuple[Message, ...]:
        """Everything before the last assistant turn."""
        return self.messages[: self._last_answer()]

    @property
    def answer(self) -> str:
        """Text of the last assistant turn."""
        return self.messages[self._last_answer()].content or ""

    @property
    def row_hash(self) -> str:
        """Content hash of messages and tools: the identity that leak checks compare."""
        return hash_json([[message.to_json() for message in self.messages], list(self.tools)])

    def to_json(self) -> dict[str, Any]:
        """The example as one row of OpenAI's chat format."""
        row: dict[str, Any] = {"messages": [message.to_json() for message in self.messages]}
        if self.tools:
            row["tools"] = [dict(tool) for tool in self.tools]
        if self.metadata:
            row["metadata"] = dict(self.metadata)
        return row

    @classmethod
    def from_json(cls, row: Mapping[str, Any]) -> "Example":
        """Read what `to_json` wrote."""
        messages = tuple(Message.from_json(message) for message in row["messages"])
        return cls(messages, tuple(row.get("tools") or ()), dict(row.get("metadata") or {}))

    def _last_answer(self) -> int:
        for position in reversed(range(len(self.messages))):
            if self.messages[position].role == "assistant":
                return position
        raise DataError("the conversation has no assistant turn", value=str(self.messages)[:80])


def chat(turns: Sequence[tuple[Role, str]]) -> Example:
    """An example from (role, text) pairs; short to write in tests and examples."""
    return Example(tuple(Message(role, text) for role, text in turns))
