"""How a model writes calls of tools: found in its own chat template, read back from its answers.

A template is shown an assistant turn with a call whose name and arguments are known; what stands around
them in the rendering is how this model writes calls.  Read is every form that holds a call as one JSON object
(Hermes and Qwen between tags, Llama 3 bare, Mistral in a list behind a mark); of others none is found.
Importable without torch.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal, NamedTuple

from tunesmith.runtime.templates import (
    TOOL,
    USER,
    Tokenizer,
    Turn,
    attempt,
    call_turn,
    traits_of,
)

NAME: Final = "probe_tool"
ARGUMENTS: Final = {"probe_key": "probe value"}
SEPARATORS: Final = {"whitespace_flexible": False, "item_separator": ", ", "key_separator": ": "}
"""As templates write JSON; a model that may put spaces anywhere can put them there for ever."""
DECODER: Final = json.JSONDecoder()


class Call(NamedTuple):
    """One call: the tool's name, and its arguments as JSON text."""

    name: str
    arguments: str


@dataclass(frozen=True)
class CallFormat:
    """What a model writes for a call."""

    before: str
    """Text before the JSON of a call, line breaks included."""
    after: str
    between: str
    """Text between the JSON of two calls; empty where a model writes one only."""
    name_key: str = "name"
    arguments_key: str = "arguments"
    in_list: bool = False
    """The calls of an answer stand in one JSON list."""

    @property
    def mark(self) -> str:
        """What announces a call; empty where an answer that is JSON is one."""
        return self.before.strip()

    def call_of(self, value: object) -> Call | None:
        """A JSON value as a call; None when it is none."""
        if not isinstance(value, dict) or not isinstance(name := value.get(self.name_key), str):
            return None
        arguments = value.get(self.arguments_key)
        if isinstance(arguments, str):
            return Call(name, arguments)
        return Call(name, json.dumps(arguments or {}, ensure_ascii=False))


HERMES: Final = CallFormat("<tool_call>\n", "\n</tool_call>", "\n</tool_call>\n<tool_call>\n")
"""The commonest form (Hermes, Qwen, our chatml.jinja)."""


def find_call_format(tokenizer: Tokenizer) -> CallFormat | None:
    """How the tokenizer's template writes calls; None when it writes none, or in a form that is not read.

    Raises ModelError when there is no template.
    """
    traits = traits_of(tokenizer)
    if not traits.tools or traits.tool_calls == "no":
        return None
    arguments: object = ARGUMENTS if traits.tool_calls == "object" else json.dumps(ARGUMENTS)
    content = "" if traits.null_content != "null" else None
    turn = call_turn(content, arguments)
    two = {**turn, "tool_calls": [*turn["tool_calls"], *turn["tool_calls"]]}
    one, both = (written(each, tokenizer, traits.end_of_turn) for each in (turn, two))
    found = located(one)
    if found is None:
        return None
    start, end, value = found
    call = value[0] if isinstance(value, list) else value
    name_key = next(key for key, part in call.items() if part == NAME)
    arguments_key = next(
        (key for key, part in call.items() if part in (ARGUMENTS, json.dumps(ARGUMENTS))), None
    )
    if arguments_key is None:
        return None
    in_list = isinstance(value, list)
    between = "" if in_list else between_calls(both)
    return CallFormat(one[:start], one[end:], between, name_key, arguments_key, in_list)


def written(turn: Turn, tokenizer: Tokenizer, end_of_turn: str | None) -> str:
    """What the template writes of an assistant turn, up to its end; empty where it fails."""
    prompt = attempt([USER], tokenizer, tools=[TOOL], add_generation_prompt=True)
    text = attempt([USER, turn], tokenizer, tools=[TOOL])
    if not prompt or not text.startswith(prompt):
        return ""
    text = text[len(prompt) :]
    return text if end_of_turn is None else text.partition(end_of_turn)[0]


def located(text: str) -> tuple[int, int, Any] | None:
    """Where the JSON of the probe's call stands in a text, and its value."""
    for start, letter in enumerate(text):
        if letter not in "{[":
            continue
        try:
            value, end = DECODER.raw_decode(text, start)
        except ValueError:
            continue
        call = value[0] if isinstance(value, list) and value else value
        if isinstance(call, dict) and NAME in call.values():
            return start, end, value
    return None


def between_calls(text: str) -> str:
    """What stands between the JSON of two calls; empty where the template does not write two."""
    first = located(text)
    second = None if first is None else located(text[first[1] :])
    return "" if first is None or second is None else text[first[1] : first[1] + second[0]]


class Read(NamedTuple):
    """What came out of an answer's next piece."""

    text: str
    calls: tuple[Call, ...] = ()


