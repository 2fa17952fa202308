"""Which layers carry LoRA, of which rank and scale; which modules learn whole."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from torch import nn
from transformers import PreTrainedModel

from tunesmith.core.errors import ModelError, nearest
from tunesmith.core.recipe import Lora, Qlora
from tunesmith.runtime.lora.layer import LoraShape
from tunesmith.runtime.quantise import QuantisedLinear, inside

LAYER_INDEX: Final = re.compile(r".*?\.[^.]*\.(?P<index>\d+)\.")
"""The number of the block in a layer's name: the first numbered part, as PEFT reads it."""


@dataclass(frozen=True)
class Plan:
    """What a LoRA adapter consists of."""

    shapes: Mapping[str, LoraShape]
    """By name of the layer, in the model's order."""
    whole: tuple[str, ...] = ()
    """Names of modules that learn whole."""


def linear_layers(model: PreTrainedModel) -> list[str]:
    """Dotted names of every linear layer but the output layer, in the model's order."""
    output = model.get_output_embeddings()
    names = [name for name, module in model.named_modules() if is_linear(module) and module is not output]
    if not names:
        raise ModelError(
            "the model has no plain linear layer that LoRA could be attached to",
            value=type(model).__name__,
            next_step="choose a model of the Llama family, such as smollm2-135m-instruct",
        )
    return names


def is_linear(module: nn.Module) -> bool:
    """Whether LoRA can stand beside this layer."""
    return type(module) is nn.Linear or isinstance(module, QuantisedLinear)


def name_of(model: nn.Module, wanted: nn.Module) -> str:
    """The dotted name of a module of the model."""
    names: dict[nn.Module, str] = {module: name for name, module in model.named_modules()}
    return names[wanted]


def plan(model: PreTrainedModel, settings: Lora | Qlora) -> Plan:
    """Layers, ranks and scales as a recipe asks; raises ModelError on anything that matches nothing."""
    whole = whole_modules(model, settings.modules_to_save)
    names = [name for name in chosen_layers(model, settings.target_modules) if not inside(name, whole)]
    if settings.layers:
        names = top_layers(model, names, settings.layers)
    if not names:
        raise ModelError(
            "no layer is left for LoRA: all that match learn whole",
            value=", ".join(settings.modules_to_save),
            next_step="name other layers in target_modules, or fewer in modules_to_save",
        )
    for key, pattern in (("rank_pattern", settings.rank_pattern), ("alpha_pattern", settings.alpha_pattern)):
        check_patterns(names, pattern, key)
    shapes = shapes_of(
        names,
        LoraShape(settings.rank, settings.alpha, settings.rslora),
        rank_pattern=settings.rank_pattern,
        alpha_pattern=settings.alpha_pattern,
    )
    for name, shape in shapes.items():
        check_rank(model, name, shape.rank)
    return Plan(shapes, whole)


def shapes_of(
    names: Iterable[str],
    shape: LoraShape,
    *,
    rank_pattern: Mapping[str, int],
    alpha_pattern: Mapping[str, float],
) -> dict[str, LoraShape]:
    """The shape of each layer by PEFT's rule: the first pattern that matches, else the common value."""
    found = {}
    for name in names:
        rank_key, alpha_key = pattern_key(rank_pattern, name), pattern_key(alpha_pattern, name)
        found[name] = LoraShape(
            shape.rank if rank_key is None else rank_pattern[rank_key],
            shape.alpha if alpha_key is None else alpha_pattern[alpha_key],
            shape.rank_stabilised,
        )
    return found


def pattern_key(patterns: Iterable[str], name: str) -> str | None:
    """The first pattern that matches an ending of a layer's name: PEFT's `get_pattern_key`."""
    return next((key for key in patterns if re.match(rf"(.*\.)?({key})$", name)), None)


def check_patterns(names: Sequence[str], patterns: Mapping[str, float], key: str) -> None:
    """Raise ModelError unless each pattern is the first to match some layer."""
    for pattern in patterns:
        check_expression(pattern, key)
    used = {pattern_key(patterns, name) for name in names}
    for pattern in patterns:
        if pattern not in used:
            raise ModelError(
                "a pattern decides for no layer that carries LoRA (an earlier one may match the same layers)",
                where=f"method.{key}",
                value=pattern,
                next_step=nearest(pattern, endings(names)),
            )


def check_expression(pattern: str, key: str) -> None:
    """Raise ModelError unless a pattern is a regular expression."""
    try:
        re.compile(pattern)
    except re.error as error:
        raise ModelError(
            f"not a regular expression ({error})",
            where=f"method.{key}",
            value=pattern,
            next_step=r"write it like `layers\.0\..*q_proj`, or give the ending of a layer's name",
        ) from error


