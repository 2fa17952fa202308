"""Linear layers whose weights lie in memory as the processor's bfloat16 products read them.

oneDNN rearranges a weight for every product, which at a few tokens a pass is half of the work; torch's own
compiler keeps the weights of frozen models rearranged, through the two operations used here.  A decoding step
of SmolLM2-135M (8 rows × 200 tokens, one thread) takes 29 ms instead of 42, of one row 24 instead of 33; at
500 tokens a pass 5 % less.

The rearranged weight takes the plain one's place.  An output layer tied to the embedding keeps both: one more
copy of the embedding.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from tunesmith.runtime.lora.banked import BankedLinear
from tunesmith.runtime.packed_linear import PackedLinear


def pack_linears(model: nn.Module) -> int:
    """Rearrange the bfloat16 weights of a model that only generates from now on; returns how many.

    Layers of transformers' own modules, and those beside which an `AdapterBank` has adapters.  Nothing
    happens on a processor without bfloat16 products, or elsewhere than on one.
    """
    if not can_pack():
        return 0
    found = [name for name, module in model.named_modules() if type(module) is nn.Linear]
    packed = 0
    for name in found:
        parent: Any = model.get_submodule(name.rpartition(".")[0])
        layer: Any = model.get_submodule(name)
        is_known = isinstance(parent, BankedLinear) or type(parent).__module__.startswith("transformers.")
        if is_known and layer.weight.dtype == torch.bfloat16 and layer.weight.device.type == "cpu":
            model.set_submodule(name, PackedLinear(layer.requires_grad_(False)))
            packed += 1
    return packed


def held_bytes(model: nn.Module) -> int:
    """Memory of a model's weights, with those that were rearranged and those of a bank's adapters."""
    tensors = [*model.parameters(), *model.buffers()]
    rearranged = 0
    for module in model.modules():
        if isinstance(module, PackedLinear):
            rearranged += module.num_bytes
        if isinstance(module, BankedLinear):
            tensors += [tensor for part in module.parts.values() for tensor in part]
    return rearranged + sum(tensor.numel() * tensor.element_size() for tensor in tensors)


def can_pack() -> bool:
    """Whether this torch and this processor have what it takes."""
    if not torch.backends.mkldnn.is_available():
        return False
    supported: bool = torch.ops.mkldnn._is_mkldnn_bf16_supported()
    return supported
