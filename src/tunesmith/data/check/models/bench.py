"""The model that will be trained, and what it says of a sample of the rows.

Each reading is taken once and shared by the checks that use it.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import numpy as np

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
TRIES_FOR_A_STRANGER: Final = 8
"""Rows drawn before it is given up to find one with another prompt that can be read."""


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
    elsewhere: float | None
    """Behind the prompt of another row drawn at random; None where none could be drawn."""
    num_tokens: int


class Forms(NamedTuple):
    """One answer behind several prompts, as tokens."""

    given: Encoded
    alone: Encoded | None
    elsewhere: Encoded | None


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
                example = self._conversation(position)
                if (found := read_row(position, example, encoder, self.limit, faults)) is not None:
                    readings[position] = found

        sample = self._sampled(work, "reading rows as tokens", SHARE_FOR_TOKENS)
        return Tokens(sample, readings, faults)

    @cached_property
    def losses(self) -> Losses:
        """What the last answer of each sampled row costs: with its prompt, without, and with another's."""
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

        forms_of = ((position, self._forms_of(position)) for position in positions)
        asked = [(position, forms) for position, forms in forms_of if forms is not None]
        rows = [encoded for _, forms in asked for encoded in forms if encoded is not None]
        found = iter(losses(sampling, rows))

        def nats(encoded: Encoded | None) -> float | None:
            if encoded is None:
                return None
            loss = next(found)
            return loss.nll / loss.num_supervised

        by_row = {}
        for position, forms in asked:
            given, alone, elsewhere = (nats(encoded) for encoded in forms)
            assert given is not None
            by_row[position] = PairLoss(given, alone, elsewhere, num_learned(forms.given))
        return by_row

    def _forms_of(self, position: int) -> Forms | None:
        """The row's last answer behind its prompt, alone, and behind a stranger's; None: cannot be judged."""
        example = self._conversation(position)
        if (given := self._answered(example, str(position))) is None:
            return None
        lead = self._lead(example)
        if not example.prompt or not lead:
            return Forms(given, None, None)
        start = next(at for at, weight in enumerate(given.weights) if at and weight)
        # What opens an answer stands before it in both, so that only the prompt differs.
        ids = (*lead, *given.token_ids[start:])
        alone = Encoded(ids, (*[0.0] * len(lead), *given.weights[start:]))
        return Forms(given, alone, self._elsewhere(position, example, num_learned(given)))

    def _elsewhere(self, position: int, example: Example, num_tokens: int) -> Encoded | None:
        """The last answer behind the prompt of another row; always the same one for a seed."""
        random = np.random.default_rng((self.options.seed, position))
        for other in random.integers(len(self.corpus), size=TRIES_FOR_A_STRANGER).tolist():
            stranger = self._conversation(other)
            alike = stranger.prompt == example.prompt or stranger.is_text != example.is_text
            if alike or not stranger.prompt:
                continue
            answer = last_learned(example).messages[len(example.prompt)]
            mixed = replace(example, messages=(*stranger.prompt, answer), tools=stranger.tools)
            found = self._answered(mixed, f"{position} behind {other}")
            if found is not None and num_learned(found) == num_tokens:  # else the longest length cut it
                return found
        return None

    def _conversation(self, position: int) -> Example:
        return as_conversation(self.corpus.row(position).example)

    def _answered(self, example: Example, key: str) -> Encoded | None:
        """The row up to the end of its last answer, which alone is learned; None when it cannot be judged."""
        try:
            whole = self.encoder.encode(last_learned(example), key=key)
        except (DataError, ModelError):
            return None  # the check of the template says why
        ids, weights = whole.token_ids[: self.limit], whole.weights[: self.limit]
        learned = [at for at, weight in enumerate(weights) if at and weight]
        if not learned:
            return None
        return Encoded(ids[: learned[-1] + 1], weights[: learned[-1] + 1])

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


def num_learned(encoded: Encoded) -> int:
    """Tokens that a loss is counted on; the first token of a row has none."""
    return sum(1 for weight in encoded.weights[1:] if weight)


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
