"""Configuration and result of `tunesmith import openai`.  Imports no engine."""

from pathlib import Path

from pydantic import PositiveInt

from tunesmith.core.config import Schema
from tunesmith.core.job import FolderResult


class ImportOpenaiConfig(Schema):
    """Every fine-tuning job of an OpenAI project: its files, settings and results, and a recipe for each.

    In a terminal it then asks once whether to train all of them here; a program says --train.  Files that
    were deleted there cannot be fetched, and are named.
    """

    endpoint: str = "https://api.openai.com/v1"
    """Base URL of the service, with /v1; any server with OpenAI's fine-tuning API will do."""
    api_key_variable: str | None = "OPENAI_API_KEY"
    """Name of the environment variable that holds the key."""
    job: tuple[str, ...] = ()
    """Only these jobs, by id.  May be repeated."""
    model: str = "smollm2-135m-instruct"
    """Base model here that takes the place of OpenAI's: a name of `tunesmith models`, a folder, a hub id."""
    train: bool = False
    """Train them without asking."""
    evaluate: PositiveInt | None = None
    """After training compare each model with its base on so many examples of its validation file."""


class BroughtJob(Schema):
    """One job of the service."""

    id: str
    """Its id there."""
    model: str
    """What it began from there."""
    status: str
    """How it ended there."""
    method: str
    """supervised, dpo or reinforcement."""
    fine_tuned_model: str | None
    """What it made there."""
    examples: int | None
    """Training examples; None when the file is gone or cannot be read."""
    missing: list[str]
    """What could not be fetched, and why."""
    obstacle: str | None
    """Why it cannot be trained here; None when it can."""
    learning_rate: float | None = None
    """What its multiplier means here."""
    run: Path | None = None
    """The run here, once it is trained."""
    verdict: str | None = None
    """The run against its base, when that was asked."""


class ImportOpenaiResult(FolderResult):
    """What was brought."""

    endpoint: str
    """Where it was."""
    jobs: list[BroughtJob]
    """The newest first."""
