"""The model that will be trained, and what it says of a sample of the rows.

Each reading is taken once and shared by the checks that use it.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from tunesmith.core.conversation import Example, Message
from tunesmith.core.errors import DataError, ModelError
from tunesmith.core.files import read_json
from tunesmith.core.job import Job
from tunesmith.core.recipe import Recipe
from tunesmith.data.check.models.rendering import Faults, Reading, read_row
from tunesmith.data.check.port import Options
from tunesmith.data.check.sample import Sample, run_on_sample
from tunesmith.data.corpus import Corpus
from tunesmith.runtime.catalogue import Located
from tunesmith.runtime.step import Encoded

if TYPE_CHECKING:
    from tunesmith.runtime.encoding import Encoder
    from tunesmith.runtime.sampling.port import Sampling

SHARE_FOR_TOKENS: Final = 0.25
"""Part of the time for reading rows as tokens; the rest is for losses, which cost far more."""
CONTEXT: Final = "max_position_embeddings"


class Tokens(NamedTuple):
    """What the tokenizer and the template make of a sample of rows."""

    sample: Sample
    readings: dict[int, Reading]
    """Row → its counts; rows that cannot be encoded are not there."""
    faults: Faults


class PairLoss(NamedTuple):
    """What a row's last answer costs the model, nats for each of its tokens."""

    given: float
    """Behind its prompt."""
    alone: float | None
    """Without the prompt; None where there is none."""
    num_tokens: int


class Losses(NamedTuple):
    """Losses of a sample of rows."""

    sample: Sample
    by_row: dict[int, PairLoss]
    num_not_judged: int
    """Rows that cannot be encoded, or whose answer lies beyond the longest length."""


