"""What a run folder says while it grows, as OpenAI's events: one for each step, one for each checkpoint."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from tunesmith.train.order import EVENTS, METRICS
from tunesmith.train.watching import Tail

ACCURACY = "mean_token_accuracy"
SAVED = "checkpoint"
"""The event of a run folder."""


class StepMade(NamedTuple):
    """One step, with the validation loss where it was measured after it."""

    step: int
    total: int
    data: Mapping[str, float]
    seconds: float

    @property
    def message(self) -> str:
        """The line that OpenAI writes."""
        text = f"Step {self.step}/{self.total}: training loss={self.data['train_loss']:.2f}"
        if "full_valid_loss" in self.data:
            loss = self.data["full_valid_loss"]
            text += f", validation loss={loss:.2f}, full validation loss={loss:.2f}"
        return text


class Waiting(NamedTuple):
    """A step whose validation loss may still come."""

    step: int
    seconds: float
    data: dict[str, float]


class Told(NamedTuple):
    """A line that the worker said to people."""

    text: str


class Saved(NamedTuple):
    """A checkpoint that another run can begin from."""

    step: int


News = StepMade | Told | Saved


@dataclass
class Follower:
    """Reads a run's files as they grow; steps that are known already are passed over.

    A step is told when the next row comes, for its validation loss comes behind it.
    """

    run: Path
    known: int
    """The last step that was told before."""
    total: int = 0
    waiting: Waiting | None = None
    begun: bool = False
    measured: dict[int, dict[str, float]] = field(default_factory=dict)
    """Losses and accuracies by step."""
    saves: list[int] = field(default_factory=list)
    """Steps whose checkpoints are to be told, after the steps themselves."""
    events: Tail = field(init=False)
    metrics: Tail = field(init=False)

    def __post_init__(self) -> None:
        self.events, self.metrics = Tail(self.run / EVENTS), Tail(self.run / METRICS)
        # What earlier workers said was told by then; of a checkpoint that is not sure.
        self.saves += [event["step"] for event in self.events.new_rows() if event["event"] == SAVED]

    def news(self, *, ended: bool = False) -> Iterator[News]:
        """What is new; with `ended` also the last step."""
        for event in self.events.new_rows():
            if event["event"] == "started":
                # From now on the metrics grow; before, a resumed run may take rows back.
                self.total, self.begun = event["num_steps"], True
            elif event["event"] == "message":
                yield Told(event["text"])
            elif event["event"] == SAVED:
                self.saves.append(event["step"])
        for row in self.metrics.new_rows() if self.begun else ():
            yield from self.row(row)
        if ended:
            yield from self.flush()
        if self.begun:
            yield from self.due()

    def due(self) -> Iterator[Saved]:
        """Checkpoints of steps that were told."""
        yield from [Saved(step) for step in self.saves if step <= self.known]
        self.saves = [step for step in self.saves if step > self.known]

    def row(self, row: Mapping[str, Any]) -> Iterator[News]:
        """A row of metrics."""
        if "loss" in row:
            yield from self.flush()
            found = {"train_loss": row["loss"], f"train_{ACCURACY}": row["accuracy"]}
            self.waiting = Waiting(row["step"], row["seconds"], found)
            self.measured[row["step"]] = found
        elif "validation_loss" in row and self.waiting is not None:
            # Each look is at the whole validation file.
            for split in ("valid", "full_valid"):
                self.waiting.data[f"{split}_loss"] = row["validation_loss"]
                self.waiting.data[f"{split}_{ACCURACY}"] = row["validation_accuracy"]

    def flush(self) -> Iterator[News]:
        """The step that waited, unless it was told before, and its checkpoint."""
        held, self.waiting = self.waiting, None
        if held is not None and held.step > self.known:
            self.known = held.step
            yield StepMade(held.step, self.total, held.data, held.seconds)
            yield from self.due()
