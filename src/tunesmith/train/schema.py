"""Configuration and result of `tunesmith train`.  Imports no torch."""

from pathlib import Path

from tunesmith.core.config import Schema, argument
from tunesmith.core.job import FolderResult


class TrainConfig(Schema):
    """Train what a recipe says."""

    recipe: Path = argument()
    """YAML recipe (`tunesmith decide` writes one)."""
    set: tuple[str, ...] = ()
    """Values of the recipe to replace, such as `optimiser.learning_rate=0.001`."""
    resume: bool = False
    """Insist on going on with an interrupted run; refused, saying what differs, when there is none of this
    recipe and data.  Without it, one of the very same recipe and data is gone on with anyway."""
    restart: bool = False
    """Throw away what an interrupted run of this recipe and data has done, and begin again."""


class TrainResult(FolderResult):
    """A finished run."""

    name: str
    """Name of the run."""
    model: str
    """Base model."""
    steps: int
    """Optimiser steps taken."""
    epochs: float
    """Passes over the training split."""
    examples: int
    """Examples in the training split."""
    tokens: int
    """Tokens computed in training."""
    supervised_tokens: int
    """Tokens that the loss was taken on."""
    trainable_parameters: int
    """Numbers that learned."""
    first_loss: float
    """Training loss of the first step: nats per supervised token (fake engine: share of wrong answers)."""
    last_loss: float
    """Mean training loss of the last tenth of the steps."""
    validation_loss: float | None
    """Lowest validation loss: that of the published adapter; None without evaluations."""
    best_step: int
    """Step whose adapter was published."""
    seconds: float
    """Wall time of training, without loading; earlier parts of a resumed run included."""
    tokens_per_second: float
    """Tokens over the seconds spent in training steps."""
    peak_memory_bytes: int
    """Largest resident memory of the worker."""
    dtype: str
    """Type of the frozen weights."""
    threads: int
    """Threads of the worker."""
