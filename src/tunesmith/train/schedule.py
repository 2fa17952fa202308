"""When what happens in a run: which rows make which step, in what order, how many steps, when to evaluate.

Everything here is a pure function of the recipe, the data's fingerprint and the rows' lengths: a resumed run
on any machine makes the same steps.  Rows are indices into a corpus; an epoch of a million rows is ordered in
a fraction of a second.
"""

from __future__ import annotations

import hashlib
import math
from bisect import bisect_right
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from tunesmith.core.errors import DataError
from tunesmith.core.recipe import Recipe

Indices = NDArray[np.int64]


class Rows(NamedTuple):
    """What a schedule has to know of a corpus."""

    lengths: NDArray[np.int32]
    """Tokens of each row."""
    source_ids: NDArray[np.int16]
    """Which source of the recipe each row came from, as its place in `data`."""
    fingerprint: str
    """Identity of the data."""
    weights: NDArray[np.float32] | None = None
    """How often an epoch sees each row, times its source's weight; None is once each."""


class Place(NamedTuple):
    """A step's epoch, and its place among that epoch's steps; both from 0."""

    epoch: int
    number: int


@dataclass(frozen=True)
class Part:
    """The rows of one source (or those of one weight in it), and how often an epoch passes over them."""

    id: int
    weight: float
    rows: Indices
    name: str = ""
    """What tells it from the source's other parts; empty where it is the whole source."""

    def count(self, epoch: int) -> int:
        """How many rows an epoch takes of it."""
        first, last = self.span(epoch)
        return last - first

    def span(self, epoch: int) -> tuple[int, int]:
        """Where an epoch begins and ends in the endless row of passes over the source.

        With weight 0.5 two epochs share a pass, so that the second sees the other half.
        """
        passed = self.weight * len(self.rows)
        return math.floor(epoch * passed + 1e-9), math.floor((epoch + 1) * passed + 1e-9)


@dataclass(frozen=True)
class Schedule:
    """The steps of a run, numbered from 1."""

    parts: tuple[Part, ...]
    lengths: NDArray[np.int32]
    fingerprint: str
    seed: int
    step_examples: int
    step_tokens: int
    num_steps: int
    steps_before: tuple[int, ...]
    """Steps done when each epoch begins, and at the end of the last one that the run touches."""
    evaluate_after: frozenset[int]

    @property
    def num_examples(self) -> int:
        """Rows of all sources, each once."""
        return sum(len(part.rows) for part in self.parts)

    @property
    def epoch_tokens(self) -> int:
        """Tokens that an epoch computes, each source as often as its weight says; the mean over epochs."""
        return round(sum(part.weight * int(self.lengths[part.rows].sum()) for part in self.parts))

    def place(self, step: int) -> Place:
        """Where a step stands."""
        epoch = bisect_right(self.steps_before, step - 1) - 1
        return Place(epoch, step - 1 - self.steps_before[epoch])

    def epoch_after(self, step: int) -> float:
        """Passes over the data once `step` is done: whole epochs, and the share of the last one's steps."""
        if step == 0:
            return 0.0
        epoch, number = self.place(step)
        return epoch + (number + 1) / (self.steps_before[epoch + 1] - self.steps_before[epoch])

    def order(self, epoch: int) -> Indices:
        """The rows of an epoch in their order."""
        return epoch_order(self.parts, seed=self.seed, epoch=epoch, fingerprint=self.fingerprint)

    def bounds(self, order: Indices) -> Indices:
        """Where the steps of an epoch begin in its order, and where the last one ends; shape (steps + 1,)."""
        if self.step_tokens:
            return bounds_by_tokens(self.lengths[order], self.step_tokens)
        return bounds_by_examples(len(order), self.step_examples)


def plan(recipe: Recipe, rows: Rows) -> Schedule:
    """The schedule of a recipe on a corpus.

    Raises DataError when no row is left to learn from.
    """
    if not len(rows.lengths):
        raise DataError("there is no row to learn from", next_step="look at the accounting of the corpus")
    parts = tuple(part for number in range(len(recipe.data)) for part in parts_of(recipe, rows, number))
    draft = Schedule(
        parts=parts,
        lengths=np.asarray(rows.lengths),
        fingerprint=rows.fingerprint,
        seed=recipe.seed,
        step_examples=recipe.step_examples,
        step_tokens=recipe.step_tokens,
        num_steps=0,
        steps_before=(0,),
        evaluate_after=frozenset(),
    )
    counts = [steps_in_epoch(draft, epoch) for epoch in range(math.ceil(recipe.epochs))]
    if not any(counts):
        step = "raise the weights under `data`, or the epochs"
        raise DataError("the sources' weights leave no row to any epoch", next_step=step)
    last_share = recipe.epochs - (len(counts) - 1)
    num_steps = max(1, sum(counts[:-1]) + round(counts[-1] * last_share))
    if recipe.max_steps:
        num_steps = min(num_steps, recipe.max_steps)
    before = [0, *np.cumsum(counts).tolist()]
    return replace(
        draft,
        num_steps=num_steps,
        steps_before=tuple(before),
        evaluate_after=evaluation_steps(recipe, num_steps),
    )


