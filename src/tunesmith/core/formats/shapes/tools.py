"""Tools that a conversation offers, and the calls and results in it.

A tool is written as OpenAI has it; a bare function (ShareGPT) is wrapped, a list written as JSON text is
read.  Arrow gives every tool the keys of all others, filled with null: such keys are taken out.
"""

import json
from collections.abc import Mapping, Sequence
from typing import Any

from tunesmith.core.conversation import Message
from tunesmith.core.formats.problems import Findings
from tunesmith.core.formats.strict_json import BadJson, parse_json

NULL_MEANS_SOMETHING = ("default", "const", "enum", "examples")
"""Keys of JSON Schema whose null is a value."""


def read_tools(value: object, found: Findings, *, wrap: bool = False) -> tuple[Mapping[str, Any], ...]:
    """Declared tools; a list written as JSON text (as some exporters do) is read.

    `wrap`: entries without `function` are functions themselves.
    """
    if value is None:
        return ()
    if isinstance(value, str):
        value = tools_of_text(value, found, wrap=wrap)
    if not isinstance(value, list):
        found.refuse("/tools", "tools must be a list", value)
        return ()
    tools = []
    for position, tool in enumerate(value):
        if wrap and isinstance(tool, dict) and "function" not in tool and isinstance(tool.get("name"), str):
            tool = {"type": "function", "function": tool}
        function = tool.get("function") if isinstance(tool, dict) else None
        if not isinstance(function, dict) or not isinstance(function.get("name"), str):
            found.refuse(f"/tools/{position}", "a tool needs function.name", tool)
        elif isinstance(tool, dict):
            tools.append(without_padding(tool, f"/tools/{position}", found))
    return tuple(tools)


def tools_of_text(text: str, found: Findings, *, wrap: bool) -> object:
    """The list that a text holds; `wrap` marks a layout that writes tools as text anyway."""
    if wrap and not text.strip():
        return []
    try:
        parsed = parse_json(text)
    except BadJson:
        return text
    if not isinstance(parsed, list):
        return text
    if not wrap:
        found.change("/tools", "tools read from JSON text", text)
    elif not parsed:
        found.note("/tools", "the row has a list of tools, and it is empty", text)
    return parsed


def without_padding(tool: dict[str, Any], pointer: str, found: Findings) -> dict[str, Any]:
    """A tool without the null keys that Arrow brought from other tools."""
    if "null" not in json.dumps(tool):
        return tool
    pruned: dict[str, Any] = prune(tool)
    if pruned != tool:
        found.change(pointer, "null keys taken out (Arrow fills in the keys of other rows)", tool)
    return pruned


def prune(value: Any) -> Any:
    """JSON Schema without keys that are null, but for those whose null is a value."""
    if isinstance(value, list):
        return [prune(entry) for entry in value]
    if not isinstance(value, dict):
        return value
    return {
        key: below if key in NULL_MEANS_SOMETHING else prune(below)
        for key, below in value.items()
        if below is not None or key in NULL_MEANS_SOMETHING
    }


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


def check_calls(
    turns: Sequence[Message], tools: Sequence[Mapping[str, Any]], pointer: str, found: Findings
) -> None:
    """Note calls of tools that are not offered, calls without results, and results without calls."""
    if not any(turn.tool_calls or turn.role == "tool" for turn in turns):
        return
    offered = {tool["function"]["name"] for tool in tools}
    waiting: dict[str, str] = {}
    for position, turn in enumerate(turns):
        here = f"{pointer}/{position}"
        if turn.role != "tool" and waiting:
            found.note(here, "a tool call has no result before the next turn", list(waiting.values()))
            waiting = {}
        for call in turn.tool_calls:
            name = call["function"]["name"]
            if not offered:
                found.note(here, "a tool is called, and the row offers none", name)
            elif name not in offered:
                found.note(here, "a tool is called that the row does not offer", name)
            check_arguments(call["function"]["arguments"], here, found)
            waiting[str(call.get("id"))] = name
        if turn.role == "tool" and waiting.pop(str(turn.tool_call_id), None) is None:
            found.note(here, "a result answers no call before it", turn.tool_call_id)


def check_arguments(arguments: str, pointer: str, found: Findings) -> None:
    """Note arguments that are no JSON object: the model would learn to write them so."""
    try:
        parsed = json.loads(arguments)
    except (ValueError, RecursionError):
        parsed = None
    if not isinstance(parsed, dict):
        found.note(pointer, "the arguments of a call are no JSON object", arguments)
