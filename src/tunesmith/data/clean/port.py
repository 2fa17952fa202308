"""What a cleaning step is: it may look at all rows first, then says of each what becomes of it."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from tunesmith.core.conversation import Example
from tunesmith.core.job import Job
from tunesmith.data.corpus import Corpus, CorpusRow

Outcome = Literal["kept", "changed", "dropped", "left"]
"""left: the step would have to change the row and cannot; it stays as it is, and is counted."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """What becomes of one row, and why."""

    outcome: Outcome
    reason: str = ""
    evidence: Mapping[str, Any] = field(default_factory=dict)
    example: Example | None = None
    """The row's new form; only of a changed one."""


KEPT = Verdict("kept")


def changed(example: Example, reason: str, **evidence: Any) -> Verdict:
    """The row goes on as `example`."""
    return Verdict("changed", reason, evidence, example)


def dropped(reason: str, **evidence: Any) -> Verdict:
    """The row goes no further."""
    return Verdict("dropped", reason, evidence)


def left(reason: str, **evidence: Any) -> Verdict:
    """The row should change and cannot."""
    return Verdict("left", reason, evidence)


@dataclass(frozen=True)
class Stage:
    """The rows as the steps before left them, and what a step may use."""

    corpus: Corpus
    scope: frozenset[str]
    """Splits that the step works on."""
    job: Job
    findings: Path | None = None
    """Folder of a check of this data set."""
    flagged: Mapping[tuple[str, int], int] = field(default_factory=dict)
    """(split, line) → how many findings there are about the row, as far as a check was given."""
    notes: list[str] = field(default_factory=list)
    """What the steps want a reader to know."""

    def rows(self) -> Iterator[CorpusRow]:
        """The rows that the step works on."""
        return (row for row in self.corpus if row.split in self.scope)


Decide = Callable[[CorpusRow], Verdict]
"""Says what becomes of a row of the stage."""
