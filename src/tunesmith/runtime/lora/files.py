"""LoRA adapters on disk: PEFT's format, float32, and nothing that PEFT would read otherwise."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from tunesmith.core.errors import ModelError
from tunesmith.core.files import read_json, write_json
from tunesmith.runtime.lora.layer import LoraLinear, LoraShape, lora_layers
from tunesmith.runtime.lora.targets import LAYER_INDEX, endings, layer_index, name_of, pattern_key, shapes_of
from tunesmith.runtime.quantise import Quantisation, inside, quantisation_of
from tunesmith.runtime.tensor_files import read_tensors, write_tensors
from tunesmith.runtime.vocabulary import GIVE_ITS_BASE, Rows, is_tied, rows_of

WEIGHTS_NAME: Final = "adapter_model.safetensors"
CONFIG_NAME: Final = "adapter_config.json"
PEFT_PREFIX: Final = "base_model.model."
ROWS_KEY: Final = "token_adapter.trainable_tokens_delta"
WHOLE_EMBEDDING_KEY: Final = "base_layer.weight"

PLAIN: Final[dict[str, tuple[Any, ...]]] = {
    "peft_type": ("LORA",),
    "bias": ("none",),
    "use_dora": (False,),
    "fan_in_fan_out": (False,),
    "lora_bias": (False,),
    "use_qalora": (False,),
    "use_bdlora": (None,),
    "layer_replication": (None,),
    "target_parameters": (None, []),
    "alora_invocation_tokens": (None,),
    "arrow_config": (None,),
    "kasa_config": (None,),
    "monteclora_config": (None,),
    "velora_config": (None,),
    # PiSSA, OLoRA, CorDA and LoftQ change the base weights, which a file of A and B does not say.
    "init_lora_weights": (True, False, "gaussian", "orthogonal", "eva"),
}
"""What our forward computes; any other value of these is PEFT's own business."""


@dataclass(frozen=True)
class Stored:
    """A LoRA adapter as read from a folder."""

    folder: Path
    shapes: Mapping[str, LoraShape]
    parts: Mapping[str, tuple[Tensor, Tensor]]
    """A and B of each layer, float32 as stored."""
    whole: Mapping[str, Tensor]
    """Parameters of modules that learned whole, by full name."""
    embedding: Mapping[str, Tensor]
    """Weights of embedding or output layer: PEFT stores them when they were made larger or carry LoRA."""
    rows: Rows | None
    tied: bool
    """Whether the output layer follows an embedding that learned whole."""
    modules_to_save: tuple[str, ...]
    quantisation: Quantisation | None


def unsupported(config: Mapping[str, Any]) -> str | None:
    """What of a PEFT configuration our own forward does not compute, in words; None when it computes all."""
    for key, allowed in PLAIN.items():
        if key in config and config[key] not in allowed:
            return f"{key} = {config[key]!r}"
    return None


def does_not_fit(folder: Path, what: str) -> ModelError:
    """The complaint about an adapter that was made for another model; `what` of it does not fit."""
    return ModelError(
        "the adapter does not fit this base model",
        where=folder,
        value=what,
        next_step=GIVE_ITS_BASE,
    )


def not_supported(folder: Path, what: str) -> ModelError:
    """The complaint about an adapter with something that our forward does not compute."""
    return ModelError(
        f"this adapter has {what}, which is not supported",
        where=folder,
        next_step="merge it into its base with PEFT (`merge_and_unload`), and give that as the model",
    )


def read_weights(folder: Path) -> dict[str, Tensor]:
    """The tensors of an adapter folder without PEFT's prefix; raises ModelError when they cannot be read."""
    stored = read_tensors(folder / WEIGHTS_NAME, what="the adapter's weights")
    return {name.removeprefix(PEFT_PREFIX): tensor for name, tensor in stored.items()}


def read_adapter(folder: Path) -> Stored:
    """A LoRA adapter that we or PEFT wrote; raises ModelError on settings that are not ours to compute."""
    config = read_json(folder / CONFIG_NAME)
    if reason := unsupported(config):
        raise not_supported(folder, reason)
    parts: dict[str, dict[str, Tensor]] = {}
    rows: dict[str, Tensor] = {}
    whole: dict[str, Tensor] = {}
    embedding: dict[str, Tensor] = {}
    modules = tuple(config.get("modules_to_save") or ())
    for key, tensor in read_weights(folder).items():
        if found := re.fullmatch(r"(.*)\.lora_([AB])\.weight", key):
            parts.setdefault(found[1], {})[found[2]] = tensor
        elif key.endswith(f".{ROWS_KEY}"):
            rows[key.removesuffix(f".{ROWS_KEY}")] = tensor
        elif key.endswith(f".{WHOLE_EMBEDDING_KEY}"):
            embedding[f"{key.removesuffix(WHOLE_EMBEDDING_KEY)}weight"] = tensor
        elif ".lora_" in key:
            raise not_supported(folder, f"the tensor {key}")
        elif inside(key.rpartition(".")[0], modules):
            whole[key] = tensor
        else:
            embedding[key] = tensor
    pairs = {name: pair_of(folder, name, pair) for name, pair in parts.items()}
    return Stored(
        folder,
        stored_shapes(config, pairs),
        pairs,
        whole,
        embedding,
        stored_rows(folder, config, rows),
        bool(config.get("ensure_weight_tying")),
        modules,
        quantisation_of(folder),
    )


