"""Chat templates: which one is used, and what it can do, found by trying.

A template is a program of the model's author.  What it does with tools, calls, system turns or a turn without
text is written nowhere, so each is tried once on a small conversation (`traits_of`), and data that needs what
the template lacks is refused with words instead of being rendered without it.
Templates run in transformers' sandbox.  Importable without torch.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal, NamedTuple, Protocol

from tunesmith.core.errors import ConfigError, DataError, ModelError

CHATML = Path(__file__).with_name("chatml.jinja")
CONTROL_TOKEN = re.compile(r"<\|[^|<>\s{}']+\|>|<(?:start|end)_of_turn>")
"""Marks of turns that only make sense as one token each."""
READS_THE_CLOCK = "strftime_now"
REMEMBERED_TEMPLATES = 8

Turn = Mapping[str, Any]


class Tokenizer(Protocol):
    """What rendering asks of a transformers tokenizer."""

    chat_template: Any
    is_fast: bool
    eos_token_id: int | None
    unk_token_id: int | None

    def __len__(self) -> int:
        """Size of the vocabulary with what was added."""

    @property
    def added_tokens_decoder(self) -> dict[int, Any]:
        """Tokens beside the vocabulary proper, `special` ones among them, by id."""

    def __call__(self, text: str, **options: Any) -> Any:
        """Text to token ids, with offsets on request."""

    def apply_chat_template(self, conversation: Any, **options: Any) -> Any:
        """Render a conversation."""

    def decode(self, token_ids: Any) -> Any:
        """Token ids to text."""


class Traits(NamedTuple):
    """What a template does, found by trying it on small conversations."""

    end_of_turn: str | None
    """The special token that it writes after an answer; None: an answer has no end."""
    tools: bool
    """Tools that are offered stand in the rendering."""
    tool_calls: Literal["no", "object", "text"]
    """Whether it writes calls, and whether it wants their arguments as an object or as JSON text."""
    tool_results: bool
    """It writes the turns of tools."""
    null_content: Literal["null", "empty", "no"]
    """A turn without content is taken as null, as an empty text, or not at all."""
    system: bool
    """It writes a system turn."""
    trims: bool
    """It takes spaces off the ends of contents."""
    default_system: str
    """The system prompt that it writes where a conversation has none; empty: it writes none."""
    reads_the_clock: bool
    """The rendering depends on today's date."""
    reasoning: str
    """The key under which it takes what was thought before an answer; empty: it writes none of it."""


USER: Turn = {"role": "user", "content": "probe question"}
ANSWER: Turn = {"role": "assistant", "content": "probe answer"}
SYSTEM: Turn = {"role": "system", "content": "probe instruction"}
TOOL: Turn = {
    "type": "function",
    "function": {
        "name": "probe_tool",
        "description": "A tool.",
        "parameters": {"type": "object", "properties": {"probe_key": {"type": "string"}}},
    },
}
RESULT: Turn = {
    "role": "tool",
    "tool_call_id": "abcdefgh1",
    "name": "probe_tool",
    "content": "probe result",
}

REASONING_KEYS = ("reasoning_content", "thinking", "reasoning")
"""Where templates look for reasoning: Qwen and DeepSeek, gpt-oss, others."""
CONTENTS = ("", None, "probe words")
"""What a turn may say beside its calls."""


def call_turn(content: str | None, arguments: object) -> Turn:
    """An assistant turn that calls the probe's tool (nine letters and digits: Mistral insists on that)."""
    call = {"id": "abcdefgh1", "type": "function", "function": {"name": "probe_tool", "arguments": arguments}}
    return {"role": "assistant", "content": content, "tool_calls": [call]}


def render_text(
    turns: Sequence[Turn],
    tokenizer: Tokenizer,
    *,
    tools: Sequence[Turn] | None = None,
    add_generation_prompt: bool = False,
) -> str:
    """What the template writes.  Raises DataError when it fails or complains."""
    from jinja2 import TemplateError

    try:
        return str(
            tokenizer.apply_chat_template(
                list(turns), tools=tools, add_generation_prompt=add_generation_prompt, tokenize=False
            )
        )
    except (TemplateError, TypeError, AttributeError) as error:
        # a complaint raised inside the template; or it joins null with a text, or asks null for a method
        raise DataError(
            "the chat template refuses this conversation",
            value=str(error),
            next_step="change the conversation as it says, or set `template: chatml` in the recipe",
        ) from error


