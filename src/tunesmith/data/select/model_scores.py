"""What a model says of rows: difficulty, perplexity, and how like targets its hidden states are."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np

from tunesmith.core.errors import DataError, ModelError
from tunesmith.core.job import Job
from tunesmith.core.recipe import Recipe, Source
from tunesmith.data.check.models.bench import Bench, as_conversation
from tunesmith.data.check.port import Floats, Options
from tunesmith.data.corpus import Corpus
from tunesmith.data.select.methods import BLOCK
from tunesmith.runtime.catalogue import locate

if TYPE_CHECKING:
    from tunesmith.runtime.step import Encoded

Kind = Literal["ifd", "perplexity"]
MAX_TARGETS = 128
"""More targets are sampled: each row is compared with all of them."""
CHUNK_ROWS = 256


def bench_on(corpus: Corpus, model: str, max_length: int, seed: int, job: Job) -> Bench:
    """The model, to be asked about every row."""
    options = Options(model=model, max_length=max_length, budget_seconds=0, seed=seed)
    recipe = Recipe(model=model, data=(Source(path=Path("rows")),))
    return Bench(corpus, options, recipe, locate(model, job), job)


def scores_of(kind: Kind, corpus: Corpus, model: str, max_length: int, seed: int, job: Job) -> Floats:
    """(N,): the difficulty, or one over the perplexity of the answer; not a number where it cannot be judged.

    Difficulty (IFD, arXiv:2308.12032): loss of the answer behind its prompt over its loss alone.
    """
    found = np.full(len(corpus), np.nan, dtype=np.float32)
    for position, loss in bench_on(corpus, model, max_length, seed, job).losses.by_row.items():
        if kind == "perplexity":
            found[position] = np.exp(-min(loss.given, 80.0))
        elif loss.alone is not None and loss.alone > 0:
            found[position] = loss.given / loss.alone
    return found


def likeness_to(targets: Corpus, corpus: Corpus, model: str, max_length: int, seed: int, job: Job) -> Floats:
    """(T, N): cosines of mean-pooled last hidden states, after the mean over all rows is taken off each.

    Hidden states share a large common part that says nothing of a row (Ethayarajh 2019); without it the
    cosines spread.  Raises DataError for a row without tokens.
    """
    bench = bench_on(corpus, model, max_length, seed, job)
    encoder = bench.encoder  # refuses the fake
    from tunesmith.runtime.threads import apply_threads, resolve_threads, worker_environment

    num_threads = resolve_threads(0)
    os.environ.update(worker_environment(num_threads))  # before torch is imported
    from tunesmith.runtime.models import load_for_inference
    from tunesmith.runtime.score import hidden_states
    from tunesmith.runtime.vocabulary import add_tokens

    apply_threads(num_threads)
    folder = bench.located.model_folder
    assert folder is not None
    loaded = load_for_inference(folder, adapter=bench.located.adapter)
    add_tokens(loaded, encoder.new_tokens)

    def pooled(rows: Corpus, positions: Sequence[int]) -> Floats:
        parts = []
        with job.progress.task("reading hidden states", total=len(positions), unit="rows") as task:
            for chunk in chunked(positions):
                parts.append(hidden_states(loaded, [encoded_row(bench, rows, place) for place in chunk]))
                task.advance(len(chunk))
        return np.concatenate(parts)

    rows_ND = pooled(corpus, range(len(corpus)))
    some = np.sort(np.random.default_rng(seed).permutation(len(targets))[:MAX_TARGETS])
    targets_TD = pooled(targets, some.tolist())
    middle_D = rows_ND.mean(0)
    rows_ND, targets_TD = at_length_one(rows_ND - middle_D), at_length_one(targets_TD - middle_D)
    likeness = [targets_TD @ rows_ND[start : start + BLOCK].T for start in range(0, len(rows_ND), BLOCK)]
    return np.concatenate(likeness, axis=1)


def chunked(positions: Sequence[int]) -> Iterable[Sequence[int]]:
    """`CHUNK_ROWS` at a time."""
    return (positions[start : start + CHUNK_ROWS] for start in range(0, len(positions), CHUNK_ROWS))


def encoded_row(bench: Bench, rows: Corpus, position: int) -> Encoded:
    """A row as tokens, its beginning where it is longer than the model may read."""
    from tunesmith.runtime.step import Encoded

    row = rows.row(position)
    try:
        encoded = bench.encoder.encode(as_conversation(row.example), key=row.row_hash[:32])
    except (DataError, ModelError) as error:
        place = f"{row.split or rows.name}, line {row.line}"
        step = "`tunesmith data check` finds such rows, `tunesmith data clean` drops them"
        raise DataError(error.what, value=error.value, where=place, next_step=step) from None
    return Encoded(encoded.token_ids[: bench.limit], encoded.weights[: bench.limit])


def at_length_one(rows: Floats) -> Floats:
    """Rows divided by their length; zeros stay."""
    length = np.linalg.norm(rows, axis=1, keepdims=True)
    return np.asarray(rows / np.where(length > 0, length, 1), dtype=np.float32)
