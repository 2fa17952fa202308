"""Configurations and results of the training room's verbs.  Imports no torch."""

from pathlib import Path
from typing import Any, Literal, Self

from pydantic import NonNegativeInt, PositiveInt, model_validator

from tunesmith.core.config import Schema, argument
from tunesmith.core.job import FolderResult, JudgedResult


class TrainConfig(Schema):
    """RECIPE may also be the folder of an interrupted run, which goes on there."""

    recipe: Path = argument()
    """YAML recipe (`tunesmith decide` writes one), or an interrupted run: its folder or its name."""
    set: tuple[str, ...] = ()
    """Values of the recipe to replace, such as `optimiser.learning_rate=0.001`."""
    check: bool = False
    """Only try the pre-flight's proofs, show each, and make no folder."""
    time_steps: NonNegativeInt = 0
    """Only time so many steps, and keep nothing: of the pre-flight just `memory` is tried; 0 trains."""
    resume: bool = False
    """Insist on going on with an interrupted run; refused, saying what differs, when there is none of this
    recipe and data.  Without it, one of the very same recipe and data is gone on with anyway."""
    restart: bool = False
    """Throw away what an interrupted run of this recipe and data has done, and begin again."""

    proved_by: str = ""
    """A finished run (folder, name or id) of the same model, method and settings, on other rows: its proofs
    of the engine stand, and only those that look at the rows are tried.  Left empty, all are."""

    @model_validator(mode="after")
    def _one_way(self) -> Self:
        if self.proved_by and (self.check or self.time_steps):
            raise ValueError("--proved-by spares a run proofs; --check and --time-steps make none")
        if self.resume and self.restart:
            raise ValueError("--resume goes on with what was done, --restart throws it away: give one")
        if self.check and self.time_steps:
            raise ValueError("--check tries the proofs, --time-steps times steps without them: give one")
        if (self.check or self.time_steps) and (self.resume or self.restart):
            raise ValueError("--resume and --restart are for a run, --check and --time-steps make none")
        return self


class SourceFacts(Schema):
    """One data set of a run."""

    name: str
    """Its name in metrics."""
    weight: float
    """How often an epoch sees each of its rows."""
    fingerprint: str
    """Hash of its rows and groups."""
    examples: int
    """Items of its training split, as they are learned."""
    training_loss: float | None = None
    """Mean loss of its tokens in the last tenth of the steps, nats; None when no step held any."""
    validation_loss: float | None = None
    """Loss of its validation split in the published state; None without one."""


class ProofFacts(Schema):
    """One proof of the pre-flight."""

    name: str
    """The proof."""
    outcome: Literal["passed", "failed", "waived", "not applicable"]
    """What came of it."""
    evidence: str
    """One sentence in numbers."""
    seconds: float
    """What it cost."""


class TrainResult(FolderResult):
    """A finished run."""

    name: str
    """Name of the run."""
    model: str
    """Base model."""
    method: str
    """Which parameters learned."""
    objective: str
    """What they learned from."""
    optimiser: str
    """How they learned."""
    learning_rate: float
    """Highest learning rate."""
    steps: int
    """Optimiser steps taken."""
    planned_steps: int
    """Steps that the recipe asks for; more than were taken when the run stopped early."""
    epochs: float
    """Passes over the training data."""
    examples: int
    """Items of the training data."""
    sources: tuple[SourceFacts, ...]
    """The data sets, each with its losses."""
    tokens: int
    """Tokens computed in training."""
    supervised_tokens: int
    """Tokens that the loss was taken on."""
    trainable_parameters: int
    """Numbers that learned."""
    first_loss: float
    """Training loss of the first step: nats per learned token (fake engine: share of wrong words)."""
    last_loss: float
    """Mean training loss of the last tenth of the steps."""
    validation_loss: float | None
    """Validation loss of the published state, over all tokens of all sources; None when not measured."""
    best_step: int
    """Step whose state was published."""
    generation: dict[str, float]
    """Scores of the newest generated answers by scorer; empty without `generation`."""
    proofs: tuple[ProofFacts, ...]
    """The pre-flight."""
    seconds: float
    """Wall time of training, without loading; earlier parts of a resumed run included."""
    tokens_per_second: float
    """Tokens over the seconds spent in training steps."""
    peak_memory_bytes: int
    """Largest resident memory of the worker."""
    dtype: str
    """Type in which the model computed."""
    threads: int
    """Threads of the worker."""


class CheckResult(JudgedResult):
    """The pre-flight of a recipe, without a run."""

    name: str
    """Name of the recipe."""
    model: str
    """Base model."""
    proofs: tuple[ProofFacts, ...]
    """Each proof with its evidence, in the order they run."""
    seconds: float
    """What they cost together."""
    message: str = ""
    """Why the run would be refused; empty when it would not."""


class SpeedResult(Schema):
    """A few steps of a recipe, timed without a run."""

    name: str
    """Name of the recipe."""
    model: str
    """Base model."""
    steps: int
    """Steps that were timed."""
    tokens: int
    """Tokens that they computed."""
    tokens_per_second: float
    """Their speed."""
    seconds_per_step: float
    """Mean time of one."""
    peak_memory_bytes: int
    """Most memory that the worker or the trial of its longest batch held."""


