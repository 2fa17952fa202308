"""`tunesmith data pool`: one round of active learning, as a data set folder that waits for answers."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from tunesmith.core.dataset import DataSet
from tunesmith.core.errors import DataError, UserError
from tunesmith.core.files import hash_text, read_json, write_json
from tunesmith.core.formats.read import check_readable
from tunesmith.core.job import Job
from tunesmith.core.rounds import ROUND
from tunesmith.core.workspace import Input, input_from, name_for_commands
from tunesmith.data.corpus import Corpus, CorpusRow, holds_rows, spooled
from tunesmith.data.pool.classifier import Fitted, Verdict, accuracy, fit, plateau
from tunesmith.data.pool.policy import Choice, choose
from tunesmith.data.pool.reading import as_chosen, choosable, open_pool, without_answer
from tunesmith.data.pool.schema import PoolConfig, PoolResult
from tunesmith.data.pool.strategies import Floats, Ints, Pool, centred
from tunesmith.data.steps import Ledger, add_row, derived, summary_of, write_rows
from tunesmith.data.vectors import answered, open_vectors

HELD_OUT = ("validation", "test")
MOST_LABELS, LONGEST_LABEL = 200, 60
"""More kinds of answers, or longer ones, are free text."""


class Labelled(NamedTuple):
    """The rows that people answered."""

    train: list[CorpusRow]
    validation: list[CorpusRow]


def too_few(num_free: int, ledger: Ledger, source: Path, config: PoolConfig) -> UserError:
    """What to say when fewer rows are left than were asked for, with what became of the others."""
    others = "; ".join(f"{count:,} left out: {reason}" for reason, count in ledger.drops.items())
    what = f"the pool has {num_free} rows that can be chosen" + (f" ({others})" if others else "")
    step = "ask for fewer" if num_free else "give a pool of other rows"
    return UserError(what, where=source, value=f"--rows {config.rows}", next_step=step)


def pool(config: PoolConfig, job: Job) -> PoolResult:
    """Choose rows of a pool to be answered next; a data set folder with the labelled rows and these.

    Raises UserError when the labelled data set lacks validation or test rows or waits for answers itself, and
    when the pool has too few rows.
    """
    data = DataSet.find(config.labelled, job.workspace)
    labelled = labelled_rows(data)
    source = config.pool
    if holds_rows(source, job):
        check_readable(source)
    elif not source.is_dir():
        source = job.workspace.resolve(str(source))
    settings = {
        key: value for key, value in config.to_json().items() if key not in ("pool", "labelled", "model")
    }
    inputs: dict[str, Path | Input] = {"pool": input_from("pool", source)}
    if config.model is not None:
        from tunesmith.runtime.catalogue import locate

        inputs["model"] = locate(config.model, job).as_input()
    with (
        derived(job, data, verb="data pool", config=settings, inputs=inputs, seed=config.seed) as folder,
        Ledger(folder.path) as ledger,
        open_pool(source, job, ledger) as rows,
    ):
        state = read_round(data)
        rejected = state.get("rejected", [])
        free = choosable(rows, data, frozenset(rejected), ledger, threshold=config.near_duplicates)
        if len(free) < config.rows:
            raise too_few(len(free), ledger, source, config)
        task = task_of(config, labelled.train)
        with (
            together(rows, free, labelled) as corpus,
            open_vectors(corpus, config.embeddings, job, seed=config.seed) as vectors,
        ):
            known = centred(vectors("prompt"))
        parts = Vectors(*np.split(known, [len(free), len(free) + len(labelled.train)]))
        fitted = learned(parts, labelled) if task == "labels" else None
        choice = chosen_of(config, parts, labelled, fitted, task, rows, free, job)
        left_out = dict(ledger.drops)
        number = int(state.get("round", 0)) + 1
        picked = list(picks(rows, free, choice, number, config))
        history = [*state.get("history", []), *entry(number, parts, labelled, fitted)]
        verdict = judged(history, config, task)
        everything = [*labelled.train, *picked, *held_rows(data)]
        written = write_rows(folder, data.split_names(), everything)
        num_uniform = sum(row.by == "uniform" for row in choice.rows)
        facts = {
            "round": number, "task": task, "strategy": choice.strategy, "chosen": len(picked),
            "uniform": num_uniform, "labelled": len(labelled.train),
            "labels": fitted.labels if fitted else [], "pool_rows": len(free), "pool_out": left_out,
            "scores": [one["score"] for one in history], "stop": verdict.stop, "why": verdict.why,
        }  # fmt: skip
        write_json(folder / ROUND, {
            **facts, "parent": data.fingerprint, "history": history, "rejected": rejected,
            "rows": [{**row.place, **row.example.metadata[ROUND_KEY]} for row in picked],
        })  # fmt: skip
        notes = [verdict.why] if verdict.stop else []
        total = sum(data.num_rows(name) for name in data.split_names()) + len(picked)
        folder.summary = summary_of(data, written, rows=total, changed=0, dropped=0, notes=notes) | facts
    return PoolResult(**PoolResult.fields_from(folder.summary, folder.path))


ROUND_KEY = "active_learning"
"""Key of the metadata of a chosen row."""


class Vectors(NamedTuple):
    """Vectors of prompts, part by part."""

    pool: Floats
    train: Floats
    validation: Floats


def labelled_rows(data: DataSet) -> Labelled:
    """The answered rows.  Raises UserError where rows to measure with are missing, or answers."""
    missing = [name for name in HELD_OUT if not data.num_rows(name)]
    if missing:
        raise UserError(
            f"the labelled data set has no {' and no '.join(missing)} rows",
            where=data.folder,
            next_step="draw them at random before anything is chosen: `tunesmith data prepare FILE "
            "--validation 0.2 --test 0.2` on rows that were drawn uniformly",
        )
    found = {
        name: [CorpusRow(at, name, row.line, row.row_hash, row.group_id, row.example)
               for at, row in enumerate(data.rows(name))]
        for name in ("train", "validation")
    }  # fmt: skip
    waiting = sum(without_answer(row.example) for row in found["train"])
    if waiting:
        name = name_for_commands(data.folder)
        raise UserError(
            f"{waiting} rows of this round still wait for their answers",
            where=data.folder,
            next_step=f"tunesmith data review {name}; then tunesmith data review {name} --apply",
        )
    return Labelled(found["train"], found["validation"])


def task_of(config: PoolConfig, train: Sequence[CorpusRow]) -> str:
    """Labels, when the answers are short and few kinds of them repeat; else free answers."""
    if config.task != "auto":
        return config.task
    answers = [answered(row.example).strip() for row in train]
    kinds = set(answers)
    short = max(map(len, kinds), default=0) <= LONGEST_LABEL
    return "labels" if short and len(kinds) <= min(MOST_LABELS, max(2, len(answers) / 2)) else "answers"


@contextmanager
def together(rows: Corpus, free: Sequence[int], labelled: Labelled) -> Iterator[Corpus]:
    """Rows that may be chosen, then labelled ones, then validation rows, in one corpus."""

    def fill(corpus: Corpus) -> None:
        for position in free:
            add_row(corpus, rows.row(position))
        for row in (*labelled.train, *labelled.validation):
            add_row(corpus, row)

    with spooled("pool", fill) as corpus:
        yield corpus


def answers_of(rows: Sequence[CorpusRow]) -> list[str]:
    """The label of each row."""
    return [answered(row.example).strip() for row in rows]


def learned(parts: Vectors, labelled: Labelled) -> Fitted | None:
    """The classifier; None while there is only one label."""
    return fit(parts.train, answers_of(labelled.train), parts.pool)


def chosen_of(
    config: PoolConfig, parts: Vectors, labelled: Labelled, fitted: Fitted | None, task: str,
    rows: Corpus, free: Sequence[int], job: Job,
) -> Choice:  # fmt: skip
    """The rows of this round."""
    view = Pool(parts.pool, parts.train, fitted.probabilities(parts.pool) if fitted else None, config.seed)
    score = None
    if task == "answers" or config.by == "cover":
        if config.by in ("margin", "entropy", "badge"):
            step = "leave --by out, or say --task labels"
            raise UserError("free answers have no classes", where="--by", value=config.by, next_step=step)
        if config.by in ("auto", "cover"):
            score = scorer(config, rows, free, job)
    classes = len(fitted.labels) if fitted else 0
    return choose(
        view, config.rows, len(labelled.train), classes,
        uniform=config.uniform, method=config.by, score=score,
    )  # fmt: skip


def scorer(config: PoolConfig, rows: Corpus, free: Sequence[int], job: Job) -> Any:
    """What scores places of the pool: the model's uncertainty, or without a model nothing (all are equal)."""
    if config.model is None:
        job.progress.say("no --model: rows are chosen to cover the pool, not by a model's uncertainty")
        return lambda places: np.zeros(len(places))
    from tunesmith.data.pool.uncertainty import open_uncertainty

    ask = open_uncertainty(
        config.model, job, samples=config.samples, max_tokens=config.max_tokens, seed=config.seed
    )

    def score(places: Ints) -> Floats:
        return ask([rows.row(free[int(place)]).example for place in places])

    return score


