"""Takes rows in and keeps what grouping needs: a few hundred bytes a row in memory, examples on disk."""

import json
from array import array
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any, Final, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from tunesmith.core.errors import DataError
from tunesmith.core.formats.containers.place import check_source
from tunesmith.core.formats.problems import Problem
from tunesmith.core.progress import Progress, Silent
from tunesmith.core.similarity import Groups, NearDuplicates
from tunesmith.data.measures import MAX_DISTINCT, Numbers
from tunesmith.data.parcels import Parcel, Task, prompt_text, read_parcels

__all__ = ["Account", "Columns", "Dropped", "Intake", "Origin", "prompt_text"]

Origin = Literal["held_out", "test", "validation", "source"]
ORIGINS: Final[tuple[Origin, ...]] = ("held_out", "test", "validation", "source")
"""Rows of all but the last have their split already, and lead the groups that they are in."""
SOURCE: Final = ORIGINS.index("source")
SHOWN_FROM_MB = 2
"""A smaller file is read before a bar could be."""
FIRST_SHOWN = 5
"""How many problems a refusal of the whole file lists."""


class Dropped(NamedTuple):
    """A row that could be used but is left out, and the line that is the reason."""

    origin: Origin
    line: int
    reason: str
    same_as: int


class Contradictions(NamedTuple):
    """Prompts of the source that are answered in more than one way: how many, and the lines of the first."""

    number: int
    lines: list[list[int]]


@dataclass
class Account:
    """What became of every line of one file."""

    file: str
    lines: int = 0
    blank: int = 0
    rows: int = 0
    kept: int = 0
    changed: int = 0
    refused: int = 0
    duplicate: int = 0
    withheld: int = 0
    near_duplicate: int = 0
    refusals: Counter[str] = field(default_factory=Counter)
    changes: Counter[str] = field(default_factory=Counter)
    notes: Counter[str] = field(default_factory=Counter)
    layout: dict[str, Any] = field(default_factory=dict)
    """What its rows are laid out as, and the evidence."""

    def to_json(self) -> dict[str, Any]:
        """The account as accounting.json holds it."""
        counters = {name: dict(value) for name, value in vars(self).items() if isinstance(value, Counter)}
        return {**vars(self), **counters}

    def check(self) -> None:
        """Every line and every row is accounted for."""
        assert self.lines == self.rows + self.blank, self
        used = self.kept + self.changed
        left_out = self.refused + self.duplicate + self.withheld + self.near_duplicate
        assert self.rows == used + left_out, self


class Columns(NamedTuple):
    """What is known of every usable row, in the order they were read; a row's number is its place here."""

    origins: NDArray[np.uint8]
    lines: NDArray[np.int64]
    times: NDArray[np.float64]
    changed: NDArray[np.bool_]
    synthetic: NDArray[np.bool_]
    hashes: NDArray[np.uint8]
    """Row hashes [rows, 32]."""
    keys: NDArray[np.uint8]
    """Named groups [rows, 16]; zeros for none."""
    prompts: NDArray[np.uint8]
    """Hashes of the normal form of what is compared [rows, 16]."""
    contexts: NDArray[np.uint8]
    answers: NDArray[np.uint8]
    strata: NDArray[np.int64]
    """Numbers in `Intake.strata`."""
    offsets: NDArray[np.int64]
    """Where each example stands in the spool."""
    prompt_lengths: NDArray[np.int64]
    answer_lengths: NDArray[np.int64]
    answer_numbers: NDArray[np.int64]
    """Numbers in `Intake.answers`."""
    key_numbers: NDArray[np.int64]
    """Numbers in `Intake.keys`."""

    @property
    def num_rows(self) -> int:
        """How many rows."""
        return len(self.lines)

    def group_keys(self, rows: NDArray[np.int64]) -> list[str]:
        """What the splits of rows' groups are drawn by: a group that a row names itself, else its prompt."""
        named = np.any(self.keys[rows], axis=1)
        text = np.where(named[:, None], self.keys[rows], self.prompts[rows]).tobytes().hex()
        kinds = np.where(named, "group ", "prompt ").tolist()
        return [kind + text[32 * place : 32 * place + 32] for place, kind in enumerate(kinds)]


