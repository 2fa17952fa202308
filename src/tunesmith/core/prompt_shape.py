"""What stood around the questions that a model learned from: a request that brings something else gets less.

A model that was tuned on one system prompt answers best behind that one; OpenAI's guide asks for the same
prompt in production as in training.  The shape is kept beside the weights, and requests are held against it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

from tunesmith.core.conversation import Example, Message
from tunesmith.core.files import read_json, write_json

PROMPT_SHAPE: Final = "prompt_shape.json"
SYSTEM: Final = ("system", "developer")
"""Two names for one role."""


@dataclass(frozen=True)
class PromptShape:
    """Counts over the conversations of a training split."""

    conversations: int = 0
    with_system: int = 0
    """How many begin with a system prompt."""
    system: str | None = None
    """The system prompt, where all are the same."""
    with_tools: int = 0
    """How many show tools."""
    tools: str | None = None
    """Names of the tools, where all show the same ones."""

    @classmethod
    def of(cls, examples: Iterable[Example]) -> PromptShape:
        """The shape of examples; plain text has none."""
        systems, tools = Seen(), Seen()
        conversations = 0
        for example in examples:
            if not example.is_text:
                conversations += 1
                systems.add(system_of(example.messages))
                tools.add(names_of(example.tools) if example.tools else None)
        return cls(conversations, systems.number, systems.only, tools.number, tools.only)

    @classmethod
    def read(cls, folder: Path) -> PromptShape | None:
        """The shape beside some weights; None where none was kept."""
        path = folder / PROMPT_SHAPE
        return cls(**read_json(path)) if path.exists() else None

    def write(self, folder: Path) -> None:
        """Keep it beside the weights."""
        write_json(folder / PROMPT_SHAPE, asdict(self))

    def deviations(
        self, messages: Sequence[Message], tools: Sequence[Mapping[str, Any]] = ()
    ) -> tuple[str, ...]:
        """How a request differs from all that was learned: 'system-missing', 'tools-other' and so on."""
        if not self.conversations:
            return ()
        shown = names_of(tools) if tools else None
        found = (
            ("system", deviation(system_of(messages), self.system, self.share(self.with_system))),
            ("tools", deviation(shown, self.tools, self.share(self.with_tools))),
        )
        return tuple(f"{what}-{how}" for what, how in found if how is not None)

    def share(self, number: int) -> float:
        """A count's part of all conversations."""
        return number / self.conversations


def deviation(found: str | None, learned: str | None, share: float) -> str | None:
    """missing, unexpected or other; None where examples differed in this themselves."""
    if found is None:
        return "missing" if share == 1 else None
    if not share:
        return "unexpected"
    return "other" if learned is not None and found != learned else None


def system_of(messages: Sequence[Message]) -> str | None:
    """The system prompt that a conversation begins with."""
    return (messages[0].content or "") if messages and messages[0].role in SYSTEM else None


def names_of(tools: Sequence[Mapping[str, Any]]) -> str:
    """'look_up, send'; tools stand in OpenAI's form, or bare as some data sets have them."""
    return ", ".join(sorted(str(tool.get("function", tool).get("name", "")) for tool in tools))


@dataclass
class Seen:
    """How many values came, and the one that all were; none of the others is kept."""

    number: int = 0
    only: str | None = None

    def add(self, value: str | None) -> None:
        """Count a value; None is none."""
        if value is None:
            return
        self.only = value if not self.number or value == self.only else None
        self.number += 1
