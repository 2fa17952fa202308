"""What a report says of a model that was evaluated."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class PassFacts:
    """What k answers to an item are worth."""

    k: int
    any_right: float
    """Probability that at least one is right (pass@k)."""
    all_right: float
    """Probability that all are right (pass^k)."""


@dataclass(frozen=True, slots=True)
class RepeatFacts:
    """What several answers to each item say of one score."""

    number: int
    """Answers to each item."""
    any_right: float
    """Mean of each item's highest score."""
    all_right: float
    """Mean of each item's lowest score."""
    between: float
    """Variance from item to item."""
    within: float
    """Variance from answer to answer at one item."""
    flaky: int
    """Items whose answers do not all have one score."""
    passes: tuple[PassFacts, ...]
    """Of a score of 0 and 1: what 1, 2, … answers are worth."""


@dataclass(frozen=True, slots=True)
class FlakyFacts:
    """An item whose answers do not all have one deciding score."""

    id: str
    question: str
    scores: tuple[float, ...]
    num_texts: int
    """Different answers."""


@dataclass(frozen=True, slots=True)
class TrustFacts:
    """What held-out texts say of a scorer that learned."""

    source: str
    texts: int
    positive: int
    """Those that it has to find."""
    auc: float
    auc_low: float
    auc_high: float
    found: float
    false_alarms: float


@dataclass(frozen=True, slots=True)
class Score:
    """One scorer's mean over the items of a report, with its 95 % interval."""

    scorer: str
    value: float
    low: float | None
    high: float | None
    num_items: int
    kind: str = "unit"
    """share (0 or 1), unit (0 to 1) or number (any)."""
    better: str | None = "higher"
    """Which values are better; None for what only describes."""
    failed: int = 0
    """Items that could not be scored."""
    repeats: RepeatFacts | None = None
    """With several answers to each item, what they say."""
    trust: TrustFacts | None = None
    """For a scorer that learned."""


@dataclass(frozen=True, slots=True)
class Sample:
    """One item: what was asked, what was right, the first answer, and the mean scores of all answers."""

    id: str
    question: str
    gold: str
    output: str
    finish_reason: str | None
    error: str | None
    scores: Mapping[str, float]


@dataclass(frozen=True, slots=True)
class SureFacts:
    """Answers of about one confidence, and how often they are right."""

    confidence: float
    right: float
    low: float
    high: float
    num_items: int


@dataclass(frozen=True, slots=True)
class TaskFacts:
    """What is known of a task's items."""

    name: str
    data: str
    num_items: int
    repeats: int
    uses: int
    """Reports that asked these items by the time this one was made."""
    vault: bool
    accepted: int | None
    """Items that people accepted; None when nobody looked."""
    twice: int
    kappa: float | None
    calibration_error: float | None = None
    """Mean distance of confidence and share of right answers; None when confidence was not asked for."""
    sure: tuple[SureFacts, ...] = ()
    """Bins of equally many answers, the least sure first."""


@dataclass(frozen=True, slots=True)
class SpeedFacts:
    """What the answers of a report cost; all repeats count."""

    num_asked: int
    num_answers: int
    """Those that came; the seconds and tokens are theirs."""
    num_known: int
    """Those that were known from before: their seconds are those of then."""
    median_seconds: float | None
    """For one answer; None when none came."""
    late_seconds: float | None
    """95th percentile."""
    prompt_tokens: int
    """Of all prompts; 0 when the server did not say."""
    answer_tokens: int
    tokens_per_second: float | None
    """Tokens of the answers over the seconds of their requests."""
    cut: Score | None
    """Share of the requests whose answer was cut at the token limit."""
    failed: Score | None
    """Share of the requests without an answer."""


@dataclass(frozen=True, slots=True)
class JudgeFacts:
    """A model that graded the answers of a task."""

    score: str
    """Name of its score."""
    model: str
    question: str
    highest: int
    """Grades go from 1 to this."""
    with_reference: bool
    """Whether it saw the right answer."""


@dataclass(frozen=True, slots=True)
class ModelFacts:
    """One report: a model, or one way to prompt it, on one set of items."""

    label: str
    model: str
    tuned: bool
    prompt: str
    suite: str
    suite_ids: tuple[str, ...]
    """Content ids of the data that were asked."""
    primary: str
    scores: tuple[Score, ...]
    samples: Mapping[str, Sample]
    num_errors: int
    num_cut: int
    speed: SpeedFacts
    settings: Mapping[str, Any]
    tasks: tuple[TaskFacts, ...] = ()
    judges: tuple[JudgeFacts, ...] = ()
    flaky: tuple[FlakyFacts, ...] = ()
    """The least settled items by the deciding score, a few of them."""

    def score(self, scorer: str) -> Score | None:
        """This scorer's result, or None when it did not run."""
        return next((score for score in self.scores if score.scorer == scorer), None)
