"""Layouts of turns: OpenAI's, ShareGPT's, LLaMA-Factory's, TRL's, and our own."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from tunesmith.core.conversation import Example, Kind, Message
from tunesmith.core.formats.shapes.sharegpt import Calls
from tunesmith.core.formats.writers.port import JsonRow, Unfit, Writer

NAMES: Mapping[Kind, str] = {
    "conversation": "conversations",
    "text": "plain text",
    "pair": "preference pairs",
    "rated": "rated answers",
    "steps": "graded steps",
}
SPEAKERS = {"user": "human", "assistant": "gpt", "system": "system", "tool": "observation"}


def check_kind(example: Example, *kinds: Kind) -> None:
    """Raise Unfit for a row of another kind."""
    if example.kind not in kinds:
        held = " or ".join(NAMES[kind] for kind in kinds)
        raise Unfit(f"it holds {held}, and this is {NAMES[example.kind]}")


def check_turns(example: Example) -> None:
    """Raise Unfit for plain text, where turns are needed."""
    if example.is_text:
        raise Unfit("it holds turns of a conversation, and this is plain text")


def rows_of(turns: Sequence[Message]) -> list[JsonRow]:
    """Messages in OpenAI's form."""
    return [turn.to_json() for turn in turns]


def with_rest(row: JsonRow, example: Example) -> JsonRow:
    """A row with tools and metadata beside it, where there are any."""
    if example.tools:
        row["tools"] = [dict(tool) for tool in example.tools]
    if example.metadata:
        row["metadata"] = dict(example.metadata)
    return row


def write_own(example: Example) -> JsonRow:
    """Every kind, as `Example.to_json` has it."""
    return example.to_json()


def write_openai(example: Example) -> JsonRow:
    """`messages` and `tools`."""
    check_kind(example, "conversation")
    return example.to_json()


def write_openai_preference(example: Example) -> JsonRow:
    """`input`, `preferred_output`, `non_preferred_output`."""
    check_kind(example, "pair")
    check_turns(example)
    given = with_rest({"messages": rows_of(example.messages)}, replace(example, metadata={}))
    row = {
        "input": given,
        "preferred_output": rows_of(example.chosen),
        "non_preferred_output": rows_of(example.rejected),
    }
    return with_rest(row, replace(example, tools=()))


def write_trl(example: Example) -> JsonRow:
    """`prompt` and `completion` as lists of messages."""
    check_kind(example, "conversation")
    prompt = len(example.prompt)
    row = {"prompt": rows_of(example.messages[:prompt]), "completion": rows_of(example.messages[prompt:])}
    return with_rest(row, example)


def renumbered(example: Example) -> Example:
    """The example with the ids that calls get where a layout has none."""
    calls, ids = Calls(), {}

    def turn(message: Message) -> Message:
        if message.role != "tool":
            calls.waiting.clear()
        for call in message.tool_calls:
            ids[call.get("id")] = calls.call()
        made = tuple(
            {"id": ids[call.get("id")], "type": "function", "function": dict(call["function"])}
            for call in message.tool_calls
        )
        known = ids.get(message.tool_call_id) if message.role == "tool" else message.tool_call_id
        return replace(message, tool_calls=made, tool_call_id=known)

    messages = tuple(map(turn, example.messages))
    count, known = calls.count, dict(ids)
    sides = []
    for side in (example.chosen, example.rejected):
        calls.count, calls.waiting = count, []
        ids.clear()
        ids.update(known)
        sides.append(tuple(map(turn, side)))
    return replace(example, messages=messages, chosen=sides[0], rejected=sides[1])


def function_of(call: Mapping[str, Any]) -> JsonRow:
    """A call as ShareGPT has it."""
    try:
        arguments = json.loads(call["function"]["arguments"])
    except ValueError:
        arguments = call["function"]["arguments"]
    # another spelling of the same arguments would not come back as it was
    same = json.dumps(arguments, ensure_ascii=False) == call["function"]["arguments"]
    return {
        "name": call["function"]["name"],
        "arguments": arguments if same else call["function"]["arguments"],
    }


def sharegpt_turns(turns: Sequence[Message]) -> list[JsonRow]:
    """Turns of `from` and `value`; calls are turns of their own."""
    rows = []
    for turn in turns:
        if turn.role not in SPEAKERS:
            raise Unfit(f"it has no word for the role {turn.role}")
        if turn.content is not None:
            row: JsonRow = {"from": SPEAKERS[turn.role], **turn.to_json()}
            row["value"] = row.pop("content")
            rows.append({key: row[key] for key in row if key not in ("role", "tool_calls", "tool_call_id")})
        elif turn.reasoning is not None or turn.name is not None:
            raise Unfit("a call has no name or reasoning there")
        if turn.tool_calls:
            called = [function_of(call) for call in turn.tool_calls]
            value = json.dumps(called[0] if len(called) == 1 else called, ensure_ascii=False)
            weight = {} if turn.weight is None else {"weight": turn.weight}
            rows.append({"from": "function_call", "value": value, **weight})
    return rows


