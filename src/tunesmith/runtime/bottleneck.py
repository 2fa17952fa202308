"""Bottleneck adapters: a narrow layer inside every block, on our own forward.

Legend of tensor names: … leading dimensions, D hidden width, K bottleneck width.

After a part of a block (attention, feed-forward), before its output joins the residual stream::

    y ← y + scale · up(drop(f(down(y))))        after it: Houlsby et al. 2019
    y ← y + scale · up(drop(f(down(x))))        beside it: He et al. 2022; x is what it reads

(arXiv:1902.00751, arXiv:2005.00247, arXiv:2110.04366.)

`up` starts at zero, so that step 0 equals the base exactly.  The adapter's tensors are float32 whatever the
base's dtype is, and are rounded to the dtype of the activations where they are used.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, Final

import torch
from torch import Tensor, nn
from torch.nn import functional
from transformers import PreTrainedModel

from tunesmith.core.errors import ConfigError, ModelError
from tunesmith.core.files import read_json, write_json
from tunesmith.core.recipe.methods import NonLinearity, Placement
from tunesmith.runtime.lora import CONFIG_NAME, WEIGHTS_NAME
from tunesmith.runtime.lora.files import does_not_fit, read_weights
from tunesmith.runtime.structure import blocks, halves, top_blocks
from tunesmith.runtime.tensor_files import write_tensors

PEFT_TYPE: Final = "BOTTLENECK"
"""What `adapter_config.json` calls the method; the PEFT library has no such type."""

NON_LINEARITIES: Final[dict[NonLinearity, Callable[[Tensor], Tensor]]] = {
    "relu": functional.relu,
    "gelu": functional.gelu,
    "silu": functional.silu,
    "tanh": torch.tanh,
    "leaky_relu": functional.leaky_relu,
}


@dataclass(frozen=True)
class BottleneckShape:
    """What a bottleneck adapter looks like."""

    placement: Placement = "pfeiffer"
    reduction_factor: float = 16
    non_linearity: NonLinearity = "relu"
    scale: float = 1.0
    dropout: float = 0.0
    layers: int = 0

    def width(self, hidden: int) -> int:
        """Width of the bottleneck; raises ConfigError when the reduction leaves nothing of it."""
        width = int(hidden / self.reduction_factor)
        if width < 1:
            raise ConfigError(
                f"the model's hidden width is {hidden}, and this reduction leaves no bottleneck",
                where="method.reduction_factor",
                value=self.reduction_factor,
                next_step=f"give at most {hidden}",
            )
        return width

    def parameters(self, hidden: int, num_layers: int) -> int:
        """Numbers that learn: two matrices and two biases for each adapter, by the method's arithmetic."""
        width = self.width(hidden)
        by_block = 2 if self.placement == "houlsby" else 1
        return by_block * (self.layers or num_layers) * (2 * hidden * width + width + hidden)


class Bottleneck(nn.Module):
    """The narrow layer: D → K → D, near identity because `up` starts at zero."""

    def __init__(self, hidden: int, shape: BottleneckShape) -> None:
        super().__init__()
        width = shape.width(hidden)
        self.down = nn.Linear(hidden, width, dtype=torch.float32)
        self.up = nn.Linear(width, hidden, dtype=torch.float32)
        nn.init.normal_(self.down.weight, std=0.02)
        for zeros in (self.down.bias, self.up.weight, self.up.bias):
            nn.init.zeros_(zeros)
        self.non_linearity, self.scale, self.dropout = (
            NON_LINEARITIES[shape.non_linearity],
            shape.scale,
            shape.dropout,
        )

    def forward(self, x: Tensor) -> Tensor:
        """Maps (…, D) to (…, D) in the dtype of the input; the caller adds it to what it goes beside."""
        dtype = x.dtype
        narrow = functional.linear(x, self.down.weight.to(dtype), self.down.bias.to(dtype))
        narrow = functional.dropout(self.non_linearity(narrow), self.dropout, self.training)
        up_DK, up_D = (tensor.mul(self.scale).to(dtype) for tensor in (self.up.weight, self.up.bias))
        return functional.linear(narrow, up_DK, up_D)


