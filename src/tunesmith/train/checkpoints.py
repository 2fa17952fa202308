"""Checkpoints of a run, whole or absent: the last one, the best one, and the metrics that go with them."""

from __future__ import annotations

import shutil
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from tunesmith.core.errors import FolderError
from tunesmith.core.files import explain_disk_errors, read_json, read_jsonl, write_json, write_jsonl
from tunesmith.train.engines.port import Engine

POINTER = "last.json"
BEST = "best"
POSITION = "position.json"


@dataclass(frozen=True)
class Position:
    """Where a run stands, beside the engine's own state."""

    step: int = 0
    num_tokens: int = 0
    num_supervised: int = 0
    seconds: float = 0.0
    step_seconds: float = 0.0
    first_loss: float | None = None
    best_step: int = 0
    best_loss: float | None = None

    def improved(self, loss: float) -> Position:
        """The position with this validation loss as the best so far."""
        return replace(self, best_step=self.step, best_loss=loss)


def save(folder: Path, engine: Engine, position: Position) -> None:
    """Write a checkpoint beside the old one, then move the pointer; the old one goes last.

    A kill at any moment leaves a whole checkpoint.  Raises OutOfSpace with the old one untouched.
    """
    target = folder / f"step-{position.step:06d}"
    growing = folder / f"{target.name}.part"
    with explain_disk_errors(folder):
        for leftover in (growing, target):
            shutil.rmtree(leftover, ignore_errors=True)
        growing.mkdir(parents=True)
        engine.save_state(growing)
        write_json(growing / POSITION, asdict(position))
        growing.rename(target)
    write_json(folder / POINTER, {"folder": target.name})
    for old in folder.glob("step-*"):
        if old != target:
            shutil.rmtree(old)


def load(folder: Path, engine: Engine) -> Position:
    """Take up the last checkpoint; a run without one starts at step 0."""
    if not (folder / POINTER).exists():
        return Position()
    target = folder / str(read_json(folder / POINTER)["folder"])
    if not (target / POSITION).exists():
        raise FolderError(
            "the checkpoint is damaged",
            where=target,
            next_step="begin again with `tunesmith train RECIPE --restart`",
        )
    engine.load_state(target)
    return Position(**read_json(target / POSITION))


def forget_after(metrics: Path, step: int) -> None:
    """Drop metrics of steps that a checkpoint does not hold: the resumed run writes them again."""
    if metrics.exists():
        write_jsonl(metrics, [line.value for line in read_jsonl(metrics) if line.value["step"] <= step])
