"""OpenAI's chat format, and our own rows in it: pairs, rated conversations and graded steps.

Source: the fine-tuning guide of the OpenAI API (`messages`, `tools`, `weight`).  What `Example.to_json`
writes is read here: `messages` with `chosen` and `rejected`, with `label`, or with `steps`.
"""

from collections.abc import Sequence
from typing import cast

from tunesmith.core.conversation import Example, GradedStep, Message, Role
from tunesmith.core.formats.problems import Findings
from tunesmith.core.formats.shapes.keys import SHARED_KEYS, check_keys, missing_key, read_label, read_metadata
from tunesmith.core.formats.shapes.keys import read_text as read_needed
from tunesmith.core.formats.shapes.messages import read_messages
from tunesmith.core.formats.shapes.pairs import Side, check_prompt, read_pair
from tunesmith.core.formats.shapes.port import Row, Shape, explained
from tunesmith.core.formats.shapes.tools import check_calls, read_tools
from tunesmith.core.formats.shapes.turns import settle

ROW_KEYS = ("messages", "tools", *SHARED_KEYS)
SPEAKERS = frozenset(("system", "developer", "user", "assistant"))


def is_chat(row: Row) -> bool:
    """Whether `messages` holds OpenAI's messages, and not ShareGPT's or LLaMA-Factory's."""
    if "messages" not in row:
        return False
    messages = row["messages"]
    if not isinstance(messages, list) or not messages:
        return True
    first = messages[0]
    return not isinstance(first, dict) or not ("from" in first or has_typed_values(messages))


def has_typed_values(messages: Sequence[object]) -> bool:
    """Whether one of the messages is written as LLaMA-Factory's version 1 has it."""
    return any(isinstance(message, dict) and is_of_v1(message) for message in messages)


def is_of_v1(message: Row) -> bool:
    """Whether a message has a `loss_weight`, or parts of `value`."""
    content = message.get("content")
    parts = content if isinstance(content, list) else []
    return "loss_weight" in message or any(isinstance(part, dict) and "value" in part for part in parts)


def fits_chat(row: Row) -> tuple[str, ...]:
    """`messages`, with or without tools."""
    return explained(row, ("messages",), ("tools",)) if is_chat(row) else ()


def read_plain(row: Row) -> Example | None:
    """A row that nothing can be said about, in a third of the time; None for any other.

    Texts by turns, an answer last, and no other key.
    """
    messages = row.get("messages")
    if len(row) != 1 or not isinstance(messages, list):
        return None
    turns, speaker = [], ""
    for message in messages:
        if not isinstance(message, dict) or len(message) != 2:
            return None
        role, content = message.get("role"), message.get("content")
        if (
            not isinstance(role, str)
            or not isinstance(content, str)
            or role == speaker
            or role not in SPEAKERS
            or not content
            or content.isspace()
            or "think>" in content
        ):
            return None
        turns.append(Message(cast(Role, role), content))
        speaker = role
    return Example(tuple(turns)) if len(turns) > 1 and speaker == "assistant" else None


def read_chat(row: Row, found: Findings) -> Example | None:
    """One conversation, or plain text as messages of role `text`."""
    if not found.fix and (example := read_plain(row)) is not None:
        return example
    messages = row.get("messages")
    if messages is None:
        found.refuse("", missing_key(row, "messages"), row)
        return None
    check_keys(row, ROW_KEYS, "", found)
    before = len(found.problems)
    turns = read_messages(messages, "/messages", found)
    tools = read_tools(row.get("tools"), found)
    metadata = read_metadata(row, found)
    if len(found.problems) == before and (turns or not found.problems):
        turns = settle(turns, "/messages", found)
        if tools and turns and turns[0].role == "text":
            found.refuse("/tools", "plain text cannot offer tools", row["tools"])
        check_calls(turns, tools, "/messages", found)
    return Example(turns, tools, metadata)


def fits_rated(row: Row) -> tuple[str, ...]:
    """`messages` and a label."""
    return explained(row, ("messages", "label"), ("tools",)) if is_chat(row) else ()


def read_rated(row: Row, found: Findings) -> Example | None:
    """A conversation with a verdict on its last answer."""
    label = read_label(row.get("label"), "/label", found)
    example = read_chat({key: value for key, value in row.items() if key != "label"}, found)
    if example is None or label is None:
        return None
    return Example(example.messages, example.tools, example.metadata, label=label)


def fits_pair(row: Row) -> tuple[str, ...]:
    """`messages` with two answers to them, each a list of messages."""
    return explained(row, ("messages", "chosen", "rejected"), ("tools",)) if is_chat(row) else ()


def read_chat_pair(row: Row, found: Findings) -> Example | None:
    """What both answers share in `messages`, then each answer's own turns."""
    check_keys(row, (*ROW_KEYS, "chosen", "rejected"), "", found)
    before = len(found.problems)
    sides = [
        Side(f"/{key}", read_messages(row.get(key), f"/{key}", found))
        for key in ("messages", "chosen", "rejected")
    ]
    tools, metadata = read_tools(row.get("tools"), found), read_metadata(row, found)
    if len(found.problems) > before:
        return None
    return read_pair(sides[0], sides[1:], found, tools=tools, metadata=metadata)


def fits_steps(row: Row) -> tuple[str, ...]:
    """`messages` and graded steps."""
    return explained(row, ("messages", "steps"), ()) if is_chat(row) else ()


def read_steps(row: Row, found: Findings) -> Example | None:
    """A prompt, then steps, each with a verdict."""
    check_keys(row, ("messages", "steps", *SHARED_KEYS), "", found)
    before = len(found.problems)
    turns = read_messages(row.get("messages"), "/messages", found)
    given, steps = row.get("steps"), []
    if not isinstance(given, list) or not given:
        found.refuse("/steps", "steps must be a list of at least one step", given)
        return None
    for position, step in enumerate(given):
        here = f"/steps/{position}"
        if not isinstance(step, dict):
            found.refuse(here, "a step must be an object with text and label", step)
            continue
        text = read_needed(step.get("text"), f"{here}/text", found)
        label = read_label(step.get("label"), f"{here}/label", found)
        if text is not None and label is not None:
            steps.append(GradedStep(text, label))
    metadata = read_metadata(row, found)
    if len(found.problems) > before:
        return None
    check_prompt(Side("/messages", turns), found)
    return Example(turns, metadata=metadata, steps=tuple(steps))


SHAPES = (
    Shape("openai-chat", "messages with role and content, tools, weights", fits_chat, read_chat),
    Shape("rated-chat", "messages and a label (LLaMA-Factory KTO)", fits_rated, read_rated),
    Shape("pair-chat", "messages, and chosen and rejected answers to them", fits_pair, read_chat_pair),
    Shape("steps-chat", "messages, and steps each with text and label", fits_steps, read_steps),
)
