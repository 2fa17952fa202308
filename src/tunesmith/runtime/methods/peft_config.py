"""A recipe's `method.config` → PEFT's own configuration class, with every argument checked."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import MISSING, Field, fields, is_dataclass
from functools import partial
from typing import Any, Final, get_args, get_type_hints

from pydantic import ConfigDict, TypeAdapter, ValidationError
from torch import nn
from transformers import PreTrainedModel

from tunesmith.core.errors import ConfigError, nearest
from tunesmith.core.recipe import Peft
from tunesmith.runtime.bits import import_bitsandbytes
from tunesmith.runtime.methods.peft_kinds import KINDS, PeftKind
from tunesmith.runtime.structure import blocks

WHERE: Final = "method.config"
OURS: Final = {
    "peft_type": "it is method.peft_type",
    "task_type": "it is always CAUSAL_LM here",
    "inference_mode": "a run trains",
    "base_model_name_or_path": "it is the recipe's model",
    "revision": "it is the recipe's model",
    "auto_mapping": "PEFT fills it in",
    "peft_version": "PEFT fills it in",
}
"""Arguments that are not the recipe's to give, and why."""
NEEDS_ANOTHER_FORWARD: Final = {
    "alora_invocation_tokens": "aLoRA switches on in the middle of a row",
    "arrow_config": "Arrow routes between finished adapters",
    "layer_replication": "it makes another base model",
    "megatron_config": "it belongs to Megatron's layers",
    "use_qalora": "QALoRA needs a base quantised by GPTQ",
    "monteclora_config": "its divergence belongs to each forward's own draws, and a step is many forwards",
    "velora_config": "it estimates the gradient from averages over a micro-batch, which here is memory only",
    "generator_seed": "draws come from the run's own random state, which a checkpoint holds",
    "runtime_config": "it is about where tensors lie, not what is learned",
}
"""Arguments of PEFT that this engine cannot honour, and why."""
REFUSALS: Final = (
    ValueError,
    TypeError,
    AttributeError,
    KeyError,
    RuntimeError,
    AssertionError,
)
"""The families that PEFT's configurations and layers are seen to raise on values that do not fit."""
NAME_ARGUMENTS: Final = ("target_modules", "exclude_modules", "modules_to_save", "feedforward_modules")


def config_class(peft_type: str) -> type[Any]:
    """PEFT's configuration class of a method; raises ConfigError for an unknown name."""
    import_bitsandbytes_first()
    from peft import PeftType
    from peft.mapping import PEFT_TYPE_TO_CONFIG_MAPPING

    known = {kind.value for kind in PeftType}
    if peft_type not in known:
        raise ConfigError(
            "the PEFT library has no such method",
            where="method.peft_type",
            value=peft_type,
            next_step=nearest(peft_type.upper(), known),
        )
    return PEFT_TYPE_TO_CONFIG_MAPPING[PeftType(peft_type)]


def import_bitsandbytes_first() -> None:
    """PEFT imports bitsandbytes where it is installed, which may ask a hub: ours does not."""
    try:
        import_bitsandbytes()
    except ImportError:
        return


def kind_of(peft_type: str) -> PeftKind:
    """How a method is run; raises ConfigError for one that is refused or newer than the table."""
    kind = KINDS.get(peft_type)
    if kind is None:
        config_class(peft_type)
        raise ConfigError(
            "this version of the PEFT library has the method, and tunesmith has not been tried with it",
            where="method.peft_type",
            value=peft_type,
            next_step=f"known: {', '.join(sorted(KINDS))}",
        )
    if kind.refused:
        raise ConfigError(
            kind.refused, where="method.peft_type", value=peft_type, next_step="choose another; docs/peft.md"
        )
    return kind


def build_config(settings: Peft, model: PreTrainedModel, *, num_steps: int | None) -> Any:
    """PEFT's configuration for this model.

    Raises ConfigError for an argument that is unknown, of a wrong type, missing, or names no module.
    """
    made_by, kind = config_class(settings.peft_type), kind_of(settings.peft_type)
    arguments = checked_arguments({**own_settings(settings), **settings.config}, made_by)
    for name in kind.needs:
        if arguments.get(name) is None:
            raise ConfigError(
                f"{settings.peft_type} needs an argument",
                where=WHERE,
                value=name,
                next_step=f"add `{name}: …`",
            )
    if settings.peft_type == "ADALORA" and arguments.get("total_step") is None:
        arguments["total_step"] = planned_steps(num_steps)
    known = {field.name for field in fields(made_by)}
    for name in NAME_ARGUMENTS:
        check_names(name, arguments.get(name), model)
    check_parameters(arguments.get("target_parameters"), model)
    if "target_modules" in known and kind.targets == "linear" and arguments.get("target_modules") is None:
        arguments["target_modules"] = linear_names(model)
    return explained(lambda: made_by(task_type="CAUSAL_LM", **arguments), settings.peft_type)


def own_settings(settings: Peft) -> dict[str, Any]:
    """The section of settings that some initial values ask for, at its defaults where the recipe has none."""
    chosen = settings.config.get("init_lora_weights")
    return {f"{chosen}_config": {}} if settings.begins_from_data else {}


def planned_steps(num_steps: int | None) -> int:
    """The run's length, which AdaLoRA plans its ranks by."""
    if num_steps is None:
        raise ConfigError(
            "AdaLoRA plans its ranks over the run and has to know its length",
            where=WHERE,
            value="total_step",
            next_step="add `total_step: …`, the number of optimiser steps",
        )
    return num_steps


