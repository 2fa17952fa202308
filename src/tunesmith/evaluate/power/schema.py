"""Configuration and result of `tunesmith power`.  Imports no engine."""

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, PositiveInt

from tunesmith.core.config import Schema, argument

Correlation = Annotated[float, Field(ge=0, lt=1)]


class PowerConfig(Schema):
    """How many items tell a candidate from the model of a report four times in five, before there is one.

    That depends on how alike the two will find the items, which nobody knows before: the figures are a range.
    """

    report: Path = argument()
    """Report folder of the model to beat (its path, name or id)."""
    difference: float | None = Field(None, gt=0)
    """The difference that matters, 0.05 for 5 points; without it only what the report's own items can see."""
    metric: str | None = None
    """The score that will decide; without it the primary one."""
    candidates: PositiveInt = 1
    """So many candidates will be compared with it: Holm's correction asks more of each."""
    correlation: tuple[Correlation, ...] = (0.0, 0.25, 0.5, 0.75)
    """How alike the two models' scores may be, item by item: 0 for two that find quite other items hard,
    towards 1 for two that nearly always agree."""


class Scenario(Schema):
    """What follows if the two models are so alike."""

    correlation: float
    """Correlation of the two models' scores over the items."""
    discordance: float | None
    """For shares: items that exactly one of them gets right, if they differ as asked (else, as visible)."""
    needed: int | None
    """Items that see the difference with 80 % power; None when none was asked for."""
    visible: float | None
    """Smallest difference that the report's own items see with 80 % power; None when they see none."""


class PowerResult(Schema):
    """Items needed, and what the items at hand can see."""

    report: str
    """The report's model and prompt."""
    metric: str
    """The score."""
    kind: Literal["share", "unit", "number"]
    """Values of single items: 0 or 1, from 0 to 1, any number."""
    value: float
    """The report's mean of it."""
    spread: float
    """Standard deviation over the items."""
    items: int
    """Items of the report that have it."""
    groups: int
    """Independent groups among them."""
    design_effect: float
    """Items that say as much as one independent one: 1 without larger groups."""
    difference: float | None
    """The difference asked for."""
    candidates: int
    """Candidates that the figures allow for."""
    scenarios: list[Scenario]
    """One for each correlation."""
    sentence: str
    """The outcome in one sentence."""
    notes: list[str]
    """What the figures take for granted."""
