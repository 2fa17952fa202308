"""What clients ask about fine-tuning jobs.

OpenAI's fields as its specification has them; everything of ours stands under `x_tunesmith`.
"""

from collections.abc import Callable
from typing import Annotated, Any, Final, Literal, Self

from pydantic import Field, PlainValidator, model_validator

from tunesmith.api.query import Query
from tunesmith.serve.protocol.body import Metadata, Strict

AUTO: Final = "auto"


def auto_or(expected: str, fits: Callable[[Any], bool]) -> PlainValidator:
    """A field that is `auto` or a number of the expected kind."""

    def check(value: Any) -> Any:
        if value == AUTO and isinstance(value, str):
            return value
        if isinstance(value, bool) or not isinstance(value, int | float) or not fits(value):
            raise ValueError(f"expected 'auto' or {expected}, but got {str(value)[:40]}")
        return value

    return PlainValidator(check)


def whole(low: int, high: int) -> PlainValidator:
    """`auto`, or an integer in a range."""
    return auto_or(
        f"an integer from {low} to {high}", lambda value: isinstance(value, int) and low <= value <= high
    )


class Hyperparameters(Strict):
    """`auto`, or a value."""

    batch_size: Annotated[int | Literal["auto"], whole(1, 256)] = AUTO
    """Examples in one step."""
    learning_rate_multiplier: Annotated[
        float | Literal["auto"], auto_or("a number over 0", lambda value: 0 < value < float("inf"))
    ] = AUTO
    """Times the rate that the published rule gives."""
    n_epochs: Annotated[int | Literal["auto"], whole(1, 50)] = AUTO
    """Passes over the file."""


class Supervised(Strict):
    """Learning from answers."""

    hyperparameters: Hyperparameters = Hyperparameters()


class MethodOf(Strict):
    """Which objective; the blocks of the others are there in some clients' requests, and mean nothing."""

    type: Literal["supervised", "dpo", "reinforcement"]
    supervised: Supervised | None = None
    dpo: dict[str, Any] | None = None
    reinforcement: dict[str, Any] | None = None


class WeightsAndBiases(Strict):
    """Where a run would be shown."""

    project: str
    name: str | None = None
    entity: str | None = None
    tags: list[str] = Field(default_factory=list)


class Integration(Strict):
    """Another service that would be told about the job; nothing here reaches out of this machine."""

    type: Literal["wandb"]
    wandb: WeightsAndBiases


class Extra(Strict):
    """What OpenAI has no field for."""

    recipe: dict[str, Any] = Field(default_factory=dict)
    """Fields of the recipe (see `tunesmith train`), over those that the job sets."""
    evaluate: int | None = Field(None, ge=1, le=10_000)
    """So many examples of the validation file are answered by the base and by the new model at the end, and
    the answers compared."""


class CreateJob(Strict):
    """A job that is asked for."""

    model: str
    training_file: str
    validation_file: str | None = None
    suffix: str | None = Field(None, min_length=1, max_length=64)
    seed: int | None = Field(None, ge=0, le=2_147_483_647)
    metadata: Metadata | None = None
    integrations: list[Integration] | None = Field(None, max_length=5)
    hyperparameters: Hyperparameters | None = None
    """Where older clients put them."""
    method: MethodOf | None = None
    x_tunesmith: Extra = Extra()

    @model_validator(mode="after")
    def _one_place(self) -> Self:
        block = self.method.supervised if self.method else None
        if (
            self.hyperparameters is not None
            and block is not None
            and block.hyperparameters != self.hyperparameters
        ):
            raise ValueError("hyperparameters and method.supervised.hyperparameters differ: give one of them")
        if self.x_tunesmith.evaluate is not None and self.validation_file is None:
            raise ValueError("x_tunesmith.evaluate needs a validation_file, whose examples are answered")
        return self

    @property
    def asked(self) -> Hyperparameters:
        """The hyperparameters, wherever they were given."""
        if self.method is not None and self.method.supervised is not None:
            return self.method.supervised.hyperparameters
        return self.hyperparameters or Hyperparameters()


class ListJobs(Query):
    """Which jobs to list, the newest first."""

    after: str | None = None
    limit: int = Field(20, ge=0, le=10_000)


class ListEvents(ListJobs):
    """Which events to list, the newest first."""


class ListCheckpoints(Query):
    """Which checkpoints to list, the newest first."""

    after: str | None = None
    limit: int = Field(10, ge=0, le=10_000)
