"""What the tests of LoRA, QLoRA, token rows and `init_from` share: a tiny model that learns by plain SGD."""

from pathlib import Path

import torch
from tiny_models import tiny_llama, tiny_tokenizer
from torch import Tensor, nn
from transformers import PreTrainedModel

from tunesmith.core.recipe import Lora, Qlora
from tunesmith.runtime import lora
from tunesmith.runtime.methods.lora import attach
from tunesmith.runtime.methods.port import Attached, Begin
from tunesmith.runtime.models import Loaded, describe

ROW = torch.tensor([[5, 9, 200, 31, 7, 65, 66]])


def tiny_loaded(*, dtype: torch.dtype = torch.float32, **changes: object) -> Loaded:
    """A loaded tiny model, as `load_model` gives it."""
    model = tiny_llama(dtype=dtype, **changes)
    return Loaded(model, tiny_tokenizer(), describe(model, "tiny", str(dtype)))


def attached(
    settings: Lora | Qlora, loaded: Loaded | None = None, *, adapter: Path | None = None, **begin: object
) -> Attached:
    """A tiny model set up to learn."""
    return attach(
        loaded or tiny_loaded(), settings, Begin(seed=1, base_name="tiny", adapter=adapter, **begin)
    )


def with_lora(model: PreTrainedModel, shape: lora.LoraShape, *, seed: int) -> list[nn.Parameter]:
    """Put LoRA of one shape on all linear layers of the blocks; A and B of each, in the model's order."""
    lora.attach_layers(model, dict.fromkeys(lora.linear_layers(model), shape), seed=seed)
    return [parameter for _, layer in lora.lora_layers(model) for parameter in (layer.lora_a, layer.lora_b)]


def loss_of(model: nn.Module, row: Tensor = ROW) -> Tensor:
    """Mean loss of a row under its own next tokens."""
    return model(input_ids=row, labels=row).loss


def learn(made: Attached, *, num_steps: int = 1, rate: float = 0.5) -> None:
    """A few steps of SGD; the gradients of the last stay."""
    made.model.train()
    for _ in range(num_steps):
        for entry in made.trainable:
            entry.parameter.grad = None
        loss_of(made.model).backward()
        with torch.no_grad():
            for entry in made.trainable:
                assert entry.parameter.grad is not None, entry.name
                entry.parameter.add_(entry.parameter.grad, alpha=-rate * entry.rate_factor)
    made.model.eval()


def logits(model: nn.Module, row: Tensor = ROW) -> Tensor:
    """Logits in evaluation mode."""
    model.eval()
    with torch.no_grad():
        return model(input_ids=row).logits
