"""The training loop: no tensor, no torch; drives an engine through its port."""

from __future__ import annotations

import resource
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from tunesmith.core.errors import CheckFailed, Interrupted
from tunesmith.core.files import append_jsonl
from tunesmith.core.recipe import Recipe
from tunesmith.runtime.step import StepReport
from tunesmith.train import checkpoints
from tunesmith.train.checkpoints import Bound, Position
from tunesmith.train.engines.port import Engine, Item
from tunesmith.train.evaluations import (
    SAMPLES,
    Losses,
    Prompt,
    SourceLosses,
    measure_answers,
    measure_losses,
)
from tunesmith.train.order import EXAMPLES, METRICS
from tunesmith.train.rates import learning_rate
from tunesmith.train.schedule import Schedule, StepRows
from tunesmith.train.trouble import diverged, naming_memory, not_finite, suspects


@dataclass(frozen=True)
class Run:
    """What a loop works on."""

    folder: Path
    recipe: Recipe
    """Resolved: every `auto` is a value."""
    schedule: Schedule
    train: Sequence[Item]
    validation: Sequence[Item]
    bound: Bound
    """What its checkpoints belong to."""
    line: Callable[[int], int]
    """The line of a training item in its source; 0 for a block of several documents."""
    say: Callable[[Mapping[str, Any]], None]
    """Takes events: a line of `events.jsonl` each."""
    should_stop: Callable[[], bool]
    """Asked between steps; True saves and raises Interrupted."""
    prompts: Sequence[Prompt] = field(default_factory=tuple)
    """Validation prompts that are answered at each evaluation."""

    @property
    def checkpoints(self) -> Path:
        """Where checkpoints stand."""
        return self.folder / "checkpoints"

    @property
    def only_measured(self) -> frozenset[str]:
        """Sources with weight 0: never trained on, their loss says what is forgotten."""
        return frozenset(source.name for source in self.recipe.data if not source.weight)

    def where(self, row: int) -> str:
        """The place of a training item, for people."""
        source, line = self.train[row].source, self.line(row)
        return f"{source}, line {line}" if line else f"{source}, a packed block"

    @cached_property
    def longest(self) -> int:
        """Tokens of the longest training item."""
        return int(self.schedule.lengths.max(initial=0))


def train(run: Run, engine: Engine) -> Position:
    """Run every step that is still to do; returns where the run ended.

    Raises Interrupted after saving when asked to stop, CheckFailed when a number is none, with the last good
    checkpoint kept, and NotEnoughMemory.
    """
    position = checkpoints.load(run.checkpoints, engine)
    for name in (METRICS, EXAMPLES, SAMPLES):
        checkpoints.forget_after(run.folder / name, position.step)
    # Not before: whoever watches reads the metrics from now on.
    run.say({"event": "started", "num_steps": run.schedule.num_steps})
    if position.step:
        run.say({"event": "resumed", "step": position.step})
    elif run.only_measured and run.validation and run.schedule.evaluate_after:
        measure(run, engine, step=0)
    started, saved_at = time.monotonic() - position.seconds, time.monotonic()
    steps = StepRows(run.schedule)
    while more_to_do(run, position):
        position = one_step(run, engine, position, steps.rows(position.step + 1).tolist())
        if position.step in run.schedule.evaluate_after:
            position = evaluate(run, engine, position)
        position = replace(position, seconds=time.monotonic() - started)
        stopping = run.should_stop() and more_to_do(run, position)
        if stopping or is_due(run, position, time.monotonic() - saved_at):
            save(run, engine, position)
            saved_at = time.monotonic()
        if stopping:
            run.say({"event": "interrupted", "step": position.step})
            raise Interrupted(f"stopped after step {position.step}; the same command goes on from there")
    return finish(run, engine, replace(position, seconds=time.monotonic() - started))


def more_to_do(run: Run, position: Position) -> bool:
    """Whether there is a next step: not after the last, and not once patience has run out."""
    patience = run.recipe.patience
    return position.step < run.schedule.num_steps and not (patience and position.worse_in_a_row >= patience)


def is_due(run: Run, position: Position, seconds: float) -> bool:
    """Whether a checkpoint is due, by steps or by time."""
    every = run.recipe.save_every
    return bool(every and position.step % every == 0) or seconds >= run.recipe.save_every_seconds


def one_step(run: Run, engine: Engine, position: Position, rows: Sequence[int]) -> Position:
    """One optimiser step, its row of metrics, and where the run then stands."""
    started = time.monotonic()
    step = position.step + 1
    optimiser = run.recipe.optimiser
    rate = learning_rate(optimiser, step=step, num_steps=run.schedule.num_steps)
    items = [run.train[row] for row in rows]
    with naming_memory(f"the forward and backward pass of step {step}", run.recipe, longest=run.longest):
        report = engine.forward_backward(items)
    if not_finite(report.loss):
        raise stop_at(run, step, "loss", report.loss, rows, suspects(items, report.examples))
    with naming_memory(f"the optimiser's step {step}", run.recipe):
        norm = engine.optim_step(learning_rate=rate, max_norm=optimiser.max_norm or None)
    if not_finite(norm):
        raise stop_at(run, step, "gradient norm", norm, rows, items)
    seconds = time.monotonic() - started
    gathered = SourceLosses()
    gathered.add(items, report.examples)
    losses = gathered.losses()
    row = {
        "step": step,
        "epoch": round(run.schedule.epoch_after(step), 4),
        "loss": report.loss,
        "accuracy": losses.accuracy,
        "loss_by_source": losses.by_source,
        "learning_rate": rate,
        "gradient_norm": norm,
        "tokens": report.num_tokens,
        "seconds": seconds,
        "tokens_per_second": report.num_tokens / max(seconds, 1e-9),
        "memory_bytes": peak_bytes(),
    }
    append_jsonl(run.folder / EXAMPLES, {"step": step, "examples": by_example(run, rows, items, report)})
    append_jsonl(run.folder / METRICS, row)
    return replace(
        position,
        step=step,
        num_tokens=position.num_tokens + report.num_tokens,
        num_supervised=position.num_supervised + report.num_reads,
        step_seconds=position.step_seconds + seconds,
        first_loss=report.loss if position.first_loss is None else position.first_loss,
    )


