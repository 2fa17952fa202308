"""`tunesmith data select`: choose training rows, and put the choice beside its controls."""

import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from functools import cache, partial
from pathlib import Path
from typing import Any

import numpy as np

from tunesmith.core.dataset import DataSet
from tunesmith.core.errors import DataError
from tunesmith.core.files import write_json
from tunesmith.core.job import Job
from tunesmith.core.workspace import Input, WorkFolder, input_from
from tunesmith.data.check.port import Floats
from tunesmith.data.corpus import Corpus, CorpusRow, add_splits, open_corpus, spooled
from tunesmith.data.pool.schema import PoolConfig, PoolResult
from tunesmith.data.select.facts import facts_of
from tunesmith.data.select.methods import CONTROLS, METHODS, Ints, Rows
from tunesmith.data.select.schema import OF_A_POOL, ChoiceFacts, SelectConfig, SelectResult
from tunesmith.data.steps import Ledger, derived, summary_of, write_rows
from tunesmith.data.vectors import entire, open_vectors

MODEL_SCORES = ("ifd", "perplexity")
CHOICES = "choices.json"


def select(config: SelectConfig, job: Job) -> SelectResult | PoolResult:
    """Choose rows of the training split; a data set folder with them and the other splits as they are.

    With a pool it is a round of active learning, the very same as `tunesmith data pool`.

    Raises DataError when more rows are asked for than there are, when a row lacks a score, and when nothing
    is in the target.
    """
    if config.data is None:
        from tunesmith.data.pool.door import pool

        given = {name: value for name, value in config if name in config.model_fields_set & OF_A_POOL}
        return pool(PoolConfig(**given), job)
    data = DataSet.find(config.data, job.workspace)
    num_rows = data.num_rows("train")
    if config.rows >= num_rows:
        what = "the training split has no more rows than that"
        raise DataError(what, value=f"--rows {config.rows}, {num_rows} rows", next_step="choose fewer")
    settings = config.to_json()
    for name in ("data", "model", "target", "pool", "labelled"):
        del settings[name]
    inputs = inputs_of(config, job)
    with (
        derived(job, data, verb="data select", config=settings, inputs=inputs, seed=config.seed) as folder,
        train_rows(data) as corpus,
    ):
        return fill(config, data, corpus, folder, job)


def inputs_of(config: SelectConfig, job: Job) -> dict[str, Path | Input]:
    """The model and the target, by content."""
    found: dict[str, Path | Input] = {}
    if config.model is not None:
        from tunesmith.runtime.catalogue import locate

        found["model"] = locate(config.model, job).as_input()
    if config.target is not None:
        path = config.target
        found["target"] = input_from("target", path if path.exists() else job.workspace.resolve(str(path)))
    return found


@contextmanager
def train_rows(data: DataSet) -> Iterator[Corpus]:
    """The training split on disk, to be walked by row number."""
    with spooled(data.manifest.name, partial(add_splits, data=data, only="train")) as corpus:
        yield corpus


def fill(config: SelectConfig, data: DataSet, corpus: Corpus, folder: WorkFolder, job: Job) -> SelectResult:
    """Choose, write the rows, measure the choice and its controls."""
    with ExitStack() as stack:
        vectors = stack.enter_context(open_vectors(corpus, config.embeddings, job, seed=config.seed))
        rows = Rows(
            lengths=np.array([len(entire(row.example)) for row in corpus], dtype=np.int64),
            vectors=lambda: vectors(config.text),
            scores=cache(lambda: scores(config, corpus, job)),
            likeness=lambda: likeness(config, corpus, job),
            seed=config.seed,
            tradeoff=config.tradeoff,
            similar=config.similar,
        )
        chosen = METHODS[config.by](rows, config.rows)
        assert len(chosen) == len(set(chosen.tolist())) == config.rows
        choices = {"selected": chosen} | {name: METHODS[name](rows, config.rows) for name in CONTROLS}
        facts = [
            facts_of(name, found, rows.lengths, rows.vectors(), seed=config.seed)
            for name, found in {**choices, "all": np.arange(len(corpus))}.items()
        ]
    write_choices(folder, choices, corpus)
    notes = notes_on(config, facts)
    with Ledger(folder.path) as ledger:
        kept = set(chosen.tolist())
        written = write_rows(folder, data.split_names(), remaining(data, corpus, kept, ledger, config.by))
    folder.summary = summary_of(
        data, written, rows=sum(data.num_rows(name) for name in data.split_names()),
        changed=0, dropped=len(corpus) - config.rows, notes=notes,
    )  # fmt: skip
    folder.summary |= {"by": config.by, "choices": [fact.to_json() for fact in facts]}
    return SelectResult(**SelectResult.fields_from(folder.summary, folder.path))