@dataclass
class Intake:
    """Everything learned while reading; `read` once for each file, the held-out one first."""

    spool: IO[bytes]
    rejects: IO[str]
    changes: IO[str]
    near_duplicates: float
    folder: Path | None = None
    """Where temporary files go."""
    groups: Groups = field(default_factory=Groups)
    strata: dict[str, int] = field(default_factory=dict)
    answers: Numbers = field(default_factory=lambda: Numbers(MAX_DISTINCT))
    keys: Numbers = field(default_factory=lambda: Numbers(MAX_DISTINCT))
    missing: Counter[str] = field(default_factory=Counter)
    """Metadata keys that were asked for → rows without them."""
    known: Counter[str] = field(default_factory=Counter)
    """Metadata keys that rows have, as far as any were asked for."""
    seeds: set[bytes] = field(default_factory=set)
    """Hashes of the rows that synthetic ones were made from."""
    near: NearDuplicates | None = None
    near_rows: "array[int]" = field(default_factory=lambda: array("q"))
    """The row whose text each text in `near` is: the first with its prompt."""
    _parts: list[Columns] = field(default_factory=list)
    _shared: list[tuple[NDArray[np.int64], NDArray[np.uint8]]] = field(default_factory=list)
    _seen: set[bytes] = field(default_factory=set)
    _num_bytes: int = 0

    def __post_init__(self) -> None:
        if self.near_duplicates:
            self.near = NearDuplicates(self.near_duplicates, self.groups, folder=self.folder)

    def read(self, task: Task, origin: Origin, progress: Progress, *, max_refused: float) -> Account:
        """Read one file to its end.

        Raises DataError when more than `max_refused` of its rows are refused, or none can be used.
        """
        path = task.path
        account = Account(path.name)
        first: list[Problem] = []
        num_mb = check_source(path).num_bytes / 1e6
        shown = progress if num_mb >= SHOWN_FROM_MB else Silent()
        with shown.task(f"reading {path.name}", total=num_mb, unit="MB") as bar:
            for parcel in read_parcels(task):
                self.take(parcel, origin, account)
                first += parcel.problems[: FIRST_SHOWN - len(first)]
                bar.advance(parcel.num_bytes / 1e6)
        check_refused(path, account, first, max_refused=max_refused)
        return account

    def take(self, parcel: Parcel, origin: Origin, account: Account) -> None:
        """Count a parcel's rows; spool and group its usable ones."""
        usable, changed = len(parcel.lines), int(np.count_nonzero(parcel.changed))
        account.lines += parcel.num_lines
        account.blank += parcel.num_blank
        account.rows += parcel.num_lines - parcel.num_blank
        account.refused += parcel.num_refused
        account.changed += changed
        account.kept += usable - changed
        account.refusals += parcel.refusals
        account.changes += parcel.changes
        account.notes += parcel.notes
        account.layout = parcel.layout or account.layout
        self.missing += parcel.missing
        self.known += parcel.known
        self.seeds.update(parcel.seeds[at : at + 32] for at in range(0, len(parcel.seeds), 32))
        for file, entries in ((self.rejects, parcel.rejects), (self.changes, parcel.mended)):
            for entry in entries:
                file.write(json.dumps({"file": account.file, **entry}, ensure_ascii=False) + "\n")
        if usable:
            self._keep(parcel, ORIGINS.index(origin))

    def _keep(self, parcel: Parcel, origin: int) -> None:
        rows = self.groups.add_many(len(parcel.lines))
        hashes, keys, prompts, contexts, answers = (
            np.frombuffer(blob, dtype=np.uint8).reshape(len(rows), -1)
            for blob in (parcel.hashes, parcel.keys, parcel.prompts, parcel.contexts, parcel.answers)
        )
        names = parcel.strata or [""] * len(rows)
        strata = np.array([self.strata.setdefault(name, len(self.strata)) for name in names], dtype=np.int64)
        ends = np.flatnonzero(np.frombuffer(parcel.spool, dtype=np.uint8) == ord("\n")) + 1
        offsets = self._num_bytes + np.concatenate([[0], ends[:-1]])
        self.spool.write(parcel.spool)
        self._num_bytes += len(parcel.spool)
        flags = (np.asarray(parcel.changed) > 0, np.asarray(parcel.synthetic) > 0)
        origins = np.full(len(rows), origin, dtype=np.uint8)
        numbers = (
            self.answers.renumber(parcel.answer_names, parcel.answer_numbers),
            self.keys.renumber(parcel.key_names, parcel.key_numbers),
        )
        own = (origins, parcel.lines, parcel.times, *flags)
        content = (hashes, keys, prompts, contexts, answers, strata, offsets)
        lengths = (parcel.prompt_lengths, parcel.answer_lengths)
        part = Columns._make((*own, *content, *lengths, *numbers))
        self._parts.append(part)
        self._share(parcel, rows)
        if self.near is None:
            return
        new, seen = [], self._seen
        for place in range(len(rows)):
            prompt = parcel.prompts[16 * place : 16 * place + 16]
            if prompt not in seen:
                seen.add(prompt)
                new.append(place)
        self.near_rows.frombytes(rows[new].tobytes())
        self.near.add_normal(rows[new].tolist(), [parcel.texts[place] for place in new])

    def _share(self, parcel: Parcel, rows: NDArray[np.int64]) -> None:
        """Note what rows share by the keys that the user groups by."""
        shared = np.frombuffer(parcel.shared, dtype=np.uint8).reshape(-1, 16)
        if len(shared):
            owners = np.repeat(rows, len(shared) // len(rows))
            given = shared.any(axis=1)
            self._shared.append((owners[given], shared[given]))

    def columns(self) -> Columns:
        """All rows, joined to groups by what they share; the columns of the parts are given up."""
        parts, self._parts = self._parts, []
        self._seen.clear()
        columns = Columns(*(np.concatenate(column) for column in zip(*parts, strict=True)))
        del parts
        rows = np.arange(columns.num_rows)
        self.groups.join_equal(columns.prompts, rows)
        named = columns.keys.any(axis=1)
        self.groups.join_equal(columns.keys[named], rows[named])
        if self._shared:
            owners, shared = (np.concatenate(column) for column in zip(*self._shared, strict=True))
            self.groups.join_equal(shared, owners)
        return columns


def check_refused(path: Path, account: Account, first: list[Problem], *, max_refused: float) -> None:
    """Stop when too many rows are refused, with the first problems."""
    if account.refused <= max_refused * account.rows and account.refused < account.rows:
        return
    listed = "\n".join(
        f"  {path.name}:{problem.line} {problem.pointer or 'row'}: {problem.reason}: {problem.value}"
        for problem in first
    )
    what = f"{account.refused} of {account.rows} rows cannot be used"
    if account.refused < account.rows:
        what += f", more than the share of {max_refused:g} that is let pass"
    step = "mend the rows"
    if account.refused < account.rows:
        step += f", or go on without them: --max-refused {account.refused / account.rows + 0.005:.2f}"
    raise DataError(f"{what}; the first problems:\n{listed}", where=path, next_step=step)
