"""What a run learns from: pure functions of the values that are read off each vocabulary row.

Legend of tensor names: C reads of one chunk.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from torch import Tensor

from tunesmith.core.recipe import Objective as ObjectiveSettings
from tunesmith.runtime.readouts import ReadChunk, Readout, TargetLogProbability
from tunesmith.runtime.readouts_supervised import TokenStatistics
from tunesmith.runtime.step import StepFacts


@dataclass(frozen=True)
class SupervisedFineTuning:
    """A loss on each learned token, averaged over the whole step by the tokens' weights.

    However the step is cut or packed, a token's share depends on its own weight and the step's total alone.
    The value ``logprob`` is always read: reports say nats per token, whatever the loss is.
    """

    dft: bool = False
    label_smoothing: float = 0.0
    z_loss: float = 0.0
    coupling: Literal["read"] = "read"

    @property
    def readouts(self) -> tuple[Readout, ...]:
        """The log-probability of the target; more of the row only where the loss asks for it."""
        return (TokenStatistics(),) if self.label_smoothing or self.z_loss else (TargetLogProbability(),)

    def denominators(self, facts: StepFacts) -> Mapping[str, float]:
        """``weight``: sum of the weights of all learned tokens of the step."""
        return {"weight": facts.total_weight or 1.0}

    def loss(self, values: Mapping[str, Tensor], reads: ReadChunk, den: Mapping[str, float]) -> Tensor:
        """The chunk's share of the step's weighted mean."""
        loss_C = self.token_loss(values)
        if self.z_loss:
            loss_C = loss_C + self.z_loss * values["log_normaliser"].square()
        return (loss_C * reads.weight_C).sum() / den["weight"]

    def token_loss(self, values: Mapping[str, Tensor]) -> Tensor:
        """The loss of each token, nats, without z-loss.

        Dynamic Fine-Tuning (Wu et al. 2025, arXiv:2508.05629) weighs the log-likelihood by the probability
        itself, taken as a constant.  Label smoothing puts that share of the target evenly on the vocabulary.
        """
        logprob_C = values["logprob"]
        if self.dft:
            return -(logprob_C.detach().exp() * logprob_C)
        if self.label_smoothing:
            share = self.label_smoothing
            return -((1.0 - share) * logprob_C + share * values["mean_logprob"])
        return -logprob_C


def supervised(settings: ObjectiveSettings) -> SupervisedFineTuning:
    """The loss that an `objective` section of kind sft or text describes."""
    return SupervisedFineTuning(settings.loss == "dft", settings.label_smoothing, settings.z_loss)
