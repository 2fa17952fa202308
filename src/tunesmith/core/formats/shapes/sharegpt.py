"""ShareGPT: `conversations` of `from` and `value`, as LLaMA-Factory, Axolotl and FastChat read it.

Its words for speakers are its own, so they are no repair; calls and their results are turns of their own
(`function_call`, `observation`) and get ids here, `call_1` and so on, because OpenAI's format needs them.
"""

import json
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from tunesmith.core.conversation import Example, Message
from tunesmith.core.formats.problems import Findings
from tunesmith.core.formats.shapes.chat import is_chat
from tunesmith.core.formats.shapes.keys import SHARED_KEYS, check_keys, missing_key, read_label, read_metadata
from tunesmith.core.formats.shapes.messages import ROLE_ALIASES, alias_of, from_cell, read_message
from tunesmith.core.formats.shapes.pairs import Side, read_pair
from tunesmith.core.formats.shapes.port import Row, Shape, explained
from tunesmith.core.formats.shapes.tools import check_calls, read_tools
from tunesmith.core.formats.shapes.turns import drop_greeting, settle

LIST_KEYS = ("conversations", "conversation", "messages")
SPELLED = {"content": "value", "role": "from"}
LABELS = ("label", "kto_tag")


def list_key(row: Row) -> str | None:
    """The key of the turns."""
    for key in LIST_KEYS[:2]:
        if key in row:
            return key
    return "messages" if "messages" in row and not is_chat(row) and has_from(row["messages"]) else None


def has_from(messages: object) -> bool:
    """Whether messages name their speaker `from`."""
    return (
        isinstance(messages, list)
        and bool(messages)
        and isinstance(messages[0], dict)
        and "from" in messages[0]
    )


def fits_with(row: Row, *more: str) -> tuple[str, ...]:
    """The turns, and the other keys that must be there."""
    key = list_key(row)
    return explained(row, (key, *more), ("system", "tools")) if key is not None else ()


class Calls:
    """Gives calls their ids, and results the id of the call that they answer."""

    def __init__(self) -> None:
        self.count = 0
        self.waiting: list[str] = []

    def call(self) -> str:
        """The id of a new call."""
        self.count += 1
        self.waiting.append(f"call_{self.count}")
        return self.waiting[-1]

    def answered(self) -> str | None:
        """The id of the oldest call without a result."""
        return self.waiting.pop(0) if self.waiting else None


def read_turns(value: object, pointer: str, found: Findings, calls: Calls) -> tuple[Message, ...]:
    """Turns in ShareGPT's words."""
    value = from_cell(value, pointer, found)
    if not isinstance(value, list) or not value:
        found.refuse(pointer, f"{pointer[1:]} must be a list of at least one turn", value)
        return ()
    turns: list[Message] = []
    for position, entry in enumerate(value):
        read = read_turn(entry, f"{pointer}/{position}", found, calls)
        if read is None:
            continue
        last = turns[-1] if turns else None
        if (
            last is not None
            and last.role == read.role == "assistant"
            and read.tool_calls
            and not read.content
            and (last.weight, last.name) == (read.weight, read.name)
            and read.reasoning is None
        ):
            # words, then a call: one turn of the assistant
            turns[-1] = replace(last, tool_calls=(*last.tool_calls, *read.tool_calls))
        else:
            turns.append(read)
    return tuple(turns)


def read_turn(value: object, pointer: str, found: Findings, calls: Calls) -> Message | None:
    """One turn; None when it cannot be read."""
    if not isinstance(value, dict):
        found.refuse(pointer, "a turn must be an object with from and value", value)
        return None
    speaker = value.get("from")
    if speaker is None or not isinstance(speaker, str):
        if "from" in value or "role" not in value:
            found.refuse(pointer, "a turn needs a text under 'from'", value)
            return None
        own = value.get("role")
        if isinstance(own, str) and own.lower() in ROLE_ALIASES:
            value = {**value, "role": ROLE_ALIASES[own.lower()]}
        return read_message(value, pointer, found)
    counts = found.counts
    respelled = {key: entry for key, entry in value.items() if key not in ("from", "value")}
    if "value" in value:
        respelled["content"] = value["value"]
    message = read_spoken(speaker, respelled, pointer, found, calls)
    found.respell(counts, SPELLED)
    return message


def read_spoken(
    speaker: str, turn: dict[str, Any], pointer: str, found: Findings, calls: Calls
) -> Message | None:
    """A turn whose text stands under `content`, by who speaks."""
    if speaker == "function_call":
        made = read_function_call(turn.get("content"), f"{pointer}/content", found, calls)
        spoken = {**turn, "role": "assistant", "content": None, "tool_calls": list(made or ())}
        return None if made is None else read_message(spoken, pointer, found)
    turn["role"] = alias_of(speaker) or speaker
    if turn["role"] != "tool":
        calls.waiting.clear()
    else:
        turn["tool_call_id"] = calls.answered()
        if turn["tool_call_id"] is None:
            found.refuse(pointer, "an observation without a call before it", turn.get("content"))
            return None
    return read_message(turn, pointer, found)


