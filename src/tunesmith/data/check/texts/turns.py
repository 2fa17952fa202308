"""Checks of who speaks when, beyond what readers refuse."""

from collections.abc import Iterator, Sequence
from itertools import pairwise

from tunesmith.core.conversation import Message
from tunesmith.data.check.port import Check, Found
from tunesmith.data.corpus import CorpusRow

OPENERS = ("system", "developer")


def turns_of(row: CorpusRow) -> Iterator[tuple[str, Sequence[Message]]]:
    """Each run of turns that stands together: of a pair, the shared turns with either answer's."""
    example = row.example
    if example.is_text:
        return
    if not example.chosen:
        yield "/messages", example.messages
        return
    yield "/messages", (*example.messages, *example.chosen)
    if example.messages and example.rejected:
        yield "/rejected", (example.messages[-1], *example.rejected)


def find_repeated_roles(row: CorpusRow, threshold: float) -> Iterator[Found]:
    """The same role twice in a row; several tool results in a row are as they should be."""
    for pointer, turns in turns_of(row):
        for place, (first, second) in enumerate(pairwise(turns)):
            if first.role == second.role != "tool":
                evidence = {"pointer": f"{pointer}/{place + 1}/role", "text": second.role}
                yield Found("warning", second.role, evidence)
                break


def find_late_system(row: CorpusRow, threshold: float) -> Iterator[Found]:
    """A system prompt behind other turns: many chat templates drop it or fail on it."""
    turns = row.example.messages
    start = next((place for place, turn in enumerate(turns) if turn.role not in OPENERS), len(turns))
    for place, turn in enumerate(turns[start:], start):
        if turn.role in OPENERS:
            evidence = {"pointer": f"/messages/{place}/role", "text": turn.role}
            yield Found("warning", place, evidence)
            break


def find_assistant_first(row: CorpusRow, threshold: float) -> Iterator[Found]:
    """An assistant turn before any user's."""
    for pointer, turns in turns_of(row):
        spoken = [(place, turn) for place, turn in enumerate(turns) if turn.role not in OPENERS]
        if pointer == "/messages" and spoken and spoken[0][1].role == "assistant":
            evidence = {"pointer": f"/messages/{spoken[0][0]}/role", "text": "assistant"}
            yield Found("warning", "assistant", evidence)


CHECKS = (
    Check(
        "repeated_role",
        "The same role speaks twice in a row; chat templates join such turns, drop one, or fail.",
        "format",
        row=find_repeated_roles,
    ),
    Check(
        "late_system_prompt",
        "A system prompt that is not the first turn; many chat templates drop it or fail on it.",
        "format",
        row=find_late_system,
    ),
    Check(
        "assistant_first",
        "The assistant speaks before any user; some chat templates fail, and the turn has nothing to answer.",
        "format",
        row=find_assistant_first,
    ),
)