def checked_arguments(config: Mapping[str, Any], made_by: type[Any]) -> dict[str, Any]:
    """The arguments, each known to PEFT and of the type that PEFT declares."""
    known = {field.name: field for field in fields(made_by) if field.init and field.name not in OURS}
    hints = get_type_hints(made_by)
    arguments = {}
    for name, value in config.items():
        if name in OURS:
            raise ConfigError(
                "this argument is not the recipe's to give", where=WHERE, value=name, next_step=OURS[name]
            )
        if name not in known:
            raise ConfigError(
                f"{made_by.__name__} has no such argument",
                where=WHERE,
                value=name,
                next_step=nearest(name, known),
            )
        if name in NEEDS_ANOTHER_FORWARD and value not in (None, False):
            raise ConfigError(
                "this engine cannot honour the argument",
                where=f"{WHERE}.{name}",
                value=str(value),
                next_step=f"leave it out: {NEEDS_ANOTHER_FORWARD[name]}",
            )
        arguments[name] = checked(name, value, hints[name], known[name])
    return arguments


def checked(name: str, value: Any, hint: Any, field: Field[Any]) -> Any:
    """One argument, of the type that PEFT declares for it (PEFT itself would take anything)."""
    if value is None and field.default is None:
        return None
    if name == "init_lora_weights" and re.fullmatch(r"pissa_niter_\d+|lora_ga", str(value)):
        return value  # PEFT takes these, and its own annotation leaves them out
    for nested in (hint, *get_args(hint)):
        if is_dataclass(nested) and isinstance(nested, type) and isinstance(value, Mapping):
            inner = checked_arguments(value, nested)
            return explained(partial(nested, **inner), name)
    settings = None if is_dataclass(hint) else ConfigDict(arbitrary_types_allowed=True)
    try:
        return TypeAdapter(hint, config=settings).validate_python(value, strict=not isinstance(value, str))
    except ValidationError as error:
        told = sorted(error.errors(), key=lambda detail: detail["type"] != "literal_error")
        problem = told[0]["msg"].replace("Input should", "should")
        raise ConfigError(
            f"{name} {problem}", where=f"{WHERE}.{name}", value=repr(value), next_step=default_of(field)
        ) from None


def default_of(field: Field[Any]) -> str:
    """A next step that shows a value that would do."""
    if field.default is MISSING or field.default is None:
        return "see docs/peft.md, or the class's own documentation in PEFT"
    return f"its default is {field.default!r}"


def explained(make: Callable[[], Any], where: str) -> Any:
    """Call PEFT; what it raises about its arguments becomes a ConfigError with its first sentence."""
    try:
        return make()
    except ImportError as error:
        raise ConfigError(
            "a package that this method needs is missing",
            where=where,
            value=str(error).splitlines()[0],
            next_step="install it beside tunesmith",
        ) from error
    except REFUSALS as error:
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise ConfigError(
            "PEFT refuses this configuration",
            where=where,
            value=reason[:300],
            next_step="change method.config",
        ) from error


def check_names(argument: str, names: Any, model: PreTrainedModel) -> None:
    """Raise ConfigError where a name matches no module: PEFT leaves it out when another one matches."""
    modules = [name for name, _ in model.named_modules() if name]
    if isinstance(names, str):
        if names != "all-linear" and not any(re.fullmatch(names, module) for module in modules):
            raise ConfigError(
                "no module's whole name matches this expression",
                where=f"{WHERE}.{argument}",
                value=names,
                next_step=r"write it like `.*\.(q|v)_proj`, or give a list of endings",
            )
        return
    for name in names or ():
        if not any(module == name or module.endswith(f".{name}") for module in modules):
            raise ConfigError(
                "no module has this name",
                where=f"{WHERE}.{argument}",
                value=name,
                next_step=nearest(name, {module.rpartition(".")[2] for module in modules} - numbers(modules)),
            )


def check_parameters(names: Sequence[str] | None, model: PreTrainedModel) -> None:
    """Raise ConfigError where a name of `target_parameters` matches nothing: PEFT only warns."""
    known = [name for name, _ in model.named_parameters()]
    for name in names or ():
        if not any(f".{parameter}".endswith(f".{name}") for parameter in known):
            raise ConfigError(
                "no parameter has this name",
                where=f"{WHERE}.target_parameters",
                value=name,
                next_step=nearest(name, {".".join(parameter.split(".")[-2:]) for parameter in known}),
            )


def numbers(modules: Iterable[str]) -> set[str]:
    """Endings that are positions in lists."""
    return {ending for module in modules if (ending := module.rpartition(".")[2]).isdigit()}


def linear_names(model: PreTrainedModel) -> list[str]:
    """Endings of the blocks' linear layers; whole names where an ending also stands elsewhere."""
    inside = [
        f"{start}.{name}"
        for start, block in blocks(model)
        for name, module in block.named_modules()
        if type(module) is nn.Linear
    ]
    endings = sorted({name.rpartition(".")[2] for name in inside})
    matched = [name for name, _ in model.named_modules() if ends_with(name, endings)]
    return endings if sorted(matched) == sorted(inside) else inside


def ends_with(name: str, endings: Sequence[str]) -> bool:
    """PEFT's rule for lists of names."""
    return any(name == ending or name.endswith(f".{ending}") for ending in endings)