def write_choices(folder: WorkFolder, choices: dict[str, Ints], corpus: Corpus) -> None:
    """Row hashes of the choice (in the order of choosing) and of its controls."""
    found = {name: [corpus.row(int(place)).row_hash for place in rows] for name, rows in choices.items()}
    write_json(folder / CHOICES, found)


def remaining(data: DataSet, corpus: Corpus, kept: set[int], ledger: Ledger, by: str) -> Iterator[CorpusRow]:
    """Chosen training rows and every row of the other splits; the rest goes into the ledger."""
    for row in corpus:
        if row.position in kept:
            yield row
        else:
            ledger.drop("select", row.place, f"not chosen by {by}")
    yield from other_rows(data)


def other_rows(data: DataSet) -> Iterator[CorpusRow]:
    """Rows of every split but the training one."""
    for name in data.split_names():
        if name != "train":
            for number, row in enumerate(data.rows(name)):
                yield CorpusRow(number, name, row.line, row.row_hash, row.group_id, row.example)


def scores(config: SelectConfig, corpus: Corpus, job: Job) -> Floats:
    """(N,): the product of the scores asked for.

    Raises DataError for several of which one is negative: their product would turn the order round.
    """
    total = np.ones(len(corpus), dtype=np.float32)
    for key in config.score or (config.by,):
        found = score(key, config, corpus, job)
        if len(config.score) > 1 and (found < 0).any():
            step = "shift it above 0, or give one --score"
            raise DataError(
                "a score below 0 cannot be multiplied", value=key, where="--score", next_step=step
            )
        total *= found
    return total


def score(key: str, config: SelectConfig, corpus: Corpus, job: Job) -> Floats:
    """(N,): a model's score, the length of the answer, or a number in the metadata."""
    if key in MODEL_SCORES:
        from tunesmith.data.select.model_scores import scores_of

        return scores_of(
            "ifd" if key == "ifd" else "perplexity",
            corpus, str(config.model), config.max_length, config.seed, job,
        )  # fmt: skip
    if key == "length":
        return np.array([len(row.example.answer) for row in corpus], dtype=np.float32)
    found = np.array([number(row.example.metadata.get(key)) for row in corpus], dtype=np.float32)
    if not np.isfinite(found).any():
        step = "name a key of `metadata` that holds a number, or length, ifd or perplexity"
        raise DataError("no row has this score", value=key, where="--score", next_step=step)
    return found


def number(value: Any) -> float:
    """A number of the metadata; not a number for anything else."""
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else np.nan


def likeness(config: SelectConfig, corpus: Corpus, job: Job) -> Floats:
    """(T, N): how like rows are to the target, whose test rows are never looked at."""
    from tunesmith.data.select.model_scores import likeness_to

    assert config.target is not None
    with open_corpus(config.target, job) as given, tempfile.TemporaryFile("w+b") as spool:
        targets = Corpus(spool, given.name)
        for row in given:
            if row.split in ("", "validation"):
                targets.add(row.example, split=row.split, line=row.line)
        if not len(targets):
            step = "give a file of rows, or a data set with a validation split"
            raise DataError("there is no target row", where="--target", next_step=step)
        return likeness_to(targets, corpus, str(config.model), config.max_length, config.seed, job)


def notes_on(config: SelectConfig, facts: Sequence[ChoiceFacts]) -> list[str]:
    """What the comparison with the random control says."""
    chosen, drawn = facts[0], facts[1]
    notes = []
    if config.by not in CONTROLS:
        ratio = chosen.characters / max(1, drawn.characters)
        if not 0.8 <= ratio <= 1.25:
            notes.append(f"the choice has {ratio:.2f} times the text of a random one")
        notes.append("`tunesmith data ablate` measures whether the choice helps; random is a strong baseline")
    return notes
