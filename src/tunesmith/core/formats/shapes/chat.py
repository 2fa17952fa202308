"""One parsed JSON value to an Example, with every problem found on the way.

Read are OpenAI's chat format, rows of plain text, and prompts with their completion.

A problem refuses the row.  A change is a mechanical repair or something left out; it is reported.
"""

import json
from collections.abc import Mapping
from difflib import get_close_matches
from typing import Any, cast

from tunesmith.core.conversation import ROLES, Example, Message, Role
from tunesmith.core.errors import nearest
from tunesmith.core.formats.problems import Findings, escape, shorten

SLIP_RATIO = 0.75
"""An unknown key this like a known one is taken for a slip of the pen."""

ROW_KEYS = ("messages", "tools", "metadata", "group")
MESSAGE_KEYS = ("role", "content", "name", "tool_calls", "tool_call_id", "weight")
PART_KEYS = ("type", "text", "weight")
PLAIN_SHAPES = (("prompt", "completion"), ("text",))
"""Keys of rows without turns; all but the last are read and not learned."""

SHAPES: tuple[tuple[frozenset[str], str], ...] = (
    (frozenset({"chosen", "rejected"}), "preference pairs (chosen, rejected)"),
    (
        frozenset({"preferred_output", "non_preferred_output"}),
        "preference pairs (preferred_output, non_preferred_output)",
    ),
    (frozenset({"messages", "label"}), "rated conversations (messages, label)"),
    (frozenset({"prompt", "completion", "label"}), "rated answers (prompt, completion, label)"),
    (frozenset({"completions", "labels"}), "stepwise labels (completions, labels)"),
    (frozenset({"instruction", "completions"}), "rated completions (instruction, completions)"),
    (frozenset({"conversations"}), "ShareGPT (conversations)"),
    (frozenset({"conversation"}), "ShareGPT (conversation)"),
    (frozenset({"instruction", "output"}), "Alpaca (instruction, output)"),
    (frozenset({"prompt", "response"}), "prompt and response"),
    (frozenset({"question", "answer"}), "question and answer"),
    (frozenset({"text", "label"}), "labelled texts (text, label)"),
)
"""Keys that give another shape away, the most telling first, and its name."""

ROLE_ALIASES = {
    "human": "user",
    "gpt": "assistant",
    "bot": "assistant",
    "model": "assistant",
    "ai": "assistant",
    "function": "tool",
    "observation": "tool",
}

UNREAD_KEYS = {
    "function_call": "function_call is not read: write tool_calls",
    "functions": "functions is not read: write tools",
    "refusal": "refusals are not read yet",
    "audio": "audio is not read: tunesmith is for text",
    "reasoning_content": "reasoning beside the answer is not read yet",
    "reasoning": "reasoning beside the answer is not read yet",
    "thinking": "reasoning beside the answer is not read yet",
}
"""Keys that change what is learned: refused when they hold something, never left out in silence."""

PART_KINDS = {
    "image_url": "image",
    "input_image": "image",
    "image": "image",
    "input_audio": "audio",
    "audio": "audio",
    "video": "video",
    "video_url": "video",
    "file": "file",
    "input_file": "file",
}


def read_row(value: object, found: Findings) -> Example | None:
    """Read one row; None, or an example that must not be used, when `found.problems` is not empty."""
    if not isinstance(value, dict):
        found.refuse("", 'a row must be an object: {"messages": […]}', value)
        return None
    if foreign := foreign_shape(value):
        found.refuse("", f"this shape is not read yet: {foreign}", value)
        return None
    for keys in PLAIN_SHAPES:
        if value.keys() >= set(keys) and "messages" not in value:
            return read_plain(value, keys, found)
    messages = value.get("messages")
    if not isinstance(messages, list) or not messages:
        reason = (
            missing_messages(value) if messages is None else "messages must be a list of at least one message"
        )
        found.refuse(
            "/messages" if "messages" in value else "", reason, messages if messages is not None else value
        )
        return None
    check_keys(value, ROW_KEYS, "", found)
    read = [
        read_message(message, f"/messages/{position}", found) for position, message in enumerate(messages)
    ]
    turns = tuple(message for message in read if message is not None)
    tools = read_tools(value.get("tools"), found)
    if len(turns) == len(messages):
        check = check_plain if any(turn.role == "text" for turn in turns) else check_turns
        check(turns, found)
        if tools and turns[0].role == "text":
            found.refuse("/tools", "plain text cannot offer tools", value["tools"])
    return Example(turns, tools, read_metadata(value, found))


def read_plain(row: Mapping[str, object], keys: tuple[str, ...], found: Findings) -> Example | None:
    """A row of plain text, or a prompt with its completion: verbatim, without a chat template."""
    check_keys(row, (*keys, "metadata", "group"), "", found)
    texts = []
    for key in keys:
        text = row[key]
        if isinstance(text, list):
            found.refuse(f"/{key}", f"{key} must be a text; a list of turns is written as messages", text)
        elif not isinstance(text, str):
            found.refuse(f"/{key}", f"{key} must be a text", text)
        elif not text.strip():
            found.refuse(f"/{key}", f"empty {key}", text)
        else:
            texts.append(text)
    metadata = read_metadata(row, found)
    if len(texts) < len(keys):
        return None
    messages = (*(Message("text", text, weight=0.0) for text in texts[:-1]), Message("text", texts[-1]))
    return Example(messages, metadata=metadata)


