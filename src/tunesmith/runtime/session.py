"""A training session: one model set up to learn by some method, and its optimiser.

Legend of tensor names: T tokens, R reads, Q examples of a step, D hidden width.

A step is handed over whole.  It is cut into micro-batches here, by a limit that is memory only: the
objective's denominators are those of the step and its loss is a sum, so the gradient does not depend on the
cut.  An objective whose loss couples reads takes two phases: all values without graph, the loss on them as
leaves, and then micro-batch by micro-batch the product of that loss's gradient with the values' Jacobian.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Final, Literal, Protocol

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from tunesmith.core.errors import FolderError
from tunesmith.core.files import explain_disk_errors
from tunesmith.runtime import padded
from tunesmith.runtime.masters import Masters
from tunesmith.runtime.methods.port import Attached
from tunesmith.runtime.optimisers import StepRule
from tunesmith.runtime.ragged import Parents, Ragged, cut, pack
from tunesmith.runtime.readouts import (
    CHUNK_READS,
    NOTHING,
    Backward,
    Head,
    ReadChunk,
    Readout,
    read_backward,
    read_values,
)
from tunesmith.runtime.step import Encoded, ExampleLoss, StepFacts, StepReport
from tunesmith.runtime.tensor_files import write_tensors

if TYPE_CHECKING:
    from tunesmith.runtime.neftune import Neftune

STATE_NAME: Final = "state.safetensors"
WIDE_CHUNK_READS: Final = 512
"""Reads of a chunk where the output layer learns: its gradient is gathered once for each chunk."""

SLOPE: Final = "slope."
"""How the first phase's derivative of the loss by a value is called among what is known about reads."""

Coupling = Literal["read", "sequence", "group", "step"]


class Objective(Protocol):
    """What the model learns from: a loss that is a sum, divided by denominators of the whole step."""

    @property
    def readouts(self) -> tuple[Readout, ...]:
        """What is read off the output layer."""

    @property
    def coupling(self) -> Coupling:
        """How far the loss couples values; "read": the loss at a read depends on that read alone."""

    def denominators(self, facts: StepFacts) -> Mapping[str, float]:
        """What sums are divided by, over the whole step."""

    def loss(self, values: Mapping[str, Tensor], reads: ReadChunk, den: Mapping[str, float]) -> Tensor:
        """The share of the loss of these reads: a sum, never a mean."""


@dataclass(frozen=True)
class Micro:
    """One micro-batch of a step."""

    ragged: Ragged
    reads: ReadChunk