def by_example(run: Run, rows: Sequence[int], items: Sequence[Item], report: StepReport) -> list[list[Any]]:
    """Of each example of a step: source, line, loss in nats, tokens that were right, learned tokens."""
    return [
        [item.source, run.line(row), found.nll, found.num_right, item.encoded.num_supervised]
        for row, item, found in zip(rows, items, report.examples, strict=True)
    ]


def stop_at(
    run: Run, step: int, what: str, value: float, rows: Sequence[int], items: Sequence[Item]
) -> CheckFailed:
    """The error of a value that is not a number, naming the examples; nothing is saved after it."""
    wanted = {item.row_hash for item in items}
    batch = [
        f"{run.where(row)} (row {item.row_hash[:16]})"
        for row in rows
        if (item := run.train[row]).row_hash in wanted
    ]
    run.say({"event": "diverged", "step": step, "what": what, "examples": batch})
    newest = checkpoints.newest(run.checkpoints)
    kept = "there was no checkpoint yet" if newest is None else f"the last good checkpoint is kept: {newest}"
    return diverged(step, what, value, batch=batch, kept=kept, rate=run.recipe.optimiser.learning_rate)


def evaluate(run: Run, engine: Engine, position: Position) -> Position:
    """Measure the validation loss and answer the prompts; the best state so far is published."""
    if run.validation:
        position = validate(run, engine, position)
    if run.prompts:
        position = answer(run, engine, position)
    return position


def validate(run: Run, engine: Engine, position: Position) -> Position:
    """Measure the validation loss; the state with the lowest so far is published."""
    losses = measure(run, engine, step=position.step)
    position = position.measured(losses.overall, losses.by_source)
    if position.best_step == position.step and run.recipe.publish == "best":
        checkpoints.publish(run.checkpoints, engine, position.step)
    if run.recipe.patience and position.worse_in_a_row >= run.recipe.patience:
        run.say({"event": "message", "text": early(position)})
    return position


def measure(run: Run, engine: Engine, *, step: int) -> Losses:
    """Write down the validation loss after a step (0: before training), over all tokens and by source."""
    started = time.monotonic()
    with naming_memory(f"the evaluation after step {step}", run.recipe, longest=run.longest):
        losses = measure_losses(engine, run.validation, run.only_measured)
    if not_finite(losses.overall):
        raise stop_at(run, step, "validation loss", losses.overall, [], [])
    row = {
        "step": step,
        "validation_loss": losses.overall,
        "validation_accuracy": losses.accuracy,
        "validation_by_source": dict(losses.by_source),
        "seconds": time.monotonic() - started,
    }
    append_jsonl(run.folder / METRICS, row)
    return losses


def early(position: Position) -> str:
    """Why a run ends before its last step."""
    return (
        f"stopped early after step {position.step}: no lower validation loss than that of step "
        f"{position.best_step} ({position.best_loss:.4f}) in {position.worse_in_a_row} evaluations"
    )


def answer(run: Run, engine: Engine, position: Position) -> Position:
    """Answer the fixed prompts and score the answers."""
    started = time.monotonic()
    with naming_memory(f"generation after step {position.step}", run.recipe):
        scores = measure_answers(
            engine,
            run.prompts,
            max_tokens=run.recipe.generation.max_tokens,
            step=position.step,
            folder=run.folder,
        )
    seconds = time.monotonic() - started
    row = {"step": position.step, "generation": scores, "seconds": seconds}
    append_jsonl(run.folder / METRICS, row)
    return replace(position, generation=scores)


def save(run: Run, engine: Engine, position: Position) -> None:
    """Write a checkpoint and say so."""
    keep = run.recipe.keep_checkpoints
    with naming_memory(f"saving after step {position.step}", run.recipe):
        checkpoints.save(
            run.checkpoints,
            engine,
            position,
            run.bound,
            keep=keep,
            result_step=published_step(run.recipe, position),
        )
    run.say({"event": "checkpoint", "step": position.step})


def finish(run: Run, engine: Engine, position: Position) -> Position:
    """Publish the last state where it is asked for, or where nothing was measured to choose by."""
    if run.recipe.publish == "last" or position.best_loss is None:
        checkpoints.publish(run.checkpoints, engine, position.step)
    if run.recipe.keep_checkpoints:
        save(run, engine, position)
    return position


def published_step(recipe: Recipe, position: Position) -> int:
    """The step whose state is the result."""
    if recipe.publish == "last" or position.best_loss is None:
        return position.step
    return position.best_step


def peak_bytes() -> int:
    """Largest resident memory of this process so far."""
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
