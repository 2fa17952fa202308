"""What `full` and `freeze` share: the model's own parameters learn, and a whole model folder comes out."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from torch import nn
from transformers import PreTrainedModel

from tunesmith.core.errors import ModelError
from tunesmith.core.files import explain_disk_errors
from tunesmith.runtime.methods.port import Trainable
from tunesmith.runtime.models import Loaded, quiet_transformers
from tunesmith.runtime.quantise import quantised_layers
from tunesmith.runtime.tensor_files import tensor_errors_are_os_errors


def refuse_quantised(model: PreTrainedModel, method: str) -> None:
    """Raise ModelError when weights are held in integers, which have no gradient."""
    held = [*quantised_layers(model), *(n for n, p in model.named_parameters() if not p.is_floating_point())]
    if held:
        raise ModelError(
            f"{method} cannot train a base that is held in few bits",
            value=held[0],
            next_step="use method qlora on it, or train the base in bfloat16",
        )


def own_parameters(model: PreTrainedModel) -> dict[str, nn.Parameter]:
    """Every parameter once, by its first name; a tied weight has one entry."""
    return dict(model.named_parameters())


def all_names(model: PreTrainedModel) -> dict[str, nn.Parameter]:
    """Every name of every parameter: a tied weight stands here under each."""
    return dict(model.named_parameters(remove_duplicate=False))


def learn(model: PreTrainedModel, names: Iterable[str]) -> list[Trainable]:
    """Freeze everything but these parameters (first names), and describe them to an optimiser."""
    model.requires_grad_(False)
    chosen = set(names)
    embeddings = {
        id(parameter)
        for module in model.modules()
        if isinstance(module, nn.Embedding)
        for parameter in module.parameters(recurse=False)
    }
    head = model.get_output_embeddings()
    heads = {id(parameter) for parameter in head.parameters()} if head is not None else set()
    entries = []
    for name, parameter in own_parameters(model).items():
        if name not in chosen:
            continue
        parameter.requires_grad_(True)
        matrix, embedding = parameter.dim() >= 2, id(parameter) in embeddings
        entries.append(
            Trainable(
                name,
                parameter,
                decay=matrix and not embedding,
                orthogonal=parameter.dim() == 2 and not embedding and id(parameter) not in heads,
            )
        )
    return entries


def publish_whole(loaded: Loaded, folder: Path) -> None:
    """Write a model folder: weights in their own dtype, configuration, tokenizer, chat template."""
    with explain_disk_errors(folder), tensor_errors_are_os_errors(), quiet_transformers():
        folder.mkdir(parents=True, exist_ok=True)
        loaded.model.save_pretrained(folder)
        loaded.tokenizer.save_pretrained(folder)
