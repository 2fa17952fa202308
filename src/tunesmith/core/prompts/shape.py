"""Prompt shapes: what stands before an example's own question.

A shape replaces the system turn and puts worked examples before the question: the same ones for every
question, or those of its pool that are most like it, the most similar next to the question (Liu et al.,
arXiv:2101.06804).  It may also look passages up.  Everything that it shows stands in its file.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tunesmith.core.conversation import Example, Message
from tunesmith.core.errors import DataError
from tunesmith.core.files import read_json, write_json
from tunesmith.core.retrieval import retriever_for

SYSTEM_ROLES = ("system", "developer")
PASSAGES = "Use what these passages say where it helps:"


@dataclass(frozen=True, slots=True)
class PromptShape:
    """A name, an instruction for the system turn (None keeps the data's own), worked examples, passages."""

    name: str = "as_is"
    instruction: str | None = None
    shots: tuple[Example, ...] = ()
    """Shown before every question."""
    pool: tuple[Example, ...] = ()
    """Of these the `num_similar` most like the question are shown."""
    num_similar: int = 0
    passages: tuple[str, ...] = ()
    """Of these the `num_passages` most like the question stand in the system turn."""
    num_passages: int = 0

    @property
    def num_shots(self) -> int:
        """Worked examples that stand before a question."""
        return len(self.shots) + min(self.num_similar, len(self.pool))

    def apply(self, example: Example) -> tuple[Message, ...]:
        """The messages to ask the model: system turn, worked examples as turns, the example's question."""
        system, question = parted(example.prompt)
        if self.instruction is not None:
            system = (Message("system", self.instruction),) if self.instruction else ()
        if self.passages and self.num_passages:
            system = with_passages(system, self.near_passages(text_of(question)))
        shots = (*self.shots, *self.similar(example, text_of(question)))
        return (*system, *(turn for shot in shots for turn in shot_turns(shot)), *question)

    def similar(self, example: Example, question: str) -> list[Example]:
        """The worked examples of the pool for a question, the most similar last; never the example itself."""
        if not self.pool or not self.num_similar:
            return []
        index = retriever_for(tuple(text_of(parted(shot.prompt)[1]) for shot in self.pool))
        nearest = [self.pool[place] for place in index.nearest(question, self.num_similar + 1)]
        others = [shot for shot in nearest if shot.row_hash != example.row_hash]
        return others[: self.num_similar][::-1]

    def near_passages(self, question: str) -> list[str]:
        """The passages for a question, the most similar first."""
        places = retriever_for(self.passages).nearest(question, self.num_passages)
        return [self.passages[place] for place in places]

    def to_json(self) -> dict[str, Any]:
        """The shape as its file holds it."""
        return {
            "name": self.name,
            "instruction": self.instruction,
            "shots": [shot.to_json() for shot in self.shots],
            "pool": [shot.to_json() for shot in self.pool],
            "num_similar": self.num_similar,
            "passages": list(self.passages),
            "num_passages": self.num_passages,
        }

    def write(self, path: Path) -> None:
        """Write the shape's file."""
        write_json(path, self.to_json())

    @classmethod
    def read(cls, path: Path) -> "PromptShape":
        """Read a shape's file; a file that is something else is a DataError."""
        value = read_json(path)
        try:
            shape = cls(
                name=str(value["name"]),
                instruction=value.get("instruction"),
                shots=tuple(Example.from_json(shot) for shot in value.get("shots", ())),
                pool=tuple(Example.from_json(shot) for shot in value.get("pool", ())),
                num_similar=whole(value.get("num_similar", 0)),
                passages=tuple(str(text) for text in value.get("passages", ())),
                num_passages=whole(value.get("num_passages", 0)),
            )
            for shot in (*shape.shots, *shape.pool):
                shot_turns(shot)
        except (AttributeError, KeyError, TypeError) as error:
            keys = (
                "a prompt file has the keys name, instruction (text or null) and shots (examples), and may"
                " have pool (examples) with num_similar, and passages (texts) with num_passages"
            )
            raise DataError("not a prompt file", where=path, value=str(error), next_step=keys) from None
        if shape.instruction is not None and not isinstance(shape.instruction, str):
            raise DataError("the instruction must be a text or null", where=f"{path}#/instruction")
        return shape


AS_IS = PromptShape()
"""The data's own prompt, unchanged."""


def whole(value: Any) -> int:
    """A count in a prompt file.  Raises TypeError for anything else."""
    if not isinstance(value, int) or isinstance(value, bool) or value < 0:
        raise TypeError(f"{value!r} is no count")
    return value


def parted(messages: Sequence[Message]) -> tuple[tuple[Message, ...], tuple[Message, ...]]:
    """System turns, and the others."""
    system = tuple(turn for turn in messages if turn.role in SYSTEM_ROLES)
    return system, tuple(turn for turn in messages if turn.role not in SYSTEM_ROLES)


def text_of(turns: Sequence[Message]) -> str:
    """What turns say, as it is compared."""
    return " ".join(turn.content or "" for turn in turns)


def shot_turns(shot: Example) -> tuple[Message, ...]:
    """A worked example's turns, from its first question to its answer."""
    return (*parted(shot.prompt)[1], shot.messages[len(shot.prompt)])


def with_passages(system: Sequence[Message], passages: Sequence[str]) -> tuple[Message, ...]:
    """System turns with passages under what they say."""
    said = [turn.content or "" for turn in system]
    return (Message("system", "\n\n".join([*filter(None, said), PASSAGES, *passages])),)