@dataclass
class CallReader:
    """Tells calls from text while an answer is made; a call comes whole, when its JSON has ended.

    Spaces between a text and a call belong to neither.  What looks like a call and is none in the end is
    given out as the text that it is.
    """

    form: CallFormat
    state: Literal["text", "json", "closing"] = "text"
    held: str = ""
    """What cannot be told yet."""
    opening: str = ""
    """What announced the call that is being read: given back when it is none."""
    any_text: bool = False
    behind_call: bool = False
    """Nothing but spaces came since the last call."""

    def push(self, text: str) -> Read:
        """The text and the calls that are certain now."""
        self.held += text
        shown: list[str] = []
        calls: list[Call] = []
        steps = {"text": self.read_text, "json": self.read_json, "closing": self.read_closing}
        while steps[self.state](shown, calls):
            pass
        return Read("".join(shown), tuple(calls))

    def finish(self) -> Read:
        """What was held back to the end."""
        rest, self.held = self.held, ""
        if self.state == "json":
            return Read(self.opening + rest)
        is_closing = self.state == "closing" or (self.behind_call and not rest.strip())
        return Read("" if is_closing else rest)

    def read_text(self, shown: list[str], calls: list[Call]) -> bool:
        """Give out text up to where a call may begin; whether one does."""
        if self.behind_call:
            self.held = self.held.lstrip()
        mark = self.form.mark
        if mark:
            place = self.held.find(mark)
        else:  # an answer that begins as JSON may be a call
            lead = len(self.held) - len(self.held.lstrip())
            place = lead if self.held[lead : lead + 1] in ("{", "[") and not self.any_text else -1
        if place >= 0:
            text = self.held[:place].rstrip()
            self.opening, self.held = self.held[len(text) : place + len(mark)], self.held[place + len(mark) :]
            self.state = "json"
        else:
            text = self.held[: len(self.held) - self.beginning(mark)].rstrip()
            self.held = self.held[len(text) :]
        if text:
            shown.append(text)
            self.any_text, self.behind_call = True, False
        return place >= 0

    def beginning(self, mark: str) -> int:
        """Length of the longest end of the held text with which the mark begins."""
        longest = min(len(mark) - 1, len(self.held))
        return next((n for n in range(longest, 0, -1) if mark.startswith(self.held[-n:])), 0)

    def read_json(self, shown: list[str], calls: list[Call]) -> bool:
        """Read what was announced as a call; whether it has ended."""
        body = self.held.lstrip()
        if not body:
            return False
        try:
            value, end = DECODER.raw_decode(body)
        except ValueError:
            if body[0] in "{[":
                return False  # it may still come
            value, end = None, 0
        found = [self.form.call_of(one) for one in (value if isinstance(value, list) else [value])]
        made = [call for call in found if call is not None]
        if not found or len(made) < len(found):
            shown.append(self.opening + self.held[: len(self.held) - len(body) + end])
            self.any_text, self.behind_call, self.state = True, False, "text"
        else:
            calls += made
            self.behind_call, self.state = True, "closing"
        self.held = body[end:]
        return True

    def read_closing(self, shown: list[str], calls: list[Call]) -> bool:
        """Pass over what ends a call; whether it is known to be over."""
        after, rest = self.form.after.strip(), self.held.lstrip()
        if after.startswith(rest) and rest != after:
            return False
        self.held, self.state = rest.removeprefix(after), "text"
        return True


def calls_grammar(
    form: CallFormat,
    tools: Sequence[Mapping[str, Any]],
    special: Mapping[str, int],
    *,
    several: bool,
) -> str:
    """A Lark grammar (llguidance's dialect) of answers that are calls of these tools.

    `special` are the tokens that stand for themselves, by their text.
    """
    objects = [object_schema(form, tool["function"]) for tool in tools]
    schema: dict[str, Any] = objects[0] if len(objects) == 1 else {"anyOf": objects}
    if form.in_list:
        schema = {"type": "array", "items": schema, "minItems": 1, **({} if several else {"maxItems": 1})}
    schema["x-guidance"] = SEPARATORS
    before, after, between = (pieces(text, special) for text in (form.before, form.after, form.between))
    more = f" ({between} call)*" if several and between and not form.in_list else ""
    return f"start: {before} call{more} {after}\ncall: %json {json.dumps(schema)}\n"


def object_schema(form: CallFormat, function: Mapping[str, Any]) -> dict[str, Any]:
    """What a call of one tool looks like."""
    arguments = function.get("parameters") or {"type": "object"}
    properties = {form.name_key: {"const": function["name"]}, form.arguments_key: arguments}
    return {
        "type": "object",
        "properties": properties,
        "required": list(properties),
        "additionalProperties": False,
    }


def pieces(text: str, special: Mapping[str, int]) -> str:
    """A fixed text as the grammar writes it: special tokens by their number, the rest quoted."""
    found: list[str] = []
    while text:
        places = {token: text.find(token) for token in special if token in text}
        token = min(places, key=lambda one: (places[one], -len(one)), default=None)
        plain = text if token is None else text[: places[token]]
        if plain:
            found.append(json.dumps(plain))
        if token is None:
            break
        found.append(f"<[{special[token]}]>")
        text = text[places[token] + len(token) :]
    return " ".join(found)
