"""One linear layer with LoRA: float32 masters, products in the base's dtype.

Legend of tensor names: T tokens, I inputs, O outputs, K rank (of all parts together).

PEFT computes the same mathematics through one module call for each of dropout, A, B and the scale, keeps
what autograd asks for, and trains the adapter in the dtype it is stored in. Here one autograd function does
the whole layer: it keeps only its input and the K-wide product, adds the low-rank part in place, and asks
for no gradient of the frozen weight. The float32 masters are rounded to the base's dtype where they are used.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from tunesmith.runtime.quantise import QuantisedLinear, dtype_of, quantised_layers, weight_of
from tunesmith.runtime.vocabulary import row_modules


@dataclass(frozen=True)
class LoraShape:
    """What LoRA looks like in one layer.

    Source: Hu et al. 2021 (arXiv:2106.09685); rank-stabilised scale: Kalajdzievski 2023 (arXiv:2312.03732).
    """

    rank: int
    alpha: float
    rank_stabilised: bool = False

    @property
    def scale(self) -> float:
        """The factor on ``B A``: alpha / rank, or alpha / sqrt(rank) when rank-stabilised."""
        return self.alpha / (math.sqrt(self.rank) if self.rank_stabilised else self.rank)


class Earlier(NamedTuple):
    """An earlier adapter's part of a layer, frozen under the one that learns; B carries its scale."""

    a_KI: Tensor
    b_OK: Tensor


class _LoraProduct(torch.autograd.Function):
    """``x W' + (x A') B'`` with gradients for x, A and B, and none for the frozen W; B carries the scale."""

    @staticmethod
    def forward(ctx: Any, x_TI: Tensor, base: nn.Module, a_KI: Tensor, b_OK: Tensor) -> Tensor:
        hidden_TK = x_TI @ a_KI.T
        y_TO = nn.functional.linear(x_TI, weight_of(base), base.bias)  # type: ignore[arg-type]  # a linear layer's
        y_TO.addmm_(hidden_TK, b_OK.T)
        ctx.save_for_backward(x_TI, hidden_TK, a_KI, b_OK)
        ctx.base = base
        return y_TO

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        (grad_TO,) = grads
        x_TI, hidden_TK, a_KI, b_OK = ctx.saved_tensors
        grad_hidden_TK = grad_TO @ b_OK
        grad_a_KI = grad_hidden_TK.T @ x_TI
        grad_b_OK = grad_TO.T @ hidden_TK
        grad_x_TI = None
        if ctx.needs_input_grad[0]:
            grad_x_TI = (grad_TO @ weight_of(ctx.base)).addmm_(grad_hidden_TK, a_KI)
        return grad_x_TI, None, grad_a_KI, grad_b_OK


class LoraLinear(nn.Module):
    """A frozen linear layer with a trainable low-rank part beside it.

    ``lora_a`` (rank × inputs) starts random and ``lora_b`` (outputs × rank) at zero, as in PEFT, so the first
    forward equals the base exactly. Both are float32 whatever the base's dtype is.
    """

    earlier_a: Tensor
    earlier_b: Tensor

    def __init__(
        self, base: nn.Linear | QuantisedLinear, shape: LoraShape | None, *, dropout: float = 0.0
    ) -> None:
        super().__init__()
        self.base = base.requires_grad_(False)
        self.shape, self.dropout, self.plain = shape, dropout, False
        rank = 0 if shape is None else shape.rank
        device = base.packed.device if isinstance(base, QuantisedLinear) else base.weight.device
        a_KI = torch.empty(rank, base.in_features, dtype=torch.float32)
        if rank:
            nn.init.kaiming_uniform_(a_KI, a=math.sqrt(5))
        self.lora_a = nn.Parameter(a_KI.to(device))
        self.lora_b = nn.Parameter(torch.zeros(base.out_features, rank, dtype=torch.float32, device=device))
        self.register_buffer("earlier_a", None)
        self.register_buffer("earlier_b", None)
        self.settled: tuple[Tensor, Tensor] | None = None

    @property
    def weight(self) -> Tensor:
        """The frozen weight, as models ask for it."""
        return weight_of(self.base)

    @property
    def scale(self) -> float:
        """The factor on the learning part."""
        return 1.0 if self.shape is None else self.shape.scale

    @property
    def earlier(self) -> Earlier | None:
        """The frozen part of an earlier adapter."""
        return None if self.earlier_a is None else Earlier(self.earlier_a, self.earlier_b)

    def lay_under(self, earlier: Earlier) -> None:
        """Put an earlier adapter's part under this layer's own, frozen."""
        device = self.lora_a.device
        self.earlier_a, self.earlier_b = earlier.a_KI.to(device), earlier.b_OK.to(device)

    def joined(self, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
        """A and scaled B of all parts in the base's dtype, one below the other."""
        a_KI, b_OK = self.lora_a.to(dtype), (self.lora_b * self.scale).to(dtype)
        if self.earlier is not None:
            a_KI = torch.cat([self.earlier_a.to(dtype), a_KI])
            b_OK = torch.cat([self.earlier_b.to(dtype), b_OK], dim=1)
        return a_KI, b_OK

    def settle(self) -> None:
        """Round the masters once instead of in each forward: for inference, with the very same outputs."""
        with torch.no_grad():
            self.settled = self.joined(dtype_of(self.base))

    def forward(self, x: Tensor) -> Tensor:
        """Maps (…, inputs) to (…, outputs) in the dtype of the input."""
        if self.plain or (self.training and self.dropout):
            return self._by_autograd(x)
        x_TI = x.reshape(-1, x.shape[-1])
        if self.settled is not None:
            a_KI, b_OK = self.settled
            settled_TO = nn.functional.linear(x_TI, weight_of(self.base), self.base.bias)
            return settled_TO.addmm_(x_TI @ a_KI.T, b_OK.T).view(*x.shape[:-1], settled_TO.shape[-1])
        y_TO: Tensor = _LoraProduct.apply(  # type: ignore[no-untyped-call]  # torch ships it untyped
            x_TI, self.base, *self.joined(x.dtype)
        )
        return y_TO.view(*x.shape[:-1], y_TO.shape[-1])

    def _by_autograd(self, x: Tensor) -> Tensor:
        """The same by ordinary operations; dropout hides inputs from the learning part alone."""
        linear = nn.functional.linear
        y = self.base(x)
        if self.earlier is not None:
            y = y + linear(linear(x, self.earlier_a.to(x.dtype)), self.earlier_b.to(x.dtype))
        seen = nn.functional.dropout(x, self.dropout, self.training)
        low = linear(seen, self.lora_a.to(x.dtype))
        added: Tensor = y + linear(low, (self.lora_b * self.scale).to(x.dtype))
        return added


def lora_layers(model: nn.Module) -> Iterator[tuple[str, LoraLinear]]:
    """Names and layers that carry LoRA, in the model's order."""
    for name, module in model.named_modules():
        if isinstance(module, LoraLinear):
            yield name, module


@contextmanager
def plain_forward(model: nn.Module) -> Iterator[None]:
    """Compute LoRA, quantised layers and token rows by ordinary autograd operations inside the block.

    For the proof that the fused forward is the same: slower, and it keeps what autograd asks for.
    """
    switched = [layer for _, layer in lora_layers(model)]
    others = [*quantised_layers(model).values(), *row_modules(model)]
    for module in (*switched, *others):
        module.plain = True
    try:
        yield
    finally:
        for module in (*switched, *others):
            module.plain = False
