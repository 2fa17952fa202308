"""What a report says, as plain values: gathered once, rendered as HTML, as Markdown and as JSON."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from tunesmith.evaluate.report.facts_judge import RankingFacts, ValidationFacts
from tunesmith.evaluate.report.facts_models import ModelFacts, Score

Outcome = Literal["better", "tied", "worse", "not enough data"]


@dataclass(frozen=True, slots=True)
class Origin:
    """A folder that went in: what it is, which content, which software made it when."""

    role: str
    stage: str
    """What was done, in words."""
    kind: str
    folder: str
    id: str
    created: str
    verb: str
    seed: int | None
    versions: Mapping[str, str]
    seconds: float | None
    memory_bytes: float | None


@dataclass(frozen=True, slots=True)
class Command:
    """A command that makes numbers again."""

    stage: str
    """What it does, in words."""
    makes: str | None
    """Content id of the folder whose numbers they are; None for the page itself."""
    line: str


@dataclass(frozen=True, slots=True)
class Difference:
    """Second minus first on the same items, one scorer, with its 95 % interval."""

    scorer: str
    first: float
    second: float
    value: float
    low: float
    high: float
    p_value: float
    detectable: float
    """Smallest true difference that so many items see four times in five."""
    kind: str = "unit"
    """share (0 or 1), unit (0 to 1) or number (any)."""
    better: str = "higher"
    """Which values are better."""

    @property
    def gain(self) -> int:
        """1 when the whole interval is on the better side, −1 on the worse, 0 when it touches zero."""
        side = 1 if self.low > 0 else -1 if self.high < 0 else 0
        return -side if self.better == "lower" else side


@dataclass(frozen=True, slots=True)
class SliceFacts:
    """The deciding difference on a part of the items."""

    key: str
    part: str
    num_items: int
    value: float
    low: float
    high: float
    p_value: float
    """Corrected for having looked at all parts (Benjamini and Hochberg)."""
    detectable: float


@dataclass(frozen=True, slots=True)
class ComparisonFacts:
    """A paired comparison of two reports."""

    outcome: Outcome
    first: str
    second: str
    primary: str
    differences: tuple[Difference, ...]
    regressions: tuple[str, ...]
    fixes: tuple[str, ...]
    num_items: int
    in_full: str
    notes: tuple[str, ...]
    slices: tuple[SliceFacts, ...] = ()

    @property
    def main(self) -> Difference | None:
        """The difference that the verdict rests on."""
        return next((part for part in self.differences if part.scorer == self.primary), None)


@dataclass(frozen=True, slots=True)
class SplitFacts:
    """One split, counted in its file."""

    name: str
    num_rows: int
    num_groups: int


@dataclass(frozen=True, slots=True)
class Overlap:
    """How many rows and groups two splits share, counted in their files."""

    first: str
    second: str
    num_rows: int
    num_groups: int


@dataclass(frozen=True, slots=True)
class Refusal:
    """A refused row: where it stood and why."""

    line: int | None
    pointer: str
    reason: str
    value: str


@dataclass(frozen=True, slots=True)
class DataFacts:
    """A data set: what came in, what was kept, that nothing leaks, and one row."""

    name: str
    fingerprint: str | None
    splits: tuple[SplitFacts, ...]
    overlaps: tuple[Overlap, ...]
    num_rows: int
    accounting: tuple[tuple[str, int], ...]
    num_contradictions: int
    num_near_duplicates: int
    findings: tuple[str, ...]
    reasons: tuple[tuple[str, int], ...]
    refusals: tuple[Refusal, ...]
    num_refused: int
    sample: tuple[tuple[str, str], ...]
    """One training row as (role, text) turns."""


@dataclass(frozen=True, slots=True)
class PlanFacts:
    """What was decided before training, and why."""

    verdict: str
    sentence: str
    reasons: tuple[str, ...]
    warnings: tuple[str, ...]
    primary: str
    measured: tuple[tuple[str, Score], ...]
    """Each prompt with the base model's primary score on the validation split."""


@dataclass(frozen=True, slots=True)
class LossPoint:
    """A loss after a number of steps."""

    step: float
    loss: float


@dataclass(frozen=True, slots=True)
class Token:
    """A token of a training example; the loss is taken on supervised ones only."""

    text: str
    id: int | None
    supervised: bool
    special: bool


@dataclass(frozen=True, slots=True)
class RunFacts:
    """A training run: its recipe, its losses, what it trained on."""

    name: str
    model: str
    engine: str
    data_id: str | None
    recipe: tuple[tuple[str, Any], ...]
    environment: tuple[tuple[str, Any], ...]
    train_loss: tuple[LossPoint, ...]
    validation_loss: tuple[LossPoint, ...]
    best: LossPoint | None
    num_trainable: int
    num_steps: int
    num_epochs: float
    num_tokens: int
    num_supervised: int
    tokens_per_second: float
    seconds: float
    memory_bytes: int
    dtype: str
    threads: int
    token_view: tuple[tuple[Token, ...], ...]


@dataclass(frozen=True, slots=True)
class RuleFacts:
    """Whether a model may take another's place, by a declared rule."""

    passed: bool
    before: str
    candidate: str
    conditions: tuple[tuple[bool, str], ...]
    """Of each whether it holds, and what was measured."""


@dataclass(frozen=True, slots=True)
class Facts:
    """Everything on the page."""

    title: str
    data: DataFacts
    plan: PlanFacts | None
    run: RunFacts | None
    models: tuple[ModelFacts, ...]
    comparison: ComparisonFacts | None
    retention: ComparisonFacts | None
    """The base and the tuned model on tasks that were not trained."""
    rule: RuleFacts | None
    hard: tuple[ModelFacts, ...]
    validations: tuple[ValidationFacts, ...]
    ranking: RankingFacts | None
    origins: tuple[Origin, ...]
    commands: tuple[Command, ...]
    """What makes the numbers of each folder again, from its manifest."""
    reproduce: tuple[str, ...]
    """Commands that were given for the whole."""

    @property
    def tuned(self) -> ModelFacts | None:
        """The model that came out of training: the one the page is about."""
        return next((model for model in self.models if model.tuned), None)
