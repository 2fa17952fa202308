"""What a run learns from: pure functions of log-probabilities.

Legend of tensor names: C reads of one chunk.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from torch import Tensor

from tunesmith.runtime.readouts import ReadChunk, Readout, TargetLogProbability
from tunesmith.runtime.step import StepFacts


@dataclass(frozen=True)
class SupervisedFineTuning:
    """Mean negative log-likelihood of the supervised tokens of a step, in nats per token.

    Every supervised token of the step counts the same, however the step is cut or packed.
    """

    readouts: tuple[Readout, ...] = (TargetLogProbability(),)
    coupling: Literal["read"] = "read"

    def denominators(self, facts: StepFacts) -> Mapping[str, float]:
        """``reads``: supervised tokens of the whole step."""
        return {"reads": float(max(1, facts.num_reads))}

    def loss(self, values: Mapping[str, Tensor], reads: ReadChunk, den: Mapping[str, float]) -> Tensor:
        """The chunk's share of the step's mean."""
        return -(values["logprob"] * reads.weight_C).sum() / den["reads"]