def parts_of(recipe: Recipe, rows: Rows, number: int) -> list[Part]:
    """A source as one part, or as one for each weight that its rows have."""
    weight, own = recipe.data[number].weight, np.flatnonzero(rows.source_ids == number)
    if rows.weights is None:
        return [Part(number, weight, own)]
    weights = rows.weights[own]
    known = np.unique(weights).tolist()
    if known in ([], [1.0]):
        return [Part(number, weight, own)]
    return [Part(number, weight * one, own[weights == one], f" weight {one:g}") for one in known]


def steps_in_epoch(schedule: Schedule, epoch: int) -> int:
    """How many steps an epoch has; only steps by tokens depend on the order of its rows."""
    count = sum(part.count(epoch) for part in schedule.parts)
    if not schedule.step_tokens:
        return math.ceil(count / schedule.step_examples)
    return len(schedule.bounds(schedule.order(epoch))) - 1


def evaluation_steps(recipe: Recipe, num_steps: int) -> frozenset[int]:
    """After which steps the validation loss is measured: every so many or evenly spread, the end included."""
    if recipe.eval_every:
        return frozenset([*range(recipe.eval_every, num_steps + 1, recipe.eval_every), num_steps])
    count = recipe.evaluations
    return frozenset(max(1, round(num_steps * part / count)) for part in range(1, count + 1))


def epoch_order(parts: Sequence[Part], *, seed: int, epoch: int, fingerprint: str) -> Indices:
    """The rows of an epoch, mixed: a pure function of (seed, epoch, fingerprint) and the sources' sizes.

    Each source is a chain of passes, each pass a shuffle of its own; an epoch takes the next part of the
    chain, and what the sources give is shuffled together.
    """
    taken = [part.rows[chain(part, seed=seed, epoch=epoch, fingerprint=fingerprint)] for part in parts]
    rows = np.concatenate(taken) if taken else np.empty(0, dtype=np.int64)
    return rows[shuffle(len(rows), f"{seed}:{fingerprint}:epoch {epoch}")]


def chain(part: Part, *, seed: int, epoch: int, fingerprint: str) -> Indices:
    """Places in a source's rows that an epoch takes, pass by pass."""
    first, last = part.span(epoch)
    size = len(part.rows)
    pieces = []
    for number in range(first // size, -(-last // size)) if size else ():
        order = shuffle(size, f"{seed}:{fingerprint}:source {part.id}{part.name}:pass {number}")
        pieces.append(order[max(0, first - number * size) : last - number * size])
    return np.concatenate(pieces) if pieces else np.empty(0, dtype=np.int64)


def shuffle(count: int, name: str) -> Indices:
    """A shuffle of `0 … count-1` that the name alone decides, on every machine and for ever.

    Random keys are sorted: numpy promises the raw stream of Philox (Salmon et al. 2011) to stay as it is, and
    promises no such thing of its `permutation`.
    """
    digest = hashlib.sha256(name.encode()).digest()
    stream = np.random.Philox(key=int.from_bytes(digest[:16], "little"))
    return np.argsort(stream.random_raw(count), kind="stable").astype(np.int64)


def bounds_by_examples(count: int, step_examples: int) -> Indices:
    """Steps of so many rows; the last of an epoch takes what is left."""
    return np.append(np.arange(0, count, step_examples, dtype=np.int64), count)


def bounds_by_tokens(lengths: NDArray[np.int32], step_tokens: int) -> Indices:
    """Steps filled until the next row would pass the limit; a row longer than the limit stands alone."""
    ends = np.cumsum(lengths, dtype=np.int64)
    bounds = [0]
    while bounds[-1] < len(ends):
        start = bounds[-1]
        done = int(ends[start - 1]) if start else 0
        stop = int(np.searchsorted(ends, done + step_tokens, side="right"))
        bounds.append(max(stop, start + 1))
    return np.array(bounds, dtype=np.int64)


class StepRows:
    """The rows of each step; keeps one epoch's order, because an order is made once an epoch."""

    def __init__(self, schedule: Schedule) -> None:
        self.schedule = schedule
        self._epoch = -1
        self._order = self._bounds = np.empty(0, dtype=np.int64)

    def rows(self, step: int) -> Indices:
        """Indices into the corpus of a step's rows, in order."""
        epoch, number = self.schedule.place(step)
        if epoch != self._epoch:
            self._order = self.schedule.order(epoch)
            self._bounds = self.schedule.bounds(self._order)
            self._epoch = epoch
        return self._order[self._bounds[number] : self._bounds[number + 1]]


def planned_tokens(schedule: Schedule) -> int:
    """Tokens that all steps of the run compute together."""
    total = 0
    for epoch in range(schedule.place(schedule.num_steps).epoch + 1):
        order = schedule.order(epoch)
        bounds = schedule.bounds(order)
        steps = min(len(bounds) - 1, schedule.num_steps - schedule.steps_before[epoch])
        total += int(schedule.lengths[order[: bounds[steps]]].sum(dtype=np.int64))
    return total


def by_source(source_ids: NDArray[np.int16], names: Iterable[str]) -> dict[str, Indices]:
    """Rows of each source, in the corpus's order: validation measures each source by itself."""
    found = {name: np.flatnonzero(source_ids == number) for number, name in enumerate(names)}
    return {name: rows for name, rows in found.items() if len(rows)}
