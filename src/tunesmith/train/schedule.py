"""When what happens in a run: steps, data order, learning rate, evaluations.  Pure functions."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from tunesmith.core.files import hash_text
from tunesmith.core.recipe import Optimiser, Recipe


@dataclass(frozen=True)
class Schedule:
    """The steps of a run, numbered from 1."""

    num_examples: int
    step_examples: int
    num_steps: int
    evaluate_after: frozenset[int]
    seed: int
    fingerprint: str

    @property
    def steps_per_epoch(self) -> int:
        """Steps that see every example once."""
        return math.ceil(self.num_examples / self.step_examples)

    def epoch_after(self, step: int) -> float:
        """Passes over the data once `step` is done."""
        return step / self.steps_per_epoch


def plan(recipe: Recipe, *, num_examples: int, fingerprint: str) -> Schedule:
    """The schedule of a recipe on so many examples; evaluations are spread evenly, the end included."""
    per_epoch = math.ceil(num_examples / recipe.step_examples)
    num_steps = max(1, round(per_epoch * recipe.epochs))
    if recipe.max_steps:
        num_steps = min(num_steps, recipe.max_steps)
    count = recipe.evaluations
    evaluate_after = frozenset(max(1, round(num_steps * part / count)) for part in range(1, count + 1))
    return Schedule(num_examples, recipe.step_examples, num_steps, evaluate_after, recipe.seed, fingerprint)


def epoch_order(row_hashes: Sequence[str], *, seed: int, epoch: int, fingerprint: str) -> list[int]:
    """Order of the rows in one epoch: a pure function of (seed, epoch, fingerprint) and the rows.

    Sorting by hash needs no random state, so a resumed run on any machine sees the same order.
    """
    keys = [hash_text(f"{seed}:{epoch}:{fingerprint}:{row_hash}") for row_hash in row_hashes]
    return sorted(range(len(row_hashes)), key=keys.__getitem__)


def place_of_step(schedule: Schedule, step: int) -> tuple[int, slice]:
    """Epoch of a step, from 0, and where its rows stand in that epoch's order."""
    epoch, place = divmod(step - 1, schedule.steps_per_epoch)
    return epoch, slice(place * schedule.step_examples, (place + 1) * schedule.step_examples)


def learning_rate(optimiser: Optimiser, *, step: int, num_steps: int) -> float:
    """The rate of a step: linear warm-up to the highest rate, then constant, or down towards zero."""
    num_warmup = math.ceil(optimiser.warmup_share * num_steps)
    if step <= num_warmup:
        return optimiser.learning_rate * step / num_warmup
    share_done = (step - 1 - num_warmup) / max(1, num_steps - num_warmup)
    return optimiser.learning_rate * SHAPES[optimiser.schedule](share_done)


def constant(share_done: float) -> float:
    """No decay."""
    return 1.0


def linear(share_done: float) -> float:
    """A straight line to zero."""
    return 1.0 - share_done


def cosine(share_done: float) -> float:
    """Half a cosine to zero."""
    return 0.5 * (1.0 + math.cos(math.pi * share_done))


SHAPES = {"constant": constant, "linear": linear, "cosine": cosine}
