"""Configuration and result of `tunesmith data review`."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, model_validator

from tunesmith.core.config import Schema, argument

MODES = ("status", "adjudicate", "sign_off", "apply", "decisions", "export")


class ReviewConfig(Schema):
    """Shows one row after the other and asks by single keys; every verdict is saved at once.

    A accept · R reject · E edit in $EDITOR · S skip · N note · U undo · Q quit; 1–9 answer with a --label.
    """

    data: str = argument()
    """Data set folder: its path, name or id."""
    as_: str = Field("", pattern=r"^[^\x00-\x1f]*$", max_length=80)
    """Who reviews; the login name when not given."""
    findings: str | None = None
    """Folder of `tunesmith data check`: its findings are shown, and the order by risk follows them."""
    order: Literal["risk", "random", "given"] = "risk"
    """What comes first: rows with the gravest findings, any, or as in the files."""
    split: Literal["train", "validation", "test", "held_out"] | None = None
    """Review only this split; every split when not given."""
    sample: int | None = Field(None, ge=0)
    """Review only so many rows, drawn at random: they give the error rate of all.  0 is every row; not given,
    a review goes on with the rows that it began with, and a new one takes every row."""
    overlap: float = Field(0.0, ge=0, le=1)
    """Share of the rows that two people review."""
    again: float = Field(0.05, ge=0, le=1)
    """Share of the rows that their reviewer sees a second time, about 20 rows later."""
    label: tuple[str, ...] = ()
    """An answer to give by a number key (repeat the option for each, at most 9)."""
    status: bool = False
    """Only say how far the review is: progress, agreement, error rate."""
    adjudicate: bool = False
    """Decide the rows on which two people differ."""
    sign_off: bool = False
    """Answer for the data set as it was reviewed; refused while rows are open."""
    apply: bool = False
    """Make a data set folder with edited rows in and rejected ones out."""
    decisions: Path | None = None
    """JSON Lines file of verdicts, instead of asking: row_hash (or split and line), action, reason, note,
    tags, example."""
    export: Path | None = None
    """Write every reviewed row with its verdict and its whole audit trail to this JSON Lines file."""
    note: str = ""
    """With --sign-off: what should be remembered about it."""
    seed: int = Field(0, ge=0)
    """Seed of the random order and the sample."""

    @model_validator(mode="after")
    def _one_thing_at_a_time(self) -> "ReviewConfig":
        given = self.model_dump()
        asked = [name for name in MODES if given[name]]
        if len(asked) > 1 and set(asked) != {"adjudicate", "decisions"}:
            names = " and ".join("--" + name.replace("_", "-") for name in asked)
            raise ValueError(f"{names} are different commands: give one of them")
        if len(self.label) > 9:
            raise ValueError("only nine labels have a key: give at most 9 times --label")
        return self


class Rate(Schema):
    """Share of rows that were edited or rejected, among rows drawn at random."""

    rows: int
    """Rows of the sample that are decided."""
    errors: int
    """Those that were edited or rejected."""
    undecided: int
    """Rows of the sample that are still open."""
    value: float
    """Share."""
    low: float
    """Wilson's 95 % interval."""
    high: float
    """Its upper end."""
    exact_low: float
    """Clopper and Pearson's 95 % interval, which never covers less."""
    exact_high: float
    """Its upper end."""
    below: float
    """With 95 % confidence the share in the whole data set is below this (one-sided, exact)."""


class Agreed(Schema):
    """How far reviewers agree on the rows that two of them judged."""

    rows: int
    """Rows with two verdicts."""
    percent: float | None
    """Share of equal verdicts."""
    percent_low: float | None
    """95 % interval (bootstrap over rows)."""
    percent_high: float | None
    """Its upper end."""
    alpha: float | None
    """Krippendorff's alpha (nominal); None when only one kind of verdict was given."""
    alpha_low: float | None
    """95 % interval (bootstrap over rows)."""
    alpha_high: float | None
    """Its upper end."""
    kappa: float | None
    """Cohen's kappa, when there are exactly two reviewers."""
    by_reviewer: dict[str, float]
    """Share of the other person's verdicts that are like theirs."""
    by_verdict: dict[str, float | None]
    """Alpha of each verdict against all others."""
    again: int
    """Rows that a person saw twice."""
    again_equal: int
    """Those on which they said the same again."""


class ReviewResult(Schema):
    """How far the review of a data set is."""

    data: str
    """Name of the data set."""
    fingerprint: str
    """Identity of its rows."""
    total: int
    """Rows of the data set."""
    queued: int
    """Different rows in the review."""
    accepted: int
    """Rows that stay as they are."""
    edited: int
    """Rows that stay in another form."""
    rejected: int
    """Rows that go out."""
    conflicts: int
    """Rows on which two people differ."""
    open: int
    """Rows without the verdicts they need."""
    skipped: int
    """Those of them that somebody passed over."""
    decided: int = 0
    """Verdicts given now."""
    reviewers: dict[str, int]
    """Verdicts of each person."""
    median_seconds: float | None
    """Median time of a verdict."""
    sample: Rate | None
    """Error rate, when rows were drawn at random."""
    agreement: Agreed | None
    """Agreement, when rows were judged twice."""
    signed_off: str
    """Who answers for it, and since when; empty when nobody does, or a verdict came later."""
    folder: Path | None = None
    """The data set folder that was made (--apply)."""
    splits: dict[str, int] = Field(default_factory=dict)
    """Rows in each of its splits."""
    exported: Path | None = None
    """The file that was written (--export)."""
    notes: list[str] = Field(default_factory=list)
    """What a reader should know."""
    next: list[str] = Field(default_factory=list)
    """Commands to go on with."""

    @classmethod
    def fields_from(cls, summary: Mapping[str, Any], folder: Path) -> dict[str, Any]:
        """The values of the result, from the summary of the folder that `--apply` made."""
        return dict(summary["review"]) | {"folder": folder, "splits": summary["splits"]}
