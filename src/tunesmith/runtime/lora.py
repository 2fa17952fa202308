"""LoRA on our own forward: float32 masters, products in the base's dtype, files in PEFT's format.

Legend of tensor names: T tokens, I inputs, O outputs, K rank.

PEFT computes the same mathematics through one module call for each of dropout, A, B and the scale, keeps
what autograd asks for, and trains the adapter in the dtype it is stored in. Here one autograd function does
the whole layer: it keeps only its input and the K-wide product, adds the low-rank part in place, and asks
for no gradient of the frozen weight. The float32 masters are rounded to the base's dtype where they are used.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save
from torch import Tensor, nn
from transformers import PreTrainedModel

from tunesmith.core.errors import ModelError
from tunesmith.core.files import explain_disk_errors, read_json, write_bytes, write_json

WEIGHTS_NAME: Final = "adapter_model.safetensors"
CONFIG_NAME: Final = "adapter_config.json"
PEFT_PREFIX: Final = "base_model.model."


@dataclass(frozen=True)
class LoraShape:
    """What a LoRA adapter looks like.

    Source: Hu et al. 2021 (arXiv:2106.09685); rank-stabilised scale: Kalajdzievski 2023 (arXiv:2312.03732).
    """

    rank: int
    alpha: float
    rank_stabilised: bool = False

    @property
    def scale(self) -> float:
        """The factor on ``B A``: alpha / rank, or alpha / sqrt(rank) when rank-stabilised."""
        return self.alpha / (math.sqrt(self.rank) if self.rank_stabilised else self.rank)


class _LoraProduct(torch.autograd.Function):
    """``x W' + scale · (x A') B'`` with gradients for x, A and B, and none for the frozen W."""

    @staticmethod
    def forward(
        ctx: Any,
        x_TI: Tensor,
        weight_OI: Tensor,
        bias_O: Tensor | None,
        a_KI: Tensor,
        b_OK: Tensor,
        scale: float,
    ) -> Tensor:
        lora_a_KI = a_KI.to(x_TI.dtype)
        lora_b_OK = (b_OK * scale).to(x_TI.dtype)
        hidden_TK = x_TI @ lora_a_KI.T
        y_TO = nn.functional.linear(x_TI, weight_OI, bias_O)
        y_TO.addmm_(hidden_TK, lora_b_OK.T)
        ctx.save_for_backward(x_TI, hidden_TK, weight_OI, lora_a_KI, lora_b_OK)
        ctx.scale = scale
        return y_TO

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        (grad_TO,) = grads
        x_TI, hidden_TK, weight_OI, lora_a_KI, lora_b_OK = ctx.saved_tensors
        grad_hidden_TK = grad_TO @ lora_b_OK
        grad_a_KI = (grad_hidden_TK.T @ x_TI).float()
        grad_b_OK = (grad_TO.T @ hidden_TK).float().mul_(ctx.scale)
        grad_x_TI = None
        if ctx.needs_input_grad[0]:
            grad_x_TI = (grad_TO @ weight_OI).addmm_(grad_hidden_TK, lora_a_KI)
        return grad_x_TI, None, None, grad_a_KI, grad_b_OK, None


class LoraLinear(nn.Module):
    """A frozen ``nn.Linear`` with a trainable low-rank part beside it.

    ``lora_a`` (rank × inputs) starts random and ``lora_b`` (outputs × rank) at zero, as in PEFT, so the first
    forward equals the base exactly. Both are float32 whatever the base's dtype is.
    """

    def __init__(self, base: nn.Linear, shape: LoraShape) -> None:
        super().__init__()
        self.base = base.requires_grad_(False)
        self.scale = shape.scale
        self.lora_a = nn.Parameter(torch.empty(shape.rank, base.in_features, dtype=torch.float32))
        self.lora_b = nn.Parameter(torch.zeros(base.out_features, shape.rank, dtype=torch.float32))
        nn.init.kaiming_uniform_(self.lora_a, a=math.sqrt(5))
        self.settled: tuple[Tensor, Tensor] | None = None

    def settle(self) -> None:
        """Round the masters once instead of in each forward: for inference, with the very same outputs."""
        dtype = self.base.weight.dtype
        self.settled = (self.lora_a.detach().to(dtype), (self.lora_b.detach() * self.scale).to(dtype))

    def forward(self, x: Tensor) -> Tensor:
        """Maps (…, inputs) to (…, outputs) in the dtype of the input."""
        x_TI = x.reshape(-1, x.shape[-1])
        if self.settled is not None:
            a_KI, b_OK = self.settled
            settled_TO = nn.functional.linear(x_TI, self.base.weight, self.base.bias)
            return settled_TO.addmm_(x_TI @ a_KI.T, b_OK.T).view(*x.shape[:-1], settled_TO.shape[-1])
        y_TO: Tensor = _LoraProduct.apply(  # type: ignore[no-untyped-call]  # torch ships it untyped
            x_TI, self.base.weight, self.base.bias, self.lora_a, self.lora_b, self.scale
        )
        return y_TO.view(*x.shape[:-1], y_TO.shape[-1])


