"""What the test split says of one trained model: the loss of each item, and the scores of its answers."""

import tempfile
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from tunesmith.core.dataset import DataSet, Row
from tunesmith.core.files import read_json, read_jsonl, write_json
from tunesmith.core.job import Job
from tunesmith.core.scorers import scorers_for
from tunesmith.data.corpus import Corpus
from tunesmith.launch.steps import Step, run_step

SHORT_ANSWER = 40
"""A longer answer that is no JSON has many right forms: its loss says more than comparing texts."""


class Item(NamedTuple):
    """A test row, as measures name it."""

    row_hash: str
    group_id: str


def items_of(data: DataSet, most: int) -> list[Row]:
    """The same test rows for every model: those with the smallest hashes, a uniform sample.

    Of millions of rows only the hashes are held.
    """
    wanted = set(sorted(row.row_hash for row in data.rows("test"))[:most])
    return [row for row in data.rows("test") if row.row_hash in wanted]


def exact_scorers(rows: Iterable[Row]) -> list[str]:
    """Scorers where answers can be right or wrong; none for free text."""
    examples = [row.example for row in rows]
    found = scorers_for(examples)
    is_short = all(len(example.answer) <= SHORT_ANSWER for example in examples)
    return found if found[0] == "exact_json" or is_short else []


def losses(run: Path, rows: Sequence[Row], max_length: int, file: Path, job: Job) -> dict[str, float]:
    """Row hash → mean loss of the answer's tokens, nats; kept in `file`, so that a cut ablation goes on.

    Rows that the model cannot read are left out.
    """
    if file.exists():
        known: dict[str, float] = read_json(file)
        return known
    from tunesmith.data.select.model_scores import bench_on

    with tempfile.TemporaryFile("w+b") as spool:
        corpus = Corpus(spool, "test")
        for row in rows:
            corpus.add(row.example, split="test", line=row.line, row_hash=row.row_hash)
        found = bench_on(corpus, str(run), max_length, 0, job).losses.by_row
    by_hash = {rows[position].row_hash: loss.given for position, loss in sorted(found.items())}
    write_json(file, by_hash)
    return by_hash


def answer_scores(
    run: Path, data: Path, limit: int, scorers: Sequence[str], name: str, job: Job
) -> dict[str, Mapping[str, float]]:
    """Row hash → scores of the model's greedy answer, by an evaluation of its own."""
    config = {
        "suite": str(data), "model": str(run), "split": "test", "limit": limit, "scorers": list(scorers),
    }  # fmt: skip
    result = run_step(Step(f"answers of {name}", f"Ask the model of {name}", "evaluate", config), job)
    samples = read_jsonl(Path(result["folder"]) / "samples.jsonl")
    return {line.value["id"]: line.value["scores"] for line in samples}
