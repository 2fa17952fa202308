"""A linear layer whose weight lies in memory as bfloat16 products read it; `packed.py` says why."""

from __future__ import annotations

import torch
from torch import Tensor, nn

FEW_TOKENS = 8
"""Tokens of a pass that the arrangement is best for; any number can be computed."""


class PackedLinear(nn.Module):
    """A frozen linear layer with a rearranged weight."""

    def __init__(self, plain: nn.Linear) -> None:
        super().__init__()
        self.in_features, self.out_features, self.bias = plain.in_features, plain.out_features, plain.bias
        self.dtype = plain.weight.dtype
        self._packed: Tensor = torch.ops.mkldnn._reorder_linear_weight(plain.weight.detach(), FEW_TOKENS)

    @property
    def weight(self) -> Tensor:
        """The plain weight, arranged back for each call: for code that asks for its type or shape."""
        return self._packed.to_dense()

    @property
    def num_bytes(self) -> int:
        """Memory of the rearranged weight."""
        return self._packed.numel() * self._packed.element_size()

    def forward(self, x: Tensor) -> Tensor:
        """Maps (…, inputs) to (…, outputs)."""
        y: Tensor = torch.ops.mkldnn._linear_pointwise(x, self._packed, self.bias, "none", [], "")
        return y