def picks(
    rows: Corpus, free: Sequence[int], choice: Choice, number: int, config: PoolConfig
) -> Iterator[CorpusRow]:
    """Chosen rows as training rows; their metadata say by what, and with which probability."""
    for one in choice.rows:
        row = rows.row(free[one.position])
        facts = {"round": number, "by": one.by, "inclusion_probability": one.probability}
        example = as_chosen(row.example, {ROUND_KEY: facts})
        group = hash_text(f"pool {row.row_hash}")[:16]
        yield row._replace(split="train", group_id=group, example=example)


def held_rows(data: DataSet) -> Iterator[CorpusRow]:
    """Every row of the other splits, as it is."""
    for name in data.split_names():
        if name != "train":
            for at, row in enumerate(data.rows(name)):
                yield CorpusRow(at, name, row.line, row.row_hash, row.group_id, row.example)


# --- the state of the rounds ---------------------------------------------------------------------------


def read_round(data: DataSet) -> Mapping[str, Any]:
    """What the labelled folder says about the rounds before; nothing for the first."""
    path = data.folder / ROUND
    if not path.exists():
        return {}
    found = read_json(path)
    if not isinstance(found, dict) or "round" not in found:
        raise DataError("this is no state of a round", where=path, next_step="make the round again")
    return found


def entry(number: int, parts: Vectors, labelled: Labelled, fitted: Fitted | None) -> list[dict[str, Any]]:
    """How good the labels so far are: accuracy on the validation rows, and which of them were right."""
    if fitted is None:
        return []
    right = fitted.right(parts.validation, answers_of(labelled.validation))
    rate = accuracy(right)
    score = {"round": number, "labelled": len(labelled.train), "value": rate.value,
             "low": rate.low, "high": rate.high}  # fmt: skip
    hashes = [row.row_hash for row in labelled.validation]
    return [{"score": score, "right": dict(zip(hashes, right, strict=True))}]


def judged(history: Sequence[Mapping[str, Any]], config: PoolConfig, task: str) -> Verdict:
    """Whether another round is worth it."""
    if task == "answers":
        return Verdict(
            False, "free answers: train on this round and compare it with the last (`evaluate`)", None
        )
    return plateau([one["right"] for one in history], least_gain=config.least_gain)
