"""LoRA and QLoRA as methods: what learns, from where, and what is written."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from torch import nn
from transformers import PreTrainedModel

from tunesmith.core.errors import ModelError
from tunesmith.core.recipe import Lora, Qlora
from tunesmith.runtime.init_from import LORA, LoraFacts, Start, begin_from, check_same
from tunesmith.runtime.lora import (
    Plan,
    Stored,
    attach_layers,
    copy_parts,
    lay_under,
    lora_layers,
    plan,
    put_beside,
    read_adapter,
    save_adapter,
)
from tunesmith.runtime.lora.files import embedding_name
from tunesmith.runtime.lora.targets import name_of
from tunesmith.runtime.methods.port import Attached, Begin, Trainable
from tunesmith.runtime.quantise import Quantisation, as_facts, quantise
from tunesmith.runtime.vocabulary import add_tokens, attach_rows, embedding_weight, is_tied, save_tokenizer

if TYPE_CHECKING:
    from tunesmith.runtime.models import Loaded


@dataclass(frozen=True)
class Made:
    """What `attach` decided on, for publishing."""

    base_name: str
    plan: Plan
    start: Start
    stacked: Stored | None
    quantisation: Quantisation | None
    keep_tokenizer: bool
    """Whether the tokenizer knows tokens that the base model's own does not."""


def attach(loaded: Loaded, settings: Lora | Qlora, begin: Begin) -> Attached:
    """Set a loaded model up for LoRA; raises ModelError on a setting that the model does not admit.

    The order matters: an earlier adapter is merged into wide weights, layers are chosen by name, the base is
    quantised but for what learns whole, then LoRA and token rows are put in.
    """
    model = loaded.model
    num_tokens = len(loaded.tokenizer)
    token_ids = {*begin.new_token_ids, *add_tokens(loaded, settings.trainable_tokens)}
    start = begin_from(loaded, begin, kind=LORA)
    grew = bool(begin.new_token_ids) or len(loaded.tokenizer) > num_tokens or start.has_tokenizer
    made_plan = plan(model, settings)
    earlier = read_adapter(start.folder) if start.mode in ("continue", "stack") and start.folder else None
    stacked = earlier if start.mode == "stack" else None
    if earlier is not None and earlier.rows is not None:
        token_ids |= set(earlier.rows.token_ids)
    row_ids = rows_to_learn(model, made_plan, sorted(token_ids))
    expected = expected_parameters(model, made_plan, row_ids)
    quantisation = Quantisation.of(settings) if isinstance(settings, Qlora) else None
    if quantisation is not None:
        quantise(model, quantisation, keep=made_plan.whole)
    if stacked is not None:
        check_stackable(stacked, quantisation, whole_names(model, made_plan))
        put_beside(model, stacked)
    attach_layers(model, made_plan.shapes, seed=begin.seed, dropout=settings.dropout)
    if stacked is not None:
        lay_under(model, stacked)
    rows = attach_rows(model, row_ids) if row_ids else []
    if earlier is not None and stacked is None:
        whole = whole_names(model, made_plan)
        check_same(
            LoraFacts.of(earlier), LoraFacts(made_plan.shapes, whole, row_ids, quantisation), earlier.folder
        )
        copy_parts(model, earlier)
        put_beside(model, earlier)
    made = Made(begin.base_name, made_plan, start, stacked, quantisation, grew)
    trainable = [*low_rank(model, settings.lora_plus_ratio), *whole_modules(model, made_plan.whole), *rows]
    return Attached(
        model=model,
        trainable=trainable,
        publish=partial(publish, loaded, made),
        expected_parameters=expected,
    )


def expected_parameters(model: PreTrainedModel, made: Plan, row_ids: Sequence[int]) -> int:
    """Rank × (inputs + outputs) for each layer, whole modules, and rows × width for each embedding."""
    total = 0
    for name, shape in made.shapes.items():
        layer = model.get_submodule(name)
        assert isinstance(layer, nn.Linear)
        total += shape.rank * (layer.in_features + layer.out_features)
    total += sum(
        parameter.numel() for name in made.whole for parameter in model.get_submodule(name).parameters()
    )
    width = embedding_weight(model).shape[1]
    return total + len(row_ids) * width * (1 if is_tied(model) else 2)


def rows_to_learn(model: PreTrainedModel, made: Plan, token_ids: Sequence[int]) -> tuple[int, ...]:
    """Token rows that need to learn by themselves: none where embedding and output layer learn whole."""
    if not token_ids:
        return ()
    layers = {embedding_name(model)}
    if not is_tied(model):
        layers.add(name_of(model, model.get_output_embeddings()))
    both = layers & set(made.whole)
    if both == layers:
        return ()
    if both:
        raise ModelError(
            "new tokens need rows in the embedding and in the output layer, and one of them learns whole",
            where="method.modules_to_save",
            value=", ".join(sorted(both)),
            next_step=f"name both: {', '.join(sorted(layers))}",
        )
    return tuple(token_ids)


def check_stackable(stacked: Stored, quantisation: Quantisation | None, whole: Collection[str]) -> None:
    """Raise ModelError where an earlier adapter cannot lie under the new one."""
    found = None
    if stacked.quantisation != quantisation:
        found = "it learned on a base held in other bits"
    elif not stacked.whole.keys() <= set(whole):
        found = f"its modules {', '.join(stacked.modules_to_save)} have to go on learning (modules_to_save)"
    if found is not None:
        raise ModelError(
            f"the earlier adapter cannot be stacked on: {found}",
            where=stacked.folder,
            next_step="use init_from mode: merge_then_new",
        )


def low_rank(model: PreTrainedModel, ratio: float) -> list[Trainable]:
    """A and B of every layer; B learns `ratio` times as fast (LoRA+)."""
    output = model.get_output_embeddings()
    found = []
    for name, layer in lora_layers(model):
        hidden = layer is not output
        if layer.shape is not None:
            found.append(Trainable(f"{name}.lora_A", layer.lora_a, orthogonal=hidden))
            found.append(Trainable(f"{name}.lora_B", layer.lora_b, rate_factor=ratio, orthogonal=hidden))
        else:
            layer.requires_grad_(False)
    return found


def whole_names(model: PreTrainedModel, made: Plan) -> frozenset[str]:
    """Parameters of the modules that learn whole."""
    return frozenset(
        f"{module}.{part}"
        for module in made.whole
        for part, _ in model.get_submodule(module).named_parameters()
    )


def whole_modules(model: PreTrainedModel, whole: Sequence[str]) -> list[Trainable]:
    """Parameters of modules that learn whole; the session keeps a float32 master of each."""
    ends = {model.get_input_embeddings(), model.get_output_embeddings()}
    found = []
    for name in whole:
        module = model.get_submodule(name)
        for part, parameter in module.named_parameters():
            parameter.requires_grad_(True)
            matrix = parameter.dim() == 2 and module not in ends
            found.append(Trainable(f"{name}.{part}", parameter, decay=matrix, orthogonal=matrix))
    return found


def publish(loaded: Loaded, made: Made, folder: Path) -> None:
    """Write the adapter folder: PEFT's files, our facts, what was merged first, a tokenizer that grew."""
    save_adapter(
        loaded.model,
        folder,
        base_name=made.base_name,
        whole=made.plan.whole,
    )
    made.start.publish(loaded, folder, base_name=made.base_name, **as_facts(made.quantisation))
    if made.keep_tokenizer:
        save_tokenizer(loaded, folder)
