"""The rows of a file or of a data set, to be walked again and again without holding them in memory.

A file is read once, into a spool on disk; of each row its place in the spool stays in memory (8 bytes).
"""

import json
import tempfile
from array import array
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import IO, Any, NamedTuple

from tunesmith.core.conversation import Example
from tunesmith.core.dataset import DataSet
from tunesmith.core.errors import FolderError
from tunesmith.core.files import explain_disk_errors
from tunesmith.core.formats.containers.place import is_hub_id
from tunesmith.core.formats.problems import Problem
from tunesmith.core.formats.read import Reading, read_rows
from tunesmith.core.job import Job
from tunesmith.core.workspace import MANIFEST


class CorpusRow(NamedTuple):
    """One usable row, and where it stands."""

    position: int
    """Its number in the corpus, from 0."""
    split: str
    """Split of the data set; empty for a row of a file."""
    line: int
    """Line or row in the source file, from 1."""
    row_hash: str
    """Content hash."""
    group_id: str
    """Group in the data set; empty for a row of a file."""
    example: Example

    @property
    def place(self) -> dict[str, Any]:
        """Where it stands, as reports name it."""
        return {"split": self.split, "line": self.line, "row_hash": self.row_hash}


class Corpus:
    """Rows on disk; made by `open_corpus` or `corpus_of`, gone when their `with` ends."""

    def __init__(self, spool: IO[bytes], name: str, problems: Iterable[Problem] = ()) -> None:
        self._spool, self.name = spool, name
        self._offsets: array[int] = array("q")
        self.problems = list(problems)
        """Faults of rows that could not be read; those rows are not in the corpus."""
        self.num_unreadable = 0
        """How many rows those are."""

    def __len__(self) -> int:
        return len(self._offsets)

    def __iter__(self) -> Iterator[CorpusRow]:
        return map(self.row, range(len(self)))

    def row(self, position: int) -> CorpusRow:
        """The row with this number."""
        self._spool.seek(self._offsets[position])
        split, line, row_hash, group_id, example = json.loads(self._spool.readline())
        return CorpusRow(position, split, line, row_hash, group_id, Example.from_json(example))

    def add(
        self, example: Example, *, split: str = "", line: int = 0, row_hash: str = "", group_id: str = ""
    ) -> None:
        """Append a row; its line is its number when none is given."""
        self._offsets.append(self._spool.seek(0, 2))
        row = [split, line or len(self._offsets), row_hash or example.row_hash, group_id, example.to_json()]
        self._spool.write(json.dumps(row, ensure_ascii=False).encode() + b"\n")


def holds_rows(path: Path, job: Job) -> bool:
    """Whether a path means rows to be read and no data set: a file, a folder of files, a `#part`, a hub id.

    The name of a data set may have a dot in it, so what looks like a file that is missing is looked up first.
    """
    if path.is_dir():
        return not (path / MANIFEST).is_file()
    if path.is_file() or "#" in path.name:
        return True
    try:
        job.workspace.resolve(str(path))
    except FolderError:
        return bool(path.suffix) or is_hub_id(str(path))
    return False


@contextmanager
def open_corpus(path: Path, job: Job, how: Reading | None = None) -> Iterator[Corpus]:
    """The rows of a data set folder (its path, name or id), or of a file or a folder of files.

    `how` says how files are read.  Raises DataError or FolderError when it is neither.
    """
    if holds_rows(path, job):
        with spooled(path.name, partial(add_file, path=path, how=how or Reading())) as corpus:
            yield corpus
    else:
        data = DataSet.find(path, job.workspace)
        with spooled(data.manifest.name, partial(add_splits, data=data)) as corpus:
            yield corpus


@contextmanager
def spooled(name: str, fill: Callable[[Corpus], None]) -> Iterator[Corpus]:
    """A corpus on disk while it is open; a full disk under it is explained while it is filled."""
    with tempfile.TemporaryFile("w+b") as spool:
        corpus = Corpus(spool, name)
        with explain_disk_errors(Path(tempfile.gettempdir())):
            fill(corpus)
            spool.flush()
        yield corpus


def add_file(corpus: Corpus, path: Path, how: Reading) -> None:
    """The rows of a file or a folder of files; what cannot be read is counted."""
    for row in read_rows(path, how):
        corpus.problems += row.problems
        corpus.num_unreadable += row.outcome == "refused"
        if row.example is not None:
            corpus.add(row.example, line=row.line)


def add_splits(corpus: Corpus, data: DataSet, only: str | None = None) -> None:
    """The rows of a data set, split after split, or of one split."""
    for name in data.split_names() if only is None else (only,):
        for entry in data.rows(name):
            known = {"row_hash": entry.row_hash, "group_id": entry.group_id}
            corpus.add(entry.example, split=name, line=entry.line, **known)


@contextmanager
def corpus_of(examples: Iterable[Example], *, name: str = "rows") -> Iterator[Corpus]:
    """A corpus of examples that are at hand, without splits."""

    def fill(corpus: Corpus) -> None:
        for example in examples:
            corpus.add(example)

    with spooled(name, fill) as corpus:
        yield corpus
