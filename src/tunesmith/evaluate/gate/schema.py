"""The rule of `tunesmith gate`, its configuration and its result.  Imports no engine."""

from pathlib import Path
from typing import Literal, Self

from pydantic import Field, PositiveInt, model_validator

from tunesmith.core.config import Schema, argument
from tunesmith.core.job import FolderResult, JudgedResult

Measure = Literal["latency", "tokens", "errors", "truncated"]
RELEASE = Path(__file__).with_name("release.yaml")
"""The built-in rule."""
Claim = Literal["better", "not worse", "within"]


class Primary(Schema):
    """What the candidate has to show."""

    score: str | None = None
    """Name of a score of both reports; without it the primary one of the candidate's."""
    claim: Literal["better", "not worse"] = "better"
    """Better: the 95 % interval lies above 0 and p < 0.05.  Not worse: it lies above −margin."""
    margin: float = Field(0.0, ge=0)
    """For `not worse`: how much worse would matter."""

    @model_validator(mode="after")
    def _margin_of_not_worse(self) -> Self:
        if self.claim == "not worse" and self.margin == 0:
            raise ValueError("`not worse` needs a margin above 0: how much worse would matter")
        if self.claim == "better" and self.margin:
            raise ValueError("`better` has no margin: leave it out, or claim `not worse`")
        return self


class Guard(Schema):
    """What must not get worse, or must stay within a limit."""

    score: str | None = None
    """Name of a score of both reports, such as retention/numeric."""
    measure: Measure | None = None
    """Instead of a score: latency (mean seconds), tokens (mean), errors or truncated (shares)."""
    margin: float | None = Field(None, gt=0)
    """How much worse would matter: in the score's units; a share of A's mean for latency and tokens."""
    limit: float | None = None
    """Instead of a margin: what the candidate alone has to keep to, the interval's far end included."""

    @model_validator(mode="after")
    def _one_of_each(self) -> Self:
        if (self.score is None) == (self.measure is None):
            raise ValueError("a guard watches either a `score` or a `measure`")
        if (self.margin is None) == (self.limit is None):
            raise ValueError("a guard needs either a `margin` against A or a `limit` of its own")
        return self

    @property
    def name(self) -> str:
        """What is watched."""
        return str(self.score or self.measure)


class Rule(Schema):
    """When a candidate may take the place of the model before it."""

    primary: Primary = Primary()
    """What it has to show."""
    guards: tuple[Guard, ...] = ()
    """What must not get worse."""
    at_least: PositiveInt = 1
    """Fewer common items than this are refused."""


class GateConfig(Schema):
    """Holds a candidate's report (B) against that of the model before it (A), by a declared rule.

    Exits with 0 when every condition holds and with 1 when one does not: for pipelines.
    """

    rule: Path = argument()
    """YAML file of the rule: primary and guards; or `release`: B is better, and neither slower nor cut."""
    a: Path = argument()
    """Report folder of the model to beat."""
    b: Path = argument()
    """Report folder of the candidate."""
    seed: int = Field(0, ge=0)
    """Seed of the bootstrap and the sign-flip test."""


class Condition(Schema):
    """One condition, what was measured, and whether it holds."""

    name: str
    """The score or measure."""
    claim: Claim
    """What was to be shown."""
    bound: float
    """The margin or limit; 0 for `better`."""
    a: float
    """A's mean on the common items."""
    b: float
    """B's mean on the common items."""
    value: float
    """B − A (relative to A for latency and tokens), or B's own value for `within`."""
    low: float
    """Lower end of its 95 % interval."""
    high: float
    """Upper end of its 95 % interval."""
    n: int
    """Items it rests on."""
    holds: bool
    """Whether it is shown."""
    sentence: str
    """The same in words."""


class GateResult(FolderResult, JudgedResult):
    """Whether the candidate passes, and each condition."""

    a: str
    """What A is: model and prompt."""
    b: str
    """What B is: model and prompt."""
    sentence: str
    """The outcome in one sentence."""
    conditions: list[Condition]
    """The primary one first."""
