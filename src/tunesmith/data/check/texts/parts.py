"""The texts of a row, each with its place in it, and how a check shows what it found there."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple, TypeVar

from tunesmith.core.conversation import Example, Message
from tunesmith.data.check.port import Found, Severity
from tunesmith.data.check.texts.personal import hide

SHOWN_CHARACTERS = 100
"""Longest piece of a row that a finding repeats."""

In = TypeVar("In")
Out = TypeVar("Out")


class Part(NamedTuple):
    """One text of a row."""

    pointer: str
    """Where it stands in the row as `Example.to_json` writes it (RFC 6901)."""
    role: str
    """Role of its message; `reasoning` before an answer, `call` for the arguments of a tool call, `step` for
    a graded step."""
    text: str
    lower: str
    """The text in lower case, where the length stays the same; else the text."""
    is_answer: bool
    """Whether it is to be imitated: an assistant's words or plain text with a weight; no rejected or unwanted
    answer, no wrong step."""


def remember_last(function: Callable[[In], Out]) -> Callable[[In], Out]:
    """The function, remembering its last answer: the checks ask the same of one row in turn."""
    last: list[tuple[In, Out]] = []

    def remembering(given: In) -> Out:
        if not last or last[0][0] is not given:
            last[:] = [(given, function(given))]
        return last[0][1]

    return remembering


@remember_last
def parts_of(example: Example) -> tuple[Part, ...]:
    """Every text of a row that is not empty, in its order."""
    turns = (
        ("messages", example.messages, example.label is not False),
        ("chosen", example.chosen, True),
        ("rejected", example.rejected, False),
    )
    found = [part for key, messages, is_good in turns for part in parts_of_turns(key, messages, is_good)]
    found += [
        make_part(f"/steps/{number}/text", "step", step.text, step.is_right)
        for number, step in enumerate(example.steps)
    ]
    return tuple(found)


def parts_of_turns(key: str, messages: Sequence[Message], is_good: bool) -> Iterator[Part]:
    """The texts of messages that stand under one key of the row; bad answers are nothing to imitate."""
    for number, message in enumerate(messages):
        pointer = f"/{key}/{number}"
        if message.reasoning:
            yield make_part(f"{pointer}/reasoning_content", "reasoning", message.reasoning, False)
        if message.content:
            is_answer = is_good and message.role in ("assistant", "text") and message.is_learned
            yield make_part(f"{pointer}/content", message.role, message.content, is_answer)
        for count, call in enumerate(message.tool_calls):
            arguments = call["function"].get("arguments")
            if isinstance(arguments, str) and arguments:
                here = f"{pointer}/tool_calls/{count}/function/arguments"
                yield make_part(here, "call", arguments, False)


def make_part(pointer: str, role: str, text: str, is_answer: bool) -> Part:
    """A part; a few characters grow in lower case, and places found there would not fit the text."""
    lower = text.lower()
    return Part(pointer, role, text, lower if len(lower) == len(text) else text, is_answer)


def answers_of(example: Example) -> tuple[Part, ...]:
    """The texts to learn, without plain text (it answers nothing) unless a prompt stands before it."""
    answers = tuple(part for part in parts_of(example) if part.is_answer)
    is_document = example.is_text and len(example.messages) == 1 and not example.chosen
    return () if is_document else answers


def found_at(
    part: Part,
    start: int,
    end: int,
    severity: Severity,
    value: float | int | str,
    **more: Any,
) -> Found:
    """What a check says of a piece of a text."""
    return Found(severity, value, show_piece(part, start, end, more))


def show_piece(part: Part, start: int, end: int, more: Mapping[str, Any]) -> dict[str, Any]:
    """The evidence: where the piece stands and what it is, with everything secret around it hidden."""
    return {"pointer": part.pointer, "text": excerpt(part.text, start, end), **more}


def excerpt(text: str, start: int, end: int) -> str:
    """A short piece of a text around [start, end), masked; ellipses stand for what was left out."""
    spare = max(0, SHOWN_CHARACTERS - (end - start)) // 2
    first, last = max(0, start - spare), min(len(text), max(end, start + 1) + spare)
    if last - first > SHOWN_CHARACTERS:
        last = first + SHOWN_CHARACTERS
    return ("…" if first else "") + hide(text, first, last) + ("…" if last < len(text) else "")


def last_question(example: Example) -> str:
    """What the answer replies to: the last user turn, or of plain text what stands before its last part."""
    for message in reversed(example.prompt):
        if message.role in ("user", "text"):
            return message.content or ""
    return ""