def read_function_call(
    value: object, pointer: str, found: Findings, calls: Calls
) -> tuple[Mapping[str, Any], ...] | None:
    """`{"name", "arguments"}` as JSON text, or a list of them."""
    try:
        parsed = json.loads(value) if isinstance(value, str) else value
    except (ValueError, RecursionError):
        parsed = None
    entries = parsed if isinstance(parsed, list) else [parsed]
    made = []
    for entry in entries:
        name = entry.get("name") if isinstance(entry, dict) else None
        if not isinstance(entry, dict) or not isinstance(name, str):
            found.refuse(pointer, 'a call must be JSON text of {"name": …, "arguments": …}', value)
            return None
        arguments = entry.get("arguments", {})
        text = arguments if isinstance(arguments, str) else json.dumps(arguments, ensure_ascii=False)
        made.append({"id": calls.call(), "type": "function", "function": {"name": name, "arguments": text}})
    return tuple(made)


def system_turn(row: Row, turns: tuple[Message, ...], found: Findings) -> tuple[Message, ...]:
    """The turns, with the row's own system prompt before them."""
    given = row.get("system")
    if given is None or given == "":
        return turns
    if not isinstance(given, str) or not given.strip():
        found.refuse("/system", "system must be a text", given)
    elif turns and turns[0].role == "system":
        found.refuse("/system", "a system prompt stands beside the turns and among them", given)
    else:
        return (Message("system", given), *turns)
    return turns


def read_base(row: Row, more: tuple[str, ...], found: Findings) -> tuple[str, tuple[Message, ...], Calls]:
    """Where the turns stand, the turns with their system prompt, and the ids of calls so far."""
    key = list_key(row) or "conversations"
    check_keys(row, (key, "system", "tools", *more, *SHARED_KEYS), "", found)
    calls = Calls()
    if key not in row:
        found.refuse("", missing_key(row, key), row)
        return f"/{key}", (), calls
    return f"/{key}", system_turn(row, read_turns(row[key], f"/{key}", found, calls), found), calls


def read_sharegpt(
    row: Row, found: Findings, *, label: bool | None = None, keys: tuple[str, ...] = ()
) -> Example | None:
    """One conversation."""
    before = len(found.problems)
    pointer, turns, _ = read_base(row, keys, found)
    tools, metadata = read_tools(row.get("tools"), found, wrap=True), read_metadata(row, found)
    if len(found.problems) > before:
        return None
    turns = settle(drop_greeting(turns, pointer, found), pointer, found)
    check_calls(turns, tools, pointer, found)
    return Example(turns, tools, metadata, label=label)


def fits_sharegpt(row: Row) -> tuple[str, ...]:
    """Turns alone."""
    return fits_with(row)


def fits_rated(row: Row) -> tuple[str, ...]:
    """Turns and a verdict."""
    return next((keys for label in LABELS if (keys := fits_with(row, label))), ())


def read_rated(row: Row, found: Findings) -> Example | None:
    """A conversation with a verdict on its last answer."""
    key = next((name for name in LABELS if name in row), LABELS[0])
    label = read_label(row.get(key), f"/{key}", found)
    example = read_sharegpt(row, found, label=label, keys=(key,))
    return example if label is not None else None


def fits_ranking(row: Row) -> tuple[str, ...]:
    """Turns, and two answers, each a turn."""
    return fits_with(row, "chosen", "rejected")


def read_ranking(row: Row, found: Findings) -> Example | None:
    """A conversation that ends with a question, and two answers to it (LLaMA-Factory's ranking data)."""
    before = len(found.problems)
    pointer, turns, calls = read_base(row, ("chosen", "rejected"), found)
    tools, metadata = read_tools(row.get("tools"), found, wrap=True), read_metadata(row, found)
    if turns and not found.problems and turns[-1].role not in ("user", "tool"):
        found.refuse(
            pointer, "the conversation does not end with a question (even number of turns)", turns[-1].role
        )
    sides = []
    for key in ("chosen", "rejected"):
        own = Calls()
        own.count, own.waiting = calls.count, list(calls.waiting)
        given = row.get(key)
        answer = read_turns(given if isinstance(given, list) else [given], f"/{key}", found, own)
        sides.append(Side(f"/{key}", answer))
    if len(found.problems) > before:
        return None
    return read_pair(Side(pointer, turns), sides, found, tools=tools, metadata=metadata)


SHAPES = (
    Shape("sharegpt", "conversations of from and value, system, tools", fits_sharegpt, read_sharegpt),
    Shape("sharegpt-rated", "conversations and a label (kto_tag)", fits_rated, read_rated),
    Shape(
        "llamafactory-ranking", "conversations, and a chosen and a rejected turn", fits_ranking, read_ranking
    ),
)
