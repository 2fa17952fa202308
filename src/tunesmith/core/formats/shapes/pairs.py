"""Two answers to one prompt: what they share goes to the prompt, what differs is compared."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from tunesmith.core.conversation import Example, Message
from tunesmith.core.formats.problems import Findings
from tunesmith.core.formats.shapes.tools import check_calls


class Side(NamedTuple):
    """Turns, and where they stand in the row."""

    pointer: str
    turns: tuple[Message, ...]


def read_pair(
    prompt: Side,
    answers: Sequence[Side],
    found: Findings,
    *,
    tools: tuple[Mapping[str, Any], ...] = (),
    metadata: Mapping[str, Any] | None = None,
) -> Example | None:
    """A preference pair; `answers` are the better and the worse one.

    Turns at the start of both answers that are the same become part of the prompt: messages are compared, not
    characters (TRL's extract_prompt, which cuts inside of words, is the warning).  Refused are answers that
    are equal, that one begins with the other, or whose first difference is not the assistant's.
    """
    chosen, rejected = answers
    shared = shared_turns(chosen.turns, rejected.turns)
    if chosen.turns == rejected.turns:
        found.refuse(rejected.pointer, "chosen and rejected are equal", None)
        return None
    if shared in (len(chosen.turns), len(rejected.turns)):
        found.refuse(rejected.pointer, "one answer is only the beginning of the other", None)
        return None
    sides = (chosen.turns[shared:], rejected.turns[shared:])
    messages = prompt.turns + chosen.turns[:shared]
    for side, turns in zip((chosen, rejected), sides, strict=True):
        check_answer(side.pointer, turns, shared, found)
    check_prompt(Side(prompt.pointer if prompt.turns else chosen.pointer, messages), found)
    if (
        messages
        and messages[0].role == "text"
        and any(turn.role != "text" for side in sides for turn in side)
    ):
        found.refuse(chosen.pointer, "plain text and turns of a conversation stand in one row", None)
    for side, turns in zip((chosen, rejected), sides, strict=True):
        check_calls((*messages, *turns), tools, side.pointer, found)
    return Example(messages, tools, dict(metadata or {}), chosen=sides[0], rejected=sides[1])


def shared_turns(left: Sequence[Message], right: Sequence[Message]) -> int:
    """How many turns at the start are the same."""
    count = 0
    for one, other in zip(left, right, strict=False):
        if one != other:
            break
        count += 1
    return count


def check_answer(pointer: str, turns: tuple[Message, ...], shared: int, found: Findings) -> None:
    """An answer begins and ends with the assistant."""
    first, last = turns[0].role, turns[-1].role
    if first not in ("assistant", "text"):
        what = f"chosen and rejected differ in a {first} turn, before the answer"
        found.refuse(f"{pointer}/{shared}", what, turns[0].content)
    elif last not in ("assistant", "text"):
        found.refuse(
            f"{pointer}/{shared + len(turns) - 1}/role", "the last turn is not the assistant's", last
        )


def check_prompt(prompt: Side, found: Findings) -> None:
    """Something stands before the answers, and somebody else said it last."""
    if not prompt.turns:
        found.refuse(prompt.pointer, "nothing stands before the answers", None)
        return
    roles = {turn.role for turn in prompt.turns}
    last = prompt.turns[-1]
    if "text" in roles and len(roles) > 1:
        found.refuse(prompt.pointer, "plain text and turns of a conversation stand in one row", sorted(roles))
    elif last.role == "assistant" and not last.tool_calls:
        here = f"{prompt.pointer}/{len(prompt.turns) - 1}/role"
        found.refuse(here, "the prompt ends with the assistant's turn", last.role)
    elif last.role in ("system", "developer"):
        found.refuse(prompt.pointer, "nobody asks anything before the answers", last.role)
