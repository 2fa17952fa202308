"""Method `peft`: any method of the PEFT library, by its own configuration.

What is injected into the model runs on the ragged core: PEFT replaces modules inside the transformers model,
and the core calls that model.  Methods that put tokens of their own before each row run padded, through
PEFT's wrapper.  Tensors keep the base's dtype (the session holds float32 masters), except where a method's
code needs float32.

A few methods add a term to the loss: AdaLoRA and KaSA an orthogonality penalty, MonteCLoRA a divergence.  It
depends on the adapter alone, so its gradient is added once a step, when the gradient of the data is complete.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Final

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from tunesmith.core.errors import ConfigError, ModelError
from tunesmith.core.files import explain_disk_errors, read_json
from tunesmith.core.recipe import Peft
from tunesmith.runtime.init_from import Start, begin_from
from tunesmith.runtime.lora import CONFIG_NAME
from tunesmith.runtime.methods import peft_start
from tunesmith.runtime.methods.peft_config import (
    WHERE,
    build_config,
    explained,
    import_bitsandbytes_first,
    kind_of,
)
from tunesmith.runtime.methods.peft_kinds import PLAIN, PeftKind, Target
from tunesmith.runtime.methods.peft_steps import between_steps
from tunesmith.runtime.methods.port import Attached, Begin, Trainable
from tunesmith.runtime.methods.whole import refuse_quantised
from tunesmith.runtime.models import Loaded
from tunesmith.runtime.tensor_files import tensor_errors_are_os_errors
from tunesmith.runtime.vocabulary import attach_new_rows, save_rows, save_tokenizer

QUIET: Final = (
    ".*is_gradient_checkpointing.*",  # PEFT asks transformers under the old name
    ".*Failed to load the CUDA extension.*",  # BOFT looks for a kernel and has another way
    ".*boft_n_butterfly_factor to 1.*",
    "Unsupported layer type .*",  # LN_TUNING on an RMSNorm: tried in tests/tiny/test_peft_table.py
    ".*no bias term.*cannot merge.*",  # BEFT: we never merge it
    "Sparse invariant checks.*",  # FRoD's own sparse matrices
    ".*rank_pattern keys did not match.*",  # AdaLoRA writes its ranks in a form that its base class
    "Model has `tie_word_embeddings=True`.*",  # the published folder is proved to load alike
    ".*merging LoRA weights won't be possible.*",  # we keep such an adapter beside the weights
    ".*low_cpu_mem_usage.*",  # EVA: a way to hold less while it looks at data
    ".*`eva_config` is not specified.*",
    "CorDA changes the base weights.*",  # published as a difference, as it advises
    "LoRA-GA.*",
    "Full backward hook is firing.*",  # LoRA-GA's hooks on an embedding
    ".*LoRA tensor\\(s\\) have invalid shape.*",  # … does not expect; a rank of 0 is what it means
)
"""Warnings of PEFT that tell a user nothing to act on, and why."""


@dataclass(frozen=True)
class Wrapped:
    """A model with one of PEFT's methods in it."""

    wrapper: Any
    config: Any
    kind: PeftKind
    settings: Peft

    @property
    def declared(self) -> dict[str, nn.Parameter]:
        """Every parameter that learns, by name."""
        return {
            name.removeprefix("base_model.").removeprefix("model."): parameter
            for name, parameter in self.wrapper.named_parameters()
            if parameter.requires_grad
        }


def attach(loaded: Loaded, settings: Peft, begin: Begin) -> Attached:
    """Put the method into the model.  Raises ConfigError naming the argument that is wrong, ModelError."""
    kind = kind_of(settings.peft_type)
    refuse_quantised(loaded.model, "peft")
    start = begin_from(loaded, begin, kind=settings.peft_type)
    initial: Mapping[str, Tensor] = {}
    if kind.layout == "padded":
        loaded.model.set_attn_implementation("sdpa")
        # Computed again, a block would not see the learned keys and values that stand before it.
        loaded.model.supports_gradient_checkpointing = False
    if start.mode == "continue" and start.folder is not None:
        wrapped = go_on(loaded, settings, kind, start.folder)
    else:
        wrapped, initial = fresh(loaded, settings, kind, begin)
    hold_what_never_learns(wrapped)
    trainable = [entry(name, parameter, wrapped) for name, parameter in wrapped.declared.items()]
    num_expected = expected(wrapped)
    earlier = start.folder if start.mode == "continue" else None
    rows = attach_new_rows(loaded.model, begin.new_token_ids, earlier)
    called = what_is_called(wrapped.wrapper, settings.peft_type)
    if rows and kind.layout == "padded":  # the wrapper looks tokens up by itself
        wrapped.wrapper.word_embeddings = loaded.model.get_input_embeddings()
    between = between_steps(wrapped.wrapper, wrapped.config, list(wrapped.declared.values()))
    return Attached(
        model=loaded.model,
        trainable=[*trainable, *rows],
        publish=partial(publish, loaded, wrapped, Published(initial, start, begin)),
        expected_parameters=num_expected + sum(row.parameter.numel() for row in rows),
        layout=kind.layout,
        forward=called if kind.layout == "padded" else None,
        unchanged_at_start=start.mode != "continue" and promises(wrapped),
        before_step=between.before,
        after_step=between.after,
        state=between.state,
        take_up=between.take_up,
    )


