"""Configurations and results of `tunesmith answers` and `tunesmith validate`.  Imports no engine."""

from pathlib import Path

from pydantic import Field, PositiveInt

from tunesmith.core.config import Schema, argument
from tunesmith.core.job import FolderResult
from tunesmith.evaluate.schema import Score


class AnswersConfig(Schema):
    """Draws answers of a report at random, as a data set to review: accept is right, reject is wrong.

    With one seed the same items are drawn of every report on them (see `tunesmith compare --people`).
    """

    report: Path = argument()
    """Report folder (its path, name or id)."""
    sample: PositiveInt = 100
    """So many items, drawn at random; every answer when there are fewer."""
    task: str | None = None
    """Only this task of a suite."""
    seed: int = Field(0, ge=0)
    """Seed of the draw."""


class AnswersResult(FolderResult):
    """A data set folder with one split, test."""

    rows: int
    """Answers in it."""
    answered: int
    """Answers of the report, one for each item."""
    left_out: int
    """Items without an answer: there is nothing to look at."""
    report: str
    """The report's model and prompt."""
    fingerprint: str
    """Identity of the rows."""


class ValidateConfig(Schema):
    """What people's verdicts on a report's answers say of the model, and of the judge.

    An answer counts as right when people accepted it, as wrong when they edited or rejected it.
    """

    report: Path = argument()
    """Report folder (its path, name or id)."""
    judge: str | None = None
    """The score that is held against people; without it `judge` when there is one, else the primary one."""
    threshold: float = Field(0.5, gt=0, le=1)
    """From this score on the judge is taken to say right."""
    seed: int = Field(0, ge=0)
    """Seed of the bootstrap."""


class Agreement(Schema):
    """How far two say the same."""

    value: float | None
    """The coefficient; None where it is undefined."""
    low: float | None
    """Lower end of its 95 % interval (bootstrap over items)."""
    high: float | None
    """Upper end of its 95 % interval."""


class Confusion(Schema):
    """People's verdicts against the judge's."""

    both_right: int
    """Right by both."""
    judge_too_kind: int
    """Wrong by people, right by the judge."""
    judge_too_strict: int
    """Right by people, wrong by the judge."""
    both_wrong: int
    """Wrong by both."""


class Measured(Schema):
    """People alone, the judge alone, both together; agreement and bias."""

    people: Score
    """Share of the reviewed answers that people accepted, from their verdicts alone."""
    judge_alone: Score
    """The judge's mean over all items: what would be believed without people."""
    corrected: Score
    """What people would say of all items (PPI++): the judge's errors measured and taken off."""
    kappa: Agreement
    """Cohen's kappa of people and judge."""
    ac1: Agreement
    """Gwet's AC1, which one common verdict does not drag to 0."""
    confusion: Confusion
    """Verdicts against each other."""
    length_bias: float | None
    """Change of (judge − people) for each doubling of the words: above 0 the judge pays for length."""
    length_bias_low: float | None
    """Lower end of its 95 % interval."""
    length_bias_high: float | None
    """Upper end of its 95 % interval."""


class ValidateResult(FolderResult, Measured):
    """What people and judge say together."""

    report: str
    """The report's model and prompt."""
    judge: str
    """The score held against people."""
    items: int
    """Answers with a score of the judge."""
    reviewed: int
    """Those that people have a settled verdict on."""
    open_conflicts: int
    """Answers on which two people differ and nobody decided."""
    left_out: int = 0
    """Items without an answer: nobody can look at them, and no figure here counts them."""
    sentence: str
    """The outcome in one sentence."""
