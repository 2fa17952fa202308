"""Configuration and result of `tunesmith compare`.  Imports no engine."""

from pathlib import Path
from typing import Literal, Self

from pydantic import Field, PositiveInt, model_validator

from tunesmith.core.config import Schema, argument
from tunesmith.core.job import FolderResult

Verdict = Literal["better", "tied", "worse", "not enough data"]
MOST_CANDIDATES = 20


class CompareConfig(Schema):
    """The difference B − A on the items that both reports hold.

    "Better" and "worse" need an interval without zero and p < 0.05; "tied" needs an interval inside ± margin;
    all else is "not enough data".  Of several candidates each is compared with A, and p is corrected for
    their number (Holm).
    """

    a: Path = argument()
    """Report folder of the model to beat."""
    b: Path = argument()
    """Report folder of the candidate."""
    more: tuple[Path, ...] = argument(())
    """Report folders of further candidates: each is compared with A."""
    metric: str | None = None
    """The score that decides; without it the primary one of B."""
    people: bool = False
    """People's verdicts decide, on answers that `tunesmith answers` drew from both reports, with a judge's
    scores as predictions (PPI++)."""
    judge: str | None = None
    """With --people: the score used as prediction; without it `judge` when there is one, else the primary
    one."""
    at_least: PositiveInt = 1
    """Fewer common items than this are refused."""
    margin: float = Field(0.02, gt=0)
    """Differences up to this size do not matter."""
    seed: int = Field(0, ge=0)
    """Seed of the bootstrap and the sign-flip test."""

    @model_validator(mode="after")
    def _goes_together(self) -> Self:
        if len(self.more) >= MOST_CANDIDATES:
            raise ValueError(f"at most {MOST_CANDIDATES} candidates, not {1 + len(self.more)}")
        if self.people and self.metric is not None:
            raise ValueError("either a --metric decides or --people, not both")
        if self.judge is not None and not self.people:
            raise ValueError("--judge is for --people")
        return self


class Difference(Schema):
    """B − A for one scorer, on the same items."""

    a: float
    """Mean of A on the common items."""
    b: float
    """Mean of B on the common items."""
    value: float
    """B − A."""
    low: float
    """Lower end of the 95 % interval."""
    high: float
    """Upper end of the 95 % interval."""
    method: str
    """How the interval was made."""
    p_value: float
    """Two-sided p-value."""
    test: str
    """The test that gave it."""
    adjusted_p: float
    """The p-value after Holm's correction: over the scorers that do not decide, or for the deciding one over
    the candidates."""
    detectable: float
    """Smallest true difference that so many items see with 80 % power."""
    needed: int | None
    """Items that would see a true difference of the size seen with 80 % power (of people's verdicts, items
    that people judge, the others growing with them); None for no difference."""
    n: int
    """Items that both reports scored."""
    better: Literal["higher", "lower"] | None = "higher"
    """Which values are better."""
    kind: Literal["share", "unit", "number"] = "unit"
    """Values of single items: 0 or 1, from 0 to 1, any number."""


class SliceDifference(Schema):
    """B − A for the deciding score on a part of the items."""

    key: str
    """What the part is made by."""
    value: str
    """Which part."""
    n: int
    """Items of it that both reports scored."""
    difference: float
    """B − A."""
    low: float
    """Lower end of the 95 % interval."""
    high: float
    """Upper end of the 95 % interval."""
    p_value: float
    """Two-sided p-value of this part alone."""
    adjusted_p: float
    """After Benjamini and Hochberg's correction over all parts."""
    detectable: float
    """Smallest true difference that so few items see with 80 % power."""


class Alone(Schema):
    """The difference in people's verdicts without the judge."""

    value: float
    """B − A."""
    low: float
    """Lower end of the 95 % interval."""
    high: float
    """Upper end of the 95 % interval."""
    method: str
    """How the interval was made."""
    p_value: float
    """Two-sided p-value."""
    test: str
    """The test that gave it."""


class ByPeople(Schema):
    """What a difference in people's verdicts rests on."""

    judge: str
    """The score used as prediction."""
    judged: int
    """Items drawn at random of which people judged both answers."""
    drawn: int
    """Items drawn from both reports."""
    others: int
    """Items that only the judge scored."""
    weight: float
    """How far the judge is relied on (λ), from 0 (people alone) to 1."""
    alone: Alone
    """People's verdicts without the judge."""
    narrower: float
    """How much narrower the interval is than theirs alone: 0.3 for 30 %; below 0 it is wider."""


class Candidate(Schema):
    """What can be said about one candidate."""

    a: str
    """What A is: model and prompt."""
    b: str
    """What B is: model and prompt."""
    verdict: Verdict
    """What can be said about B."""
    sentence: str
    """The verdict in one sentence."""
    primary: str
    """The scorer that decides; `people` with --people."""
    n: int
    """Items that the deciding difference rests on."""
    groups: int
    """Independent groups among them; with --people among those that people judged."""
    only_a: int
    """Items of A that B lacks."""
    only_b: int
    """Items of B that A lacks."""
    difference: Difference
    """The deciding difference."""
    differences: dict[str, Difference]
    """Every common scorer's difference, the deciding one included."""
    slices: list[SliceDifference]
    """The deciding difference on parts of the items, when the suite names slices."""
    fixes: int
    """Items that B does better."""
    regressions: int
    """Items that B does worse."""
    notes: list[str]
    """What the two reports were not made alike in."""
    role: str = "b"
    """The candidate's letter, in the order given: b, c, …"""
    people: ByPeople | None = None
    """With --people: what the difference rests on."""


class CompareResult(Candidate, FolderResult):
    """Which of two models is better on the same items, or that this cannot be said.

    Of several candidates the fields are those of the foremost one: the best verdict, then the largest gain.
    """

    candidates: list[Candidate] = Field(default_factory=list)
    """Every candidate in the order given, when there are several; changed items stand in files with its
    letter (fixes-b.jsonl)."""
