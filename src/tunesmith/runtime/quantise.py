"""A frozen base in 4 or 8 bits, by bitsandbytes' number formats and our own forward.

Legend of tensor names: T tokens, I inputs, O outputs, B blocks of 64 weights.

bitsandbytes' layers are not used.  `Linear4bit` repacks its weight in place at the first forward in
evaluation mode on a processor with AVX512-BF16, after which a training step has no input gradient and only a
warning says so; `Linear8bitLt` rounds activations in evaluation and not in training.  Here a layer is a
buffer of bits with its scales: a forward widens the weight, multiplies and forgets it, a backward widens it
again.  What is evaluated is then to the bit what was trained.

Weights are replaced after loading, one layer at a time.  transformers maps a model folder's file, so weights
that keep the file's type are no copy, and the peak of private memory equals that of transformers' own
quantised loading (SmolLM2-135M: 385 against 380 MB, 276 of them before loading).

Widening costs 6 % of a layer's product at 512 tokens, and beats bitsandbytes' own `gemm_4bit` at every size
on a processor (1536 × 576, NF4 with double quantisation, one thread: 2.14 against 2.26 ms at 512 tokens, 0.20
against 0.27 ms at one).
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final, Literal

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from tunesmith.core.errors import ModelError
from tunesmith.core.recipe import Qlora
from tunesmith.runtime.adapter_facts import facts_of
from tunesmith.runtime.bits import import_bitsandbytes
from tunesmith.runtime.packed_linear import PackedLinear
from tunesmith.runtime.threads import FewBits

BLOCK: Final = 64
NESTED_BLOCK: Final = 256
"""Weights to a scale, and scales to a scale of scales (Dettmers et al. 2023, arXiv:2305.14314, section 3)."""


@dataclass(frozen=True)
class Quantisation:
    """How the frozen weights are held."""

    bits: Literal[4, 8] = 4
    quant_type: Literal["nf4", "fp4"] = "nf4"
    double_quantisation: bool = True

    @classmethod
    def of(cls, settings: Qlora) -> Quantisation:
        """What a recipe's `method` asks for; 8 bits have one format and no scales of scales."""
        if settings.bits == 8:
            return cls(8, "nf4", False)
        return cls(4, settings.quant_type, settings.double_quantisation)

    def is_like(self, other: Quantisation) -> bool:
        """Whether both round weights to the same numbers but for their scales."""
        return (self.bits, self.quant_type) == (other.bits, other.quant_type)

    def describe(self) -> str:
        """A few words for messages."""
        if self.bits == 8:
            return "8 bits"
        return f"4 bits ({self.quant_type}{', double quantisation' if self.double_quantisation else ''})"


FORMATS: Final[Mapping[FewBits, Quantisation]] = {
    "nf4": Quantisation(),
    "int8": Quantisation(8, "nf4", False),
}
"""What the short names of a base's formats mean."""


class QuantisedLinear(nn.Module):
    """A frozen linear layer whose weight is held in 4 or 8 bits; scales are float32 or 8 bits themselves."""

    packed: Tensor
    scale: Tensor
    code: Tensor
    nested_scale: Tensor
    nested_code: Tensor
    offset: Tensor

    def __init__(self, linear: nn.Linear, settings: Quantisation) -> None:
        super().__init__()
        self.in_features, self.out_features = linear.in_features, linear.out_features
        self.settings, self.dtype = settings, linear.weight.dtype
        self.bias = None if linear.bias is None else linear.bias.requires_grad_(False)
        self.plain = False
        parts = PACK[settings.bits](linear.weight.detach(), settings)
        for name, tensor in parts.items():
            self.register_buffer(name, tensor)

    def widened(self) -> Tensor:
        """The weight (outputs × inputs) in the type that it had before."""
        return UNPACK[self.settings.bits](self)

    def forward(self, x: Tensor) -> Tensor:
        """Maps (…, inputs) to (…, outputs)."""
        if self.plain:
            return nn.functional.linear(x, self.widened(), self.bias)
        y: Tensor = _FrozenProduct.apply(x, self)  # type: ignore[no-untyped-call]  # torch ships it untyped
        return y


