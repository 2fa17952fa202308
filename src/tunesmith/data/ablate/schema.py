"""Configuration and result of `tunesmith data ablate`.  Imports no engine."""

from pathlib import Path
from typing import Literal

from pydantic import NonNegativeInt, PositiveFloat, PositiveInt

from tunesmith.core.config import Schema, argument
from tunesmith.core.job import FolderResult

Verdict = Literal["helped", "hurt", "no measurable gain"]


class AblateConfig(Schema):
    """Trains the same model on all rows, on random rows, and on the selected ones, with equal tokens and
    several seeds, and measures each on the same test items.

    Stopped, the same command goes on; finished runs are not done again.
    """

    data: Path = argument()
    """Data set folder with all rows: its path, name or id."""
    selected: Path
    """Data set folder made from it, with the same test split, by `tunesmith data select` or `clean`."""
    model: str = "smollm2-135m-instruct"
    """Model to train: a small one is fast, and what helps it mostly helps a large one of its kind."""
    seeds: PositiveInt = 3
    """Runs of each arm; each also draws random rows anew."""
    tokens: PositiveInt = 50_000
    """Tokens that each run trains on."""
    step_tokens: PositiveInt = 2048
    """Tokens of a step."""
    learning_rate: PositiveFloat = 5e-4
    """Highest learning rate."""
    rank: PositiveInt = 16
    """Rank of the LoRA adapters."""
    max_length: PositiveInt = 1024
    """Longer rows are left out of every run, and counted there."""
    items: PositiveInt = 200
    """Test items, the same for every model."""
    answers: NonNegativeInt = 50
    """Test items that every model also answers, where answers can be right or wrong (JSON or short); 0 is
    none.  The fake model has no losses, and answers all items."""


class ArmFacts(Schema):
    """One of the things that are trained on."""

    name: str
    """`all`, `random` or `selected`."""
    rows: int
    """Training rows."""
    tokens: int
    """Tokens that a run trained on, mean over seeds."""
    loss: float | None
    """Mean loss of the test answers, nats a token; None without losses."""
    scores: dict[str, float]
    """Mean scores of the answers."""
    runs: list[str]
    """Run folders, one for each seed."""


class Difference(Schema):
    """How much better the selection is than another arm, on the same items with the same seeds."""

    measure: str
    """`loss`, or a score."""
    against: str
    """The other arm."""
    value: float
    """Gain: how much lower the loss, or higher the score, of the selection is."""
    low: float
    """Lower end of the 95 % interval."""
    high: float
    """Upper end of the interval."""
    items: int
    """Test items."""
    groups: int
    """Independent groups of them."""
    method: str
    """How the interval was made."""
    verdict: Verdict
    """What can be said."""


class AblateResult(FolderResult):
    """Whether a selection helps."""

    verdict: Verdict
    """The selection against as many random rows."""
    sentence: str
    """The verdict with its numbers."""
    model: str
    """The model that was trained."""
    seeds: int
    """Runs of each arm."""
    tokens: int
    """Tokens asked for each run."""
    arms: list[ArmFacts]
    """What was trained on."""
    differences: list[Difference]
    """Every measure against every other arm; the deciding one first."""
    notes: list[str]
    """What a reader should know."""
