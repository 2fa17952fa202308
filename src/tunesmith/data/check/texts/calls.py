"""Checks of tool calls: against the tools that the row declares, and against their results."""

import json
from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from tunesmith.core.conversation import Example
from tunesmith.data.check.port import Check, Context, Fact, Finding, Found
from tunesmith.data.check.texts.parts import excerpt
from tunesmith.data.check.texts.personal import hide
from tunesmith.data.corpus import CorpusRow

MAX_DEPTH = 16
"""Arguments nested deeper than this are not compared with the declaration."""
MIN_ROWS_WITH_TOOL = 20
"""A tool declared in fewer rows may well not have been needed."""


class Call(NamedTuple):
    """One tool call of a row."""

    pointer: str
    name: str
    arguments: str
    call_id: str | None


def calls_of(example: Example) -> Iterator[Call]:
    """The tool calls of a row, in order."""
    for key, turns in (
        ("messages", example.messages),
        ("chosen", example.chosen),
        ("rejected", example.rejected),
    ):
        for place, turn in enumerate(turns):
            for number, call in enumerate(turn.tool_calls):
                function = call["function"]
                here = f"/{key}/{place}/tool_calls/{number}"
                yield Call(here, function["name"], function.get("arguments") or "", call.get("id"))


def declared(example: Example) -> dict[str, Mapping[str, Any]]:
    """Parameters (JSON schema) of each declared tool by name."""
    functions = [tool.get("function") for tool in example.tools]
    return {
        function["name"]: function.get("parameters") or {}
        for function in functions
        if isinstance(function, dict) and isinstance(function.get("name"), str)
    }


def find_undeclared(row: CorpusRow, threshold: float) -> Iterator[Found]:
    """Calls of tools that the row does not declare."""
    known = declared(row.example)
    for call in calls_of(row.example):
        if call.name not in known:
            yield Found(
                "error",
                hide(call.name)[:80],
                {"pointer": f"{call.pointer}/function/name", "text": hide(call.name)[:80]},
            )


def find_bad_arguments(row: CorpusRow, threshold: float) -> Iterator[Found]:
    """Arguments that are not a JSON object, or that do not fit the declared parameters."""
    known = declared(row.example)
    for call in calls_of(row.example):
        for place, fault in argument_faults(call.arguments, known.get(call.name)):
            pointer = f"{call.pointer}/function/arguments"
            evidence = {"pointer": pointer, "text": excerpt(call.arguments, 0, 60), "at": hide(place)[:80]}
            yield Found("error", hide(fault)[:120], evidence)


def argument_faults(arguments: str, schema: Mapping[str, Any] | None) -> Iterator[tuple[str, str]]:
    """Places and faults of a call's arguments; without a declaration they only have to be a JSON object."""
    try:
        value = json.loads(arguments or "{}")
    except (ValueError, RecursionError):
        yield "", "not JSON"
        return
    if not isinstance(value, dict):
        yield "", "not a JSON object"
    elif schema is not None:
        yield from misfits(value, schema, "", 0)


TYPES: Mapping[str, tuple[type, ...]] = {
    "object": (dict,), "array": (list,), "string": (str,), "boolean": (bool,), "null": (type(None),),
    "number": (int, float), "integer": (int,), "float": (int, float), "dict": (dict,), "list": (list,),
    "str": (str,), "int": (int,), "bool": (bool,),
}  # fmt: skip
"""Python types by JSON schema's type names, and by the Python names that are often written instead."""


def has_type(value: object, name: object) -> bool:
    """Whether a value has a type; unknown type names fit all, a whole float is an integer."""
    types = TYPES.get(name) if isinstance(name, str) else None
    if types is None:
        return True
    if isinstance(value, bool):
        return bool in types
    return isinstance(value, types) or (
        name in ("integer", "int") and isinstance(value, float) and value.is_integer()
    )


