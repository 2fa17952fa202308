"""What a sequence of turns must be, and the repairs that --fix makes to it."""

from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise

from tunesmith.core.conversation import Message
from tunesmith.core.formats.problems import Findings

REPEATED_ROLES = ("user", "assistant", "system", "developer")
GAP = "\n\n"
"""Between two turns that become one."""


def settle(turns: tuple[Message, ...], pointer: str, found: Findings) -> tuple[Message, ...]:
    """The turns of one conversation to learn from, checked; with --fix, mended."""
    if any(turn.role == "text" for turn in turns):
        check_plain(turns, pointer, found)
        return turns
    turns = end_with_answer(merge_repeats(turns, pointer, found), pointer, found)
    check_turns(turns, pointer, found)
    return turns


def merge_repeats(turns: tuple[Message, ...], pointer: str, found: Findings) -> tuple[Message, ...]:
    """Two turns of one speaker in a row are one: chat templates refuse or garble them."""
    if not any(is_repeat(left, right) for left, right in pairwise(turns)):
        return turns
    merged: list[Message] = []
    for position, turn in enumerate(turns):
        if not merged or not is_repeat(merged[-1], turn):
            merged.append(turn)
            continue
        here, last = f"{pointer}/{position}", merged[-1]
        if last.weight != turn.weight or last.parts or turn.parts or last.reasoning or turn.reasoning:
            what = f"two {turn.role} turns in a row, not to be joined: weights or reasoning differ"
            found.refuse(here, what, turn.content)
        elif found.mend(
            here, f"two {turn.role} turns in a row", f"joined to one {turn.role} turn", turn.content
        ):
            joined = f"{last.content}{GAP}{turn.content}" if turn.content else last.content
            merged[-1] = replace(last, content=joined, tool_calls=turn.tool_calls)
    return tuple(merged)


def is_repeat(left: Message, right: Message) -> bool:
    """Whether one speaker goes on; someone else's name, or a call between, makes it another turn."""
    return (
        left.role == right.role
        and left.role in REPEATED_ROLES
        and left.name == right.name
        and not left.tool_calls
    )


def end_with_answer(turns: tuple[Message, ...], pointer: str, found: Findings) -> tuple[Message, ...]:
    """Leave out what stands behind the last answer, which nobody can learn from."""
    if not turns or turns[-1].role == "assistant" or all(turn.role != "assistant" for turn in turns):
        return turns
    end = max(position for position, turn in enumerate(turns) if turn.role == "assistant") + 1
    here = f"{pointer}/{len(turns) - 1}/role"
    fault, repair = "the last turn is not the assistant's", "turns behind the last answer left out"
    return turns[:end] if found.mend(here, fault, repair, turns[-1].role) else turns


def drop_greeting(turns: tuple[Message, ...], pointer: str, found: Findings) -> tuple[Message, ...]:
    """Leave out an answer that nothing stands before (ShareGPT logs begin in the middle)."""
    if len(turns) < 2:
        return turns
    start = 1 if turns[0].role in ("system", "developer") else 0
    if turns[start].role != "assistant":
        return turns
    fault, repair = "the conversation begins with the assistant", "first answer left out"
    if found.mend(f"{pointer}/{start}", fault, repair, turns[start].content):
        return turns[:start] + turns[start + 1 :]
    return turns


def check_turns(turns: Sequence[Message], pointer: str, found: Findings) -> None:
    """There must be an answer to learn from, at the end, and something that it answers."""
    answers = [turn for turn in turns if turn.role == "assistant"]
    if not answers:
        found.refuse(pointer, "the row has no assistant turn", [turn.role for turn in turns])
    elif len(turns) == 1:
        found.refuse(pointer, "nothing stands before the answer", [turns[0].role])
    elif not any(turn.is_learned for turn in answers):
        found.refuse(pointer, "every assistant turn has weight 0: there is nothing to learn", None)


def check_plain(turns: Sequence[Message], pointer: str, found: Findings) -> None:
    """Plain text stands alone, and something of it is learned."""
    others = [turn.role for turn in turns if turn.role != "text"]
    if others:
        found.refuse(pointer, "plain text and turns of a conversation stand in one row", others)
    elif not any(turn.is_learned for turn in turns):
        found.refuse(pointer, "every text has weight 0: there is nothing to learn", None)