def fresh(
    loaded: Loaded, settings: Peft, kind: PeftKind, begin: Begin
) -> tuple[Wrapped, Mapping[str, Tensor]]:
    """A new adapter; beside it, where publishing needs them, the initial numbers."""
    import_bitsandbytes_first()
    from peft import get_peft_model

    peft_start.check(settings, loaded.model, begin)
    with quiet():
        config = build_config(settings, loaded.model, num_steps=begin.num_steps)
    with fixed_random_state(begin.seed), quiet():
        peft_start.before(config, loaded.model, begin)
        wrapper = explained(
            lambda: get_peft_model(loaded.model, config, autocast_adapter_dtype=kind.wide), settings.peft_type
        )
        peft_start.after(config, wrapper, begin)
    config.base_model_name_or_path = begin.base_name  # PEFT puts the model's own path there
    wrapped = Wrapped(wrapper, config, kind, settings)
    if not wrapped.declared:
        raise ConfigError(
            "nothing learns with this configuration",
            where=WHERE,
            value=str(settings.config),
            next_step="docs/peft.md has a configuration of each method that does",
        )
    return wrapped, peft_start.remember(config, wrapper)


def go_on(loaded: Loaded, settings: Peft, kind: PeftKind, folder: Path) -> Wrapped:
    """Load the adapter that the run begins from; raises ConfigError where that is not what was asked for."""
    if not kind.continues:
        raise ConfigError(
            f"what {settings.peft_type} saves is its result, which cannot go on learning",
            where="init_from.mode",
            value="continue",
            next_step="begin anew: leave init_from out",
        )
    saved = read_json(folder / CONFIG_NAME)
    asked = {"peft_type": settings.peft_type, **settings.config}
    for name, value in asked.items():
        if not same(saved.get(name), value):
            raise ConfigError(
                f"the adapter to go on with has another {name}",
                where=f"{WHERE}.{name}",
                value=f"{saved.get(name)!r} instead of {value!r}",
                next_step="give the method the same settings as the earlier run",
            )
    wrapper = load_wrapper(loaded.model, folder, wide=kind.wide, learns=True)
    return Wrapped(wrapper, wrapper.peft_config["default"], kind, settings)


def same(saved: Any, asked: Any) -> bool:
    """Whether a saved argument is the one asked for; lists of names have no order."""
    if isinstance(saved, list) and isinstance(asked, list | tuple):
        return sorted(map(str, saved)) == sorted(map(str, asked))
    return bool(saved == asked)


def load_wrapper(model: PreTrainedModel, folder: Path, *, wide: bool, learns: bool = False) -> Any:
    """PEFT's wrapper of a model with a saved adapter; raises ModelError when it does not fit."""
    import_bitsandbytes_first()
    from peft import PeftModel

    try:
        with fixed_random_state(0), quiet():
            return PeftModel.from_pretrained(
                model, str(folder), is_trainable=learns, autocast_adapter_dtype=wide, local_files_only=True
            )
    except (OSError, ValueError, RuntimeError, KeyError, TypeError) as error:
        # What PEFT and safetensors raise on torn files and on tensors of another shape.
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise ModelError(
            "the adapter cannot be loaded on this base model",
            where=folder,
            value=reason[:300],
            next_step="give the model that it was trained on, or copy the adapter anew",
        ) from error


