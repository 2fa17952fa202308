"""Configuration and result of `tunesmith decide`.  Imports no engine."""

from pathlib import Path
from typing import Literal, Self

from pydantic import Field, PositiveFloat, PositiveInt, model_validator

from tunesmith.core.config import Schema, argument
from tunesmith.core.job import FolderResult

Verdict = Literal[
    "base_is_enough", "prompt_is_enough", "better_data", "fine_tune", "bigger_model", "cannot_say"
]


class DecideConfig(Schema):
    """Measures the base model on the validation split with the data's own prompt and with better ones, then
    short trainings on growing parts of the data, and says what all of it would bring.

    The test split is not touched.
    """

    data: Path = argument()
    """Data set folder (`tunesmith data prepare` makes it), or a file of examples, which is prepared first."""
    model: str = "smollm2-135m-instruct"
    """Base model: a name of `tunesmith models`, a folder, a GGUF file or a hub id."""
    task: str | None = None
    """What is asked of the model, in your words: tried as the system turn."""
    metric: str | None = None
    """The score that decides: a scorer with values from 0 to 1; without it the one that fits the answers."""
    target: float | None = Field(None, gt=0, le=1)
    """What that score must reach; without it 5 points more than the best prompt reaches, at most 95 %."""
    shots: tuple[PositiveInt, ...] = (2, 4, 8, 16)
    """How many worked examples to try in the prompt."""
    documents: Path | None = None
    """Texts (.txt, .md, or rows with the key `text`) in which passages for each question are looked up."""
    bigger: str | None = None
    """Name of a bigger model behind --bigger-endpoint, measured with the best prompts."""
    bigger_endpoint: str | None = None
    """URL (with /v1) of the server that has it."""
    bigger_key_variable: str | None = None
    """Environment variable that holds that server's key."""
    limit: PositiveInt = 100
    """Validation items asked for the prompts that stay in the race; others drop out earlier."""
    probe: bool = True
    """Train on growing parts of the data and look for faults in it; without it only prompts are measured, and
    nothing is known of what tuning brings."""
    budget_minutes: PositiveFloat = 20.0
    """Time for everything; what would go beyond it is left out and named."""
    train_minutes: PositiveFloat = 480.0
    """Time that the proposed training may take on this machine; the recipe is cut to what fits."""
    memory_gb: PositiveFloat | None = None
    """Memory that it may take; without it all that this machine has."""
    seed: int = Field(0, ge=0)
    """Seed of everything that is drawn, and of the recipe."""

    @model_validator(mode="after")
    def _one_bigger_model(self) -> Self:
        if (self.bigger is None) != (self.bigger_endpoint is None):
            raise ValueError("--bigger and --bigger-endpoint go together")
        if self.bigger_key_variable is not None and self.bigger is None:
            raise ValueError("--bigger-key-variable is for a --bigger model")
        return self


class Measurement(Schema):
    """A model with one prompt on the validation split."""

    prompt: str
    """Name of the prompt."""
    model: str
    """The model that was asked."""
    file: str
    """The prompt's file below the plan."""
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
    """Items asked; fewer than the limit for a prompt that dropped out."""
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
    finalist: bool
    """Whether it was still in the race at the end."""


class MethodCost(Schema):
    """One training method, timed and weighed on a few real steps."""

    method: str
    """The method."""
    fits: bool
    """Whether it ran, within the memory allowed."""
    seconds_per_step: float | None
    """Mean time of a step."""
    tokens_per_second: float | None
    """Its speed."""
    minutes: float | None
    """Expected time for all the data, validation included."""
    peak_memory_bytes: int | None
    """The most memory that it held."""
    problem: str
    """Why it does not fit."""


class Probe(Schema):
    """One short training on a part of the data."""

    rows: int
    """Training rows."""
    seed: int
    """Seed of the draw and of the training."""
    loss: float | None
    """Mean loss of the right answers' tokens on the validation split, nats; None for a model without."""
    score: float | None
    """The primary score of its answers; None where none were generated."""
    run: str
    """Its run folder, below the plan."""
    seconds: float
    """Time of drawing, training and measuring."""


class Gain(Schema):
    """What training on so many rows is expected to reach."""

    rows: int
    """Training rows."""
    score: float
    """The primary score."""
    low: float
    """Lower end of its 95 % interval."""
    high: float
    """Upper end of its 95 % interval."""
    gain: float
    """What that is more than the best prompt."""
    gain_low: float
    """Lower end of the gain's 95 % interval."""
    gain_high: float
    """Upper end of the gain's 95 % interval."""
    loss: float | None
    """Expected mean loss of the right answers' tokens, nats."""
    loss_low: float | None
    """Lower end of its 95 % interval."""
    loss_high: float | None
    """Upper end of its 95 % interval."""


class Quality(Schema):
    """What the checks of `tunesmith data check` found, without a model."""

    rows: int
    """Rows looked at."""
    rows_with_errors: int
    """Rows with at least one finding that does harm."""
    errors: int
    """Findings that do harm."""
    warnings: int
    """Findings that somebody should look at."""
    worst: list[str]
    """The checks that found most errors, in words."""
    report: str
    """Name of the folder of findings."""


class Training(Schema):
    """The proposed training, timed on a few of its steps."""

    method: str
    """Which parameters learn."""
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
    peak_memory_bytes: int
    """The most memory that the timed steps held."""


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
    data: str
    """The data set."""
    primary: str
    """The score that decides."""
    target: float
    """What it had to reach."""
    target_from: str
    """Where the target comes from."""
    rows: dict[str, int]
    """Rows of each split."""
    measurements: list[Measurement]
    """The base model with each prompt, the data's own first."""
    bigger: list[Measurement]
    """The bigger model, when there is one."""
    skipped: list[str]
    """What was not measured, and why."""
    best_prompt: str
    """File of the best prompt, below the plan."""
    methods: list[MethodCost]
    """What each method takes here."""
    probes: list[Probe]
    """Short trainings on parts of the data."""
    forecast: list[Gain]
    """What more rows are expected to bring: the largest probe's, those that the time allows, all, twice as
    many."""
    rows_needed: int | None
    """Training rows that are expected to reach the target; None when not even 16 times as many would, or when
    nothing is known."""
    hardest: list[str]
    """Validation questions whose right answers the largest probe found least likely: rows like these are
    wanted most."""
    quality: Quality | None
    """What is wrong with the data; None when there was no time to look."""
    training: Training | None = None
    """What the proposed training takes here; None when no method fits."""
    recipe: str
    """File of the recipe, below the plan; `tunesmith train` takes it as it is."""
    page: str
    """File of the report, below the plan."""
    seconds: float
    """Time of everything."""
