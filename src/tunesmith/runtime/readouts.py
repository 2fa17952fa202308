"""The output layer, computed only where it is read, a chunk of positions at a time.

Legend of tensor names: R reads of a micro-batch, C reads of one chunk, D hidden width, V vocabulary.

A vocabulary row is 49,152 to 262,144 numbers; keeping them for every token is what fills the memory of a
training step.  Here each chunk goes forward and at once backward to its hidden rows, so at most one chunk of
logits exists.  Products run in the model's own dtype, the softmax in float32.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, NamedTuple, Protocol

import torch
from torch import Tensor, nn

CHUNK_READS: Final = 128


class ReadChunk(NamedTuple):
    """What is known about the C reads of a chunk."""

    target_C: Tensor
    sequence_C: Tensor
    weight_C: Tensor


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

    layer: nn.Linear
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
    def forward(ctx: Any, logits_CV: Tensor, target_C: Tensor) -> Tensor:
        wide_CV = logits_CV.float()
        normaliser_C = torch.logsumexp(wide_CV, dim=-1)
        ctx.save_for_backward(logits_CV, target_C, normaliser_C)
        return wide_CV.gather(1, target_C[:, None]).squeeze(1) - normaliser_C

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None]:
        (grad_C,) = grads
        logits_CV, target_C, normaliser_C = ctx.saved_tensors
        probability_CV = logits_CV.float().sub_(normaliser_C[:, None]).exp_()
        grad_CV = probability_CV.mul_(-grad_C[:, None])
        grad_CV.scatter_add_(1, target_C[:, None], grad_C[:, None])
        return grad_CV.to(logits_CV.dtype), None


def log_probability(logits_CV: Tensor, target_C: Tensor) -> Tensor:
    """The log softmax of each row at its target, float32 whatever the logits' dtype is."""
    value_C: Tensor = _LogProbability.apply(logits_CV, target_C)  # type: ignore[no-untyped-call]  # torch's own
    return value_C


@dataclass(frozen=True)
class TargetLogProbability:
    """Natural logarithm of the probability that the model gives each target."""

    outputs: tuple[str, ...] = ("logprob",)
    head: str = "output"

    def __call__(
        self, hidden_CD: Tensor, heads: Mapping[str, Head], reads: ReadChunk
    ) -> Mapping[str, Tensor]:
        """``logprob``: (C,) in float32, at most 0."""
        logits_CV = heads[self.head](hidden_CD)
        return {"logprob": log_probability(logits_CV, reads.target_C)}


ChunkLoss = Callable[[Mapping[str, Tensor], ReadChunk], Tensor]
"""Values and reads of one chunk → the chunk's share of the loss, a sum."""


def values_of(
    hidden_CD: Tensor, readouts: Sequence[Readout], heads: Mapping[str, Head], reads: ReadChunk
) -> dict[str, Tensor]:
    """The values of all readouts on one chunk."""
    return {name: value for readout in readouts for name, value in readout(hidden_CD, heads, reads).items()}


def chunks(hidden_RD: Tensor, reads: ReadChunk, chunk_reads: int) -> list[tuple[Tensor, ReadChunk]]:
    """Hidden rows and reads, cut alike."""
    columns = zip(*(column.split(chunk_reads) for column in reads), strict=True)
    return [
        (hidden, ReadChunk(*part)) for hidden, part in zip(hidden_RD.split(chunk_reads), columns, strict=True)
    ]


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


def read_backward(
    hidden_RD: Tensor,
    reads: ReadChunk,
    *,
    readouts: Sequence[Readout],
    heads: Mapping[str, Head],
    loss: ChunkLoss,
    chunk_reads: int = CHUNK_READS,
) -> float:
    """Forward and backward of the output layer and of the model below it; returns the loss, a sum over reads.

    Each chunk's loss is taken back to its hidden rows at once, which is right for an objective whose loss at
    a read depends on that read alone; the rows' gradients then go through the model in one backward pass.
    """
    if hidden_RD.shape[0] == 0:
        return 0.0
    total = 0.0
    gradients = []
    for hidden_CD, part in chunks(hidden_RD.detach(), reads, chunk_reads):
        leaf_CD = hidden_CD.requires_grad_()
        chunk_loss = loss(values_of(leaf_CD, readouts, heads, part), part)
        chunk_loss.backward()
        total += float(chunk_loss.detach())
        assert leaf_CD.grad is not None
        gradients.append(leaf_CD.grad)
    hidden_RD.backward(torch.cat(gradients))
    return total