def linear_layers(model: PreTrainedModel) -> list[str]:
    """Dotted names of every ``nn.Linear`` but the output layer, in the model's order."""
    output = model.get_output_embeddings()
    names = [
        name for name, module in model.named_modules() if type(module) is nn.Linear and module is not output
    ]
    if not names:
        raise ModelError(
            "the model has no plain linear layer that LoRA could be attached to",
            value=type(model).__name__,
            next_step="choose a model of the Llama family, such as smollm2-135m-instruct",
        )
    return names


def attach(
    model: PreTrainedModel, shape: LoraShape, *, seed: int, names: Sequence[str] | None = None
) -> list[nn.Parameter]:
    """Freeze the model, put LoRA on linear layers (None: all of its blocks), return the trainable masters.

    The initial ``lora_a`` depends on `seed` alone and leaves the global random state untouched.
    """
    model.requires_grad_(False)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        for name in linear_layers(model) if names is None else names:
            parent_name, _, last = name.rpartition(".")
            parent = model.get_submodule(parent_name)
            setattr(parent, last, LoraLinear(parent.get_submodule(last), shape))  # type: ignore[arg-type]  # an nn.Linear, by linear_layers
    return [parameter for _, layer in lora_layers(model) for parameter in (layer.lora_a, layer.lora_b)]


def lora_layers(model: nn.Module) -> Iterator[tuple[str, LoraLinear]]:
    """Names and layers that carry LoRA, in the model's order."""
    for name, module in model.named_modules():
        if isinstance(module, LoraLinear):
            yield name, module


def peft_config(model: nn.Module, shape: LoraShape, *, base_name: str) -> dict[str, Any]:
    """`adapter_config.json` as PEFT reads it."""
    return {
        "peft_type": "LORA",
        "task_type": "CAUSAL_LM",
        "base_model_name_or_path": base_name,
        "r": shape.rank,
        "lora_alpha": shape.alpha,
        "use_rslora": shape.rank_stabilised,
        "target_modules": sorted({name.rpartition(".")[2] for name, _ in lora_layers(model)}),
        "lora_dropout": 0.0,
        "bias": "none",
        "fan_in_fan_out": False,
        "inference_mode": True,
        "init_lora_weights": True,
    }


def save_adapter(model: nn.Module, shape: LoraShape, folder: Path, *, base_name: str) -> None:
    """Write the adapter as PEFT does, float32: `peft.PeftModel.from_pretrained` loads the folder."""
    tensors = {}
    for name, layer in lora_layers(model):
        tensors[f"{PEFT_PREFIX}{name}.lora_A.weight"] = layer.lora_a.detach().contiguous()
        tensors[f"{PEFT_PREFIX}{name}.lora_B.weight"] = layer.lora_b.detach().contiguous()
    with explain_disk_errors(folder):
        folder.mkdir(parents=True, exist_ok=True)
        write_bytes(folder / WEIGHTS_NAME, save(tensors, metadata={"format": "pt"}))
        write_json(folder / CONFIG_NAME, peft_config(model, shape, base_name=base_name))


def read_shape(folder: Path) -> LoraShape:
    """The shape of a saved adapter; refuses settings that our forward does not compute."""
    config = read_json(folder / CONFIG_NAME)
    plain = {"peft_type": "LORA", "bias": "none", "use_dora": False, "fan_in_fan_out": False}
    for key, expected in plain.items():
        if config.get(key, expected) != expected:
            raise ModelError(
                f"this adapter has {key} = {config[key]!r}, which is not supported", where=folder
            )
    for key in ("rank_pattern", "alpha_pattern", "modules_to_save", "target_parameters"):
        if config.get(key):
            raise ModelError(f"this adapter uses {key}, which is not supported", where=folder)
    return LoraShape(config["r"], config["lora_alpha"], bool(config.get("use_rslora", False)))


def load_adapter(model: PreTrainedModel, folder: Path) -> LoraShape:
    """Attach a saved adapter to its base model; raises ModelError when it does not fit."""
    shape = read_shape(folder)
    try:
        stored = load_file(folder / WEIGHTS_NAME)
    except (OSError, SafetensorError) as error:
        raise ModelError(
            "the adapter's weights cannot be read", where=folder / WEIGHTS_NAME, value=str(error)
        ) from error
    tensors = {name.removeprefix(PEFT_PREFIX): tensor for name, tensor in stored.items()}
    carried = {name.rpartition(".lora_")[0] for name in tensors}
    if stray := carried - set(linear_layers(model)):
        raise ModelError("the adapter does not fit this base model", where=folder, value=min(stray))
    attach(model, shape, seed=0, names=sorted(carried))
    copy_tensors(model, tensors, folder)
    return shape


def copy_tensors(model: nn.Module, tensors: dict[str, Tensor], folder: Path) -> None:
    """Put an adapter's tensors into the model's LoRA layers; raises ModelError where one does not fit."""
    for name, layer in lora_layers(model):
        for part, master in (("A", layer.lora_a), ("B", layer.lora_b)):
            tensor = tensors.get(f"{name}.lora_{part}.weight")
            if tensor is None or tensor.shape != master.shape:
                raise ModelError("the adapter does not fit this base model", where=folder, value=name)
            master.data.copy_(tensor)