@dataclass(frozen=True)
class Bench:
    """Opens tokenizer and model when they are first asked for.

    Raises ModelError for the fake model, and for one that cannot be loaded.
    """

    corpus: Corpus
    options: Options
    recipe: Recipe
    located: Located
    job: Job

    @cached_property
    def encoder(self) -> Encoder:
        """The encoder of training, on the model's tokenizer."""
        folder = self.located.model_folder
        if folder is None:
            raise ModelError("the fake model has no tokenizer", next_step="name another one with --model")
        from tunesmith.runtime.encoding import add_to_tokenizer, open_encoder
        from tunesmith.runtime.models import read_tokenizer
        from tunesmith.runtime.vocabulary import tokenizer_folder

        encoder = open_encoder(self.recipe, read_tokenizer(tokenizer_folder(folder, self.located.adapter)))
        add_to_tokenizer(encoder.new_tokens, encoder.tokenizer)
        return encoder

    @cached_property
    def limit(self) -> int:
        """Tokens that an example may have: as asked, and as the model can read."""
        folder = self.located.model_folder
        config = read_json(folder / "config.json") if folder is not None else {}
        context = config.get(CONTEXT) or config.get("text_config", {}).get(CONTEXT)
        return min(self.options.max_length, context or self.options.max_length)

    @cached_property
    def tokens(self) -> Tokens:
        """Every sampled row through the template, and looked at from several sides."""
        readings: dict[int, Reading] = {}
        faults = Faults()
        encoder = self.encoder

        def work(positions: Sequence[int]) -> None:
            for position in positions:
                example = as_conversation(self.corpus.row(position).example)
                if (found := read_row(position, example, encoder, self.limit, faults)) is not None:
                    readings[position] = found

        sample = self._sampled(work, "reading rows as tokens", SHARE_FOR_TOKENS)
        return Tokens(sample, readings, faults)

    @cached_property
    def losses(self) -> Losses:
        """What the last answer of each sampled row costs, with its prompt and without."""
        sampling = self._open_sampling()
        by_row: dict[int, PairLoss] = {}

        def work(positions: Sequence[int]) -> None:
            by_row.update(self._losses_of(positions, sampling))

        sample = self._sampled(work, "asking the model", 1 - SHARE_FOR_TOKENS)
        return Losses(sample, by_row, len(sample.positions) - len(by_row))

    def _sampled(self, work: Callable[[Sequence[int]], None], title: str, share: float) -> Sample:
        return run_on_sample(
            len(self.corpus),
            work,
            title=title,
            seconds=share * self.options.budget_seconds,
            seed=self.options.seed,
            job=self.job,
        )

    def _open_sampling(self) -> Sampling:
        encoder = self.encoder  # refuses the fake
        folder = self.located.model_folder
        assert folder is not None
        from tunesmith.runtime.threads import apply_threads, resolve_threads, worker_environment

        num_threads = resolve_threads(0)
        os.environ.update(worker_environment(num_threads))  # before torch is imported
        from tunesmith.runtime.models import load_for_inference
        from tunesmith.runtime.sampling.open import open_sampler
        from tunesmith.runtime.vocabulary import add_tokens

        apply_threads(num_threads)
        self.job.progress.say(f"loading {self.located.name} ({self.located.id[:8]})")
        loaded = load_for_inference(folder, adapter=self.located.adapter)
        add_tokens(loaded, encoder.new_tokens)
        return open_sampler(loaded)

    def _losses_of(self, positions: Sequence[int], sampling: Sampling) -> dict[int, PairLoss]:
        from tunesmith.runtime.score import losses

        asked: list[tuple[int, Encoded, Encoded | None]] = []
        for position in positions:
            example = as_conversation(self.corpus.row(position).example)
            if (pair := self._pair_of(example, str(position))) is not None:
                asked.append((position, *pair))
        rows = [encoded for _, *pair in asked for encoded in pair if encoded is not None]
        found = iter(losses(sampling, rows))
        by_row = {}
        for position, _, alone in asked:
            given = next(found)
            without = next(found) if alone is not None else None
            by_row[position] = PairLoss(
                given.nll / given.num_supervised,
                None if without is None else without.nll / without.num_supervised,
                given.num_supervised,
            )
        return by_row

    def _pair_of(self, example: Example, key: str) -> tuple[Encoded, Encoded | None] | None:
        """The last answer behind its prompt, and alone; None when the row cannot be judged."""
        try:
            whole = self.encoder.encode(last_learned(example), key=key)
        except (DataError, ModelError):
            return None  # the check of the template says why
        ids, weights = whole.token_ids[: self.limit], whole.weights[: self.limit]
        start = next((at for at, weight in enumerate(weights) if at and weight), None)
        if start is None:
            return None
        stop = max(at for at, weight in enumerate(weights) if weight) + 1
        given = Encoded(ids[:stop], weights[:stop])
        lead = self._lead(example)
        if not example.prompt or not lead:
            return given, None
        answer = ids[start:stop]
        # What opens an answer stands before it in both, so that only the prompt differs.
        return given, Encoded((*lead, *answer), (*[0.0] * len(lead), *weights[start:stop]))

    def _lead(self, example: Example) -> list[int]:
        """What stands right before an answer without its prompt."""
        if example.is_text:
            begin, end = self.encoder.frame
            return list(begin) or ([] if end is None else [end])
        return self._generation_prompt

    @cached_property
    def _generation_prompt(self) -> list[int]:
        from tunesmith.runtime.templates import render_text, token_ids

        tokenizer: Any = self.encoder.tokenizer
        turns = [{"role": "user", "content": "probe question"}]
        before = render_text(turns, tokenizer)
        through = render_text(turns, tokenizer, add_generation_prompt=True)
        added = through[len(before) :] if through.startswith(before) else ""
        first = tokenizer.bos_token_id
        return token_ids(added, tokenizer) or ([] if first is None else [int(first)])


def as_conversation(example: Example) -> Example:
    """What is rendered of a row: a pair with its better answer, graded steps as one answer."""
    if example.chosen:
        return replace(example, messages=(*example.messages, *example.chosen), chosen=(), rejected=())
    if example.steps:
        answer = Message("assistant", example.answer)
        return replace(example, messages=(*example.messages, answer), steps=())
    return example


def last_learned(example: Example) -> Example:
    """The row with nothing to learn but its last answer, up to there."""
    if example.is_text:
        given = tuple(replace(turn, weight=0, parts=()) for turn in example.messages[:-1])
        return replace(example, messages=(*given, replace(example.messages[-1], weight=None, parts=())))
    last = max(at for at, turn in enumerate(example.messages) if turn.role == "assistant")
    turns = [
        replace(turn, weight=0, parts=()) if turn.role == "assistant" else turn
        for turn in example.messages[:last]
    ]
    return replace(example, messages=(*turns, replace(example.messages[last], weight=None, parts=())))