def foreign_shape(row: Mapping[str, object]) -> str | None:
    """The name of another known shape, when the keys say so."""
    for keys, name in SHAPES:
        if keys <= row.keys() and (
            "messages" in keys or "messages" not in row or keys == {"chosen", "rejected"}
        ):
            return name
    return None


def missing_messages(row: Mapping[str, object]) -> str:
    """What to say about a row without messages."""
    meant = get_close_matches("messages", row, n=1, cutoff=SLIP_RATIO)
    return "the key 'messages' is missing" + (f"; is it {shorten(meant[0])!r}?" if meant else "")


def check_keys(row: Mapping[str, object], known: tuple[str, ...], pointer: str, found: Findings) -> None:
    """Unknown keys: refused when they matter or look like a slip, else left out and reported."""
    for key in (key for key in row if key not in known):
        value = row[key]
        if value is not None and key in UNREAD_KEYS:
            found.refuse(f"{pointer}/{escape(key)}", UNREAD_KEYS[key], value)
        elif value is not None and (meant := get_close_matches(key, known, n=1, cutoff=SLIP_RATIO)):
            found.refuse(f"{pointer}/{escape(key)}", f"unknown key; did you mean {meant[0]!r}?", value)
        else:
            found.change(f"{pointer}/{escape(key)}", f"unknown key {shorten(key)!r} left out", value)


def read_message(value: object, pointer: str, found: Findings) -> Message | None:
    """Read one message; None when it has a problem."""
    before = len(found.problems)
    if not isinstance(value, dict):
        found.refuse(pointer, "a message must be an object with role and content", value)
        return None
    check_keys(value, MESSAGE_KEYS, pointer, found)
    role = read_role(value, pointer, found)
    calls = read_calls(value.get("tool_calls"), role, f"{pointer}/tool_calls", found)
    content, parts = read_content(value.get("content"), role, f"{pointer}/content", found)
    says_nothing = not (content or "").strip() and role != "tool" and not calls
    if says_nothing and len(found.problems) == before:
        if "content" in value:
            found.refuse(f"{pointer}/content", "empty content", value["content"])
        else:
            found.refuse(pointer, "the key 'content' is missing", value)
    name = read_text(value.get("name"), f"{pointer}/name", found)
    call_id = read_text(value.get("tool_call_id"), f"{pointer}/tool_call_id", found)
    if role == "tool" and call_id is None:
        found.refuse(pointer, "a tool message needs tool_call_id", value)
    weight = read_weight(value.get("weight"), role, f"{pointer}/weight", found)
    if parts and weight is not None:
        found.refuse(f"{pointer}/weight", "a weight stands on the message and on its parts", weight)
    if len(found.problems) > before:
        return None
    if role == "tool" and content is None:
        content = ""
    return Message(cast(Role, role), content, name, calls, call_id, weight, parts)


def read_role(message: Mapping[str, object], pointer: str, found: Findings) -> str:
    """The role, checked."""
    role = message.get("role")
    if role is None:
        found.refuse(pointer, "the key 'role' is missing", message)
    elif not isinstance(role, str) or role not in ROLES:
        alias = ROLE_ALIASES.get(role.lower()) if isinstance(role, str) else None
        hint = f"did you mean {alias!r}?" if alias else nearest(str(role), ROLES)
        found.refuse(f"{pointer}/role", f"unknown role; {hint}", role)
    return role if isinstance(role, str) else ""


def read_content(
    value: object, role: str, pointer: str, found: Findings
) -> tuple[str | None, tuple[tuple[str, float], ...]]:
    """The text, and its parts when they have weights.

    A list of text parts without weights is joined (a change); other parts are refused by name.
    """
    if value is None or isinstance(value, str):
        return value, ()
    if not isinstance(value, list):
        found.refuse(pointer, "content must be a text", value)
        return None, ()
    read = [read_part(part, role, f"{pointer}/{position}", found) for position, part in enumerate(value)]
    parts = [part for part in read if part is not None]
    text = "".join(part for part, _ in parts)
    if any(weight is not None for _, weight in parts):
        return text, tuple((part, 1.0 if weight is None else weight) for part, weight in parts)
    if len(parts) == len(value):
        found.change(pointer, "text parts joined to one text", value)
    return text, ()


def read_part(part: object, role: str, pointer: str, found: Findings) -> tuple[str, float | None] | None:
    """One part of content: its text and its weight, if it has one; None when it has a problem."""
    kind = part.get("type") if isinstance(part, dict) else None
    text = part.get("text") if isinstance(part, dict) else None
    if isinstance(kind, str) and kind in PART_KINDS:
        found.refuse(pointer, f"{PART_KINDS[kind]} parts are not read: tunesmith is for text", part)
    elif isinstance(part, dict) and kind == "text" and isinstance(text, str):
        check_keys(part, PART_KEYS, pointer, found)
        return text, read_weight(part.get("weight"), role, f"{pointer}/weight", found)
    else:
        found.refuse(pointer, 'a part of content must be {"type": "text", "text": …}', part)
    return None


