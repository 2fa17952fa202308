"""Configuration and result of `tunesmith data check`."""

from pathlib import Path
from typing import Any, Literal

from pydantic import Field, PositiveInt

from tunesmith.core.config import Schema, argument
from tunesmith.core.job import FolderResult, JudgedResult


class CheckConfig(Schema):
    """Nothing is changed or dropped: each finding says which row, what was measured, and what shows it.

    Checks that need a model look at a uniform sample of rows that fits into --budget, and print the interval.
    """

    data: str = argument()
    """File of rows, data set folder (its path, name or id), or a YAML recipe with one data set."""
    model: str | None = None
    """Model that will be trained: a name of `tunesmith models`, a folder, a GGUF file, a run or a hub id.
    Without one, the checks of its template, lengths and losses do not run."""
    shape: str | None = None
    """Layout of a file's rows, or `mixed`; found out by its content when not given."""
    mapping: Path | None = None
    """YAML file that says which columns of a file mean what."""
    fix: bool = False
    """Check a file's rows as they are after the mechanical repairs of `data prepare --fix`."""
    only: tuple[str, ...] = ()
    """Run only these checks (repeat the option for each)."""
    skip: tuple[str, ...] = ()
    """Leave these checks out."""
    threshold: tuple[str, ...] = ()
    """NAME=VALUE: where a check's value becomes a finding."""
    benchmark: tuple[Path, ...] = ()
    """File whose rows must not be trained on; any shape that can be read as data."""
    report: Path | None = None
    """Folder of an evaluation on these rows: its errors are counted by slice."""
    slice: tuple[str, ...] = ()
    """Key of the rows' metadata to balance and cover by, beside label, source, language, length and turns."""
    budget: float = Field(120, gt=0)
    """Seconds for the checks that need a model."""
    all: bool = False
    """Checks that need a model look at every row; how long that takes is said first."""
    embeddings: str = "static"
    """How texts are compared by meaning: `static`, `minilm`, `words` (no model), or an encoder's folder."""
    max_length: PositiveInt = 2048
    """Tokens that an example may have in training."""
    fail_on: Literal["error", "warning", "never"] = "error"
    """Exit with 1 when there is a finding at least this severe; never: whatever is found."""
    seed: int = Field(0, ge=0)
    """Seed of the samples."""
    name: str | None = Field(None, pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")
    """Start of the folder's name; the data's name when not given."""


class CheckOutcome(Schema):
    """What one check found."""

    check: str
    """Its name: findings and thresholds go by it."""
    family: str
    """Its heading in the report."""
    about: str
    """What it finds."""
    threshold: float
    """Where a value became a finding."""
    errors: int
    """Findings that do harm."""
    warnings: int
    """Findings that somebody should look at."""
    notes: int
    """Findings that are good to know."""
    rows: int
    """Rows with a finding."""
    looked_at: int
    """Rows that the check looked at; 0: the data have none that it could say anything about."""
    share: float
    """Share of those rows with a finding."""
    low: float | None
    """Lower end of the 95 % interval of the share, when only a sample was looked at."""
    high: float | None
    """Upper end of the interval."""
    example: str
    """One finding in words."""

    @property
    def findings(self) -> int:
        """All findings together."""
        return self.errors + self.warnings + self.notes

    @property
    def severity(self) -> Literal["error", "warning", "note", ""]:
        """The worst of its findings; empty when it found nothing."""
        return "error" if self.errors else "warning" if self.warnings else "note" if self.notes else ""


class NotRun(Schema):
    """A check that did not run: nothing is known about what it would have found."""

    check: str
    """Its name."""
    family: str
    """Its heading in the report."""
    reason: str
    """Why it did not run."""


class CheckResult(FolderResult, JudgedResult):
    """A folder of findings."""

    data: str
    """What was checked."""
    rows: int
    """Rows that could be read."""
    unreadable: int
    """Rows that could not."""
    errors: int
    """Findings that do harm."""
    warnings: int
    """Findings that somebody should look at."""
    notes: int
    """Findings that are good to know."""
    rows_with_errors: int
    """Rows with at least one finding that does harm, unreadable ones included."""
    checks: list[CheckOutcome]
    """What each check found, in the order of the report."""
    not_run: list[NotRun]
    """Checks that did not run, and why."""
    sampled: str
    """What the checks that need a model looked at; empty when they looked at every row, or did not run."""
    next: list[str]
    """Commands to go on with."""
    page: str
    """File name of the page in the folder."""


def as_summary(result: FolderResult) -> dict[str, Any]:
    """What a manifest holds of a result: all but the folder."""
    return {name: value for name, value in result.to_json().items() if name != "folder"}
