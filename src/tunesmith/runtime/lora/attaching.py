"""Putting LoRA into a model: a new adapter, a stored one, or a stored one merged into the weights."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Final, NamedTuple

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from tunesmith.core.errors import ModelError
from tunesmith.core.files import read_json
from tunesmith.runtime.lora.files import CONFIG_NAME, Stored, does_not_fit, is_missing, read_adapter
from tunesmith.runtime.lora.layer import Earlier, LoraLinear, LoraShape, lora_layers
from tunesmith.runtime.quantise import Quantisation, QuantisedLinear, quantise, quantised_layers
from tunesmith.runtime.vocabulary import embedding_weight, is_tied, put_rows, resize

MERGED_FIRST: Final = "merged_first"
"""Folder inside an adapter's: the earlier adapter that its base was merged with before it learned."""


class Rounding(NamedTuple):
    """What rounding a merged weight to the base's type cost."""

    largest: float
    """The largest change of a weight."""
    share: float
    """Root mean square of the changes over that of the update: 0 loses nothing, 1 about all."""


def attach_layers(
    model: PreTrainedModel, shapes: Mapping[str, LoraShape], *, seed: int, dropout: float = 0.0
) -> None:
    """Freeze the model and put LoRA on layers by name.

    The initial ``lora_a`` depends on `seed` alone and leaves the global random state untouched.
    """
    model.requires_grad_(False)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        for name, shape in shapes.items():
            wrap(model, name, shape, dropout=dropout)


def wrap(model: PreTrainedModel, name: str, shape: LoraShape | None, *, dropout: float = 0.0) -> LoraLinear:
    """Put LoRA beside one layer."""
    base = model.get_submodule(name)
    layer = LoraLinear(base, shape, dropout=dropout)  # type: ignore[arg-type]  # linear, by targets.is_linear
    layer.train(model.training)
    model.set_submodule(name, layer)
    return layer


def lay_under(model: PreTrainedModel, stored: Stored) -> None:
    """Put a stored adapter, frozen, under the LoRA that learns; layers that only it has are wrapped too."""
    check_fits(model, stored)
    carried = dict(lora_layers(model))
    for name, (a_KI, b_OK) in stored.parts.items():
        layer = carried.get(name) or wrap(model, name, None)
        layer.lay_under(Earlier(a_KI.float(), b_OK.float() * stored.shapes[name].scale))


def load_adapter(
    model: PreTrainedModel, folder: Path, *, packed: bool = True, held: Quantisation | None = None
) -> None:
    """Attach a saved adapter to its base with all that it needs; raises ModelError when it does not fit.

    The base is merged and quantised first as the folder says, and made larger where the adapter has rows of
    new tokens.  For inference: nothing learns.  Without `packed` a quantised base is kept wide, rounded to
    what its bits say: the same outputs, its products about three times as fast at one token a step on a
    processor, and as large as it was loaded.  `held` quantises the base of an adapter that asks for nothing.
    """
    stored = read_adapter(folder)
    if held is not None and stored.quantisation is not None and not held.is_like(stored.quantisation):
        raise ModelError(
            f"this adapter learned on a base in {stored.quantisation.describe()}, not in {held.describe()}",
            where=folder,
            next_step="leave --quantise out: the base is then held as the adapter says",
        )
    prepare_base(model, folder, stored, packed=packed, otherwise=held)
    put_beside(model, stored)
    check_fits(model, stored)
    attach_layers(model, stored.shapes, seed=0)
    copy_parts(model, stored)
    model.requires_grad_(False)


def prepare_base(
    model: PreTrainedModel,
    folder: Path,
    stored: Stored,
    *,
    packed: bool = True,
    otherwise: Quantisation | None = None,
) -> None:
    """Merge and quantise a base model as an adapter's folder says, or else as `otherwise` does."""
    merge_first(model, folder)
    quantisation = stored.quantisation or otherwise
    if quantisation is not None and not quantised_layers(model):
        quantise(model, quantisation, keep=stored.modules_to_save, packed=packed)


def copy_parts(model: PreTrainedModel, stored: Stored) -> None:
    """Give the model's LoRA layers the stored values; ModelError where a pair is of another size."""
    check_fits(model, stored)
    with torch.no_grad():
        for name, layer in lora_layers(model):
            if name in stored.parts:
                layer.lora_a.copy_(stored.parts[name][0])
                layer.lora_b.copy_(stored.parts[name][1])


