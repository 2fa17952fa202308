"""How long texts are: in the tokens of the model that will be trained, or in words when none is named."""

from typing import Any, NamedTuple

import numpy as np

from tunesmith.data.check.port import Context
from tunesmith.data.check.sets.columns import Ints, columns
from tunesmith.data.check.sets.once import once
from tunesmith.data.vectors import chunks


class Lengths(NamedTuple):
    """Length of question and answer of each row (N,), without template and system text, and the unit."""

    asked: Ints
    answered: Ints
    unit: str

    @property
    def total(self) -> Ints:
        """Both together."""
        return self.asked + self.answered


def lengths(ctx: Context) -> Lengths:
    """The lengths of all rows.  Raises ModelError when the model that was named has no tokenizer."""
    return once(ctx, "lengths", lambda: in_tokens(ctx) if ctx.options.model else in_words(ctx))


def in_words(ctx: Context) -> Lengths:
    """Lengths in words."""
    known = columns(ctx)
    return Lengths(np.where(known.has_prompt, known.asked_words, 0), known.answered_words, "words")


def in_tokens(ctx: Context) -> Lengths:
    """Lengths in tokens of the model's tokenizer."""
    from tunesmith.runtime.catalogue import locate
    from tunesmith.runtime.models import read_tokenizer
    from tunesmith.runtime.vocabulary import tokenizer_folder

    located = locate(str(ctx.options.model), ctx.job, needs_template=False)
    if located.model_folder is None:
        return in_words(ctx)
    tokenizer: Any = read_tokenizer(tokenizer_folder(located.model_folder, located.adapter))

    def count(texts: list[str]) -> list[int]:
        return [len(ids) for ids in tokenizer(texts, add_special_tokens=False, verbose=False)["input_ids"]]

    counted = [
        np.array([number for texts in chunks(ctx.corpus, which) for number in count(texts)], dtype=np.int64)
        for which in ("prompt", "answer")
    ]
    asked = np.where(columns(ctx).has_prompt, counted[0], 0)
    return Lengths(asked, counted[1], f"tokens of {located.name}")
