"""Configuration and result of `tunesmith decide`.  Imports no engine."""

from pathlib import Path
from typing import Literal

from pydantic import Field, PositiveFloat, PositiveInt

from tunesmith.core.config import Schema, argument
from tunesmith.core.job import FolderResult

Verdict = Literal["base_is_enough", "prompt_is_enough", "collect_more_data", "fine_tune"]


class DecideConfig(Schema):
    """Measures the base model on the validation split with the data's own prompt and with better ones.

    The test split is not touched.
    """

    data: Path = argument()
    """Data set folder (`tunesmith data prepare` makes it)."""
    model: str = "smollm2-135m-instruct"
    """Base model: a name of `tunesmith models`, a folder, a GGUF file or a hub id."""
    target: float = Field(0.9, gt=0, le=1)
    """What the primary score must reach for no fine-tuning to be needed."""
    shots: tuple[PositiveInt, ...] = (4, 8)
    """How many worked examples to try in the prompt."""
    limit: PositiveInt = 50
    """Validation items asked for each prompt."""
    budget_minutes: PositiveFloat = 20.0
    """Time for measuring; a prompt that would go beyond it is left out and named."""
    train_minutes: float = Field(10.0, ge=0)
    """Time that the proposed training may take on this machine; a few steps are timed and the recipe is cut
    to what fits. 0 proposes the whole training and times nothing."""
    seed: int = Field(0, ge=0)
    """Seed of the bootstrap and of the recipe."""


class Measurement(Schema):
    """The base model with one prompt on the validation split."""

    prompt: str
    """Name of the prompt."""
    file: str
    """Its file below the plan."""
    shots: int
    """Worked examples in it."""
    value: float
    """The primary score."""
    low: float
    """Lower end of its 95 % interval."""
    high: float
    """Upper end of its 95 % interval."""
    safe_low: float
    """Lower end at the level that holds for all prompts together; the target is compared with it."""
    n: int
    """Items asked."""
    errors: int
    """Items without an answer."""
    scores: dict[str, float]
    """Every score."""
    prompt_tokens: float
    """Tokens of a prompt, on average."""
    seconds: float
    """Time of asking."""
    report: str
    """Name of the report folder."""


class Training(Schema):
    """The proposed training, timed on a few of its steps."""

    tokens_per_second: float
    """Speed of the timed steps."""
    seconds_per_step: float
    """Mean time of a step."""
    steps: int
    """Steps of the proposed recipe."""
    steps_wanted: int
    """Steps that the data ask for; more than `steps` when the time does not allow them."""
    minutes: float
    """Expected time, validation included."""


class DecideResult(FolderResult):
    """Whether to fine-tune, why, and with what."""

    verdict: Verdict
    """What to do."""
    sentence: str
    """The verdict in one sentence with its numbers."""
    reasons: list[str]
    """Why, each with its measured number."""
    warnings: list[str]
    """What makes the answer less sure."""
    model: str
    """The base model."""
    primary: str
    """The score that decides."""
    target: float
    """What it had to reach."""
    rows: dict[str, int]
    """Rows of each split."""
    measurements: list[Measurement]
    """The base model with each prompt."""
    skipped: list[str]
    """Prompts that were not measured, and why."""
    best_prompt: str
    """File of the best prompt, below the plan."""
    training: Training | None = None
    """What the proposed training takes here; None when it was not timed."""
    recipe: str
    """File of the recipe, below the plan; `tunesmith train` takes it as it is."""
    seconds: float
    """Time of all measurements."""
