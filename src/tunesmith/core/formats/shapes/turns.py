"""What a sequence of turns must be, and the repairs that --fix makes to it."""

from collections.abc import Sequence
from dataclasses import replace

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
    """Turns of one speaker in a row: OpenAI's format allows them, so they stay, with one note for the row.

    With --fix they are one turn, unless their weights differ, or parts or reasoning stand in one of them.
    Many chat templates cannot render such turns: the check `repeated_role` looks for them.
    """
    repeats = [place for place in range(1, len(turns)) if is_repeat(turns[place - 1], turns[place])]
    if not repeats:
        return turns
    if not found.fix:
        note_repeat(turns, repeats[0], pointer, "--fix joins them", found)
        return turns
    merged: list[Message] = []
    apart: list[int] = []
    for place, turn in enumerate(turns):
        if not merged or not is_repeat(merged[-1], turn):
            merged.append(turn)
        elif can_join(merged[-1], turn):
            merged[-1] = join(merged[-1], turn)
            found.change(f"{pointer}/{place}", f"joined to one {turn.role} turn", turn.content)
        else:
            merged.append(turn)
            apart.append(place)
    if apart:
        note_repeat(turns, apart[0], pointer, "not joined: weights, parts or reasoning differ", found)
    return tuple(merged)


def note_repeat(turns: Sequence[Message], place: int, pointer: str, why: str, found: Findings) -> None:
    """Say that a speaker goes on, and what becomes of it."""
    turn = turns[place]
    found.note(f"{pointer}/{place}", f"two {turn.role} turns in a row ({why})", turn.content)


def can_join(left: Message, right: Message) -> bool:
    """Whether nothing but the texts tells two turns apart."""
    return left.weight == right.weight and not any(
        turn.parts or turn.reasoning is not None for turn in (left, right)
    )


def join(left: Message, right: Message) -> Message:
    """One turn of two; a call of the second stays with it."""
    text = f"{left.content}{GAP}{right.content}" if right.content else left.content
    return replace(left, content=text, tool_calls=right.tool_calls)


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
