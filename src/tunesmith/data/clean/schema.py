"""Configuration and result of `tunesmith data clean`.  Imports no engine."""

from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import BeforeValidator, Field, PositiveInt, model_validator

from tunesmith.core.config import Schema, argument
from tunesmith.data.check.port import Severity
from tunesmith.data.steps import DataSetResult, Split

Part = Literal["whole", "prompt", "answer"]


class Trim(Schema):
    """White space at the ends of turns, line ends of other systems, invisible characters."""

    step: Literal["trim"] = "trim"


class FixUnicode(Schema):
    """Mojibake and other broken encodings mended (ftfy), characters composed (NFC); quotes stay as typed."""

    step: Literal["unicode"] = "unicode"


class DropExactDuplicates(Schema):
    """Rows whose text is the same up to case and spaces; the best row of each cluster stays."""

    step: Literal["drop-exact-duplicates"] = "drop-exact-duplicates"
    text: Part = "whole"
    """What is compared: prompt and answer, or one of them."""


class DropNearDuplicates(Schema):
    """Rows nearly the same as a row that stays; the best row of each cluster stays."""

    step: Literal["drop-near-duplicates"] = "drop-near-duplicates"
    text: Part = "whole"
    """What is compared: prompt and answer without the system turn, or one of them."""
    threshold: float = Field(0.8, gt=0, le=1)
    """Jaccard similarity (runs of 4 characters) to the row that stays, from which a row is dropped."""
    different_numbers: Literal["keep", "drop"] = "keep"
    """Rows that differ in a number or in a negation: kept, for they say something else."""


class DropFlagged(Schema):
    """Rows that a check found something about."""

    step: Literal["drop-flagged"] = "drop-flagged"
    checks: tuple[str, ...] = ()
    """Names of checks; without any, all of them."""
    severities: tuple[Severity, ...] = ("error",)
    """How severe a finding has to be."""


class Decontaminate(Schema):
    """Rows that a leakage check found in a benchmark or in another split."""

    step: Literal["decontaminate"] = "decontaminate"
    severities: tuple[Severity, ...] = ("error", "warning")
    """How severe a finding has to be."""


class MaskPii(Schema):
    """Personal data and secrets replaced by the name of their kind."""

    step: Literal["mask-pii"] = "mask-pii"


class NormaliseInstructions(Schema):
    """System turns and openings of the question that deviate are brought to the form of the majority."""

    step: Literal["normalise-instructions"] = "normalise-instructions"
    majority: float = Field(0.9, gt=0.5, le=1)
    """Share of the training rows that must have the same form for it to be the majority's."""
    similarity: float = Field(0.5, gt=0, le=1)
    """A deviating text at least so like the majority's (Jaccard, runs of 4 characters) is replaced by it."""
    missing: Literal["add", "leave"] = "add"
    """Rows without a system turn get the majority's, or are listed."""


class DropTooLong(Schema):
    """Rows beyond a length."""

    step: Literal["drop-too-long"] = "drop-too-long"
    max_tokens: int = Field(0, ge=0)
    """Tokens, template included, that a row may have; needs `model`; 0 is off."""
    max_characters: int = Field(0, ge=0)
    """Characters of all turns that a row may have; 0 is off."""
    model: str | None = None
    """Model whose tokenizer and template count."""

    @model_validator(mode="after")
    def _a_limit(self) -> Self:
        if not self.max_tokens and not self.max_characters:
            raise ValueError("give max_tokens with a model, or max_characters")
        if self.max_tokens and self.model is None:
            raise ValueError("max_tokens needs the model whose tokens are counted")
        return self


class RemoveRefusals(Schema):
    """Rows whose answer refuses the task."""

    step: Literal["remove-refusals"] = "remove-refusals"


class KeepLanguage(Schema):
    """Only rows in these languages (py3langid); texts too short to tell stay."""

    step: Literal["keep-language"] = "keep-language"
    languages: tuple[str, ...] = Field(min_length=1)
    """Codes of ISO 639-1, such as en."""
    text: Part = "whole"
    """What is judged."""
    min_letters: PositiveInt = 60
    """The language of a text with fewer letters cannot be told, and it stays."""


AnyStep = Annotated[
    Trim | FixUnicode | DropExactDuplicates | DropNearDuplicates | DropFlagged | Decontaminate | MaskPii
    | NormaliseInstructions | DropTooLong | RemoveRefusals | KeepLanguage,
    Field(discriminator="step"),
    BeforeValidator(lambda value: {"step": value} if isinstance(value, str) else value),
]  # fmt: skip


class CleanPlan(Schema):
    """A plan file: `steps`, each a name, or a mapping with `step: NAME` and its settings."""

    steps: tuple[AnyStep, ...] = Field(min_length=1)


class CleanConfig(Schema):
    """Each step sees what the steps before left.  The input folder is never changed.

    Steps that change rows work on every split, so that a model is tested as it is trained; steps that drop
    rows work on the training split, and on others only with --splits.
    Steps: trim, unicode, drop-exact-duplicates, drop-near-duplicates, drop-flagged, decontaminate, mask-pii,
    normalise-instructions, drop-too-long, remove-refusals, keep-language.
    """

    data: Path = argument()
    """Data set folder: its path, name or id."""
    step: tuple[str, ...] = ()
    """A step, in the order given; settings follow it: --step "drop-near-duplicates threshold=0.7"."""
    plan: Path | None = None
    """YAML file with `steps`, instead of --step."""
    findings: Path | None = None
    """Folder of `tunesmith data check` on this data set: for drop-flagged, decontaminate, and to choose which
    duplicate stays."""
    splits: tuple[Split, ...] = ()
    """Splits that dropping steps work on; without it only train."""
    dry_run: bool = False
    """Show what the steps would do, with the first changes word by word, and write nothing."""

    @model_validator(mode="after")
    def _one_source(self) -> Self:
        if bool(self.step) == (self.plan is not None):
            raise ValueError("give the steps with --step or in a --plan file: one of the two")
        return self


class StepAccount(Schema):
    """What one step did."""

    step: str
    """Its name."""
    settings: dict[str, Any]
    """Its parameters."""
    splits: list[str]
    """Splits that it worked on."""
    rows: int
    """Rows that it saw in them."""
    changed: int
    """Rows that it changed."""
    dropped: int
    """Rows that it dropped."""
    left: int
    """Rows that it could not bring to the right form, and left as they are."""
    reasons: dict[str, int]
    """How many rows were changed, dropped or left for which reason."""
    before: str
    """Hash of all rows before."""
    after: str
    """Hash of all rows after."""


class ShownChange(Schema):
    """One change, word by word."""

    step: str
    """The step."""
    place: str
    """Split and line."""
    reason: str
    """Why."""
    diff: list[tuple[Literal["=", "-", "+"], str]]
    """Text that stays, goes, comes."""


class CleanResult(DataSetResult):
    """A cleaned data set, or what it would be."""

    steps: list[StepAccount]
    """What each step did, in order."""
    first: list[ShownChange] = Field(default_factory=list)
    """The first changes and drops of each step; only of a dry run."""
