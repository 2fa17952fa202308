"""The output layer, computed only where it is read, a chunk of positions at a time.

Legend of tensor names: R reads of a micro-batch, C reads of one chunk, D hidden width, V vocabulary.

A vocabulary row is 49,152 to 262,144 numbers; keeping them for every token is what fills the memory of a
training step.  Here each chunk goes forward and at once backward to its hidden rows, so at most one chunk of
logits exists.  Products run in the model's own dtype, the softmax in float32.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Final, NamedTuple, Protocol

import torch
from torch import Tensor, nn

CHUNK_READS: Final = 128


NOTHING: Final[Mapping[str, Tensor]] = MappingProxyType({})


class ReadChunk(NamedTuple):
    """What is known about the C reads of a chunk (of a micro-batch, or of a whole step)."""

    target_C: Tensor
    sequence_C: Tensor
    """Which example each read belongs to; examples are numbered through the whole step."""
    weight_C: Tensor
    num_sequences: int = 0
    """Q, the examples of the step."""
    extra: Mapping[str, Tensor] = NOTHING
    """What came with the step: names end in `_R` for a value by read, in `_Q` for a value by example."""

    def split(self, size: int) -> list[ReadChunk]:
        """Consecutive parts of at most `size` reads; values by example stay whole."""
        num_reads = len(self.target_C)
        return [self.part(slice(start, start + size)) for start in range(0, num_reads, size)]

    def part(self, place: slice) -> ReadChunk:
        """Some consecutive reads."""
        extra = {name: value[place] if name.endswith("_R") else value for name, value in self.extra.items()}
        return ReadChunk(
            self.target_C[place], self.sequence_C[place], self.weight_C[place], self.num_sequences, extra
        )


class Head(Protocol):
    """A map from hidden states to scores: the output layer with its scale and softcap."""

    def __call__(self, hidden_CD: Tensor) -> Tensor:
        """Scores of C hidden rows."""


class Readout(Protocol):
    """Named values by read, computed while the vocabulary row exists."""

    @property
    def outputs(self) -> tuple[str, ...]:
        """Names of the values."""

    def __call__(
        self, hidden_CD: Tensor, heads: Mapping[str, Head], reads: ReadChunk
    ) -> Mapping[str, Tensor]:
        """The values of one chunk, one tensor of length C for each name in `outputs`."""


@dataclass(frozen=True)
class OutputHead:
    """The model's output layer with what its configuration multiplies and caps."""

    layer: nn.Module
    """Maps (C, D) to (C, V): the model's own linear layer, or one whose rows for new tokens learn."""
    scale: float = 1.0
    softcap: float | None = None

    def __call__(self, hidden_CD: Tensor) -> Tensor:
        """Logits (C, V) in the layer's dtype."""
        logits_CV: Tensor = self.layer(hidden_CD)
        if self.scale != 1.0:
            logits_CV = logits_CV * self.scale
        if self.softcap is not None:
            logits_CV = torch.tanh(logits_CV / self.softcap) * self.softcap
        return logits_CV


class _LogProbability(torch.autograd.Function):
    """log softmax at one column; keeps the logits in their own dtype and the normaliser in float32."""

    @staticmethod
    def forward(ctx: Any, logits_CV: Tensor, target_C: Tensor) -> tuple[Tensor, Tensor]:
        wide_CV = logits_CV.float()
        normaliser_C = torch.logsumexp(wide_CV, dim=-1)
        right_C = is_first_choice(wide_CV, target_C)
        ctx.save_for_backward(logits_CV, target_C, normaliser_C)
        ctx.mark_non_differentiable(right_C)
        return wide_CV.gather(1, target_C[:, None]).squeeze(1) - normaliser_C, right_C

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None]:
        grad_C, _ = grads
        logits_CV, target_C, normaliser_C = ctx.saved_tensors
        probability_CV = torch.sub(logits_CV, normaliser_C[:, None]).exp_()
        grad_CV = probability_CV.mul_(-grad_C[:, None])
        grad_CV.scatter_add_(1, target_C[:, None], grad_C[:, None])
        return grad_CV.to(logits_CV.dtype), None