def pair_of(folder: Path, name: str, pair: Mapping[str, Tensor]) -> tuple[Tensor, Tensor]:
    """A and B of one layer; raises ModelError where one is missing or their ranks differ."""
    if pair.keys() != {"A", "B"} or pair["A"].shape[0] != pair["B"].shape[1]:
        raise ModelError(
            "the adapter's weights are incomplete",
            where=folder / WEIGHTS_NAME,
            value=name,
            next_step="copy the folder anew, or train again",
        )
    return pair["A"], pair["B"]


def stored_shapes(
    config: Mapping[str, Any], parts: Mapping[str, tuple[Tensor, Tensor]]
) -> dict[str, LoraShape]:
    """Ranks as the tensors have them, scales as the configuration's patterns say."""
    alphas = config.get("alpha_pattern") or {}
    shapes = {}
    for name, (a_KI, _) in parts.items():
        key = pattern_key(alphas, name)
        alpha = config["lora_alpha"] if key is None else alphas[key]
        shapes[name] = LoraShape(a_KI.shape[0], alpha, bool(config.get("use_rslora", False)))
    return shapes


def stored_rows(folder: Path, config: Mapping[str, Any], rows: Mapping[str, Tensor]) -> Rows | None:
    """Token rows of a PEFT adapter: of the embedding, and of an output layer of its own if it has any."""
    indices = config.get("trainable_token_indices")
    if not indices or not rows:
        return None
    lists = list(indices.values()) if isinstance(indices, dict) else [indices]
    if any(ids != lists[0] for ids in lists):
        raise not_supported(folder, "other token rows in the embedding than in the output layer")
    output = [name for name in rows if name.endswith(("lm_head", "embed_out"))]
    inputs = [name for name in rows if name not in output]
    if len(inputs) != 1 or len(output) > 1:
        raise not_supported(folder, f"token rows in {', '.join(rows)}")
    order = sorted(range(len(lists[0])), key=lambda place: int(lists[0][place]))
    return Rows(
        tuple(int(lists[0][place]) for place in order),
        rows[inputs[0]][order],
        rows[output[0]][order] if output else None,
    )


def layer_tensors(layer: LoraLinear) -> tuple[Tensor, Tensor]:
    """A and B as they are stored, float32: over an earlier adapter one of joined rank, its scale in B."""
    a_KI, b_OK = layer.lora_a.detach(), layer.lora_b.detach()
    if layer.earlier is None:
        return a_KI, b_OK
    return torch.cat([layer.earlier_a, a_KI]), torch.cat([layer.earlier_b, b_OK * layer.scale], dim=1)


def layer_shape(layer: LoraLinear) -> LoraShape:
    """The shape that goes with `layer_tensors`."""
    if layer.earlier is None:
        assert layer.shape is not None
        return layer.shape
    rank = len(layer.earlier_a) + len(layer.lora_a)
    return LoraShape(rank, rank)


def save_adapter(
    model: PreTrainedModel,
    folder: Path,
    *,
    base_name: str,
    whole: Sequence[str] = (),
    rows: Rows | None = None,
) -> None:
    """Write the adapter as PEFT does, float32: `peft.PeftModel.from_pretrained` loads the folder.

    `whole` names modules that learned whole; `rows` are learned token rows (None: those that learn in the
    model).
    """
    rows = rows_of(model) if rows is None else rows
    tensors = {}
    for name, layer in lora_layers(model):
        tensors[f"{name}.lora_A.weight"], tensors[f"{name}.lora_B.weight"] = layer_tensors(layer)
    tensors |= whole_tensors(model, whole)
    if rows is not None:
        tensors[f"{embedding_name(model)}.{ROWS_KEY}"] = rows.input_ND
        if rows.output_ND is not None:
            tensors[f"{name_of(model, model.get_output_embeddings())}.{ROWS_KEY}"] = rows.output_ND
    named = {f"{PEFT_PREFIX}{name}": value.float() for name, value in tensors.items()}
    write_tensors(folder / WEIGHTS_NAME, named)
    write_json(folder / CONFIG_NAME, peft_config(model, base_name=base_name, whole=whole, rows=rows))


