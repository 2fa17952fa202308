"""What passes between a training loop and whatever computes its steps.  Importable without torch."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple


class Encoded(NamedTuple):
    """One example as the model sees it: token ids, and how much the model learns to say each.

    Both are sequences of numbers of the same length (tuples, or arrays of a memory-mapped corpus); a weight
    of 0 means that the token is read and not learned.
    """

    token_ids: Sequence[int]
    weights: Sequence[float]

    @property
    def num_supervised(self) -> int:
        """Tokens that are predicted: those with a weight, without the first, which nothing precedes."""
        return sum(weight != 0 for weight in self.weights[1:])

    @property
    def total_weight(self) -> float:
        """Sum of the weights of the tokens that are predicted."""
        return float(sum(self.weights[1:]))


class StepFacts(NamedTuple):
    """What is known about a step before any forward."""

    num_examples: int
    num_reads: int
    total_weight: float


class ExampleLoss(NamedTuple):
    """How well the learned tokens of one example are predicted."""

    nll: float
    """Summed negative log-likelihood, nats."""
    num_right: int
    """Tokens than which the model gives no other a higher score."""


class StepReport(NamedTuple):
    """What a forward and backward pass of one step found; the loss is in the objective's unit."""

    loss: float
    num_tokens: int
    num_reads: int
    examples: tuple[ExampleLoss, ...] = ()
    """In the step's order; empty when the objective reads no log-probability."""