def token_ids(text: str, tokenizer: Tokenizer) -> list[int]:
    """Tokens of a rendered conversation, which brings its own begin token."""
    return list(tokenizer(text, add_special_tokens=False)["input_ids"])


def attempt(turns: Sequence[Turn], tokenizer: Tokenizer, **options: Any) -> str:
    """What the template writes; nothing where it fails."""
    try:
        return render_text(turns, tokenizer, **options)
    except DataError:
        return ""


def traits_of(tokenizer: Tokenizer) -> Traits:
    """What the tokenizer's template does; tried once for each template.

    Raises ModelError when there is no template.
    """
    check_template(tokenizer)
    return _remembered(Probe(tokenizer, str(tokenizer.chat_template)))


class Probe:
    """A tokenizer as it stands: with another template or more tokens it is another one."""

    def __init__(self, tokenizer: Tokenizer, template: str) -> None:
        self.tokenizer, self.identity = tokenizer, (id(tokenizer), template, len(tokenizer))

    def __hash__(self) -> int:
        return hash(self.identity)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Probe) and self.identity == other.identity


@lru_cache(maxsize=REMEMBERED_TEMPLATES)
def _remembered(probe: Probe) -> Traits:
    return find_traits(probe.tokenizer)


def check_template(tokenizer: Tokenizer) -> None:
    """Raise ModelError when there is no template."""
    if tokenizer.chat_template is None:
        raise ModelError(
            "the tokenizer has no chat template, so a conversation has no defined token form",
            next_step="set `template: chatml` in the recipe, choose an instruct (chat) model, or add "
            "chat_template.jinja to the model folder",
        )


def find_traits(tokenizer: Tokenizer) -> Traits:
    """Try everything."""
    with_system = attempt([SYSTEM, USER, ANSWER], tokenizer)
    offered = [
        attempt([USER, ANSWER], tokenizer, tools=[TOOL]),
        attempt([USER], tokenizer, tools=[TOOL], add_generation_prompt=True),
    ]
    padded = {"role": "user", "content": "  probe question  "}
    return Traits(
        end_of_turn=find_end_of_turn(tokenizer),
        tools=all("probe_tool" in text for text in offered),
        tool_calls=find_call_form(tokenizer),
        tool_results=any("probe result" in text for text in called(tokenizer, RESULT, ANSWER)),
        reasoning=find_reasoning_key(tokenizer),
        null_content=find_null_form(tokenizer),
        system="probe instruction" in with_system,
        trims="  probe question  " not in attempt([padded, ANSWER], tokenizer),
        default_system=find_default_system(tokenizer),
        reads_the_clock=READS_THE_CLOCK in str(tokenizer.chat_template),
    )


def called(tokenizer: Tokenizer, *after: Turn) -> list[str]:
    """Renderings of a conversation with a call: arguments as object and as text, each with three contents."""
    forms: tuple[object, ...] = ({"probe_key": "probe value"}, json.dumps({"probe_key": "probe value"}))
    turns = [call_turn(content, form) for form in forms for content in CONTENTS]
    return [attempt([USER, turn, *after], tokenizer, tools=[TOOL]) for turn in turns]


def find_end_of_turn(tokenizer: Tokenizer) -> str | None:
    """The first special token after an answer."""
    text = attempt([USER, ANSWER], tokenizer)
    special = {number: token for number, token in tokenizer.added_tokens_decoder.items() if token.special}
    after = text.rpartition("probe answer")[2]
    found = next((number for number in token_ids(after, tokenizer) if number in special), None)
    return None if found is None else str(special[found].content)


def find_call_form(tokenizer: Tokenizer) -> Literal["no", "object", "text"]:
    """In which form arguments come out as they are: not as Python's own text, and not quoted twice."""
    found = called(tokenizer)
    objects, texts = found[: len(CONTENTS)], found[len(CONTENTS) :]
    if any(map(writes_arguments, objects)):
        return "object"
    return "text" if any(map(writes_arguments, texts)) else "no"


