"""Configuration and result of `tunesmith report`."""

from pathlib import Path

from pydantic import Field, model_validator

from tunesmith.core.config import Schema, argument
from tunesmith.core.errors import ConfigError
from tunesmith.core.job import FolderResult


class ReportConfig(Schema):
    """What goes into the page; what is left out is named as absent on it."""

    data: Path = argument()
    """Data set folder (`tunesmith data prepare` makes it)."""
    plan: Path | None = None
    """Plan folder (`tunesmith decide` makes it)."""
    run: Path | None = None
    """Run folder (`tunesmith train` makes it)."""
    reports: tuple[Path, ...] = ()
    """Report folders on the test split, in the order to show (`tunesmith evaluate` makes them)."""
    comparison: Path | None = None
    """Comparison folder (`tunesmith compare` makes it): gives the verdict."""
    retention: Path | None = None
    """Comparison folder of the base and the tuned model on `retention`: what the training cost elsewhere."""
    gate: Path | None = None
    """Gate folder (`tunesmith gate` makes it): whether the conditions of a rule hold."""
    hard: tuple[Path, ...] = ()
    """Report folders on a second, hard test set."""
    validation: tuple[Path, ...] = ()
    """Validation folders (`tunesmith validate` makes them): people's verdicts on the answers of reports."""
    ranking: Path | None = None
    """Ranking folder (`tunesmith rank` makes it): answers held against each other two by two."""
    labels: tuple[str, ...] = ()
    """Names to show for the reports, in the same order; without them the reports' own names."""
    hard_labels: tuple[str, ...] = ()
    """Names to show for the reports on the hard test set."""
    reproduce: tuple[str, ...] = ()
    """Commands that make all this again, in order."""
    title: str = Field("Fine-tuning report", min_length=1)
    """Title of the page."""
    name: str = Field("report", pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")
    """Start of the folder's name."""

    @model_validator(mode="after")
    def _labels_match(self) -> "ReportConfig":
        for field, labels, folders in (
            ("labels", self.labels, self.reports),
            ("hard_labels", self.hard_labels, self.hard),
        ):
            if labels and len(labels) != len(folders):
                counts = f"{len(labels)} names for {len(folders)} folders"
                raise ConfigError(f"{field}: {counts}", next_step="give one name for each folder, or none")
        return self


class Gap(Schema):
    """A difference with its 95 % interval."""

    value: float
    """The difference, second minus first."""
    low: float
    """Lower end of the interval."""
    high: float
    """Upper end of the interval."""
    kind: str = "unit"
    """share (0 or 1), unit (0 to 1) or number (any)."""
    better: str | None = "higher"
    """Which values are better."""


class ReportResult(FolderResult):
    """Where the page is and what it says at the top."""

    page: str
    """File name of the page in the folder."""
    markdown: str
    """File name of the same as GitHub Markdown."""
    verdict: str
    """The one sentence of the verdict box."""
    difference: Gap | None
    """Tuned model against the best prompt of the base; None without a comparison."""
    page_bytes: int
    """Size of the page."""