def is_first_choice(logits_CV: Tensor, target_C: Tensor) -> Tensor:
    """(C,) float32: 1 where no score of a row is higher than its target's, else 0.

    Equal scores are not told apart: `argmax` would, and takes nine times as long.
    """
    target_score_C = logits_CV.gather(1, target_C[:, None]).squeeze(1)
    return (target_score_C >= logits_CV.amax(-1)).float()


def log_probability(logits_CV: Tensor, target_C: Tensor) -> tuple[Tensor, Tensor]:
    """The log softmax of each row at its target, in float32, and `is_first_choice`."""
    values: tuple[Tensor, Tensor] = _LogProbability.apply(logits_CV, target_C)  # type: ignore[no-untyped-call]  # torch's own
    return values


@dataclass(frozen=True)
class TargetLogProbability:
    """Natural logarithm of the probability that the model gives each target."""

    outputs: tuple[str, ...] = ("logprob", "right")
    head: str = "output"

    def __call__(
        self, hidden_CD: Tensor, heads: Mapping[str, Head], reads: ReadChunk
    ) -> Mapping[str, Tensor]:
        """``logprob``: (C,) in float32, at most 0; ``right``: 1 where the target is the first choice."""
        values = log_probability(heads[self.head](hidden_CD), reads.target_C)
        return dict(zip(self.outputs, values, strict=True))


ChunkLoss = Callable[[Mapping[str, Tensor], ReadChunk], Tensor]
"""Values and reads of one chunk → the chunk's share of the loss, a sum."""


def values_of(
    hidden_CD: Tensor, readouts: Sequence[Readout], heads: Mapping[str, Head], reads: ReadChunk
) -> dict[str, Tensor]:
    """The values of all readouts on one chunk."""
    return {name: value for readout in readouts for name, value in readout(hidden_CD, heads, reads).items()}


def chunks(hidden_RD: Tensor, reads: ReadChunk, chunk_reads: int) -> list[tuple[Tensor, ReadChunk]]:
    """Hidden rows and reads, cut alike."""
    return list(zip(hidden_RD.split(chunk_reads), reads.split(chunk_reads), strict=True))


def read_values(
    hidden_RD: Tensor,
    reads: ReadChunk,
    *,
    readouts: Sequence[Readout],
    heads: Mapping[str, Head],
    chunk_reads: int = CHUNK_READS,
) -> dict[str, Tensor]:
    """The values of all reads, without gradient: one tensor of length R for each name."""
    with torch.no_grad():
        parts = [
            values_of(hidden, readouts, heads, part) for hidden, part in chunks(hidden_RD, reads, chunk_reads)
        ]
    return {name: torch.cat([part[name] for part in parts]) for name in parts[0]} if parts else {}


class Backward(NamedTuple):
    """What a backward pass found."""

    loss: float
    """The sum over the reads."""
    values: Mapping[str, Tensor]
    """All values of the readouts, without graph, each of length R."""


def read_backward(
    hidden_RD: Tensor,
    reads: ReadChunk,
    *,
    readouts: Sequence[Readout],
    heads: Mapping[str, Head],
    loss: ChunkLoss,
    chunk_reads: int = CHUNK_READS,
) -> Backward:
    """Forward and backward of the output layer and of the model below it.

    Each chunk's loss is taken back to its hidden rows at once, which is right for an objective whose loss at
    a read depends on that read alone; the rows' gradients then go through the model in one backward pass.
    A coupled objective comes here in its second phase, as a weighted sum of values.
    """
    if hidden_RD.shape[0] == 0:
        return Backward(0.0, {})
    total = 0.0
    gradients, found = [], []
    for hidden_CD, part in chunks(hidden_RD.detach(), reads, chunk_reads):
        leaf_CD = hidden_CD.requires_grad_()
        values = values_of(leaf_CD, readouts, heads, part)
        chunk_loss = loss(values, part)
        chunk_loss.backward()
        total += float(chunk_loss.detach())
        assert leaf_CD.grad is not None
        gradients.append(leaf_CD.grad)
        found.append({name: value.detach() for name, value in values.items()})
    if hidden_RD.requires_grad:  # not when only the output layer learns
        hidden_RD.backward(torch.cat(gradients))
    return Backward(total, {name: torch.cat([part[name] for part in found]) for name in found[0]})