@dataclass
class Session:
    """One model in training; see the module's docstring for what a step is."""

    attached: Attached
    heads: Mapping[str, Head]
    microbatch_tokens: int
    masters: Masters
    optimiser: StepRule
    neftune: Neftune | None = None
    num_steps: int = 0
    """Optimiser steps taken."""
    chunk_reads: int = field(init=False, default=CHUNK_READS)

    def __post_init__(self) -> None:
        self.model = self.attached.model
        if self.model.get_output_embeddings().weight.requires_grad:
            self.chunk_reads = WIDE_CHUNK_READS
        self.model.train()

    @property
    def num_trainable(self) -> int:
        """Numbers that learn."""
        return sum(parameter.numel() for parameter in self.masters.parameters)

    def forward_backward(
        self,
        step: Sequence[Encoded],
        objective: Objective,
        *,
        parents: Parents | None = None,
        extra: Mapping[str, Tensor] = NOTHING,
    ) -> StepReport:
        """Add the gradient of one whole step to the masters and report its loss.

        `extra` holds values by read (names in `_R`) and by example (`_Q`) of the whole step, in its order.
        """
        micros = self._micros(step, parents, extra)
        facts = StepFacts(
            num_examples=len(step),
            num_reads=sum(len(micro.reads.target_C) for micro in micros),
            total_weight=float(sum(micro.reads.weight_C.double().sum() for micro in micros)),
        )
        den = objective.denominators(facts)
        if objective.coupling == "read":
            passes = [self._backward_read(micro, objective, den) for micro in micros]
            loss = sum(found.loss for found in passes)
        else:
            loss, passes = self._backward_coupled(micros, objective, den, len(step), extra)
        num_tokens = sum(len(example.token_ids) for example in step)
        return StepReport(loss, num_tokens, facts.num_reads, losses_by_example(micros, passes, len(step)))

    def _micros(
        self, step: Sequence[Encoded], parents: Parents | None, extra: Mapping[str, Tensor]
    ) -> list[Micro]:
        """The step's micro-batches, each with what is known about its reads."""
        micros = []
        first_read = 0
        lengths = [len(example.token_ids) for example in step]
        for part in cut(lengths, max_tokens=self.microbatch_tokens, parents=parents):
            within = None if parents is None else shift(parents[part], part.start)
            ragged = pack(step[part], within)
            num_reads = len(ragged.read_R)
            place = slice(first_read, first_read + num_reads)
            mine = {name: value[place] if name.endswith("_R") else value for name, value in extra.items()}
            sequence_R = ragged.sequence_R + part.start
            micros.append(
                Micro(ragged, ReadChunk(ragged.target_R, sequence_R, ragged.weight_R, len(step), mine))
            )
            first_read += num_reads
        return micros

    def _backward_read(self, micro: Micro, objective: Objective, den: Mapping[str, float]) -> Backward:
        """One phase: the loss of each chunk goes back at once."""
        return read_backward(
            self._hidden(micro.ragged, learning=True),
            micro.reads,
            readouts=objective.readouts,
            heads=self.heads,
            loss=lambda values, reads: objective.loss(values, reads, den),
            chunk_reads=self.chunk_reads,
        )

    def _backward_coupled(
        self,
        micros: Sequence[Micro],
        objective: Objective,
        den: Mapping[str, float],
        num_sequences: int,
        extra: Mapping[str, Tensor],
    ) -> tuple[float, list[Backward]]:
        """Two phases; dropout and noise of the second are those of the first."""
        states, parts = [], []
        for micro in micros:
            states.append(torch.get_rng_state())
            with torch.no_grad():
                hidden_RD = self._hidden(micro.ragged, learning=True)
            parts.append(self._values(hidden_RD, micro.reads, objective.readouts))
        leaves = {name: value.requires_grad_() for name, value in joined(parts).items()}
        targets, sequences, weights = (
            torch.cat(column) for column in zip(*(micro.reads[:3] for micro in micros), strict=True)
        )
        loss = objective.loss(leaves, ReadChunk(targets, sequences, weights, num_sequences, extra), den)
        loss.backward()
        slopes = {f"{SLOPE}{name}_R": leaf.grad for name, leaf in leaves.items() if leaf.grad is not None}
        after = torch.get_rng_state()
        passes, first_read = [], 0
        for state, micro in zip(states, micros, strict=True):
            torch.set_rng_state(state)
            place = slice(first_read, first_read + len(micro.reads.target_C))
            mine = {name: slope[place] for name, slope in slopes.items()}
            passes.append(
                read_backward(
                    self._hidden(micro.ragged, learning=True),
                    micro.reads._replace(extra={**micro.reads.extra, **mine}),
                    readouts=objective.readouts,
                    heads=self.heads,
                    loss=weighted_sum,
                    chunk_reads=self.chunk_reads,
                )
            )
            first_read = place.stop
        torch.set_rng_state(after)
        return float(loss.detach()), passes

    def optim_step(self, *, learning_rate: float, max_norm: float | None) -> float:
        """Clip to `max_norm`, take one step, clear the gradient; returns the norm before clipping."""
        self.attached.before_step()
        limit = float("inf") if max_norm is None else max_norm
        norm = float(torch.nn.utils.clip_grad_norm_(self.masters.parameters, limit))
        self.optimiser.step(learning_rate)
        self.masters.round_back()
        self.clear_gradient()
        self.num_steps += 1
        self.attached.after_step(self.num_steps)
        return norm

    def clear_gradient(self) -> None:
        """Forget what `forward_backward` added."""
        for parameter in self.masters.parameters:
            parameter.grad = None

    def forward(
        self, examples: Sequence[Encoded], readouts: Sequence[Readout], *, parents: Parents | None = None
    ) -> dict[str, Tensor]:
        """Values of every read of all examples, in order, without gradient and off the random state."""
        self.model.eval()
        try:
            with torch.no_grad():
                parts = [
                    self._values(self._hidden(micro.ragged, learning=False), micro.reads, readouts)
                    for micro in self._micros(examples, parents, NOTHING)
                ]
        finally:
            self.model.train()
        return joined(parts)

    def losses(self, examples: Sequence[Encoded], readouts: Sequence[Readout]) -> list[ExampleLoss]:
        """How well each example's learned tokens are predicted, without gradient."""
        values = self.forward(examples, readouts)
        counts = [example.num_supervised for example in examples]
        parts = (values[name].double().split(counts) for name in ("logprob", "right"))
        return [
            ExampleLoss(-float(logprob.sum()), int(right.sum()))
            for logprob, right in zip(*parts, strict=True)
        ]

    def _values(self, hidden_RD: Tensor, reads: ReadChunk, readouts: Sequence[Readout]) -> dict[str, Tensor]:
        return read_values(
            hidden_RD, reads, readouts=readouts, heads=self.heads, chunk_reads=self.chunk_reads
        )

    def _hidden(self, micro: Ragged, *, learning: bool) -> Tensor:
        """Hidden states (R, D) before the output layer, at the positions that are read."""
        if self.neftune is not None:
            examples = micro.segments[: micro.num_sequences] if learning else ()
            self.neftune.lengths = tuple(segment.length for segment in examples)
        if self.attached.layout == "padded":
            return padded.hidden_of_reads(self.model, self.attached.forward or self.model, micro)
        backbone = self.model.get_decoder()
        output = backbone(
            input_ids=micro.token_T[None],
            position_ids=micro.position_T[None],
            use_cache=False,
            segments=micro.segments,
        )
        hidden_RD: Tensor = output.last_hidden_state[0][micro.read_R]
        return hidden_RD

    def save_state(self, folder: Path) -> None:
        """Write masters, optimiser, and random state: all that the next step depends on."""
        tensors = {f"trainable.{name}": tensor for name, tensor in self.masters.tensors().items()}
        tensors |= {f"optimiser.{name}": tensor for name, tensor in self.optimiser.state().items()}
        tensors |= {f"method.{name}": tensor for name, tensor in self.attached.state().items()}
        tensors |= {"random": torch.get_rng_state(), "num_steps": torch.tensor(self.num_steps)}
        write_tensors(folder / STATE_NAME, tensors)

    def load_state(self, folder: Path) -> None:
        """Take up what `save_state` wrote; raises FolderError when it is of another shape, or damaged."""
        try:
            with explain_disk_errors(folder):
                tensors = load_file(folder / STATE_NAME)
        except (FileNotFoundError, SafetensorError) as error:
            step = "begin again with `tunesmith train RECIPE --restart`"
            raise FolderError(
                "the checkpoint is damaged", where=folder / STATE_NAME, value=str(error), next_step=step
            ) from error
        masters = part_named(tensors, "trainable.")
        if shapes(masters) != shapes(self.masters.tensors()):
            raise FolderError(
                "the checkpoint belongs to another method or model",
                where=folder,
                next_step="resume with the recipe that it was made with, or begin again with --restart",
            )
        self.masters.load(masters)
        self.optimiser.load(part_named(tensors, "optimiser."))
        self.attached.take_up(part_named(tensors, "method."))
        self.num_steps = int(tensors["num_steps"])
        torch.set_rng_state(tensors["random"])