def embedding_name(model: PreTrainedModel) -> str:
    """The dotted name of the embedding in the base model."""
    return name_of(model, model.get_input_embeddings())


def whole_tensors(model: PreTrainedModel, whole: Sequence[str]) -> dict[str, Tensor]:
    """Parameters of modules that learned whole; a tied output layer is stored with its embedding."""
    tensors = {}
    for name in whole:
        for part, parameter in model.get_submodule(name).named_parameters():
            tensors[f"{name}.{part}"] = parameter.detach().clone()
    if follows(model, whole):
        output = name_of(model, model.get_output_embeddings())
        tensors[f"{output}.weight"] = model.get_output_embeddings().weight.detach().clone()
    return tensors


def follows(model: PreTrainedModel, whole: Sequence[str]) -> bool:
    """Whether the output layer learns because the embedding does, by being tied."""
    return embedding_name(model) in whole and is_tied(model)


def peft_config(
    model: PreTrainedModel, *, base_name: str, whole: Sequence[str], rows: Rows | None
) -> dict[str, Any]:
    """`adapter_config.json` as PEFT reads it."""
    shapes = {name: layer_shape(layer) for name, layer in lora_layers(model)}
    counts = Counter(shapes.values()).most_common()
    common = min((shape for shape, count in counts if count == counts[0][1]), key=lambda shape: shape.rank)
    ranks = patterns_of(shapes, common.rank, lambda shape: shape.rank)
    alphas = patterns_of(shapes, common.alpha, lambda shape: shape.alpha)
    assert shapes_of(shapes, common, rank_pattern=ranks, alpha_pattern=alphas) == shapes
    return {
        "peft_type": "LORA",
        "task_type": "CAUSAL_LM",
        "base_model_name_or_path": base_name,
        "r": common.rank,
        "lora_alpha": common.alpha,
        "use_rslora": common.rank_stabilised,
        "rank_pattern": ranks,
        "alpha_pattern": alphas,
        **targets_of(model, list(shapes)),
        "modules_to_save": list(whole) or None,
        "ensure_weight_tying": follows(model, whole),
        "trainable_token_indices": None if rows is None else row_indices(model, rows),
        "lora_dropout": 0.0,
        "bias": "none",
        "fan_in_fan_out": False,
        "inference_mode": True,
        "init_lora_weights": True,
    }


def row_indices(model: PreTrainedModel, rows: Rows) -> dict[str, list[int]]:
    """PEFT's list of the rows that learn, by layer."""
    ids = list(rows.token_ids)
    indices = {embedding_name(model): ids}
    if rows.output_ND is not None:
        indices[name_of(model, model.get_output_embeddings())] = ids
    return indices


def patterns_of(
    shapes: Mapping[str, LoraShape], common: float, value: Callable[[LoraShape], float]
) -> dict[str, Any]:
    """PEFT's pattern for layers that differ from the common value: by ending where all of an ending agree."""
    patterns: dict[str, Any] = {}
    for ending in sorted(endings(shapes)):
        values = {name: value(shape) for name, shape in shapes.items() if name.rpartition(".")[2] == ending}
        if len(set(values.values())) == 1:
            patterns[ending] = next(iter(values.values()))
        else:
            patterns |= values
    return {name: found for name, found in patterns.items() if found != common}


def targets_of(model: PreTrainedModel, names: Sequence[str]) -> dict[str, Any]:
    """`target_modules`, with PEFT's list of blocks where that says it: endings if they say it all."""
    short = endings(names)
    modules = [base_module_name(name) for name, _ in model.named_modules()]
    meant = [name for name in dict.fromkeys(modules) if name.rpartition(".")[2] in short]
    if set(meant) == set(names):
        return {"target_modules": sorted(short)}
    blocks = sorted({index for name in names if (index := layer_index(name)) is not None})
    within = {name for name in meant if layer_index(name) in blocks and LAYER_INDEX.match(name)}
    if within == set(names):
        return {"target_modules": sorted(short), "layers_to_transform": blocks}
    return {"target_modules": list(names)}


def base_module_name(name: str) -> str:
    """A module's name before LoRA was put around it."""
    return name.removesuffix(".base")


def is_missing(model: nn.Module, name: str) -> bool:
    """Whether a model has no module of this name."""
    try:
        model.get_submodule(name)
    except AttributeError:
        return True
    return False
