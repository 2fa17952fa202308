"""A conversation → token ids and loss mask, through the model's own chat template.

The mask is found by rendering, not by searching for markers: what the template writes for the turns before
an assistant turn, plus its generation prompt, is exactly what a server sends to the model, so what the
template writes after that, up to the token that ends the turn, is exactly what the model has to say.
Importable without torch; the tokenizer is handed in.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from tunesmith.core.conversation import Example, Message
from tunesmith.core.errors import DataError, ModelError
from tunesmith.runtime.step import Encoded


class Tokenizer(Protocol):
    """What rendering asks of a transformers tokenizer."""

    chat_template: Any
    all_special_ids: list[int]

    def apply_chat_template(self, conversation: Any, **options: Any) -> Any:
        """Render a conversation."""

    def decode(self, token_ids: Any) -> Any:
        """Token ids to text."""


def render_prompt(messages: Sequence[Message], tokenizer: Tokenizer) -> list[int]:
    """Token ids of a conversation up to where the assistant begins to speak."""
    return _template(check_messages(messages, tokenizer), tokenizer, add_generation_prompt=True)


def render(example: Example, tokenizer: Tokenizer) -> Encoded:
    """Token ids of a whole conversation; assistant turns and their end-of-turn token are supervised.

    A turn with weight 0 is read and not learned.  Raises ModelError when the tokenizer has no chat template
    or the template rewrites earlier turns, and DataError when the template cannot render the example.
    """
    if example.tools and "tools" not in str(tokenizer.chat_template):
        raise DataError(
            "the example offers tools, and this model's chat template ignores them",
            next_step="choose a model whose template knows tools, or remove `tools` from the data",
        )
    turns = check_messages(example.messages, tokenizer)
    tools = [dict(tool) for tool in example.tools] or None
    token_ids = _template(turns, tokenizer, tools=tools)
    supervised = [False] * len(token_ids)
    for index, message in enumerate(example.messages):
        if message.role != "assistant" or message.weight == 0:
            continue
        prompt_ids = _template(turns[:index], tokenizer, tools=tools, add_generation_prompt=True)
        through_ids = _template(turns[: index + 1], tokenizer, tools=tools)
        check_prefixes(token_ids, prompt_ids, through_ids, tokenizer)
        end = _turn_end(through_ids, len(prompt_ids), tokenizer)
        supervised[len(prompt_ids) : end] = [True] * (end - len(prompt_ids))
    return Encoded(tuple(token_ids), tuple(supervised))


def check_messages(messages: Sequence[Message], tokenizer: Tokenizer) -> list[dict[str, Any]]:
    """The turns as a chat template takes them; refuses what the template would drop or fail on."""
    if tokenizer.chat_template is None:
        raise ModelError(
            "the tokenizer has no chat template, so a conversation has no defined token form",
            next_step="choose an instruct (chat) model, or add chat_template.jinja to the model folder",
        )
    turns = []
    for index, message in enumerate(messages):
        if message.tool_calls and "tool_calls" not in str(tokenizer.chat_template):
            raise DataError(
                "this model's chat template ignores tool calls", where=f"messages/{index}/tool_calls"
            )
        if message.content is None and not message.tool_calls:
            raise DataError(
                "content is null, which the model's chat template cannot render",
                where=f"messages/{index}/content",
                next_step="give the turn a text, or remove it",
            )
        turns.append(_turn(message))
    return turns


def _turn(message: Message) -> dict[str, Any]:
    row = message.to_json()
    row.pop("weight", None)
    return row


def _template(
    turns: Sequence[Mapping[str, Any]],
    tokenizer: Tokenizer,
    *,
    tools: Sequence[Mapping[str, Any]] | None = None,
    add_generation_prompt: bool = False,
) -> list[int]:
    """Token ids as transformers renders them; a complaint raised inside the template becomes a DataError."""
    from jinja2 import TemplateError

    try:
        rendered = tokenizer.apply_chat_template(
            list(turns),
            tools=tools,
            add_generation_prompt=add_generation_prompt,
            tokenize=True,
            return_dict=False,
        )
    except TemplateError as error:
        raise DataError("the model's chat template refuses this conversation", value=str(error)) from error
    return list(rendered)


def check_prefixes(
    token_ids: Sequence[int], prompt_ids: Sequence[int], through_ids: Sequence[int], tokenizer: Tokenizer
) -> None:
    """Raise ModelError unless the prompt begins the turn's rendering, and that begins the whole one.

    Where a template rewrites earlier turns (drops their reasoning, moves the system turn), training on the
    whole conversation would teach from prompts that no server ever sends.
    """
    for shorter, longer in ((prompt_ids, through_ids), (through_ids, token_ids)):
        if list(longer[: len(shorter)]) != list(shorter):
            differs = next(
                (index for index, (a, b) in enumerate(zip(shorter, longer, strict=False)) if a != b),
                len(longer),
            )
            raise ModelError(
                "the chat template rewrites earlier turns when a later one comes",
                where=f"token {differs}",
                value=str(tokenizer.decode(list(shorter[max(0, differs - 3) : differs + 3]))),
                next_step="split each conversation so that it ends at its first assistant turn",
            )


def _turn_end(through_ids: Sequence[int], begin: int, tokenizer: Tokenizer) -> int:
    """One past the token that ends the turn: the last special token of the rendering.

    Raises ModelError when the turn ends without one: the model would never learn to stop.
    """
    special = set(tokenizer.all_special_ids)
    for index in range(len(through_ids) - 1, begin - 1, -1):
        if through_ids[index] in special:
            return index + 1
    raise ModelError(
        "the chat template does not end an assistant turn with a special token: the model would never stop",
        value=str(tokenizer.decode(list(through_ids[begin:])))[-60:],
        next_step="use a chat template that writes the end-of-turn token",
    )
