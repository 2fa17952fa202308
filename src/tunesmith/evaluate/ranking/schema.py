"""Configuration and result of `tunesmith rank`.  Imports no engine."""

from typing import Self

from pydantic import Field, PositiveInt, model_validator

from tunesmith.core.config import Schema, argument
from tunesmith.core.job import FolderResult
from tunesmith.core.judge.criteria import DEFAULT

MOST_REPORTS = 20


class RankConfig(Schema):
    """Puts models in order by which of two answers to an item is better, for every two reports.

    With --judge a model decides, asked in both orders; without it the higher score does.
    """

    reports: tuple[str, ...] = argument()
    """Report folders (paths, names or ids), two or more."""
    judge: str | None = None
    """Model that compares two answers: its name on --endpoint, or one that is served for it."""
    endpoint: str | None = None
    """URL (with /v1) of the server that has the judge."""
    api_key_variable: str | None = None
    """Environment variable that holds the server's key."""
    question: str = DEFAULT
    """What the judge is to look at."""
    without_reference: bool = False
    """Do not show the judge the item's right answer."""
    metric: str | None = None
    """Without a judge: the score that decides; the primary one of the first report when not given."""
    style: bool = False
    """Strengths at equal style: length, lists, headings and bold text explain their own part of the wins."""
    limit: PositiveInt | None = None
    """Only this many items, chosen by hash and so the same ones every time."""
    concurrency: PositiveInt = 16
    """Requests under way at once."""
    seed: int = Field(0, ge=0)
    """Seed of the bootstrap."""

    @model_validator(mode="after")
    def _goes_together(self) -> Self:
        if not 2 <= len(self.reports) <= MOST_REPORTS:
            raise ValueError(f"give 2 to {MOST_REPORTS} reports, not {len(self.reports)}")
        if self.judge is None and (self.endpoint or self.api_key_variable or self.without_reference):
            raise ValueError("--endpoint, --api-key-variable and --without-reference are for a --judge")
        if self.judge is not None and self.metric is not None:
            raise ValueError("either a --judge decides or a --metric, not both")
        return self


class Ranked(Schema):
    """One model's place."""

    label: str
    """Model and prompt."""
    report: str
    """Name of its report folder."""
    strength: float
    """Log-odds against the average of all."""
    low: float
    """Lower end of the 95 % interval (bootstrap over groups of items)."""
    high: float
    """Upper end."""
    chance: float
    """Probability that its answer is preferred to the average model's."""
    best_rank: int
    """The best rank that the intervals allow."""
    worst_rank: int
    """The worst."""
    wins: int
    """Comparisons won."""
    ties: int
    """Comparisons without a winner."""
    losses: int
    """Comparisons lost."""


class RankResult(FolderResult):
    """The models, the strongest first."""

    ranked: list[Ranked]
    """The strongest first."""
    items: int
    """Items that all reports hold."""
    comparisons: int
    """Answers compared two by two."""
    unread: int
    """Comparisons without a verdict, left out."""
    consistent: float | None
    """Share of the judge's verdicts that did not turn with the order; None without a judge."""
    first_favoured: float | None
    """Share of its single verdicts (ties apart) for the answer seen first; 50 % is no position bias."""
    style: dict[str, float]
    """With --style: weight of each feature, log-odds for one standard deviation more of it."""
    decided_by: str
    """The judge, or the score."""
    sentence: str
    """The outcome in one sentence."""
