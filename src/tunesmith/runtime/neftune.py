"""Noise on the embeddings while a model learns (NEFTune, Jain et al. 2023, arXiv:2310.05914).

Legend of tensor names: B rows, T tokens of a row, N tokens of one example, D hidden width.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from tunesmith.core.errors import ModelError


@dataclass
class Neftune:
    """Adds uniform noise in ±alpha / √(N · D) to the embeddings of each example of N tokens.

    An example's noise depends on its own length and on its place in the order of examples, not on how they
    are packed or cut into micro-batches: it is drawn from torch's global random state (on the CPU), example
    by example, so that a checkpoint of that state holds it.
    """

    alpha: float
    lengths: tuple[int, ...] = ()
    """Tokens of each example of the next forward, in order: end to end in one row with whatever fills it up
    behind them, or one example a row.  Empty where nothing is learned: then no noise is drawn."""

    def attach(self, embedding: nn.Module) -> RemovableHandle:
        """Put the noise behind the input embedding; `remove` of what is returned takes it away."""
        return embedding.register_forward_hook(self._add)

    def _add(self, embedding: nn.Module, inputs: Any, output_BTD: Tensor) -> Tensor:
        """The embeddings with noise."""
        if not self.lengths or not embedding.training:
            return output_BTD
        num_rows, num_tokens, _ = output_BTD.shape
        if num_rows == 1 and sum(self.lengths) <= num_tokens:
            rows = [self.lengths]
        elif num_rows == len(self.lengths) and max(self.lengths) <= num_tokens:
            rows = [(length,) for length in self.lengths]
        else:
            raise ModelError(
                f"neftune: {len(self.lengths)} examples of {sum(self.lengths)} tokens do not fit embeddings",
                value=str(tuple(output_BTD.shape)),
                next_step="set objective.neftune_alpha to 0 for this model",
            )
        return output_BTD + torch.stack([self._noise(row, output_BTD) for row in rows])

    def _noise(self, lengths: tuple[int, ...], like_BTD: Tensor) -> Tensor:
        """Noise (T, D) of one row; what stands behind the examples gets none."""
        _, num_tokens, width = like_BTD.shape
        noise_TD = torch.zeros(num_tokens, width)
        start = 0
        for length in lengths:
            bound = self.alpha / (length * width) ** 0.5
            noise_TD[start : start + length] = torch.rand(length, width).mul_(2 * bound).sub_(bound)
            start += length
        return noise_TD.to(like_BTD.device, like_BTD.dtype)
