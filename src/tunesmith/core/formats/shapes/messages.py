"""One message of OpenAI's chat format, checked.  Other layouts are respelled to it and read here."""

import re
from collections.abc import Mapping
from typing import cast

from tunesmith.core.conversation import ROLES, Message, Role
from tunesmith.core.errors import nearest
from tunesmith.core.formats.problems import Findings
from tunesmith.core.formats.shapes.keys import check_keys, trimmed
from tunesmith.core.formats.shapes.tools import read_calls
from tunesmith.core.formats.strict_json import parse_json

REASONING_KEYS = ("reasoning_content", "thinking", "reasoning")
"""Where layouts keep what was thought before an answer: DeepSeek and vLLM, harmony, OpenRouter."""
MESSAGE_KEYS = ("role", "content", "name", "tool_calls", "tool_call_id", "weight", *REASONING_KEYS)
PART_KEYS = ("type", "text", "weight")
THINK = re.compile(r"</?think>")

ROLE_ALIASES = {
    "human": "user",
    "gpt": "assistant",
    "chatgpt": "assistant",
    "bing": "assistant",
    "bard": "assistant",
    "chatbot": "assistant",
    "bot": "assistant",
    "model": "assistant",
    "ai": "assistant",
    "function": "tool",
    "observation": "tool",
}

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


def read_messages(value: object, pointer: str, found: Findings) -> tuple[Message, ...]:
    """A list of messages; what cannot be read is missing and stands in the findings.

    The cell of a table may hold the list as JSON.
    """
    value = from_cell(value, pointer, found)
    if not isinstance(value, list) or not value:
        found.refuse(pointer, f"{pointer[1:]} must be a list of at least one message", value)
        return ()
    read = [read_message(message, f"{pointer}/{position}", found) for position, message in enumerate(value)]
    return tuple(message for message in read if message is not None)


def from_cell(value: object, pointer: str, found: Findings) -> object:
    """The list that a text holds as JSON; any other value as it is."""
    if not isinstance(value, str) or not value.lstrip().startswith("["):
        return value
    try:
        read = parse_json(value)
    except ValueError:
        return value
    found.change(pointer, "JSON in a text read as a list", value)
    return read


def read_message(value: object, pointer: str, found: Findings) -> Message | None:
    """Read one message; None when it has a problem, or is empty and left out (with --fix)."""
    before = len(found.problems)
    if not isinstance(value, dict):
        found.refuse(pointer, "a message must be an object with role and content", value)
        return None
    check_keys(value, MESSAGE_KEYS, pointer, found)
    role = read_role(value, pointer, found)
    calls = read_calls(value.get("tool_calls"), role, f"{pointer}/tool_calls", found)
    content, parts = read_content(value.get("content"), role, f"{pointer}/content", found)
    name = optional_text(value.get("name"), f"{pointer}/name", found)
    call_id = optional_text(value.get("tool_call_id"), f"{pointer}/tool_call_id", found)
    if role == "tool" and call_id is None:
        found.refuse(pointer, "a tool message needs tool_call_id", value)
    weight = read_weight(value.get("weight"), role, f"{pointer}/weight", found)
    reasoning = read_reasoning(value, role, pointer, found)
    if parts and weight is not None:
        found.refuse(f"{pointer}/weight", "a weight stands on the message and on its parts", weight)
    if len(found.problems) > before or (not calls and says_nothing(value, content, role, pointer, found)):
        return None
    if content is not None and "think>" in content and not parts:
        content = balance_thinking(content, reasoning, f"{pointer}/content", found)
    if role == "tool" and content is None:
        content = ""
    return Message(cast(Role, role), content, name, calls, call_id, weight, parts, reasoning)


def says_nothing(
    value: Mapping[str, object], content: str | None, role: str, pointer: str, found: Findings
) -> bool:
    """Whether a turn is empty; with --fix it is left out."""
    if role == "tool" or (content and not content.isspace()):
        return False
    if "content" not in value:
        found.refuse(pointer, "the key 'content' is missing", value)
    else:
        found.mend(f"{pointer}/content", "empty content", "empty turn left out", value["content"])
    return True


def read_role(message: Mapping[str, object], pointer: str, found: Findings) -> str:
    """The role, checked."""
    role = message.get("role")
    if role is None:
        found.refuse(pointer, "the key 'role' is missing", message)
    elif not isinstance(role, str) or role not in ROLES:
        alias = alias_of(role) if isinstance(role, str) else None
        if alias is None:
            found.refuse(f"{pointer}/role", f"unknown role; {nearest(str(role), ROLES)}", role)
        elif found.mend(f"{pointer}/role", f"unknown role; did you mean {alias!r}?", f"role {alias}", role):
            return alias
    return role if isinstance(role, str) else ""


def alias_of(role: str) -> str | None:
    """The role that another word, or other case, means."""
    plain = role.strip().lower()
    return plain if plain in ROLES else ROLE_ALIASES.get(plain)


def read_content(
    value: object, role: str, pointer: str, found: Findings
) -> tuple[str | None, tuple[tuple[str, float], ...]]:
    """The text, and its parts when they have weights.

    A list of text parts without weights is joined (a change); other parts are refused by name.
    """
    if isinstance(value, str):
        return trimmed(value, pointer, found), ()
    if value is None:
        return None, ()
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


def optional_text(value: object, pointer: str, found: Findings) -> str | None:
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


def read_reasoning(message: Mapping[str, object], role: str, pointer: str, found: Findings) -> str | None:
    """What was thought before the answer, under whichever key."""
    given = [(key, message[key]) for key in REASONING_KEYS if key in message]
    given = [(key, value) for key, value in given if value is not None and value != ""]
    if not given:
        return None
    key, value = given[0]
    if any(other != value for _, other in given[1:]):
        found.refuse(f"{pointer}/{given[1][0]}", f"{key} and {given[1][0]} differ", given[1][1])
    if role != "assistant":
        found.refuse(f"{pointer}/{key}", "only an assistant message has reasoning", value)
    return optional_text(value, f"{pointer}/{key}", found)


def balance_thinking(content: str, reasoning: str | None, pointer: str, found: Findings) -> str:
    """Refuse `<think>` tags that do not pair; a missing first one is put back with --fix.

    Some templates write the first tag into the prompt (DeepSeek R1), so recorded answers lack it.
    """
    tags = THINK.findall(content)
    if tags == ["<think>", "</think>"] * (len(tags) // 2):
        return content
    if tags == ["</think>"] and reasoning is None:
        if found.mend(pointer, "</think> without <think>", "<think> put before it", content):
            return f"<think>{content}"
        return content
    found.refuse(pointer, "the <think> tags do not pair", content)
    return content
