"""A conversation → token ids and what is learned of them, through a chat template.

What is learned is found by rendering, not by searching for marks: what the template writes for the turns
before an assistant turn, plus its generation prompt, is exactly what a server sends to the model, so what the
template writes after that, up to the token that ends the turn, is exactly what the model has to say.
(`mask_oracle` finds the same in another way, to check it.)  Importable without torch.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from typing import Any, Literal, NamedTuple

from tunesmith.core.conversation import Example, Message
from tunesmith.core.errors import DataError, ModelError
from tunesmith.runtime.step import Encoded
from tunesmith.runtime.templates import Tokenizer, Traits, render_text, token_ids, traits_of

__all__ = ["Learn", "Tokenizer", "end_of_turn_id", "render", "render_prompt"]

Learn = Literal["assistant", "last", "all"]
WRITE_REASONING = (
    "write it into the answer: tunesmith data convert FILE --to openai-chat --reasoning content; or choose a "
    "model that reasons"
)
USE_CHATML = "set `template: chatml` in the recipe (its tokens are learned), or remove this from the data"


class Rendered(NamedTuple):
    """A whole conversation as text and tokens, with what is needed to render parts of it."""

    turns: Sequence[dict[str, Any]]
    tools: Sequence[dict[str, Any]] | None
    text: str
    token_ids: Sequence[int]
    traits: Traits


class Place(NamedTuple):
    """A place in a rendering, where a token begins."""

    char: int
    token: int


class Span(NamedTuple):
    """An assistant turn, from its first character or token through its end-of-turn token."""

    begin: int
    end: int


def render_prompt(
    messages: Sequence[Message], tokenizer: Tokenizer, *, tools: Sequence[Mapping[str, Any]] = ()
) -> list[int]:
    """Token ids of a conversation up to where the assistant begins to speak."""
    traits = traits_of(tokenizer)
    check_tools(tools, traits)
    turns = check_messages(messages, traits)
    shown = [dict(tool) for tool in tools] or None
    text = render_text(turns, tokenizer, tools=shown, add_generation_prompt=True)
    check_nothing_is_left_out(messages, text)
    return token_ids(text, tokenizer)


def render(example: Example, tokenizer: Tokenizer, *, learn: Learn = "assistant") -> Encoded:
    """Token ids of a whole conversation, each with weight 1 if it is learned, else 0.

    Learned are assistant turns with their end-of-turn token: all, or the last one; or every token.  A turn
    with weight 0 is read and never learned.  Of a turn in parts, a token is learned when all its characters
    stand in parts with weight 1; what the template writes before the content goes with the first part, and
    the end of the turn with the last.

    Raises ModelError when there is no chat template, or it rewrites earlier turns or never ends one, and
    DataError when it cannot render the example or leaves something out.
    """
    traits = traits_of(tokenizer)
    check_tools(example.tools, traits)
    turns = check_messages(example.messages, traits)
    tools = [dict(tool) for tool in example.tools] or None
    text = render_text(turns, tokenizer, tools=tools)
    check_nothing_is_left_out(example.messages, text)
    rendered = Rendered(turns, tools, text, token_ids(text, tokenizer), traits)
    answers = [index for index, message in enumerate(example.messages) if message.role == "assistant"]
    weights = [float(learn == "all")] * len(rendered.token_ids)
    known = Place(0, 0)
    for index in answers[-1:] if learn == "last" else answers:
        message = example.messages[index]
        if learn != "all" and message.weight == 0:
            continue
        if learn == "all" and message.weight != 0 and not message.parts:
            continue
        chars, tokens = find_turn(rendered, index, known, tokenizer)
        known = Place(chars.end, tokens.end)
        weights[tokens.begin : tokens.end] = turn_weights(message, rendered, chars, tokens, tokenizer)
    return Encoded(tuple(rendered.token_ids), tuple(weights))


def end_of_turn_id(tokenizer: Tokenizer) -> int | None:
    """The token with which the model ends its turn; None when the template writes none."""
    mark = traits_of(tokenizer).end_of_turn
    return None if mark is None else token_ids(mark, tokenizer)[0]


def check_tools(tools: Sequence[Mapping[str, Any]], traits: Traits) -> None:
    """Refuse tools that the template would not show to the model."""
    if tools and not traits.tools:
        raise DataError(
            "the example offers tools, and this model's chat template ignores them",
            where="tools",
            next_step=USE_CHATML,
        )


def check_messages(messages: Sequence[Message], traits: Traits) -> list[dict[str, Any]]:
    """The turns as the template takes them; refuses what it would drop or fail on."""
    turns = []
    for index, message in enumerate(messages):
        place = f"messages/{index}"
        if message.role == "text":
            step = "write the row as `messages`, or train on it with a recipe"
            raise DataError("plain text is no turn of a conversation", where=place, next_step=step)
        if message.tool_calls and traits.tool_calls == "no":
            what = "this model's chat template ignores tool calls"
            raise DataError(what, where=f"{place}/tool_calls", next_step=USE_CHATML)
        if message.role == "tool" and not traits.tool_results:
            what = "this model's chat template leaves out what tools answer"
            raise DataError(what, where=place, next_step=USE_CHATML)
        if message.reasoning is not None and not traits.reasoning:
            what = "this model's chat template leaves out the reasoning beside an answer"
            raise DataError(what, where=f"{place}/reasoning_content", next_step=WRITE_REASONING)
        if message.content is None and not message.tool_calls:
            raise DataError(
                "content is null, which the model's chat template cannot render",
                where=f"{place}/content",
                next_step="give the turn a text, or remove it",
            )
        if message.content is None and traits.null_content == "no":
            what = "content is null beside tool calls, and this model's chat template fails on that"
            raise DataError(what, where=f"{place}/content", next_step=USE_CHATML)
        turns.append(turn(message, traits))
    return turns


def turn(message: Message, traits: Traits) -> dict[str, Any]:
    """A message in the form that the template wants."""
    row = message.to_json()
    row.pop("weight", None)
    if message.reasoning is not None:
        row[traits.reasoning] = row.pop("reasoning_content")
    row["content"] = message.content
    if message.content is None and traits.null_content == "empty":
        row["content"] = ""
    if message.tool_calls and traits.tool_calls == "object":
        row["tool_calls"] = [with_object(call) for call in row["tool_calls"]]
    return row


def with_object(call: dict[str, Any]) -> dict[str, Any]:
    """A call whose arguments are an object: OpenAI writes JSON text, which would be quoted twice."""
    function = dict(call["function"])
    try:
        function["arguments"] = json.loads(function["arguments"])
    except ValueError:
        step = "write the arguments as JSON text"
        raise DataError(
            "a tool call's arguments are not JSON", value=function["arguments"], next_step=step
        ) from None
    return {**call, "function": function}


def check_nothing_is_left_out(messages: Sequence[Message], text: str) -> None:
    """Raise DataError when what a turn says is not in the rendering (tools' answers may be quoted)."""
    for index, message in enumerate(messages):
        if message.reasoning is not None and message.reasoning.strip() not in text:
            raise DataError(
                "the chat template leaves out the reasoning of this turn (many do, before a later question)",
                where=f"messages/{index}/reasoning_content",
                value=message.reasoning[:80],
                next_step="let each conversation end at its first reasoned answer, or "
                + WRITE_REASONING.partition(";")[0],
            )
        if message.role != "tool" and (message.content or "").strip() not in text:
            raise DataError(
                f"the chat template leaves out what this {message.role} turn says, or a part of it",
                where=f"messages/{index}/content",
                value=str(message.content)[:80],
                next_step=USE_CHATML,
            )


def find_turn(rendered: Rendered, index: int, known: Place, tokenizer: Tokenizer) -> tuple[Span, Span]:
    """Where an assistant turn stands, in characters and in tokens; `known` is the end of an earlier one."""
    before = render_text(rendered.turns[:index], tokenizer, tools=rendered.tools, add_generation_prompt=True)
    is_last = index == len(rendered.turns) - 1
    through = (
        rendered.text
        if is_last
        else render_text(rendered.turns[: index + 1], tokenizer, tools=rendered.tools)
    )
    check_begins(
        through, before, "the chat template prompts with other words than it writes before an answer"
    )
    same = common_length(through, rendered.text)
    end = find_end(rendered, through, Span(len(before), same))
    begins = find_token(rendered, len(before), known, tokenizer)
    if begins is None:
        raise DataError(
            "the answer's first characters melt into the prompt's last token, so a server would send another "
            "prompt",
            where=f"messages/{index}/content",
            value=rendered.text[max(0, len(before) - 10) : len(before) + 10],
            next_step="take the spaces or line breaks off the beginning of the answer",
        )
    ends = find_token(rendered, end, Place(len(before), begins), tokenizer)
    assert ends is not None, "a special token is never joined with its neighbours"
    return Span(len(before), end), Span(begins, ends)


def find_token(rendered: Rendered, char: int, known: Place, tokenizer: Tokenizer) -> int | None:
    """The token that begins at a character; None when the text up to there has other tokens alone.

    From a known place on, so that a long conversation is not read again for each turn; all of it only where
    the tokens in between depend on what is before them.
    """
    for start in (known, Place(0, 0)):
        between = token_ids(rendered.text[start.char : char], tokenizer)
        stop = start.token + len(between)
        if list(rendered.token_ids[start.token : stop]) == between:
            return stop
    return None


def common_length(left: str, right: str) -> int:
    """How many first characters two texts share."""
    return len(os.path.commonprefix([left, right]))  # noqa: RUF071  characters are meant


def check_begins(text: str, start: str, what: str) -> None:
    """Raise ModelError unless a rendering begins with another one."""
    if not text.startswith(start):
        differs = common_length(start, text)
        raise ModelError(
            what,
            where=f"character {differs}",
            value=f"{start[max(0, differs - 10) : differs + 20]} … {text[differs : differs + 20]}",
            next_step="use another template (`template: chatml`), or split each conversation so that it ends "
            "at its first assistant turn",
        )


def find_end(rendered: Rendered, through: str, span: Span) -> int:
    """One past the mark that ends the turn; `span` is what the turn has in common with the whole rendering.

    Raises ModelError when the template writes earlier turns otherwise once a later one comes (drops their
    reasoning, moves the system turn): training would teach from prompts that no server ever sends.  And when
    the turn has no end: the model would never stop.
    """
    mark = rendered.traits.end_of_turn
    if mark is None or mark not in through[span.begin :]:
        raise ModelError(
            "the chat template ends an assistant turn without a special token: the model would never stop",
            value=through[span.begin :][-60:],
            next_step="use a chat template that writes the end-of-turn token, such as `template: chatml`",
        )
    found = rendered.text.rfind(mark, span.begin, span.end)
    if found < 0:
        stop = through.find(mark, span.begin)
        check_begins(
            rendered.text,
            through[: stop + len(mark)],
            "the chat template rewrites earlier turns when a later one comes",
        )
    return found + len(mark)


def turn_weights(
    message: Message, rendered: Rendered, chars: Span, tokens: Span, tokenizer: Tokenizer
) -> list[float]:
    """The weight of each token of an assistant turn."""
    if not message.parts:
        return [float(message.weight != 0)] * (tokens.end - tokens.begin)
    if not tokenizer.is_fast:
        raise ModelError(
            "this tokenizer does not say which characters a token stands for, so parts cannot be told apart",
            next_step="give whole messages a weight instead of their parts",
        )
    start = rendered.text.find(message.content or "", chars.begin, chars.end)
    if start < 0:
        raise DataError(
            "the chat template changes what a turn in parts says (spaces, perhaps), so its parts cannot be "
            "placed",
            value=(message.content or "")[:80],
            next_step="use `template: chatml`, or take the spaces off its ends",
        )
    weights = [message.parts[0][1]] * (start - chars.begin)
    for text, weight in message.parts:
        weights += [weight] * len(text)
    weights += [message.parts[-1][1]] * (chars.end - chars.begin - len(weights))
    offsets = tokenizer(rendered.text, add_special_tokens=False, return_offsets_mapping=True)[
        "offset_mapping"
    ]
    return [
        min(weights[max(0, first - chars.begin) : max(first + 1, last) - chars.begin], default=0.0)
        for first, last in offsets[tokens.begin : tokens.end]
    ]
