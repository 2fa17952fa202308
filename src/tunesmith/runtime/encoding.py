"""Examples → what the model sees and what it learns of it, as a recipe says.  Importable without torch.

Conversations go through the chat template (`render`), plain text is taken verbatim: it begins with what the
tokenizer puts before a text by itself (its begin-of-text token, where it has that habit) and ends with the
model's end-of-text token, which is learned.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import cached_property
from typing import Any

from tunesmith.core.conversation import Example, Message, check_single_answer
from tunesmith.core.errors import DataError, ModelError
from tunesmith.core.files import hash_json, hash_text
from tunesmith.core.recipe import FillInTheMiddle, Recipe
from tunesmith.runtime.blocks import Frame, find_frame, rearranged
from tunesmith.runtime.render import render
from tunesmith.runtime.step import Encoded
from tunesmith.runtime.templates import (
    Tokenizer,
    choose_template,
    control_tokens,
    describe,
    token_ids,
    traits_of,
)

FORMAT = 2
"""Raise it when the same data are to be encoded otherwise: corpora of before are then made anew."""
MARKUP = re.compile(r"<[^<>\s]+>|\[[^\[\]\s]+\]")
"""Tokens of this form are special: decoding for a reader leaves them out."""


class Encoder:
    """Encodes examples as one recipe wants them; `open_encoder` makes one.

    `new_tokens` have to be in the tokenizer, under whatever ids, before the first `encode`.
    """

    def __init__(self, recipe: Recipe, tokenizer: Any, new_tokens: tuple[str, ...], key: str) -> None:
        self.recipe, self.tokenizer, self.new_tokens, self.key = recipe, tokenizer, new_tokens, key

    def encode(self, example: Example, *, key: str) -> Encoded:
        """Token ids and weights, uncut; `key` names the row, and decides how its text is rearranged.

        Raises DataError or ModelError for an example that cannot be learned.
        """
        objective = self.recipe.objective
        check_single_answer(example, what_for=f"objective {objective.kind} learns from one answer")
        if example.is_text:
            return self._encode_text(example.messages, key)
        if objective.kind == "text":
            raise DataError(
                "objective text learns from plain text, and this row is a conversation",
                next_step='use rows of {"text": …}, or objective sft with `learn: all`',
            )
        return render(example, self.tokenizer, learn=objective.learn)

    @property
    def notes(self) -> list[str]:
        """What a user should know about the template, if conversations go through it."""
        if self.tokenizer.chat_template is None or self.recipe.objective.kind == "text":
            return []
        return describe(traits_of(self.tokenizer))

    def token_texts(self, ids: Sequence[int]) -> list[str]:
        """Each token decoded alone."""
        return [str(self.tokenizer.decode([token])) for token in ids]

    @cached_property
    def frame(self) -> Frame:
        """What stands around plain text."""
        return find_frame(self.tokenizer)

    def _encode_text(self, messages: Sequence[Message], key: str) -> Encoded:
        objective = self.recipe.objective
        middle = objective.fill_in_the_middle if objective.kind == "text" else None
        if middle is not None and len(messages) == 1 and not messages[0].parts:
            ids = rearranged(
                messages[0].content or "", middle, self.tokenizer, seed=self.recipe.seed, key=key
            )
            if ids is not None:
                return self._framed(ids, [1.0] * len(ids))
        return self._framed(*text_parts(messages, self.tokenizer))

    def _framed(self, ids: Sequence[int], weights: Sequence[float]) -> Encoded:
        begin, end = self.frame
        if end is None:
            raise ModelError(
                "the tokenizer has no end-of-text token, so a document would never end",
                next_step="choose a model whose tokenizer names an eos_token",
            )
        # the begin token is given, never said; the end goes with the last part
        return Encoded((*begin, *ids, end), (*[0.0] * len(begin), *weights, weights[-1] if weights else 1.0))


def text_parts(messages: Sequence[Message], tokenizer: Tokenizer) -> tuple[list[int], list[float]]:
    """Tokens and weights of plain text in parts, one after the other."""
    found = pieces(messages)
    parts = token_parts([piece for piece, _ in found], tokenizer)
    weights = [weight for (_, weight), part in zip(found, parts, strict=True) for _ in part]
    return [token for part in parts for token in part], weights


def token_parts(texts: Sequence[str], tokenizer: Tokenizer) -> list[list[int]]:
    """Tokens of each part of a text.

    A part has the tokens that it has behind the parts before it, unless it would melt into them: then it has
    tokens of its own.  So the tokens of the first parts are always those that a server would send.
    """
    parts: list[list[int]] = []
    ids: list[int] = []
    text = ""
    for piece in texts:
        text += piece
        whole = token_ids(text, tokenizer)
        new = whole[len(ids) :] if whole[: len(ids)] == ids else inner_ids(piece, tokenizer)
        ids += new
        parts.append(new)
    return parts


def inner_ids(text: str, tokenizer: Tokenizer) -> list[int]:
    """Tokens of a text that goes on from another: without the space that some tokenizers begin one with."""

    def behind_line(text: str) -> list[int] | None:
        before, whole = token_ids("\n", tokenizer), token_ids(f"\n{text}", tokenizer)
        return whole[len(before) :] if whole[: len(before)] == before else None

    plain = token_ids(text, tokenizer)
    if behind_line("a") == token_ids("a", tokenizer):
        return plain  # it begins no text with a space
    inner = behind_line(text)
    return plain if inner is None else inner


def pieces(messages: Sequence[Message]) -> list[tuple[str, float]]:
    """Texts with their weight."""
    found: list[tuple[str, float]] = []
    for message in messages:
        found += message.parts or ((message.content or "", float(message.weight != 0)),)
    return found


def open_encoder(recipe: Recipe, tokenizer: Any) -> Encoder:
    """The encoder of a recipe on a tokenizer, which is given the recipe's chat template.

    Tokens that are needed and that the tokenizer lacks are listed as `new_tokens`; whoever holds the model
    adds them (`vocabulary.add_tokens`).  Raises ConfigError for a template that cannot be read.
    """
    choose_template(recipe.template, tokenizer)
    objective = recipe.objective
    wanted = control_tokens(tokenizer) if recipe.template != "model" else ()
    middle = objective.fill_in_the_middle if objective.kind == "text" else None
    wanted += sentinels(middle) if middle is not None else ()
    if recipe.method.kind in ("lora", "qlora"):
        wanted += recipe.method.trainable_tokens
    new_tokens = tuple(token for token in dict.fromkeys(wanted) if known_id(token, tokenizer) is None)
    settings: dict[str, Any] = {"objective": objective.kind}
    if objective.kind == "text":
        settings |= {"fill_in_the_middle": middle and middle.to_json(), "seed": recipe.seed}
    else:
        settings |= {"learn": objective.learn}
    template = tokenizer.chat_template
    key = hash_json([FORMAT, identity(tokenizer), template, list(new_tokens), settings])
    return Encoder(recipe, tokenizer, new_tokens, key)


def sentinels(settings: FillInTheMiddle) -> tuple[str, ...]:
    """The marks of rearranged text."""
    return (settings.prefix, settings.middle, settings.suffix)


def known_id(token: str, tokenizer: Any) -> int | None:
    """The id of a text that is one token: by its name in the vocabulary, or by what it is encoded as."""
    found = tokenizer.get_vocab().get(token)
    if found is not None:
        return int(found)
    ids = token_ids(token, tokenizer)
    return ids[0] if len(ids) == 1 and ids[0] != tokenizer.unk_token_id else None


def identity(tokenizer: Any) -> str:
    """Hash of all that decides a tokenizer's output; of a slow one, of its vocabulary."""
    if tokenizer.is_fast:
        return hash_text(tokenizer.backend_tokenizer.to_str())
    return hash_json(tokenizer.get_vocab())


def add_to_tokenizer(tokens: Sequence[str], tokenizer: Any) -> list[int]:
    """Add new tokens to a tokenizer alone (`vocabulary.add_tokens` gives them rows too); their ids."""
    from tokenizers import AddedToken

    for token in tokens:
        special = MARKUP.fullmatch(token) is not None
        tokenizer.add_tokens([AddedToken(token, special=special, normalized=False)], special_tokens=special)
    return [int(tokenizer.convert_tokens_to_ids(token)) for token in tokens]