def misfits(value: object, schema: object, place: str, depth: int) -> Iterator[tuple[str, str]]:
    """Where a value leaves a JSON schema: type, enum, required, additionalProperties, properties, items.

    Other keywords of JSON schema are not looked at, so a fit is no proof.
    """
    if not isinstance(schema, dict) or depth > MAX_DEPTH:
        return
    kinds = schema.get("type")
    names = kinds if isinstance(kinds, list) else [kinds]
    if kinds is not None and not any(has_type(value, name) for name in names):
        yield place, f"not of type {'/'.join(map(str, names))}"
    choices = schema.get("enum")
    if isinstance(choices, list) and choices and value not in choices:
        yield place, "not one of the declared values"
    if isinstance(value, dict):
        yield from object_misfits(value, schema, place, depth)
    if isinstance(value, list):
        for number, item in enumerate(value):
            yield from misfits(item, schema.get("items"), f"{place}/{number}", depth + 1)


def object_misfits(
    value: Mapping[str, object], schema: Mapping[str, Any], place: str, depth: int
) -> Iterator[tuple[str, str]]:
    """The part of `misfits` about the keys of an object."""
    properties = schema.get("properties")
    properties = properties if isinstance(properties, dict) else {}
    required = schema.get("required")
    for key in required if isinstance(required, list) else ():
        if key not in value:
            yield f"{place}/{key}", "required and missing"
    for key, inner in value.items():
        if key in properties:
            yield from misfits(inner, properties[key], f"{place}/{key}", depth + 1)
        elif properties and schema.get("additionalProperties", False) is False:
            yield f"{place}/{key}", "not declared"


def find_missing_results(row: CorpusRow, threshold: float) -> Iterator[Found]:
    """Calls without a result, though the conversation goes on; and results without a call."""
    open_calls: dict[str, str] = {}
    unnamed = 0
    turns = row.example.messages
    for place, turn in enumerate(turns):
        if turn.role == "tool":
            is_known = turn.tool_call_id in open_calls
            if not is_known and not unnamed:
                evidence = {
                    "pointer": f"/messages/{place}/tool_call_id",
                    "text": hide(turn.tool_call_id or "")[:80],
                }
                yield Found("warning", "result without a call", evidence)
            unnamed -= not is_known and unnamed > 0
            open_calls.pop(turn.tool_call_id or "", None)
            continue
        for pointer in open_calls.values():
            yield Found("warning", "call without a result", {"pointer": pointer, "text": ""})
        open_calls, unnamed = {}, 0
        for number, call in enumerate(turn.tool_calls):
            if isinstance(call.get("id"), str):
                open_calls[call["id"]] = f"/messages/{place}/tool_calls/{number}"
            else:
                unnamed += 1


def find_unused_tools(context: Context, threshold: float) -> Iterator[Finding | Fact]:
    """Tools that many rows declare and none calls."""
    offered, used = Counter[str](), Counter[str]()
    for row in context.corpus:
        offered.update(set(declared(row.example)))
        used.update({call.name for call in calls_of(row.example)})
    if offered:
        table = {name: {"rows": rows, "called": used[name]} for name, rows in offered.most_common(50)}
        yield Fact("tools", table)
    for name, rows in offered.items():
        if rows >= max(threshold, 1) and not used[name]:
            yield Finding(
                None, "note", rows, {"text": hide(name)[:80], "reason": "declared and never called"}
            )


CHECKS = (
    Check(
        "undeclared_tool",
        "A call of a tool that the row does not declare: the model would learn to invent tools.",
        "format",
        row=find_undeclared,
    ),
    Check(
        "bad_tool_arguments",
        "Arguments of a tool call that are not a JSON object, or leave the declared parameters (type, "
        "required, "
        "enum, undeclared keys).",
        "format",
        row=find_bad_arguments,
    ),
    Check(
        "missing_tool_result",
        "A tool call without its result although the conversation goes on, or a result without its call.",
        "format",
        row=find_missing_results,
    ),
    Check(
        "unused_tools",
        "Tools that at least this many rows declare and no row calls: the model learns never to call them.",
        "format",
        whole=find_unused_tools,
        threshold=MIN_ROWS_WITH_TOOL,
    ),
)