class _FrozenProduct(torch.autograd.Function):
    """``x W' + bias`` that keeps neither x nor the widened W for the backward pass."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, layer: QuantisedLinear) -> Tensor:
        ctx.layer = layer
        return nn.functional.linear(x, layer.widened(), layer.bias)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None]:
        return grads[0] @ ctx.layer.widened(), None


def pack4(weight_OI: Tensor, settings: Quantisation) -> dict[str, Tensor]:
    """Two weights to a byte, in blocks of 64 along the rows."""
    packed, state = import_bitsandbytes().functional.quantize_4bit(
        weight_OI.contiguous(),
        blocksize=BLOCK,
        compress_statistics=settings.double_quantisation,
        quant_type=settings.quant_type,
    )
    parts = {"packed": packed, "scale": state.absmax, "code": state.code}
    if settings.double_quantisation:
        nested = {"nested_scale": state.state2.absmax, "nested_code": state.state2.code}
        parts |= nested | {"offset": state.offset}
    return parts


def unpack4(layer: QuantisedLinear) -> Tensor:
    """The weight that `pack4` holds."""
    functional = import_bitsandbytes().functional
    nested = None
    if layer.settings.double_quantisation:
        nested = functional.QuantState(
            absmax=layer.nested_scale, code=layer.nested_code, blocksize=NESTED_BLOCK, dtype=torch.float32
        )
    state = functional.QuantState(
        absmax=layer.scale,
        shape=torch.Size((layer.out_features, layer.in_features)),
        code=layer.code,
        blocksize=BLOCK,
        quant_type=layer.settings.quant_type,
        dtype=layer.dtype,
        offset=layer.offset if nested is not None else None,
        state2=nested,
    )
    weight_OI: Tensor = functional.dequantize_4bit(layer.packed, state)
    return weight_OI


def pack8(weight_OI: Tensor, settings: Quantisation) -> dict[str, Tensor]:
    """A byte and one scale for each output (LLM.int8(), Dettmers et al. 2022, arXiv:2208.07339)."""
    packed_OI, scale_O, _ = import_bitsandbytes().functional.int8_vectorwise_quant(
        weight_OI.to(torch.float16).contiguous()
    )
    return {"packed": packed_OI, "scale": scale_O}


def unpack8(layer: QuantisedLinear) -> Tensor:
    """The weight that `pack8` holds, rounded as bitsandbytes rounds it in training."""
    wide_OI = layer.packed.float().mul_(layer.scale.unsqueeze(1).mul(1.0 / 127.0))
    return wide_OI.to(layer.dtype)


PACK: Final = {4: pack4, 8: pack8}
UNPACK: Final = {4: unpack4, 8: unpack8}


def weight_of(layer: nn.Module) -> Tensor:
    """The weight (outputs × inputs) of a frozen linear layer, widened if it is held in few bits."""
    if isinstance(layer, QuantisedLinear):
        return layer.widened()
    assert isinstance(layer, nn.Linear | PackedLinear)
    return layer.weight


def dtype_of(layer: nn.Module) -> torch.dtype:
    """The type that a frozen linear layer computes in."""
    if isinstance(layer, QuantisedLinear | PackedLinear):
        return layer.dtype
    assert isinstance(layer, nn.Linear)
    return layer.weight.dtype


def device_of(layer: nn.Module) -> torch.device:
    """Where a frozen linear layer computes."""
    if isinstance(layer, PackedLinear):
        return torch.device("cpu")
    if isinstance(layer, QuantisedLinear):
        return layer.packed.device
    assert isinstance(layer, nn.Linear)
    return layer.weight.device


def quantised_layers(model: nn.Module) -> dict[str, QuantisedLinear]:
    """Layers by name that are held in few bits."""
    return {name: module for name, module in model.named_modules() if isinstance(module, QuantisedLinear)}


def quantise(
    model: PreTrainedModel, settings: Quantisation, *, keep: Collection[str] = (), packed: bool = True
) -> None:
    """Hold every linear layer of the blocks in few bits; raises ModelError on a quantised model.

    Layers named in `keep`, or inside a module that is, stay as they are (they learn whole).  Without `packed`
    each weight is only rounded to what the bits can say and kept wide: for inference where memory allows,
    with the very same outputs and none of the widening.
    """
    if found := quantised_layers(model):
        raise ModelError(
            "the model is quantised already",
            value=next(iter(found)),
            next_step="load its wide weights, and quantise them once",
        )
    output = model.get_output_embeddings()
    for name, module in list(model.named_modules()):
        if type(module) is not nn.Linear or module is output or inside(name, keep):
            continue
        layer = QuantisedLinear(module, settings)
        if packed:
            model.set_submodule(name, layer)
        else:
            module.weight = nn.Parameter(layer.widened(), requires_grad=False)
    if packed and not quantised_layers(model):
        raise ModelError(
            "the model has no plain linear layer to quantise",
            value=type(model).__name__,
            next_step="use method lora, or choose a model of the Llama family",
        )


def inside(name: str, modules: Collection[str]) -> bool:
    """Whether a module is one of `modules` or lies in one, by PEFT's reading of names as endings."""
    return any(re.match(rf"(^|.*\.){re.escape(module)}($|\..*)", name) for module in modules)


def quantisation_of(adapter: Path) -> Quantisation | None:
    """How the base of an adapter folder has to be held; None: as it is."""
    found = facts_of(adapter).get("quantisation")
    return None if found is None else Quantisation(**found)


def as_facts(settings: Quantisation | None) -> dict[str, Any]:
    """The entry of an adapter folder's facts that `quantisation_of` reads."""
    return {} if settings is None else {"quantisation": asdict(settings)}