def tools_text(example: Example) -> str:
    """Tools as ShareGPT has them: JSON text of their functions."""
    whole = [dict(tool) for tool in example.tools]
    bare = all(tool.keys() == {"type", "function"} and tool["type"] == "function" for tool in whole)
    return json.dumps([tool["function"] for tool in whole] if bare else whole, ensure_ascii=False)


def sharegpt_rest(row: JsonRow, example: Example) -> JsonRow:
    """Tools and metadata in ShareGPT's way."""
    if example.tools:
        row["tools"] = tools_text(example)
    return with_rest(row, replace(example, tools=()))


def write_sharegpt(example: Example) -> JsonRow:
    """`conversations` of `from` and `value`."""
    check_kind(example, "conversation")
    return sharegpt_rest({"conversations": sharegpt_turns(example.messages)}, example)


def write_rated(example: Example) -> JsonRow:
    """`messages` and a label."""
    check_kind(example, "rated")
    check_turns(example)
    return with_rest({"messages": rows_of(example.messages), "label": example.label}, example)


def write_sharegpt_rated(example: Example) -> JsonRow:
    """`conversations` of `from` and `value`, and a label."""
    check_kind(example, "rated")
    check_turns(example)
    row = {"conversations": sharegpt_turns(example.messages), "kto_tag": example.label}
    return sharegpt_rest(row, example)


def write_ranking(example: Example) -> JsonRow:
    """`conversations` with a `chosen` and a `rejected` turn."""
    check_kind(example, "pair")
    check_turns(example)
    row: JsonRow = {"conversations": sharegpt_turns(example.messages)}
    for key, side in (("chosen", example.chosen), ("rejected", example.rejected)):
        turns = sharegpt_turns(side)
        if len(turns) != 1:
            raise Unfit("an answer is one turn there")
        row[key] = turns[0]
    return sharegpt_rest(row, example)


def v1_messages(turns: Sequence[Message]) -> list[JsonRow]:
    """Messages whose content is a list of parts."""
    rows = []
    for turn in turns:
        if turn.name is not None or turn.parts:
            raise Unfit("it has no names and no weights of parts")
        parts: list[JsonRow] = []
        if turn.reasoning is not None:
            parts.append({"type": "reasoning", "value": turn.reasoning})
        if turn.content is not None:
            parts.append({"type": "text", "value": turn.content})
        for call in turn.tool_calls:
            value = json.dumps(function_of(call), ensure_ascii=False)
            parts.append({"type": "tool_call", "value": value})
        row: JsonRow = {"role": turn.role, "content": parts}
        if turn.weight is not None:
            row["loss_weight"] = turn.weight
        rows.append(row)
    return rows


def write_v1(example: Example) -> JsonRow:
    """LLaMA-Factory's version 1."""
    check_kind(example, "conversation")
    return sharegpt_rest({"messages": v1_messages(example.messages)}, example)


def write_v1_pair(example: Example) -> JsonRow:
    """LLaMA-Factory's version 1 of pairs."""
    check_kind(example, "pair")
    check_turns(example)
    row: JsonRow = {
        "chosen_messages": v1_messages((*example.messages, *example.chosen)),
        "rejected_messages": v1_messages((*example.messages, *example.rejected)),
    }
    return sharegpt_rest(row, example)


WRITERS = (
    Writer("tunesmith", "every kind of row, as data sets hold them", write_own, "mixed"),
    Writer("openai-chat", "messages, tools", write_openai, "openai-chat"),
    Writer(
        "openai-preference",
        "input, preferred_output, non_preferred_output",
        write_openai_preference,
        "openai-preference",
    ),
    Writer("trl-conversational", "prompt and completion as messages", write_trl, "prompt-completion"),
    Writer("rated-chat", "messages, label", write_rated, "rated-chat"),
    Writer("sharegpt", "conversations of from and value", write_sharegpt, "sharegpt", renumbered),
    Writer(
        "sharegpt-rated",
        "conversations of from and value, kto_tag",
        write_sharegpt_rated,
        "sharegpt-rated",
        renumbered,
    ),
    Writer(
        "llamafactory-ranking",
        "conversations, chosen, rejected",
        write_ranking,
        "llamafactory-ranking",
        renumbered,
    ),
    Writer("llamafactory-v1", "messages of typed parts", write_v1, "llamafactory-v1", renumbered),
    Writer(
        "llamafactory-v1-pair",
        "chosen_messages, rejected_messages",
        write_v1_pair,
        "llamafactory-v1-pair",
        renumbered,
    ),
)
