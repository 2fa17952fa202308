"""The rows under review: found by hash, put in order, with what a check found on them."""

from __future__ import annotations

import io
import json
from array import array
from collections.abc import Iterator, Mapping, Set
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tunesmith.core.conversation import Example
from tunesmith.core.dataset import DataSet
from tunesmith.core.errors import DataError, UserError
from tunesmith.core.formats.read import read_stream
from tunesmith.core.job import Job
from tunesmith.core.reviews.acts import Item
from tunesmith.core.rounds import ROUND
from tunesmith.data.corpus import Corpus, CorpusRow, open_corpus
from tunesmith.data.review.schema import ReviewConfig

FINDINGS = "findings.jsonl"
RISKS: Mapping[str, float] = {"error": 100.0, "warning": 10.0, "note": 1.0}
"""What a finding of each severity adds to a row's risk."""
KEY_BYTES = 16


class Index:
    """Row hash → position, in 24 bytes a row."""

    def __init__(self, corpus: Corpus) -> None:
        keys = np.array([key_of(row.row_hash) for row in corpus], dtype=f"S{KEY_BYTES}")
        self._order: NDArray[np.int64] = np.argsort(keys, kind="stable")
        self._keys = keys[self._order]

    def find(self, row_hash: str) -> list[int]:
        """Positions of the rows with this hash."""
        key = key_of(row_hash)
        left, right = (int(np.searchsorted(self._keys, key, side)) for side in ("left", "right"))
        return [int(position) for position in self._order[left:right]]

    def first_positions(self) -> NDArray[np.int64]:
        """The first row of each hash, in the corpus's order."""
        is_first = np.ones(len(self._keys), dtype=bool)
        is_first[1:] = self._keys[1:] != self._keys[:-1]
        return np.sort(self._order[is_first])


def key_of(row_hash: str) -> bytes:
    """The first bytes of a hash; a zero at the end would be cut by numpy, so it is said in another way."""
    return bytes.fromhex(row_hash[: 2 * KEY_BYTES]).replace(b"\0", b"\1")


@dataclass(frozen=True)
class Findings:
    """A check's findings on disk, and where those of each row stand in the file."""

    path: Path | None
    places: Mapping[str, array[int]]
    """Row hash → offsets in the file."""
    risks: Mapping[str, float]

    def of(self, row_hash: str) -> list[dict[str, Any]]:
        """What was found on a row, the gravest first."""
        if self.path is None or row_hash not in self.places:
            return []
        found = []
        with self.path.open("rb") as file:
            for offset in self.places[row_hash]:
                file.seek(offset)
                found.append(json.loads(file.readline()))
        return sorted(found, key=lambda line: -RISKS.get(line["severity"], 0.0))


def read_findings(thing: str | None, job: Job) -> Findings:
    """The findings of a check folder, by its path, name or id; none when none is named.

    Raises DataError for a folder without findings, or with lines that are none.
    """
    if thing is None:
        return Findings(None, {}, {})
    given = Path(thing)
    folder = given if given.is_dir() else given.parent if given.is_file() else job.workspace.resolve(thing)
    path = folder / FINDINGS
    if not path.is_file():
        step = "give a folder that `tunesmith data check` made"
        raise DataError("this folder holds no findings", where=folder, next_step=step)
    places: dict[str, array[int]] = {}
    risks: dict[str, float] = {}
    with path.open("rb") as file:
        offset = 0
        for number, line in enumerate(file, start=1):
            try:
                finding = json.loads(line)
                row_hash = (finding["row"] or {}).get("row_hash")
                risk = RISKS.get(finding["severity"], 0.0)
            except (ValueError, KeyError, TypeError, AttributeError):
                step = "run the check again"
                raise DataError("not a finding", where=f"{path}:{number}", next_step=step) from None
            if row_hash:
                places.setdefault(row_hash, array("q")).append(offset)
                risks[row_hash] = risks.get(row_hash, 0.0) + risk
            offset += len(line)
    return Findings(path, places, risks)


