"""Reads a file of rows, drops repeats, and finds which rows belong together.

Examples go to a spool file on disk as they are read; a few hundred bytes a row stay in memory.
"""

import json
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any, Literal, NamedTuple

from tunesmith.core.conversation import Example
from tunesmith.core.errors import DataError
from tunesmith.core.formats.problems import Problem
from tunesmith.core.formats.read import ReadRow, read_rows
from tunesmith.core.progress import Progress, Silent
from tunesmith.core.similarity import Groups, NearDuplicates, text_hash

Origin = Literal["held_out", "source"]
SHOWN_FROM_MB = 2
"""A smaller file is read before a bar could be."""
FIRST_SHOWN = 5
"""How many problems a refusal of the whole file lists."""


class Entry(NamedTuple):
    """What stays in memory of a usable row; its number is its place in the spool and in `Groups`."""

    origin: Origin
    line: int
    row_hash: str
    key: str
    """What the row's split is drawn by: its own group when it names one, else its prompt."""
    prompt: str
    """Hash of the prompt's normal form."""
    changed: bool


class Dropped(NamedTuple):
    """A row that could be used but is left out, and the line that is the reason."""

    origin: Origin
    line: int
    reason: str
    same_as: int


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
    refusals: Counter[str] = field(default_factory=Counter)
    changes: Counter[str] = field(default_factory=Counter)

    def to_json(self) -> dict[str, Any]:
        """The account as accounting.json holds it."""
        return {**vars(self), "refusals": dict(self.refusals), "changes": dict(self.changes)}

    def check(self) -> None:
        """Every line and every row is accounted for."""
        assert self.lines == self.rows + self.blank, self
        assert self.rows == self.kept + self.changed + self.refused + self.duplicate + self.withheld, self


@dataclass
class Intake:
    """Everything learned while reading; `read` once for each file, the held-out one first."""

    spool: IO[str]
    rejects: IO[str]
    near_duplicates: float
    deduplicate: bool
    entries: list[Entry] = field(default_factory=list)
    dropped: list[Dropped] = field(default_factory=list)
    groups: Groups = field(default_factory=Groups)
    contradictions: dict[str, list[int]] = field(default_factory=dict)
    """Hash of a whole prompt → lines of the source that answer it, where the answers differ."""
    _first_lines: dict[tuple[Origin, str], int] = field(default_factory=dict)
    _by_key: dict[str, int] = field(default_factory=dict)
    _answers: dict[str, tuple[str, int]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._near = NearDuplicates(self.near_duplicates, self.groups) if self.near_duplicates else None

    def read(self, path: Path, origin: Origin, progress: Progress, *, max_refused: float) -> Account:
        """Read one file to its end.

        Raises DataError when more than `max_refused` of its rows are refused, or none can be used.
        """
        account = Account(path.name)
        first: list[Problem] = []
        num_mb = path.stat().st_size / 1e6
        shown = progress if num_mb >= SHOWN_FROM_MB else Silent()
        with shown.task(f"reading {path.name}", total=num_mb, unit="MB") as task:
            for row in read_rows(path):
                self._take(row, origin, account)
                first += row.problems[: FIRST_SHOWN - len(first)]
                task.advance(row.num_bytes / 1e6)
        check_refused(path, account, first, max_refused=max_refused)
        return account

    def _take(self, row: ReadRow, origin: Origin, account: Account) -> None:
        """Count one line; spool and group its example when it can be used."""
        account.lines += 1
        if row.outcome == "blank":
            account.blank += 1
            return
        account.rows += 1
        if row.problems or row.example is None:
            account.refused += 1
            account.refusals.update({problem.reason for problem in row.problems})
            for problem in row.problems:
                self.rejects.write(
                    json.dumps({"file": account.file, **problem.to_json()}, ensure_ascii=False) + "\n"
                )
            return
        account.changes.update({change.reason for change in row.changes})
        row_hash = row.example.row_hash
        first = self._first_lines.setdefault((origin, row_hash), row.line)
        if first != row.line and self.deduplicate:
            account.duplicate += 1
            self.dropped.append(Dropped(origin, row.line, "repeats an earlier row", first))
            return
        account.changed += bool(row.changes)
        account.kept += not row.changes
        self._keep(row.example, origin, row.line, row_hash, changed=bool(row.changes))

    def _keep(self, example: Example, origin: Origin, line: int, row_hash: str, *, changed: bool) -> None:
        text = prompt_text(example)
        prompt = f"prompt {text_hash(text)}"
        group = example.metadata.get("group_id")
        key = prompt if group is None else f"group {group}"
        self.entries.append(Entry(origin, line, row_hash, key, prompt, changed))
        self.spool.write(json.dumps(example.to_json(), ensure_ascii=False) + "\n")
        member = self.groups.add()
        known = prompt in self._by_key
        for shared in {prompt, key}:
            self.groups.join(self._by_key.setdefault(shared, member), member)
        if self._near is not None and not known:
            self._near.add(member, text)
        if origin == "source":
            self._compare_answers(example, line)

    def _compare_answers(self, example: Example, line: int) -> None:
        if not example.prompt:
            return  # a document of plain text answers nothing
        prompt = text_hash(
            json.dumps([[turn.role, turn.content] for turn in example.prompt], ensure_ascii=False)
        )
        answer = text_hash(json.dumps(example.messages[-1].to_json(), ensure_ascii=False))
        first_answer, first_line = self._answers.setdefault(prompt, (answer, line))
        if prompt in self.contradictions:
            self.contradictions[prompt].append(line)
        elif answer != first_answer:
            self.contradictions[prompt] = [first_line, line]


def prompt_text(example: Example) -> str:
    """What is compared: everything said before the answer, without the standing instruction.

    A system prompt that all rows share would make short prompts look alike.  Plain text without a prompt is
    compared whole.
    """
    if not example.prompt:
        return example.answer
    said = [turn.content or "" for turn in example.prompt if turn.role not in ("system", "developer")]
    return "\n".join(said or [turn.content or "" for turn in example.prompt])


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