class Adapted(nn.Module):
    """A part of a block with its adapter; `parallel` adapters read the part's input, others its output."""

    def __init__(self, base: nn.Module, adapter: Bottleneck, *, parallel: bool) -> None:
        super().__init__()
        self.base, self.bottleneck, self.parallel = base, adapter, parallel

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """The part's output plus the adapter's; attention gives its weights beside the output, kept as is."""
        output = self.base(*args, **kwargs)
        hidden, *others = output if isinstance(output, tuple) else (output,)
        read = next(iter((*args, *kwargs.values()))) if self.parallel else hidden
        hidden = hidden + self.bottleneck(read)
        return (hidden, *others) if isinstance(output, tuple) else hidden


def attach(model: PreTrainedModel, shape: BottleneckShape, *, seed: int) -> None:
    """Freeze the model and put adapters into its blocks.

    The initial numbers depend on `seed` alone and leave the global random state untouched.  Raises ModelError
    for blocks that are not made of one attention and one feed-forward part, before anything is changed.
    """
    model.requires_grad_(False)
    hidden = model.config.get_text_config().hidden_size
    chosen = [(block, halves(block)) for _, block in top_blocks(model, shape.layers)]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        for block, parts in chosen:
            names = parts if shape.placement == "houlsby" else (parts.feed_forward,)
            for name in names:
                adapter = Bottleneck(hidden, shape)
                device = next(block.parameters()).device
                adapted = Adapted(block.get_submodule(name), adapter, parallel=shape.placement == "parallel")
                setattr(block, name, adapted.to(device))


def masters(model: nn.Module) -> list[tuple[str, nn.Parameter]]:
    """Names and masters of what learns, in the model's order."""
    return [
        (f"{name}.{part}", parameter)
        for name, adapter in adapters(model)
        for part, parameter in adapter.named_parameters()
    ]


def adapters(model: nn.Module) -> Iterator[tuple[str, Bottleneck]]:
    """Adapters by the name of the part that they go beside, in the model's order."""
    for name, module in model.named_modules():
        if isinstance(module, Adapted):
            yield name, module.bottleneck


def save_adapter(model: PreTrainedModel, shape: BottleneckShape, folder: Path, *, base_name: str) -> None:
    """Write the adapter: float32 tensors, and a configuration in the manner of PEFT's."""
    tensors = {name: master.detach().contiguous() for name, master in masters(model)}
    config = {
        "peft_type": PEFT_TYPE,
        "task_type": "CAUSAL_LM",
        "base_model_name_or_path": base_name,
        "inference_mode": True,
        **asdict(shape),
    }
    write_tensors(folder / WEIGHTS_NAME, tensors)
    write_json(folder / CONFIG_NAME, config)


def read_shape(folder: Path) -> BottleneckShape:
    """The shape of a saved adapter."""
    config = read_json(folder / CONFIG_NAME)
    try:
        return BottleneckShape(**{field.name: config[field.name] for field in fields(BottleneckShape)})
    except KeyError as missing:
        raise ModelError(
            "the adapter's configuration lacks a key",
            where=folder / CONFIG_NAME,
            value=str(missing.args[0]),
            next_step="copy the folder anew, or train again",
        ) from None


def load_adapter(model: PreTrainedModel, folder: Path) -> BottleneckShape:
    """Attach a saved adapter to its base model; raises ModelError when it does not fit."""
    shape = read_shape(folder)
    stored = read_weights(folder)
    if shape.layers > len(blocks(model)):
        raise does_not_fit(folder, f"{shape.layers} layers")
    attach(model, shape, seed=0)
    copy_tensors(dict(masters(model)), stored, folder)
    return shape


def copy_tensors(wanted: dict[str, nn.Parameter], stored: dict[str, Tensor], folder: Path) -> None:
    """Put an adapter's tensors into the masters; raises ModelError where one does not fit or is left over."""
    for name in sorted({*wanted, *stored}):
        if name not in wanted or name not in stored or stored[name].shape != wanted[name].shape:
            raise does_not_fit(folder, name)
        wanted[name].data.copy_(stored[name])
