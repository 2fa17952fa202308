"""The pool: rows with or without answers, and which of them may be chosen."""

from collections import Counter
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tunesmith.core.conversation import Example
from tunesmith.core.dataset import DataSet
from tunesmith.core.errors import DataError
from tunesmith.core.formats.containers.open import open_raw
from tunesmith.core.formats.containers.port import RawRow
from tunesmith.core.job import Job
from tunesmith.core.similarity import Groups, NearDuplicates, text_hash
from tunesmith.data.corpus import Corpus, open_corpus, spooled
from tunesmith.data.review.rows import is_answered, read_example
from tunesmith.data.steps import Ledger
from tunesmith.data.vectors import asked

JSON_LINES = (".jsonl", ".ndjson")
PROMPT_KEYS = ("prompt", "text", "messages", "metadata", "tools")


def prompt_row(raw: RawRow) -> Example:
    """A row that may lack its answer.  Raises DataError saying what is wrong with it."""
    if raw.problems:
        raise DataError(raw.problems[0].reason)
    value = raw.value
    if not isinstance(value, dict):
        raise DataError("not an object of keys and values")
    if (
        set(value) <= set(PROMPT_KEYS)
        and ("prompt" in value) + ("text" in value) + ("messages" in value) == 1
    ):
        words = value.get("prompt", value.get("text"))
        row = {key: value[key] for key in ("metadata", "tools") if key in value}
        if isinstance(words, str) and words.strip():
            row["messages"] = [{"role": "user", "content": words}]
        else:
            row["messages"] = value.get("messages", words)
        turns = row["messages"]
        if (
            isinstance(turns, list)
            and turns
            and isinstance(turns[-1], dict)
            and turns[-1].get("role") == "user"
        ):
            # Read with an answer, which is taken away again: the rules for rows ask for one.
            whole = read_example({**row, "messages": [*turns, {"role": "assistant", "content": "-"}]})
            return Example(whole.messages[:-1], whole.tools, whole.metadata)
    return read_example(value)


@contextmanager
def open_pool(path: Path, job: Job, ledger: Ledger) -> Iterator[Corpus]:
    """The rows of the pool; those that cannot be read go into the ledger.

    Raises DataError when the file cannot be read or holds no usable row.
    """
    if path.suffix.lower() not in JSON_LINES:
        with open_corpus(path, job) as corpus:
            for problem in corpus.problems:
                ledger.drop("pool", {"line": problem.line}, f"cannot be read: {problem.reason}")
            yield corpus
        return
    with spooled(path.stem, lambda corpus: add_prompts(corpus, path, ledger)) as corpus:
        yield corpus


def add_prompts(corpus: Corpus, path: Path, ledger: Ledger) -> None:
    """The rows of a file of prompts."""
    reasons: Counter[str] = Counter()
    for raw in open_raw(path):
        if raw.is_blank:
            continue
        try:
            corpus.add(prompt_row(raw), line=raw.line)
        except DataError as error:
            reasons[error.what] += 1
            ledger.drop("pool", {"line": raw.line}, "cannot be read", problem=error.what)
    if not len(corpus):
        [(reason, _)] = reasons.most_common(1)
        step = 'give rows such as {"prompt": "…"}'
        raise DataError(f"no row of the pool can be read: {reason}", where=path, next_step=step)


def choosable(
    pool: Corpus, data: DataSet, rejected: Collection[str], ledger: Ledger, *, threshold: float
) -> list[int]:
    """Positions of the rows that may be chosen; the others go into the ledger.

    Left out are prompts that are labelled already or stand twice in the pool, those that a reviewer rejected
    in a round before (their hashes), and those too like a prompt of a held-out split.
    """
    groups, seen = Groups(), set()
    near = NearDuplicates(threshold, groups) if threshold else None
    held = 0
    for name in data.split_names():
        for row in data.rows(name):
            seen.add(text_hash(asked(row.example)))
            if name != "train" and near is not None:
                near.add(groups.add(), asked(row.example))
                held += 1
    found: list[int] = []
    members: list[int] = []
    for entry in pool:
        prompt = asked(entry.example)
        key = text_hash(prompt)
        if key in seen:
            ledger.drop("pool", entry.place, "the prompt is labelled already, or stands twice in the pool")
            continue
        seen.add(key)
        if key in rejected:
            ledger.drop("pool", entry.place, "rejected by a reviewer in a round before")
            continue
        found.append(entry.position)
        if near is not None:
            members.append(groups.add())
            near.add(members[-1], prompt)
    if near is None:
        return found
    free = []
    for position, member in zip(found, members, strict=True):
        if groups.root(member) < held:
            ledger.drop("pool", pool.row(position).place, "too like a validation or test prompt")
        else:
            free.append(position)
    return free


def without_answer(example: Example) -> bool:
    """Whether the row waits for an answer."""
    return not is_answered(example)


def as_chosen(example: Example, facts: dict[str, Any]) -> Example:
    """The row with what its choice was, in its metadata."""
    return Example(
        example.messages, example.tools, {**example.metadata, **facts}, example.chosen, example.rejected,
        example.label, example.steps,
    )  # fmt: skip