def shift(parents: Parents, start: int) -> list[int | None]:
    """Parents counted from the micro-batch's first example."""
    return [None if parent is None else parent - start for parent in parents]


def weighted_sum(values: Mapping[str, Tensor], reads: ReadChunk) -> Tensor:
    """The second phase's loss: its gradient is the first phase's loss's, passed on to the model."""
    slopes = [
        (values[name], reads.extra[key]) for name in values if (key := f"{SLOPE}{name}_R") in reads.extra
    ]
    return torch.stack([(value * slope).sum() for value, slope in slopes]).sum()


def joined(parts: Sequence[Mapping[str, Tensor]]) -> dict[str, Tensor]:
    """Values of consecutive micro-batches, one after the other; a micro-batch without reads has none."""
    full = [part for part in parts if part]
    return {name: torch.cat([part[name] for part in full]) for name in full[0]} if full else {}


def losses_by_example(
    micros: Sequence[Micro], passes: Sequence[Backward], num_examples: int
) -> tuple[ExampleLoss, ...]:
    """How well each example of a step is predicted; empty when no log-probability was read."""
    logprob_Q, right_Q = torch.zeros(2, num_examples, dtype=torch.float64)
    for micro, found in zip(micros, passes, strict=True):
        if found.values and "logprob" not in found.values:
            return ()
        if found.values:
            logprob_Q.index_add_(0, micro.reads.sequence_C, found.values["logprob"].double())
            right_Q.index_add_(0, micro.reads.sequence_C, found.values["right"].double())
    return tuple(
        ExampleLoss(-logprob, int(right))
        for logprob, right in zip(logprob_Q.tolist(), right_Q.tolist(), strict=True)
    )


def part_named(tensors: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    """The tensors whose name begins with a prefix, without it."""
    return {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}


def shapes(tensors: Mapping[str, Tensor]) -> dict[str, torch.Size]:
    """The shape of each tensor."""
    return {name: tensor.shape for name, tensor in tensors.items()}
