"""What label smoothing and z-loss read off a vocabulary row.

Legend of tensor names: C reads of one chunk, D hidden width, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from tunesmith.runtime.readouts import Head, ReadChunk, is_first_choice


class _RowStatistics(torch.autograd.Function):
    """Log-probability of the target, its mean over the vocabulary, and the log-normaliser, from one row.

    Keeps the logits in their own type; one float32 chunk exists in each direction, and only while it runs.
    With p the softmax, the gradients by a logit are: 1[target] − p, 1/V − p, and p.
    """

    @staticmethod
    def forward(ctx: Any, logits_CV: Tensor, target_C: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        wide_CV = widened(logits_CV)
        normaliser_C = torch.logsumexp(wide_CV, dim=-1)
        right_C = is_first_choice(wide_CV, target_C)
        ctx.save_for_backward(logits_CV, target_C, normaliser_C)
        ctx.mark_non_differentiable(right_C)
        logprob_C = wide_CV.gather(1, target_C[:, None]).squeeze(1) - normaliser_C
        return logprob_C, wide_CV.mean(-1) - normaliser_C, normaliser_C.clone(), right_C

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None]:
        target_grad_C, mean_grad_C, normaliser_grad_C, _ = grads
        logits_CV, target_C, normaliser_C = ctx.saved_tensors
        # type promotion makes the difference float32 without a copy of the logits before it
        grad_CV = torch.sub(logits_CV, normaliser_C[:, None]).exp_()
        grad_CV.mul_((normaliser_grad_C - target_grad_C - mean_grad_C)[:, None])
        grad_CV.add_(mean_grad_C[:, None] / logits_CV.shape[1])
        grad_CV.scatter_add_(1, target_C[:, None], target_grad_C[:, None])
        return grad_CV.to(logits_CV.dtype), None


def widened(logits_CV: Tensor) -> Tensor:
    """At least float32."""
    return logits_CV if logits_CV.dtype in (torch.float32, torch.float64) else logits_CV.float()


def row_statistics(logits_CV: Tensor, target_C: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """(C,) each: log-probability of the target, mean one of all tokens, log-normaliser, `is_first_choice`."""
    found: tuple[Tensor, Tensor, Tensor, Tensor] = _RowStatistics.apply(logits_CV, target_C)  # type: ignore[no-untyped-call]  # torch's own
    return found


@dataclass(frozen=True)
class TokenStatistics:
    """All that the supervised losses need of a row, at the price of one: its own logits are computed once."""

    outputs: tuple[str, ...] = ("logprob", "mean_logprob", "log_normaliser", "right")
    head: str = "output"

    def __call__(
        self, hidden_CD: Tensor, heads: Mapping[str, Head], reads: ReadChunk
    ) -> Mapping[str, Tensor]:
        """``logprob`` of the target, ``mean_logprob`` over the vocabulary, ``log_normaliser``: (C,), nats.

        ``right``: 1 where the target is the model's first choice.
        """
        values = row_statistics(heads[self.head](hidden_CD), reads.target_C)
        return dict(zip(self.outputs, values, strict=True))
