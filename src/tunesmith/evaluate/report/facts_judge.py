"""What a report says of judges: people against them, and answers held against each other two by two."""

from dataclasses import dataclass

from tunesmith.evaluate.report.facts_models import Score


@dataclass(frozen=True, slots=True)
class Measure:
    """A number with its 95 % interval; all None where it is undefined."""

    value: float | None
    low: float | None
    high: float | None


@dataclass(frozen=True, slots=True)
class ValidationFacts:
    """A judge (or another score) held against people on the answers of one report."""

    label: str
    """The report, as the page names it."""
    is_shown: bool
    """Whether that report is on the page."""
    judge: str
    """Name of the score that is held against people."""
    threshold: float
    """From this score on it counts as right."""
    num_items: int
    num_reviewed: int
    num_conflicts: int
    people: Score
    """The reviewed answers alone."""
    alone: Score
    """The judge's mean over all items."""
    corrected: Score
    """What people would say of all items (PPI++)."""
    method: str
    """How the corrected one was made."""
    kappa: Measure
    ac1: Measure
    both_right: int
    too_kind: int
    """Wrong by people, right by the judge."""
    too_strict: int
    """Right by people, wrong by the judge."""
    both_wrong: int
    length_bias: Measure
    """Change of (judge − people) for each doubling of the words."""


@dataclass(frozen=True, slots=True)
class RankedFacts:
    """One model's place in a ranking."""

    label: str
    strength: float
    """Log-odds against the average of all."""
    low: float
    high: float
    chance: float
    """Probability that its answer is preferred to the average model's."""
    best_rank: int
    worst_rank: int
    wins: int
    ties: int
    losses: int


@dataclass(frozen=True, slots=True)
class RankingFacts:
    """Answers held against each other two by two."""

    decided_by: str
    """The judge, or the score."""
    by_judge: bool
    question: str | None
    """What the judge was asked."""
    num_items: int
    num_comparisons: int
    num_unread: int
    ranked: tuple[RankedFacts, ...]
    consistent: Score | None
    """Verdicts that did not turn with the order."""
    first_favoured: Score | None
    """Single verdicts (ties apart) for the answer seen first."""
    longer_favoured: Score | None
    """Decided comparisons that the longer answer won."""
    style: tuple[tuple[str, float], ...]
    """Log-odds for one standard deviation more of each feature."""
