"""The training loop: no tensor, no torch; drives an engine through its port."""

from __future__ import annotations

import math
import resource
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from tunesmith.core.errors import CheckFailed, Interrupted
from tunesmith.core.files import append_jsonl
from tunesmith.core.recipe import Recipe
from tunesmith.train import checkpoints
from tunesmith.train.checkpoints import Position
from tunesmith.train.engines.port import Engine, Item
from tunesmith.train.schedule import Schedule, epoch_order, learning_rate, place_of_step

METRICS = "metrics.jsonl"


@dataclass(frozen=True)
class Run:
    """What a loop works on."""

    folder: Path
    recipe: Recipe
    schedule: Schedule
    train: Sequence[Item]
    validation: Sequence[Item]
    say: Callable[[Mapping[str, Any]], None]
    """Takes events: a line of `events.jsonl` each."""
    should_stop: Callable[[], bool]
    """Asked between steps; True saves and raises Interrupted."""

    @property
    def checkpoints(self) -> Path:
        """Where checkpoints stand."""
        return self.folder / "checkpoints"


def train(run: Run, engine: Engine) -> Position:
    """Run every step that is still to do; returns where the run ended.

    Raises Interrupted after saving when asked to stop, and CheckFailed when a loss is not a number, with the
    last good checkpoint kept.
    """
    position = checkpoints.load(run.checkpoints, engine)
    checkpoints.forget_after(run.folder / METRICS, position.step)
    if position.step:
        run.say({"event": "resumed", "step": position.step})
    started, saved_at = time.monotonic() - position.seconds, time.monotonic()
    orders = Orders(run)
    while position.step < run.schedule.num_steps:
        position = one_step(run, engine, position, orders.rows(position.step + 1))
        position = replace(position, seconds=time.monotonic() - started)
        if position.step in run.schedule.evaluate_after and run.validation:
            position = validate(run, engine, position)
        stopping = run.should_stop() and position.step < run.schedule.num_steps
        if stopping or time.monotonic() - saved_at >= run.recipe.save_every_seconds:
            save(run, engine, position)
            saved_at = time.monotonic()
        if stopping:
            run.say({"event": "interrupted", "step": position.step})
            raise Interrupted(f"stopped after step {position.step}; the same command goes on from there")
    return finish(run, engine, replace(position, seconds=time.monotonic() - started))


class Orders:
    """Items of each step; keeps one epoch's order, because sorting by hash is done once an epoch."""

    def __init__(self, run: Run) -> None:
        self.run = run
        self.row_hashes = [item.row_hash for item in run.train]
        self.epoch = -1
        self.order: list[int] = []

    def rows(self, step: int) -> list[Item]:
        """The items of a step."""
        schedule = self.run.schedule
        epoch, place = place_of_step(schedule, step)
        if epoch != self.epoch:
            self.epoch = epoch
            self.order = epoch_order(
                self.row_hashes, seed=schedule.seed, epoch=epoch, fingerprint=schedule.fingerprint
            )
        return [self.run.train[row] for row in self.order[place]]


def one_step(run: Run, engine: Engine, position: Position, items: Sequence[Item]) -> Position:
    """One optimiser step, its row of metrics, and where the run then stands."""
    started = time.monotonic()
    step = position.step + 1
    optimiser = run.recipe.optimiser
    rate = learning_rate(optimiser, step=step, num_steps=run.schedule.num_steps)
    report = engine.forward_backward(items)
    check_finite(run, step, "loss", report.loss)
    norm = engine.optim_step(learning_rate=rate, max_norm=optimiser.max_norm or None)
    check_finite(run, step, "gradient norm", norm)
    seconds = time.monotonic() - started
    row = {
        "step": step,
        "epoch": round(run.schedule.epoch_after(step), 4),
        "loss": report.loss,
        "learning_rate": rate,
        "gradient_norm": norm,
        "tokens": report.num_tokens,
        "seconds": seconds,
        "tokens_per_second": report.num_tokens / max(seconds, 1e-9),
        "memory_bytes": memory_bytes(),
    }
    append_jsonl(run.folder / METRICS, row)
    return replace(
        position,
        step=step,
        num_tokens=position.num_tokens + report.num_tokens,
        num_supervised=position.num_supervised + report.num_reads,
        step_seconds=position.step_seconds + seconds,
        first_loss=report.loss if position.first_loss is None else position.first_loss,
    )


def check_finite(run: Run, step: int, what: str, value: float) -> None:
    """Stop at a value that is not a number; nothing is saved, so the last good checkpoint stays."""
    if math.isfinite(value):
        return
    run.say({"event": "diverged", "step": step, "what": what})
    raise CheckFailed(
        f"step {step}: the {what} is {value}; the last good checkpoint is kept in {run.checkpoints}\n"
        f"  → lower optimiser.learning_rate (now {run.recipe.optimiser.learning_rate}) or raise warmup_share"
    )


def validate(run: Run, engine: Engine, position: Position) -> Position:
    """Measure the validation loss; the best adapter so far is published beside the checkpoints."""
    started = time.monotonic()
    loss = engine.evaluate(run.validation)
    check_finite(run, position.step, "validation loss", loss)
    seconds = time.monotonic() - started
    append_jsonl(run.folder / METRICS, {"step": position.step, "validation_loss": loss, "seconds": seconds})
    if position.best_loss is not None and loss >= position.best_loss:
        return position
    engine.publish(run.checkpoints / checkpoints.BEST)
    return position.improved(loss)


def save(run: Run, engine: Engine, position: Position) -> None:
    """Write a checkpoint and say so."""
    checkpoints.save(run.checkpoints, engine, position)
    run.say({"event": "checkpoint", "step": position.step})


def finish(run: Run, engine: Engine, position: Position) -> Position:
    """Without evaluations the last state is the one to publish."""
    if position.best_loss is None:
        engine.publish(run.checkpoints / checkpoints.BEST)
        position = replace(position, best_step=position.step)
    save(run, engine, position)
    return position


def memory_bytes() -> int:
    """Largest resident memory of this process so far."""
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
