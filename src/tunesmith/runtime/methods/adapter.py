"""Method `adapter`: bottleneck adapters on our own forward (`runtime.bottleneck`)."""

from __future__ import annotations

from functools import partial
from pathlib import Path

from torch import nn

from tunesmith.core.errors import ConfigError
from tunesmith.core.recipe import Adapter
from tunesmith.runtime import bottleneck
from tunesmith.runtime.bottleneck import BottleneckShape
from tunesmith.runtime.init_from import Start, begin_from
from tunesmith.runtime.methods.port import Attached, Begin, Trainable
from tunesmith.runtime.models import Loaded
from tunesmith.runtime.structure import blocks
from tunesmith.runtime.vocabulary import attach_new_rows, save_rows, save_tokenizer


def attach(loaded: Loaded, settings: Adapter, begin: Begin) -> Attached:
    """Put adapters into the model's blocks, or go on with saved ones.

    Raises ModelError for a model of another structure, ConfigError for settings that do not fit it.
    """
    shape = shape_of(settings)
    model = loaded.model
    start = begin_from(loaded, begin, kind=bottleneck.PEFT_TYPE)
    if start.mode == "continue" and start.folder is not None:
        check_same(bottleneck.read_shape(start.folder), shape)
        bottleneck.load_adapter(model, start.folder)
    else:
        bottleneck.attach(model, shape, seed=begin.seed)
    rows = attach_new_rows(model, begin.new_token_ids, start.folder if start.mode == "continue" else None)
    width = model.config.get_text_config().hidden_size
    return Attached(
        model=model,
        trainable=[*(entry(name, master) for name, master in bottleneck.masters(model)), *rows],
        publish=partial(publish, loaded, shape, start, begin),
        expected_parameters=shape.parameters(width, len(blocks(model)))
        + sum(row.parameter.numel() for row in rows),
        unchanged_at_start=start.mode != "continue",
    )


def shape_of(settings: Adapter) -> BottleneckShape:
    """The recipe's section as the shape of an adapter."""
    return BottleneckShape(**settings.model_dump(exclude={"kind"}))


def entry(name: str, parameter: nn.Parameter) -> Trainable:
    """Matrices decay and may be orthogonalised, biases not."""
    matrix = parameter.dim() == 2
    return Trainable(name, parameter, decay=matrix, orthogonal=matrix)


def check_same(saved: BottleneckShape, asked: BottleneckShape) -> None:
    """Raise ConfigError where the adapter to go on with is not the one that the recipe describes."""
    if saved != asked:
        raise ConfigError(
            "the adapter to go on with has another shape than the recipe's",
            where="method",
            value=f"{saved} instead of {asked}",
            next_step="give the method the same settings as the earlier run",
        )


def publish(loaded: Loaded, shape: BottleneckShape, start: Start, begin: Begin, folder: Path) -> None:
    """Write the adapter folder, with what was merged into the base first and tokens that are new."""
    bottleneck.save_adapter(loaded.model, shape, folder, base_name=begin.base_name)
    start.publish(loaded, folder, base_name=begin.base_name)
    save_rows(loaded.model, folder)
    if begin.new_token_ids or start.has_tokenizer:
        save_tokenizer(loaded, folder)
