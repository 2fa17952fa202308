"""Finding a model's parts by what they are: its blocks, and the two halves of a block."""

from __future__ import annotations

from typing import NamedTuple

from torch import nn
from transformers import PreTrainedModel

from tunesmith.core.errors import ConfigError, ModelError

GIVE_ANOTHER = "choose a model of the Llama family, such as smollm2-135m-instruct"


class Halves(NamedTuple):
    """Names of the two parts of a block that end in an addition to the residual stream."""

    attention: str
    feed_forward: str


def blocks(model: PreTrainedModel) -> list[tuple[str, nn.Module]]:
    """Dotted names and modules of the decoder's blocks, from the bottom up.

    They are the longest list of modules inside the decoder.  Raises ModelError when there is none.
    """
    decoder = model.get_decoder()
    prefix = next((name for name, module in model.named_modules() if module is decoder), "")
    found: list[tuple[str, nn.Module]] = []
    for name, module in decoder.named_children():
        if isinstance(module, nn.ModuleList) and len(module) > len(found):
            start = f"{prefix}.{name}" if prefix else name
            found = [(f"{start}.{index}", block) for index, block in enumerate(module)]
    if not found:
        raise ModelError(
            "no list of blocks was found inside the model",
            value=type(model).__name__,
            next_step=GIVE_ANOTHER,
        )
    return found


def top_blocks(model: PreTrainedModel, layers: int) -> list[tuple[str, nn.Module]]:
    """The top so many blocks; 0 means all.  Raises ConfigError when the model has fewer."""
    found = blocks(model)
    if layers > len(found):
        raise ConfigError(
            f"the model has {len(found)} layers",
            where="method.layers",
            value=layers,
            next_step="ask for fewer",
        )
    return found[len(found) - layers :] if layers else found


def halves(block: nn.Module) -> Halves:
    """Attention and feed-forward part of a block.

    Attention is the one child that knows its `layer_idx`, as transformers' attention modules do; the
    feed-forward part is the one other child with a matrix in it (norms have vectors only).  Raises ModelError
    naming the block and its children when there is not exactly one of each.
    """
    children = dict(block.named_children())
    attention = [name for name, module in children.items() if "layer_idx" in vars(module)]
    matrices = [
        name
        for name, module in children.items()
        if name not in attention and any(parameter.dim() >= 2 for parameter in module.parameters())
    ]
    if len(attention) != 1 or len(matrices) != 1:
        listed = ", ".join(f"{name} ({type(module).__name__})" for name, module in children.items())
        raise ModelError(
            f"{type(block).__name__} is not made of one attention and one feed-forward part",
            value=listed,
            next_step=GIVE_ANOTHER,
        )
    return Halves(attention[0], matrices[0])