def check_fits(model: PreTrainedModel, stored: Stored) -> None:
    """Raise ModelError unless every stored pair belongs to a linear layer of this size."""
    carried: dict[str, nn.Module] = {name: layer.base for name, layer in lora_layers(model)}
    for name, (a_KI, b_OK) in stored.parts.items():
        module = carried.get(name)
        if module is None and not is_missing(model, name):
            module = model.get_submodule(name)
        if (
            module is None
            or not isinstance(module, nn.Linear | QuantisedLinear)
            or (b_OK.shape[0], a_KI.shape[1]) != (module.out_features, module.in_features)
        ):
            raise does_not_fit(stored.folder, name)


def put_beside(model: PreTrainedModel, stored: Stored) -> None:
    """Give the model what an adapter brings beside LoRA: whole modules, resized embeddings, token rows."""
    weights = {**stored.embedding, **stored.whole}
    num_rows = embedding_weight(model).shape[0]
    for name in embedding_keys(model):
        if name in weights and weights[name].shape[0] > num_rows:
            num_rows = weights[name].shape[0]
            resize(model, num_rows)
    for name, value in stored.embedding.items():
        parameter = parameter_of(model, name, value, stored.folder)
        parameter.data.copy_(value)
    was_tied = is_tied(model)
    for name, value in stored.whole.items():
        parameter = parameter_of(model, name, value, stored.folder)
        if was_tied and name in embedding_keys(model) and not stored.tied:
            untie(model, name)
            parameter = parameter_of(model, name, value, stored.folder)
        parameter.data.copy_(value)
    if stored.rows is not None:
        put_rows(model, stored.rows, where=stored.folder)


def embedding_keys(model: PreTrainedModel) -> set[str]:
    """Names of the weights of embedding and output layer."""
    layers = (model.get_input_embeddings(), model.get_output_embeddings())
    return {f"{name}.weight" for name, module in model.named_modules() if module in layers}


def untie(model: PreTrainedModel, name: str) -> None:
    """Give a layer that shares its weight one of its own: PEFT learned it alone."""
    for config in (model.config, model.config.get_text_config()):
        config.tie_word_embeddings = False  # else transformers ties them anew, when they grow or are loaded
    layer = model.get_submodule(name.rpartition(".")[0])
    weight = model.get_parameter(name)
    layer.weight = nn.Parameter(weight.detach().clone(), requires_grad=False)


def parameter_of(model: PreTrainedModel, name: str, value: Tensor, where: Path) -> nn.Parameter:
    """A parameter that a stored value belongs to; raises ModelError when there is none of that shape."""
    try:
        parameter = model.get_parameter(name)
    except AttributeError:
        parameter = None
    if parameter is None or parameter.shape != value.shape:
        raise does_not_fit(where, name)
    return parameter


def merge_first(model: PreTrainedModel, folder: Path) -> Rounding | None:
    """Merge what an adapter's base was merged with before it learned, if anything; see `merge_adapter`."""
    earlier = folder / MERGED_FIRST
    return merge_adapter(model, earlier) if earlier.exists() else None


def merge_adapter(model: PreTrainedModel, folder: Path) -> Rounding:
    """Add a stored LoRA adapter to the weights in float32 and round once; says what rounding cost.

    The base of an adapter that learned on few bits is first rounded to what those bits can say, which is what
    the adapter corrected.  Raises ModelError for other kinds of adapter.
    """
    kind = read_json(folder / CONFIG_NAME).get("peft_type")
    if kind != "LORA":
        raise ModelError(
            f"an adapter of kind {kind} cannot be merged into the weights",
            where=folder,
            next_step="only LoRA can; use init_from mode: continue",
        )
    stored = read_adapter(folder)
    merge_first(model, folder)
    if stored.quantisation is not None:
        quantise(model, stored.quantisation, keep=stored.modules_to_save, packed=False)
    put_beside(model, stored)
    check_fits(model, stored)
    largest, lost, gained = 0.0, 0.0, 0.0
    for name, (a_KI, b_OK) in stored.parts.items():
        weight = model.get_submodule(name).weight
        assert isinstance(weight, nn.Parameter)
        update_OI = (b_OK.float() @ a_KI.float() * stored.shapes[name].scale).to(weight.device)
        exact_OI = weight.detach().float() + update_OI
        weight.data.copy_(exact_OI)
        error_OI = weight.detach().float() - exact_OI
        largest = max(largest, float(error_OI.abs().max()))
        lost += float(error_OI.double().square().sum())
        gained += float(update_OI.double().square().sum())
    return Rounding(largest, (lost / gained) ** 0.5 if gained else 0.0)