@contextmanager
def fixed_random_state(seed: int) -> Iterator[None]:
    """Draws inside depend on `seed` alone and leave torch's random state untouched."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        yield


@contextmanager
def quiet() -> Iterator[None]:
    """Keep warnings back that tell a user nothing to act on."""
    with warnings.catch_warnings():
        for message in QUIET:
            warnings.filterwarnings("ignore", message=message)
        yield


def hold_what_never_learns(wrapped: Wrapped) -> None:
    """Freeze what PEFT declares trainable though no gradient can reach it."""
    declared = wrapped.declared
    for name, parameter in declared.items():
        if ".ranknum." in name:  # AdaLoRA's count of ranks, a parameter only to be moved with the model
            parameter.requires_grad_(False)
    carriers = [name for name in declared if ".shadow_update_" in name]
    if carriers:  # the last block's update of the shadow state has no block after it to read it
        last = carriers[-1].partition(".shadow_update_")[0]
        for name in carriers:
            if name.startswith(f"{last}.shadow_update_"):
                declared[name].requires_grad_(False)


def entry(name: str, parameter: nn.Parameter, wrapped: Wrapped) -> Trainable:
    """Matrices of injected layers decay and may be orthogonalised; prompts, vectors, embeddings not."""
    matrix = parameter.dim() >= 2 and min(parameter.shape) > 1 and wrapped.kind.layout == "ragged"
    embedding = "token_adapter" in name or "trainable_tokens" in name or "embedding" in name
    whole = "modules_to_save" in name
    return Trainable(
        name,
        parameter,
        decay=matrix and not embedding,
        orthogonal=matrix and not embedding and not whole and parameter.dim() == 2,
    )


def expected(wrapped: Wrapped) -> int:
    """Numbers that learn: by the method's formula where it holds, else those that the method declares."""
    formula, given = wrapped.kind.formula, set(wrapped.settings.config)
    by_data = wrapped.settings.config.get("init_lora_weights") in ("eva", "mica")  # they choose what learns
    if formula is None or not given <= PLAIN or by_data:
        return sum(parameter.numel() for parameter in wrapped.declared.values())
    return formula(wrapped.config, targets(wrapped))


def targets(wrapped: Wrapped) -> list[Target]:
    """The layers that carry the method, as the base model has them."""
    from peft.tuners.tuners_utils import BaseTunerLayer

    if wrapped.settings.peft_type == "ADAPTION_PROMPT":
        width = wrapped.wrapper.get_base_model().config.hidden_size
        return [Target("attention", width, width)] * wrapped.config.adapter_layers
    found = []
    for name, module in wrapped.wrapper.get_base_model().named_modules():
        if isinstance(module, BaseTunerLayer):
            base: Any = module.get_base_layer()
            weight: Tensor = base.weight
            inputs, outputs = weight.shape[-1], weight.shape[0]
            if isinstance(base, nn.Embedding):  # a lookup is a product with a row of as many zeros and a one
                inputs, outputs = outputs, inputs
            found.append(Target(name, inputs, outputs))
    return found


def promises(wrapped: Wrapped) -> bool:
    """Whether step 0 equals the base exactly, which other initial values than the method's own may break."""
    changed = any(
        name.startswith("init_") and name.endswith("weights") and value not in peft_start.ZERO_UPDATE
        for name, value in wrapped.settings.config.items()
    )
    return wrapped.kind.start == "exactly" and not changed and not peft_start.changes_base(wrapped.config)


class FirstTask(nn.Module):
    """PEFT's wrapper, called for the first task: a run has one."""

    def __init__(self, wrapper: nn.Module) -> None:
        super().__init__()
        self.wrapper = wrapper

    def forward(self, input_ids: Tensor, **settings: Any) -> Any:
        """What the wrapper gives."""
        task_ids = torch.zeros(input_ids.shape[0], dtype=torch.long, device=input_ids.device)
        return self.wrapper(input_ids=input_ids, task_ids=task_ids, **settings)


def what_is_called(wrapper: Any, peft_type: str) -> nn.Module:
    """What takes whole rows; methods of several tasks are told that there is one."""
    called: nn.Module = wrapper
    if peft_type == "POLY":
        name_first_task(wrapper.get_base_model())
    return FirstTask(called) if peft_type == "MULTITASK_PROMPT_TUNING" else called


def name_first_task(model: nn.Module) -> None:
    """Poly's layers ask which task a row belongs to: the first one."""
    from peft.tuners.poly.layer import PolyLayer

    def first_task(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        task_ids = torch.zeros(args[0].shape[0], dtype=torch.long, device=args[0].device)
        return args, {"task_ids": task_ids, **kwargs}

    for module in model.modules():
        if isinstance(module, PolyLayer):
            module.register_forward_pre_hook(first_task, with_kwargs=True)


@dataclass(frozen=True)
class Published:
    """What publishing needs beside the adapter."""

    initial: Mapping[str, Tensor]
    """The initial numbers, where the difference to them is what is published."""
    start: Start
    begin: Begin


def publish(loaded: Loaded, wrapped: Wrapped, beside: Published, folder: Path) -> None:
    """Write the adapter as PEFT does, in safetensors."""
    with explain_disk_errors(folder), tensor_errors_are_os_errors(), quiet():
        folder.mkdir(parents=True, exist_ok=True)
        # Embeddings that learn are saved by the methods that train them; "auto" would ask a hub.
        wrapped.wrapper.save_pretrained(str(folder), save_embedding_layers=False)
        if beside.initial:
            peft_start.publish_difference(folder, beside.initial)
        (folder / "README.md").unlink(missing_ok=True)  # PEFT's empty model card; the run writes its own
    beside.start.publish(loaded, folder, base_name=beside.begin.base_name)
    save_rows(loaded.model, folder)
    if beside.begin.new_token_ids or beside.start.has_tokenizer:
        save_tokenizer(loaded, folder)
