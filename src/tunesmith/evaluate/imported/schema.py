"""Configuration and result of `tunesmith import-results`.  Imports no engine."""

from pathlib import Path
from typing import Literal

from pydantic import Field

from tunesmith.core.config import Schema, argument
from tunesmith.evaluate.schema import EvaluateResult

HarnessName = Literal["lm-eval", "inspect", "promptfoo"]


class ImportConfig(Schema):
    """An item is known by the hash of its question (lm-eval: the document; Inspect: input and choices;
    promptfoo: variables and assertions), so that two imports of one harness pair the same items.
    """

    results: Path = argument()
    """lm-eval's `samples_….jsonl`, Inspect's `.json` log, promptfoo's JSON, or a folder of such files."""
    from_: HarnessName | None = None
    """Which harness wrote it; without it told from the content."""
    model: str | None = None
    """Whose answers, when the files hold those of several models."""
    prompt: str | None = None
    """Asked in which way, when the files hold several (promptfoo's label of the prompt)."""
    metric: str | None = None
    """The score that decides; without it the first one."""
    slices: tuple[str, ...] = ()
    """Parts to look at on their own: keys of the items' metadata (lm-eval: of the document)."""
    seed: int = Field(0, ge=0)
    """Seed of the bootstrap."""


class Refusal(Schema):
    """A row that was not taken."""

    where: str
    """File, and line or sample."""
    reason: str
    """Why."""


class ImportResult(EvaluateResult):
    """A report of another harness's results; `refused` counts the rows in `refused.jsonl`."""

    harness: HarnessName
    """Who asked and scored."""
    rows: int
    """Answers in the files: taken, refused, and of other models or prompts."""
    kept: int
    """Answers taken."""
    elsewhere: int
    """Answers of another model or prompt than the one asked for."""
    refusals: list[Refusal]
    """The first refused rows, with their reasons."""
    left_out: dict[str, str]
    """Scores that no item has a number for, and why."""
    notes: list[str]
    """What the harness said of the whole run that a reader should know."""