class ReplayConfig(Schema):
    """Trains it again into a folder of its own; names the first difference and what around it has changed."""

    run: str = argument()
    """The run: its folder, its name, or the start of its id."""


class Difference(Schema):
    """The first thing that is not as it was."""

    what: str
    """File in the run folder."""
    step: int | None = None
    """Step of the row; None for a file that is compared as a whole."""
    key: str | None = None
    """The number that differs."""
    first: Any = None
    """In the run."""
    second: Any = None
    """In its replay."""


class ReplayResult(JudgedResult):
    """A run and its replay."""

    run: Path
    """The run."""
    replay: Path
    """Folder of the replay, a run like any other."""
    steps: int
    """Optimiser steps compared."""
    files: int
    """Files of the result compared."""
    difference: Difference | None
    """None when everything is identical."""
    elsewhere: tuple[str, ...]
    """What was different around it: versions, processor, threads."""


class RunFacts(Schema):
    """A run as a list shows it; what is not known yet is None."""

    name: str
    """Folder name: what other commands take."""
    folder: Path
    """Where it stands."""
    state: Literal["finished", "running", "interrupted", "failed"]
    """Where it stands in time."""
    updated: str
    """When it finished, or last said something; ISO 8601 in UTC."""
    model: str
    """Base model."""
    method: str
    """Which parameters learn."""
    objective: str
    """What they learn from."""
    data: tuple[str, ...]
    """Names of its data sets."""
    steps: int
    """Optimiser steps taken."""
    planned_steps: int | None = None
    """Steps that the recipe asks for."""
    training_loss: float | None = None
    """Loss of the newest step, or the mean over the last tenth of a finished run."""
    validation_loss: float | None = None
    """Of the published state; of the newest evaluation while it runs."""
    tokens_per_second: float | None = None
    """Speed of training steps."""
    peak_memory_bytes: int | None = None
    """Largest resident memory of the worker."""
    seconds: float | None = None
    """Wall time of training."""


class RunsListConfig(Schema):
    """The newest first: finished, running, interrupted and failed ones of this workspace."""

    limit: NonNegativeInt = 0
    """Show only so many; 0 shows all."""


class RunsListResult(Schema):
    """The runs."""

    runs: tuple[RunFacts, ...]
    """The newest first."""


class RunsShowConfig(Schema):
    """Of a run that has finished, runs, was interrupted or failed."""

    run: str = argument()
    """The run: its folder, its name, or the start of its id."""


class Curve(Schema):
    """A number over the steps of a run."""

    run: str
    """Name of the run."""
    key: str
    """Name of the number in `metrics.jsonl`."""
    steps: tuple[int, ...]
    """Where it was measured."""
    values: tuple[float, ...]
    """What was measured."""


class RunsShowResult(Schema):
    """A run in full."""

    run: RunFacts
    """The facts that a list shows."""
    settings: dict[str, Any]
    """The resolved recipe, nested keys dotted."""
    sources: tuple[SourceFacts, ...]
    """Its data sets; empty until it has finished."""
    generation: dict[str, float]
    """Scores of the newest generated answers."""
    proofs: tuple[ProofFacts, ...]
    """The pre-flight."""
    curves: tuple[Curve, ...]
    """Training loss, and validation loss where it was measured."""
    problem: str = ""
    """What a failed run said."""
    next_commands: tuple[str, ...] = ()
    """What to do with it now."""


class RunsCompareConfig(Schema):
    """Says so when they did not see the same rows: their losses then say nothing about each other."""

    a: str = argument()
    """One run."""
    b: str = argument()
    """The other."""


class Pair(Schema):
    """One thing in both runs."""

    name: str
    """What it is."""
    a: Any
    """In the first run."""
    b: Any
    """In the second run."""


class RunsCompareResult(Schema):
    """What differs between two runs."""

    a: RunFacts
    """One run."""
    b: RunFacts
    """The other."""
    settings: tuple[Pair, ...]
    """Settings and data that differ."""
    losses: tuple[Pair, ...]
    """Losses and generation scores of both."""
    cost: tuple[Pair, ...]
    """Time, speed and memory of both."""
    same_data: bool
    """Whether both learned from and were validated on the same rows; losses of different rows say nothing."""


class RunsPlotConfig(Schema):
    """A curve for each run, over its steps."""

    runs: tuple[str, ...] = argument()
    """Runs: folders, names, or starts of ids."""
    key: str = "loss"
    """What to draw: a key of `metrics.jsonl`; nested ones dotted, such as `loss_by_source.addresses`."""
    height: PositiveInt = 16
    """Lines of the drawing."""


class RunsPlotResult(Schema):
    """The curves that are drawn."""

    key: str
    """What they show."""
    curves: tuple[Curve, ...]
    """One for each run."""
    height: int
    """Lines of the drawing."""