@dataclass(frozen=True)
class Rows:
    """What can be shown: the rows of the data set and the findings on them."""

    data: DataSet
    corpus: Corpus
    index: Index
    findings: Findings

    def by_hash(self, row_hash: str) -> CorpusRow:
        """A row of the review.  Raises DataError when the data set has none of this hash."""
        found = self.index.find(row_hash)
        if not found:
            step = "`tunesmith data show` lists rows; give the hash of one of them"
            raise DataError(
                "this data set has no such row", where=self.data.folder, value=row_hash, next_step=step
            )
        return self.corpus.row(found[0])

    def by_line(self, split: str, line: int) -> CorpusRow:
        """The row of a split that came from this line."""
        for row in self.corpus:
            if row.line == line and row.split == split:
                return row
        raise DataError(
            "this data set has no such row", where=self.data.folder, value=f"{split}, line {line}",
            next_step="give split and line as `tunesmith data show` prints them",
        )  # fmt: skip


@contextmanager
def open_rows(data: DataSet, findings: str | None, job: Job) -> Iterator[Rows]:
    """The rows of a data set, on disk while they are open."""
    known = read_findings(findings, job)
    with open_corpus(data.folder, job) as corpus:
        yield Rows(data, corpus, Index(corpus), known)


def items(rows: Rows, config: ReviewConfig, begun: Set[str]) -> Iterator[Item]:
    """The rows to be queued, in the order in which they will be shown; `begun` are those that are already.

    Rows with one hash are reviewed once.  A sample grows with `sample`: a larger one holds the smaller one.
    """
    positions = rows.index.first_positions()
    if config.split is not None:
        wanted = [int(at) for at in positions if rows.corpus.row(int(at)).split == config.split]
        positions = np.array(wanted, dtype=np.int64)
    elif (rows.data.folder / ROUND).exists():
        # a round of active learning: the rows that wait for an answer, while there are any
        waiting = [int(at) for at in positions if not is_answered(rows.corpus.row(int(at)).example)]
        positions = np.array(waiting, dtype=np.int64) if waiting else positions
    if (
        begun and config.sample is None and config.split is None
    ):  # else a spot check would become a review of all
        kept = [int(at) for at in positions if rows.corpus.row(int(at)).row_hash in begun]
        positions = np.array(kept, dtype=np.int64)
    if not len(positions):
        raise UserError("there is no row to review", where=rows.data.folder, value=config.split or "all")
    shuffled = np.random.default_rng(config.seed).permutation(positions)
    if config.sample:
        positions = shuffled[: config.sample]
    elif config.order == "random":
        positions = shuffled
    elif config.order == "risk":
        risks = np.array(
            [rows.findings.risks.get(rows.corpus.row(int(at)).row_hash, 0.0) for at in positions]
        )
        positions = positions[np.argsort(-risks, kind="stable")]
    for rank, position in enumerate(positions):
        row_hash = rows.corpus.row(int(position)).row_hash
        yield Item(
            row_hash, float(rank), rows.findings.risks.get(row_hash, 0.0), bool(config.sample),
            2 if share_of(row_hash, 0) < config.overlap else 1, share_of(row_hash, 1) < config.again,
        )  # fmt: skip


def share_of(row_hash: str, part: int) -> float:
    """A number from 0 to 1 that is the row's own: a larger share keeps the rows of a smaller one."""
    return float(int(row_hash[8 * part : 8 * part + 8], 16) / 2**32)


def is_answered(example: Example) -> bool:
    """Whether there is anything to learn: a row of a pool may still lack its answer."""
    return bool(example.chosen or example.steps) or any(
        message.role in ("assistant", "text") for message in example.messages
    )


def read_example(value: object) -> Example:
    """A row as JSON to an example.  Raises DataError with every fault that it has."""
    try:
        text = json.dumps(value, ensure_ascii=False, allow_nan=False)
        line = text.encode("utf-8")
    except (TypeError, ValueError, UnicodeEncodeError) as error:
        raise DataError("this is no JSON row", value=str(error), next_step="mend it") from None
    read = next(iter(read_stream(io.BytesIO(line + b"\n"), "row")))
    if read.example is None:
        faults = "; ".join(f"{problem.pointer or 'the row'}: {problem.reason}" for problem in read.problems)
        step = "write it as OpenAI's chat format has it: messages with role and content"
        raise DataError(f"this is no valid row ({faults or 'it is empty'})", next_step=step)
    return read.example