def writes_arguments(text: str) -> bool:
    """Whether a rendering holds the call's arguments undamaged."""
    turn = text.rpartition("probe question")[2]
    damaged = "'probe_key'" in turn or '\\"probe_key' in turn
    return "probe_tool" in turn and "probe_key" in turn and "probe value" in turn and not damaged


def find_reasoning_key(tokenizer: Tokenizer) -> str:
    """Under which key a template takes reasoning and writes it before the last answer."""
    for key in REASONING_KEYS:
        text = attempt([USER, {**ANSWER, key: "probe thought"}], tokenizer)
        if "probe thought" in text.partition("probe answer")[0]:
            return key
    return ""


def find_null_form(tokenizer: Tokenizer) -> Literal["null", "empty", "no"]:
    """How a turn that only calls a tool can be written."""
    found = called(tokenizer)
    for empty, null in (found[:2], found[len(CONTENTS) :][:2]):
        if null and "None" not in null and "null" not in null:
            return "null"
        if empty:
            return "empty"
    return "no"


def find_default_system(tokenizer: Tokenizer) -> str:
    """What stands in the system turn's place when there is none."""
    given, without = attempt([SYSTEM, USER], tokenizer), attempt([USER], tokenizer)
    before, found, after = given.partition("probe instruction")
    if not found or not without.startswith(before) or not without.endswith(after):
        return ""
    return without[len(before) : len(without) - len(after)].strip()


def choose_template(name: str, tokenizer: Tokenizer) -> None:
    """Give a tokenizer the template that a recipe names: `model` is its own, `chatml`, or a file.

    Raises ConfigError when there is no such file or it is no template.
    """
    if name == "model":
        return
    path = CHATML if name == "chatml" else Path(name).expanduser()
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(
            "this chat template cannot be read",
            where="template",
            value=name,
            next_step="give `model`, `chatml`, or the path of a Jinja file",
        ) from error
    check_syntax(text, path)
    tokenizer.chat_template = text


def check_syntax(text: str, path: Path) -> None:
    """Raise ConfigError, with its line, for what is no Jinja template."""
    from jinja2 import TemplateSyntaxError
    from jinja2.ext import Extension, loopcontrols
    from jinja2.sandbox import ImmutableSandboxedEnvironment

    class Generation(Extension):
        """The marks that transformers knows; here they only have to be let through."""

        tags = {"generation"}  # noqa: RUF012  # jinja2 reads it from the class

        def parse(self, parser: Any) -> Any:
            """The body without its marks."""
            next(parser.stream)
            return parser.parse_statements(("name:endgeneration",), drop_needle=True)

    try:
        ImmutableSandboxedEnvironment(extensions=[Generation, loopcontrols]).parse(text)
    except TemplateSyntaxError as error:
        raise ConfigError(
            "this is not a Jinja template",
            where=f"{path}:{error.lineno}",
            value=error.message,
            next_step="mend that line, or use `template: chatml`",
        ) from error


def control_tokens(tokenizer: Tokenizer) -> tuple[str, ...]:
    """Marks of turns that the template writes, such as `<|im_end|>`, in the order it mentions them."""
    texts = [str(tokenizer.chat_template), attempt([SYSTEM, USER, ANSWER], tokenizer)]
    return tuple(dict.fromkeys(mark for text in texts for mark in CONTROL_TOKEN.findall(text)))


def describe(traits: Traits) -> list[str]:
    """What a user should know about a template, one sentence each."""
    notes = []
    if traits.default_system:
        shown = traits.default_system[:80]
        notes.append(f"the chat template writes a system prompt where a conversation has none: {shown!r}")
    if traits.trims:
        notes.append("the chat template takes spaces off the ends of contents")
    if traits.tool_calls != "no" and traits.null_content == "empty":
        notes.append("the chat template fails on null content beside tool calls: it is given an empty text")
    if traits.reads_the_clock:
        notes.append("the chat template can write today's date: the same data may render otherwise tomorrow")
    return notes
