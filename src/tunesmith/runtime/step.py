"""What passes between a training loop and whatever computes its steps.  Importable without torch."""

from __future__ import annotations

from typing import NamedTuple


class Encoded(NamedTuple):
    """One example as the model sees it: token ids, and for each whether the model learns to say it."""

    token_ids: tuple[int, ...]
    supervised: tuple[bool, ...]

    @property
    def num_supervised(self) -> int:
        """Tokens that are predicted: supervised ones, without the first, which nothing precedes."""
        return sum(self.supervised[1:])


class StepFacts(NamedTuple):
    """What is known about a step before any forward."""

    num_examples: int
    num_reads: int


class StepReport(NamedTuple):
    """What a forward and backward pass of one step found; the loss is in the objective's unit."""

    loss: float
    num_tokens: int
    num_reads: int
