"""Method `freeze`: chosen parameters of the model learn, the others stay.

Autograd records only what leads to a parameter that learns, so below the lowest of them nothing is kept and
nothing is computed backwards.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from difflib import SequenceMatcher
from functools import partial

from transformers import PreTrainedModel

from tunesmith.core.errors import ConfigError, ModelError
from tunesmith.core.recipe import Freeze
from tunesmith.runtime.init_from import begin_from
from tunesmith.runtime.methods.port import Attached, Begin
from tunesmith.runtime.methods.whole import (
    all_names,
    learn,
    own_parameters,
    publish_whole,
    refuse_quantised,
)
from tunesmith.runtime.models import Loaded
from tunesmith.runtime.structure import top_blocks


def attach(loaded: Loaded, settings: Freeze, begin: Begin) -> Attached:
    """Let the chosen parameters learn; an adapter to begin from is merged into the weights.

    Raises ModelError when an expression matches nothing, for a quantised base, and for an adapter that should
    go on learning or be stacked on; ConfigError when there are fewer layers than asked for, and when new
    tokens have rows that would not learn.
    """
    refuse_quantised(loaded.model, settings.kind)
    begin_from(loaded, begin, kind="")
    chosen = chosen_names(loaded.model, settings)
    check_new_tokens(loaded.model, chosen, begin)
    every = all_names(loaded.model)
    return Attached(
        model=loaded.model,
        trainable=learn(loaded.model, chosen),
        publish=partial(publish_whole, loaded),
        expected_parameters=sum(every[name].numel() for name in chosen),
    )


def chosen_names(model: PreTrainedModel, settings: Freeze) -> set[str]:
    """First names of the parameters that `train` and `layers` choose."""
    every = all_names(model)
    first = {id(parameter): name for name, parameter in own_parameters(model).items()}
    chosen: set[str] = set()
    for pattern in settings.train:
        matched = [name for name in every if compiled(pattern).search(name)]
        if not matched:
            raise ModelError(
                "no parameter's name matches this expression",
                where="method.train",
                value=pattern,
                next_step=f"names are such as {', '.join(nearest_names(pattern, every))}",
            )
        chosen |= {first[id(every[name])] for name in matched}
    if settings.layers:
        starts = tuple(f"{name}." for name, _ in top_blocks(model, settings.layers))
        chosen |= {first[id(parameter)] for name, parameter in every.items() if name.startswith(starts)}
    return chosen


def nearest_names(pattern: str, names: Iterable[str]) -> list[str]:
    """Three names that look most like an expression."""
    plain = pattern.replace("\\", "")
    return sorted(names, key=lambda name: -SequenceMatcher(None, plain, name).ratio())[:3]


def compiled(pattern: str) -> re.Pattern[str]:
    """A regular expression of the recipe; raises ConfigError when it is none."""
    try:
        return re.compile(pattern)
    except re.error as error:
        raise ConfigError(
            f"not a regular expression ({error})",
            where="method.train",
            value=pattern,
            next_step=r"write it like `layers\.(28|29)\.` or `norm`",
        ) from None


def check_new_tokens(model: PreTrainedModel, chosen: set[str], begin: Begin) -> None:
    """Raise ConfigError when new tokens were added and their rows would stay as they are.

    A row of the embedding is what the model hears, a row of an output layer of its own what it can say.
    """
    if not begin.new_token_ids:
        return
    every = all_names(model)
    learning = {id(every[name]) for name in chosen}
    ends = {id(layer.weight) for layer in (model.get_input_embeddings(), model.get_output_embeddings())}
    still = [name for name, parameter in every.items() if id(parameter) in ends - learning]
    if still:
        raise ConfigError(
            f"{len(begin.new_token_ids)} tokens are new, and freeze would leave their rows untrained",
            where="method.train",
            value=", ".join(still),
            next_step="name these in method.train too, or use method lora, which trains new rows alone",
        )
