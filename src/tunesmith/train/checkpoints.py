"""Checkpoints of a run, whole or absent: the newest ones, the best state, and what each is bound to."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from tunesmith.core.errors import FolderError
from tunesmith.core.files import explain_disk_errors, read_json, read_jsonl, write_json, write_jsonl
from tunesmith.train.engines.port import Engine

POINTER = "last.json"
POSITION = "position.json"
BOUND = "bound.json"
PUBLISHED = "published"
"""Inside a checkpoint that a finished run keeps: what a server loads, so that a run can begin from it."""


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
    best_by_source: Mapping[str, float] = field(default_factory=dict)
    worse_in_a_row: int = 0
    """Evaluations since the lowest validation loss."""
    measured_at: int = 0
    """Step of the newest evaluation."""
    measured_loss: float | None = None
    measured_by_source: Mapping[str, float] = field(default_factory=dict)
    generation: Mapping[str, float] = field(default_factory=dict)
    """Scores of the newest generated answers."""

    def measured(self, loss: float, by_source: Mapping[str, float]) -> Position:
        """The position after an evaluation: the best so far, or one more without a lower loss."""
        here = replace(self, measured_at=self.step, measured_loss=loss, measured_by_source=dict(by_source))
        if self.best_loss is not None and loss >= self.best_loss:
            return replace(here, worse_in_a_row=self.worse_in_a_row + 1)
        return replace(
            here, best_step=self.step, best_loss=loss, best_by_source=dict(by_source), worse_in_a_row=0
        )


@dataclass(frozen=True)
class Bound:
    """What a checkpoint belongs to: under anything else the rest of the run would be another run."""

    recipe: Mapping[str, Any]
    """The resolved recipe, measured choices included."""
    fingerprints: Mapping[str, str]
    """Source → fingerprint of its data."""
    threads: int
    """Sums are split by threads, so that another count gives other bits."""
    versions: Mapping[str, str] = field(default_factory=dict)


def best_folder(folder: Path, step: int) -> Path:
    """Where the state of a step is published while a run goes on."""
    return folder / f"best-{step:06d}"


def publish(folder: Path, engine: Engine, step: int) -> None:
    """Write what a server loads, whole or not at all, beside the best one before.

    The one before is removed by the next checkpoint, which names this one: a kill in between loses neither.
    """
    target = best_folder(folder, step)
    growing = folder / f"{target.name}.part"
    with explain_disk_errors(folder):
        for leftover in (growing, target):
            shutil.rmtree(leftover, ignore_errors=True)
        growing.mkdir(parents=True)
        engine.publish(growing)
        growing.rename(target)


def save(
    folder: Path, engine: Engine, position: Position, bound: Bound, *, keep: int = 0, result_step: int = 0
) -> None:
    """Write a checkpoint beside the old ones, then move the pointer; those that are not kept go last.

    A kill at any moment leaves a whole checkpoint.  `keep` counts the newest ones that stay (at least this
    one) and that another run can begin from; `result_step` is the step whose published state stays.  Raises
    OutOfSpace with the old ones untouched.
    """
    target = folder / f"step-{position.step:06d}"
    growing = folder / f"{target.name}.part"
    with explain_disk_errors(folder):
        for leftover in (growing, target):
            shutil.rmtree(leftover, ignore_errors=True)
        growing.mkdir(parents=True)
        try:
            engine.save_state(growing)
            if keep:
                engine.publish(growing / PUBLISHED)
            write_json(growing / BOUND, asdict(bound))
            write_json(growing / POSITION, asdict(position))
        except BaseException:
            shutil.rmtree(growing, ignore_errors=True)
            raise
        growing.rename(target)
    write_json(folder / POINTER, {"folder": target.name})
    tidy(folder, keep=keep, result_step=result_step)


def tidy(folder: Path, *, keep: int, result_step: int) -> None:
    """Remove checkpoints that are not kept, and published states that are no longer the best."""
    for old in whole_ones(folder)[: -max(1, keep)]:
        shutil.rmtree(old)
    for old in folder.glob("best-*"):
        if old != best_folder(folder, result_step):
            shutil.rmtree(old)


def whole_ones(folder: Path) -> list[Path]:
    """Finished checkpoints, the oldest first: by number, for names alone go wrong at a million steps."""
    whole = (path for path in folder.glob("step-*") if path.suffix != ".part")
    return sorted(whole, key=lambda path: int(path.name.removeprefix("step-")))


def newest(folder: Path) -> Path | None:
    """The checkpoint that a resume starts from; None when there is none.

    Raises FolderError for one that is damaged.
    """
    if not (folder / POINTER).exists():
        return None
    target = folder / str(read_json(folder / POINTER)["folder"])
    if not (target / POSITION).exists() or not (target / BOUND).exists():
        raise FolderError(
            "the checkpoint is damaged",
            where=target,
            next_step="begin again with `tunesmith train RECIPE --restart`",
        )
    return target


def bound_of(folder: Path) -> Bound | None:
    """What the newest checkpoint is bound to; None when there is none."""
    target = newest(folder)
    return None if target is None else Bound(**read_json(target / BOUND))


def load(folder: Path, engine: Engine) -> Position:
    """Take up the newest checkpoint; a run without one starts at step 0."""
    target = newest(folder)
    if target is None:
        return Position()
    engine.load_state(target)
    return Position(**read_json(target / POSITION))


def forget_after(rows: Path, step: int) -> None:
    """Drop rows of steps that a checkpoint does not hold: the resumed run writes them again.

    A run that begins anew, at step 0, measures anew too.
    """
    if rows.exists():
        kept = [line.value for line in read_jsonl(rows) if line.value["step"] <= step] if step else []
        write_jsonl(rows, kept)


def prune(folder: Path, *, keep: int) -> None:
    """What stays of a finished run's checkpoints: the newest ones that the recipe keeps, nothing else."""
    if not keep:
        shutil.rmtree(folder, ignore_errors=True)
        return
    kept = whole_ones(folder)[-keep:]
    for entry in folder.iterdir():
        if entry not in kept and entry.name != POINTER:
            shutil.rmtree(entry) if entry.is_dir() else entry.unlink()