def read_text(value: object, pointer: str, found: Findings) -> str | None:
    """An optional text."""
    if value is not None and not isinstance(value, str):
        found.refuse(pointer, f"{pointer.rsplit('/', 1)[-1]} must be a text", value)
        return None
    return value


def read_weight(value: object, role: str, pointer: str, found: Findings) -> float | None:
    """The weight of an assistant turn, of a part of one, or of plain text: 0 or 1."""
    if value is None:
        return None
    if role not in ("assistant", "text"):
        found.refuse(pointer, "only an assistant message has a weight", value)
    elif isinstance(value, bool) or value not in (0, 1):
        found.refuse(pointer, "weight must be 0 or 1", value)
    else:
        return float(cast(float, value))
    return None


def read_calls(value: object, role: str, pointer: str, found: Findings) -> tuple[Mapping[str, Any], ...]:
    """Tool calls of an assistant turn; arguments that are an object become the JSON text OpenAI uses."""
    if value is None or value == []:
        return ()
    if role != "assistant":
        found.refuse(pointer, "only an assistant message has tool_calls", value)
        return ()
    if not isinstance(value, list):
        found.refuse(pointer, "tool_calls must be a list", value)
        return ()
    calls = []
    for position, call in enumerate(value):
        function = call.get("function") if isinstance(call, dict) else None
        if not isinstance(function, dict) or not isinstance(function.get("name"), str):
            found.refuse(f"{pointer}/{position}", "a tool call needs function.name", call)
            continue
        arguments = function.get("arguments")
        here = f"{pointer}/{position}/function/arguments"
        if isinstance(arguments, dict):
            found.change(here, "arguments written as JSON text", arguments)
            call = {**call, "function": {**function, "arguments": json.dumps(arguments, ensure_ascii=False)}}
        elif not isinstance(arguments, str):
            found.refuse(here, "arguments must be JSON text", arguments)
        calls.append(call)
    return tuple(calls)


def read_tools(value: object, found: Findings) -> tuple[Mapping[str, Any], ...]:
    """Declared tools; a list written as JSON text (as some exporters do) is read."""
    if isinstance(value, str):
        try:
            parsed = json.loads(value)
        except (ValueError, RecursionError):
            parsed = None
        if isinstance(parsed, list):
            found.change("/tools", "tools read from JSON text", value)
            value = parsed
    if value is None:
        return ()
    if not isinstance(value, list):
        found.refuse("/tools", "tools must be a list", value)
        return ()
    for position, tool in enumerate(value):
        function = tool.get("function") if isinstance(tool, dict) else None
        if not isinstance(function, dict) or not isinstance(function.get("name"), str):
            found.refuse(f"/tools/{position}", "a tool needs function.name", tool)
    return tuple(tool for tool in value if isinstance(tool, dict))


def read_metadata(row: Mapping[str, object], found: Findings) -> dict[str, Any]:
    """Metadata as written; the row's `group` joins it as `group_id`."""
    given = row.get("metadata")
    if given is not None and not isinstance(given, dict):
        found.refuse("/metadata", "metadata must be an object", given)
        return {}
    metadata: dict[str, Any] = dict(given or {})
    named = [("/metadata/group_id", metadata.get("group_id")), ("/group", row.get("group"))]
    for pointer, group in named:
        if group is not None and (isinstance(group, bool) or not isinstance(group, str | int) or group == ""):
            found.refuse(pointer, "a group must be a text or a whole number", group)
    groups = {str(group) for _, group in named if group is not None}
    if len(groups) > 1:
        found.refuse("/group", "group and metadata.group_id differ", row.get("group"))
    if row.get("group") is not None:
        metadata["group_id"] = row["group"]
    return metadata


def check_turns(turns: tuple[Message, ...], found: Findings) -> None:
    """There must be an answer to learn from, at the end, and something that it answers."""
    answers = [turn for turn in turns if turn.role == "assistant"]
    last = f"/messages/{len(turns) - 1}"
    if not answers:
        found.refuse("/messages", "the row has no assistant turn", [turn.role for turn in turns])
    elif turns[-1].role != "assistant":
        found.refuse(f"{last}/role", "the last turn is not the assistant's", turns[-1].role)
    elif len(turns) == 1:
        found.refuse("/messages", "nothing stands before the answer", [turns[0].role])
    elif not any(turn.is_learned for turn in answers):
        found.refuse("/messages", "every assistant turn has weight 0: there is nothing to learn", None)


def check_plain(turns: tuple[Message, ...], found: Findings) -> None:
    """Plain text stands alone, and something of it is learned."""
    others = [turn.role for turn in turns if turn.role != "text"]
    if others:
        found.refuse("/messages", "plain text and turns of a conversation stand in one row", others)
    elif not any(turn.is_learned for turn in turns):
        found.refuse("/messages", "every text has weight 0: there is nothing to learn", None)