def endings(names: Iterable[str]) -> set[str]:
    """Last parts of dotted names."""
    return {name.rpartition(".")[2] for name in names}


def named_by(target: str, name: str) -> bool:
    """Whether a recipe's name means this module: as its name, its ending, or an expression for it all."""
    return name == target or name.endswith(f".{target}") or re.fullmatch(target, name) is not None


def chosen_layers(model: PreTrainedModel, targets: Sequence[str]) -> list[str]:
    """The layers that `target_modules` means, in the model's order; none given: all of the blocks."""
    blocks = linear_layers(model)
    if not targets:
        return blocks
    output = model.get_output_embeddings()
    known = [*blocks, name_of(model, output)] if is_linear(output) else blocks
    chosen: set[str] = set()
    for target in targets:
        check_expression(target, "target_modules")
        matched = {name for name in known if named_by(target, name)}
        # An expression such as `.*` means the blocks; the output layer has to be named.
        if len(matched) > 1:
            matched &= set(blocks)
        if not matched:
            raise ModelError(
                "no linear layer of the model has this name",
                where="method.target_modules",
                value=target,
                next_step=nearest(target, endings(known)),
            )
        chosen |= matched
    return [name for name in known if name in chosen]


def top_layers(model: PreTrainedModel, names: Sequence[str], num_layers: int) -> list[str]:
    """Of some layers those in the top so many blocks; the output layer stays if it is among them."""
    indices = {name: layer_index(name) for name in names}
    total = int(model.config.get_text_config().num_hidden_layers)
    if num_layers > total:
        raise ModelError(
            f"the model has {total} layers", where="method.layers", value=num_layers, next_step="use fewer"
        )
    return [name for name, index in indices.items() if index is None or index >= total - num_layers]


def layer_index(name: str) -> int | None:
    """The block that a layer belongs to, None for one outside the blocks."""
    found = LAYER_INDEX.match(name)
    return None if found is None else int(found["index"])


def check_rank(model: PreTrainedModel, name: str, rank: int) -> None:
    """Raise ModelError when a rank is above what the layer's smaller side can hold."""
    layer = model.get_submodule(name)
    assert isinstance(layer, nn.Linear | QuantisedLinear)
    smaller = min(layer.in_features, layer.out_features)
    if rank > smaller:
        raise ModelError(
            f"the rank is above the smaller side of layer {name} ({smaller}): it adds nothing but cost",
            where="method.rank",
            value=rank,
            next_step=f"use at most {smaller}, or give this layer a rank of its own with rank_pattern",
        )


def whole_modules(model: PreTrainedModel, wanted: Sequence[str]) -> tuple[str, ...]:
    """Names of the modules that `modules_to_save` means; raises ModelError where that cannot be."""
    modules = dict(model.named_modules())
    tied = model.get_output_embeddings().weight is model.get_input_embeddings().weight
    found: dict[str, None] = {}
    for target in wanted:
        matched = [name for name in modules if name and (name == target or name.endswith(f".{target}"))]
        if not matched:
            raise ModelError(
                "no module of the model has this name",
                where="method.modules_to_save",
                value=target,
                next_step=nearest(target, endings(modules) - {""}),
            )
        for name in matched:
            check_whole(model, name, tied=tied)
        found |= dict.fromkeys(matched)
    for name in found:
        for other in found:
            if name.startswith(f"{other}."):
                raise ModelError(
                    f"{name} lies inside {other}, which is named too",
                    where="method.modules_to_save",
                    next_step="name one of the two",
                )
    return tuple(name for name in modules if name in found)


def check_whole(model: PreTrainedModel, name: str, *, tied: bool) -> None:
    """Raise ModelError unless a module can learn whole and be saved with an adapter."""
    module = model.get_submodule(name)
    where = "method.modules_to_save"
    if tied and module is model.get_output_embeddings():
        raise ModelError(
            "the output layer shares its weight with the embedding",
            where=where,
            value=name,
            next_step=f"name {name_of(model, model.get_input_embeddings())} instead: both learn as one",
        )
    if isinstance(module, nn.ModuleList | nn.ModuleDict):
        raise ModelError(
            "a list of modules cannot be saved", where=where, value=name, next_step="name its members"
        )
    if not any(True for _ in module.parameters()):
        raise ModelError("this module has no parameters", where=where, value=name, next_step="leave it out")
