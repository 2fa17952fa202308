"""What every step from a data set folder to a data set folder shares: opening, logs, writing, the summary.

A step never touches its input.  Its folder names the input as parent, and lists each row that was changed or
dropped with the reason.
"""

import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Literal, NamedTuple

from tunesmith.core.config import Schema
from tunesmith.core.conversation import Example
from tunesmith.core.dataset import SPLITS, DataSet, Writer
from tunesmith.core.errors import DataError
from tunesmith.core.files import explain_disk_errors
from tunesmith.core.job import Job
from tunesmith.core.workspace import Input, WorkFolder
from tunesmith.data.corpus import Corpus, CorpusRow

Split = Literal["train", "validation", "test", "held_out"]
DROPPED, CHANGES = "dropped.jsonl", "changes.jsonl"
FINDINGS_SHOWN = 20


class DataSetResult(Schema):
    """A data set folder that was made from another one; None for a trial that wrote nothing."""

    folder: Path | None
    """The data set folder."""
    rows: int
    """Rows of the input, all splits."""
    changed: int
    """Rows that are in it in another form."""
    dropped: int
    """Rows that are not in it (dropped.jsonl)."""
    splits: dict[str, int]
    """Rows in each split."""
    fingerprint: str
    """Identity of the rows and their splits; empty for a trial."""
    notes: list[str]
    """What a reader should know."""

    @classmethod
    def fields_from(cls, summary: Mapping[str, Any], folder: Path) -> dict[str, Any]:
        """The values of the result, from a manifest's summary, which also has what the report page reads."""
        return {"folder": folder} | {name: summary[name] for name in cls.model_fields if name in summary}


@contextmanager
def derived(
    job: Job,
    data: DataSet,
    *,
    verb: str,
    config: Mapping[str, Any],
    inputs: Mapping[str, Path | Input] | None = None,
    seed: int | None = None,
    resume: bool = False,
) -> Iterator[WorkFolder]:
    """The folder of a step on a data set, which is its first input."""
    given: dict[str, Path | Input] = {"data": data.folder, **(inputs or {})}
    name = data.manifest.name
    with (
        job.folder(
            verb=verb, kind="data-set", name=name, config=config, inputs=given, seed=seed, resume=resume
        ) as folder,
        explain_disk_errors(folder.path),
    ):
        yield folder


@dataclass
class Ledger:
    """`dropped.jsonl` and `changes.jsonl`, written while rows go by, and counts of both by reason.

    Without a folder it only counts.
    """

    folder: Path | None = None
    drops: Counter[str] = field(default_factory=Counter)
    changes: Counter[str] = field(default_factory=Counter)
    _files: dict[str, IO[str]] = field(default_factory=dict)
    _stack: ExitStack = field(default_factory=ExitStack)

    def __enter__(self) -> "Ledger":
        for name in (DROPPED, CHANGES):
            if self.folder is not None:
                file = (self.folder / name).open("w", encoding="utf-8")
                self._files[name] = self._stack.enter_context(file)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.close()

    def drop(self, step: str, place: Mapping[str, Any], reason: str, **evidence: Any) -> None:
        """A row is left out."""
        self.drops[reason] += 1
        self._write(DROPPED, {"step": step, **place, "reason": reason, **evidence})

    def change(self, step: str, place: Mapping[str, Any], reason: str, **evidence: Any) -> None:
        """A row goes on in another form."""
        self.changes[reason] += 1
        self._write(CHANGES, {"step": step, **place, "reason": reason, **evidence})

    def _write(self, name: str, row: Mapping[str, Any]) -> None:
        if name in self._files and self.folder is not None:
            with explain_disk_errors(self.folder):  # not the place of the rows between two steps
                self._files[name].write(json.dumps(row, ensure_ascii=False) + "\n")


class Written(NamedTuple):
    """The splits of a folder that was written."""

    splits: dict[str, int]
    groups: int
    fingerprint: str


def write_rows(folder: WorkFolder, names: Iterable[str], rows: Iterable[CorpusRow]) -> Written:
    """Stream rows into the split files, with their leak proof.

    Raises DataError when nothing is left to train on.
    """
    listed = [name for name in SPLITS if name in set(names)]
    counts: Counter[str] = Counter()
    groups: set[str] = set()
    with Writer(folder.path, listed) as writer:
        for row in rows:
            counts[row.split] += 1
            groups.add(row.group_id)
            writer.add(
                row.split,
                example_json=json.dumps(row.example.to_json(), ensure_ascii=False),
                row_hash=row.row_hash,
                group_id=row.group_id,
                line=row.line,
            )
    check_rows_left(counts, listed)
    splits = {name: counts[name] for name in listed}
    return Written(splits, len(groups), str(writer.proof["fingerprint"]))


def check_rows_left(counts: Mapping[str, int], names: Iterable[str]) -> None:
    """Refuse a data set without training rows."""
    if "train" in set(names) and not counts.get("train"):
        step = "--dry-run shows what each step does; ask for less"
        raise DataError("no training row is left", next_step=step)


def summary_of(
    data: DataSet, written: Written | None, *, rows: int, changed: int, dropped: int, notes: list[str]
) -> dict[str, Any]:
    """The manifest's summary: what `DataSetResult` says, and the names that every data set's summary has."""
    before = data.manifest.summary
    return {
        "rows": rows,
        "kept": rows - changed - dropped,
        "changed": changed,
        "dropped": dropped,
        "refused": dropped,
        "duplicates": 0,
        "withheld": 0,
        "splits": written.splits if written else {},
        "groups": written.groups if written else 0,
        "near_duplicates": before.get("near_duplicates", 0),
        "contradictions": before.get("contradictions", 0),
        "fingerprint": written.fingerprint if written else "",
        "findings": notes[:FINDINGS_SHOWN],
        "notes": notes,
    }


def with_example(row: CorpusRow, example: Example) -> CorpusRow:
    """The row with another example, and the hash that it has."""
    return row._replace(example=example, row_hash=example.row_hash)


def add_row(corpus: Corpus, row: CorpusRow) -> None:
    """Append a row to another corpus."""
    corpus.add(row.example, split=row.split, line=row.line, row_hash=row.row_hash, group_id=row.group_id)
