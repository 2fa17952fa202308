"""LLaMA-Factory's version 1: content in parts of type and value, and a `loss_weight` on each message.

Parts of text are joined, reasoning and calls go where OpenAI's format has them, and the weight of an answer
(0 or 1) becomes its `weight`; a weight of 0 on what is not an answer says what is true anyway.
"""

from typing import Any

from tunesmith.core.conversation import Example, Message
from tunesmith.core.formats.problems import Findings
from tunesmith.core.formats.shapes.chat import has_typed_values
from tunesmith.core.formats.shapes.keys import SHARED_KEYS, check_keys, read_metadata
from tunesmith.core.formats.shapes.messages import alias_of, read_message
from tunesmith.core.formats.shapes.pairs import Side, read_pair
from tunesmith.core.formats.shapes.port import Row, Shape, explained
from tunesmith.core.formats.shapes.sharegpt import Calls, read_function_call
from tunesmith.core.formats.shapes.tools import check_calls, read_tools
from tunesmith.core.formats.shapes.turns import settle

PAIR_KEYS = ("chosen_messages", "rejected_messages")
MESSAGE_KEYS = ("role", "content", "loss_weight")
PART_KEYS = ("type", "value")


def read_turns(value: object, pointer: str, found: Findings) -> tuple[Message, ...]:
    """Messages whose content is a list of parts."""
    if not isinstance(value, list) or not value:
        found.refuse(pointer, f"{pointer[1:]} must be a list of at least one message", value)
        return ()
    calls, turns = Calls(), []
    for position, entry in enumerate(value):
        here = f"{pointer}/{position}"
        if not isinstance(entry, dict):
            found.refuse(here, "a message must be an object with role and content", entry)
            continue
        counts = found.counts
        message = read_message(respelled(entry, here, found, calls), here, found)
        found.respell(counts, {"weight": "loss_weight"})
        if message is not None:
            turns.append(message)
    return tuple(turns)


def respelled(entry: dict[str, Any], pointer: str, found: Findings, calls: Calls) -> dict[str, Any]:
    """A message as OpenAI writes it."""
    check_keys(entry, MESSAGE_KEYS, pointer, found)
    role = entry.get("role")
    message: dict[str, Any] = {"role": role, "content": entry.get("content")}
    weight = entry.get("loss_weight")
    if weight is not None and (role == "assistant" or weight != 0):
        message["weight"] = weight
    is_result = isinstance(role, str) and alias_of(role) == "tool"
    if not is_result:
        calls.waiting.clear()
    if isinstance(message["content"], list):
        message |= read_parts(message["content"], f"{pointer}/content", found, calls)
    if is_result:
        message["tool_call_id"] = calls.answered()
        if message["tool_call_id"] is None:
            found.refuse(pointer, "a tool's result without a call before it", entry)
    return {key: value for key, value in message.items() if key in ("role", "content") or value is not None}


def read_parts(parts: list[Any], pointer: str, found: Findings, calls: Calls) -> dict[str, Any]:
    """Text, reasoning and calls of one message's content."""
    texts: dict[str, list[str]] = {"text": [], "reasoning": []}
    made: list[Any] = []
    for position, part in enumerate(parts):
        here = f"{pointer}/{position}"
        kind = part.get("type") if isinstance(part, dict) else None
        value = part.get("value") if isinstance(part, dict) else None
        if isinstance(part, dict):
            check_keys(part, PART_KEYS, here, found)
        if kind == "tool_call":
            made += read_function_call(value, f"{here}/value", found, calls) or ()
        elif isinstance(kind, str) and kind in texts and isinstance(value, str):
            texts[kind].append(value)
        else:
            found.refuse(
                here, 'a part must be {"type": "text" | "reasoning" | "tool_call", "value": …}', part
            )
    content = "".join(texts["text"])
    return {
        "content": content if texts["text"] else None,
        "reasoning_content": "".join(texts["reasoning"]) or None,
        "tool_calls": made or None,
    }


def fits_v1(row: Row) -> tuple[str, ...]:
    """Messages with parts of value, or with loss weights."""
    messages = row.get("messages")
    if not isinstance(messages, list) or not messages:
        return ()
    first = messages[0]
    if not isinstance(first, dict) or "from" in first or not has_typed_values(messages):
        return ()
    return explained(row, ("messages",), ("tools",))


def read_v1(row: Row, found: Findings) -> Example | None:
    """One conversation."""
    check_keys(row, ("messages", "tools", *SHARED_KEYS), "", found)
    before = len(found.problems)
    turns = read_turns(row.get("messages"), "/messages", found)
    tools, metadata = read_tools(row.get("tools"), found, wrap=True), read_metadata(row, found)
    if len(found.problems) > before:
        return None
    turns = settle(turns, "/messages", found)
    check_calls(turns, tools, "/messages", found)
    return Example(turns, tools, metadata)


def fits_v1_pair(row: Row) -> tuple[str, ...]:
    """Two whole conversations."""
    return explained(row, PAIR_KEYS, ("tools",))


def read_v1_pair(row: Row, found: Findings) -> Example | None:
    """Two conversations with one beginning."""
    check_keys(row, (*PAIR_KEYS, "tools", *SHARED_KEYS), "", found)
    before = len(found.problems)
    sides = [Side(f"/{key}", read_turns(row.get(key), f"/{key}", found)) for key in PAIR_KEYS]
    tools, metadata = read_tools(row.get("tools"), found, wrap=True), read_metadata(row, found)
    if len(found.problems) > before:
        return None
    return read_pair(Side("", ()), sides, found, tools=tools, metadata=metadata)


SHAPES = (
    Shape("llamafactory-v1", "messages with parts of type and value, loss_weight", fits_v1, read_v1),
    Shape("llamafactory-v1-pair", "chosen_messages and rejected_messages", fits_v1_pair, read_v1_pair),
)
