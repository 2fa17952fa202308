"""Several LoRA adapters on one base model in one forward pass: each run of tokens takes its own.

Not for several threads: adapters come, go and are routed between passes, by whoever runs the passes.
`banked.py` has the layers.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from transformers import PreTrainedModel, PreTrainedTokenizerBase

from tunesmith.core.errors import ModelError, nearest
from tunesmith.core.files import read_json
from tunesmith.runtime.adapter_facts import check_base
from tunesmith.runtime.init_from import LORA, kind_of
from tunesmith.runtime.lora.attaching import MERGED_FIRST
from tunesmith.runtime.lora.banked import BankedLinear, Line, Part, Route, Run, Switch
from tunesmith.runtime.lora.files import CONFIG_NAME, Stored, is_missing, read_adapter, unsupported
from tunesmith.runtime.lora.targets import is_linear
from tunesmith.runtime.models import ModelInfo, read_tokenizer
from tunesmith.runtime.packed_linear import PackedLinear
from tunesmith.runtime.quantise import Quantisation, device_of, dtype_of, quantised_layers
from tunesmith.runtime.vocabulary import GIVE_ITS_BASE, has_tokenizer, read_rows

WASTE: Final = 8192
"""Products of a token with a rank that belongs to another adapter; so many cost what one more run does."""
PATIENCE: Final = 32
"""Mixed passes in a row that use less than half of what is stacked, after which only that is stacked."""


class AdapterBank:
    """LoRA adapters by name on one base model.

    `model` must carry no adapter of its own; with its `info`, adapters that learned on other weights are
    refused even where every shape fits.  Once an adapter is here, every pass over the model needs a route,
    good for that pass alone: a pass without one, or with one for another number of tokens, raises
    RuntimeError.  For inference only.
    """

    def __init__(self, model: PreTrainedModel, *, info: ModelInfo | None = None) -> None:
        self.model, self.info = model, info
        held = {layer.settings for layer in quantised_layers(model).values()}
        self.held: Quantisation | None = next(iter(held), None)
        self._switch = Switch()
        self._layers: dict[str, BankedLinear] = {}
        self._ranks: dict[str, int] = {}
        self._stacked: tuple[str, ...] = ()
        self._too_wide = 0
        self._num_wrapped = 0

    @property
    def names(self) -> tuple[str, ...]:
        """The adapters that are here, in the order in which they came."""
        return tuple(self._ranks)

    @property
    def routed(self) -> Route | None:
        """What the next pass, or the last one, takes."""
        return self._switch.route

    def add(self, name: str, folder: Path) -> None:
        """Read an adapter's folder and put it beside the others; they stay as they are.

        Raises ModelError, and changes nothing, for one that has to be alone, is for another base, or cannot
        be read, and for a name that is taken.
        """
        if name in self._ranks:
            raise ModelError("an adapter of this name is here already", value=name)
        stored = read_adapter(folder) if (reason := why_unread(folder)) is None else None
        if stored is None or (reason := why_apart(stored, self.held)):
            raise ModelError(
                f"this adapter cannot share a batch: {reason}",
                where=folder,
                next_step="load it with a base of its own",
            )
        if self.info is not None:
            check_base(folder, self.info)
        check_parts(self.model, stored)
        for layer_name, (a_KI, b_OK) in stored.parts.items():
            layer = self._layers.get(layer_name) or self._wrap(layer_name)
            device, dtype = device_of(layer.base), dtype_of(layer.base)
            scale = stored.shapes[layer_name].scale
            layer.parts[name] = Part(a_KI.to(device, dtype), (b_OK.float() * scale).to(device, dtype))
        ranks = [shape.rank for shape in stored.shapes.values()]
        self._ranks[name] = max(ranks)
        self._switch.route = None

    def remove(self, name: str) -> None:
        """Let an adapter go, and its memory; raises ModelError for one that is not here."""
        self._check_known(name)
        del self._ranks[name]
        for layer_name, layer in list(self._layers.items()):
            layer.parts.pop(name, None)
            layer.stack = None
            if not layer.parts:
                self.model.set_submodule(layer_name, layer.base)
                del self._layers[layer_name]
        self._stacked, self._too_wide, self._switch.route = (), 0, None

    def route(self, runs: Sequence[tuple[str | None, int]], *, reads: Sequence[int] | None = None) -> None:
        """Say which adapter (None: the base alone) each run of consecutive tokens of the next pass takes.

        `reads` are the tokens that reach the output layer, in their order, where those are not all
        (`logits_to_keep`); only an adapter on the output layer asks for it.  Raises ModelError for a name
        that is not here.
        """
        self._switch.route = None
        line = line_of(runs)
        for run in line.runs:
            if run.name is not None:
                self._check_known(run.name)
        names = frozenset(run.name for run in line.runs if run.name is not None)
        alone = line.runs[0].name if len(line.runs) == 1 else None
        stacked = self._to_stack(line, names) if names and alone is None else ()
        self._switch.route = Route(line, read_line(line, reads), names, alone, stacked)

    def _check_known(self, name: str) -> None:
        if name not in self._ranks:
            raise ModelError("no adapter of this name", value=name, next_step=nearest(name, self._ranks))

    def _wrap(self, name: str) -> BankedLinear:
        base: Any = self.model.get_submodule(name)
        is_output = base is self.model.get_output_embeddings()
        layer = BankedLinear(base, self._switch, self._num_wrapped, is_output=is_output)
        self._num_wrapped += 1
        self.model.set_submodule(name, layer.train(self.model.training))
        self._layers[name] = layer
        return layer

    def _to_stack(self, line: Line, names: frozenset[str]) -> tuple[str, ...]:
        """The adapters to stack for a pass, in the bank's order; none where computing by run is cheaper.

        Stacking anew copies every part: so what is stacked stays while others join it, until it has been far
        too wide for long.
        """
        needed = tuple(name for name in self._ranks if name in names)
        wanted = tuple(name for name in self._ranks if name in names or name in self._stacked)
        width, width_needed = (sum(self._ranks[name] for name in found) for found in (wanted, needed))
        self._too_wide = self._too_wide + 1 if width > 2 * width_needed else 0
        if self._too_wide > PATIENCE:
            wanted, self._too_wide = needed, 0
        self._stacked = wanted
        num_runs = sum(run.name is not None for run in line.runs)
        return () if wasted(line, self._ranks, wanted) > WASTE * (num_runs - 1) else wanted


def line_of(runs: Sequence[tuple[str | None, int]]) -> Line:
    """Runs with their places, neighbours of one adapter joined; ValueError for a run without tokens."""
    joined: list[Run] = []
    start = 0
    for name, length in runs:
        if length < 1:
            raise ValueError(f"a run of {length} tokens")
        if joined and joined[-1].name == name:
            joined[-1] = joined[-1]._replace(stop=start + length)
        else:
            joined.append(Run(name, start, start + length))
        start += length
    if not joined:
        raise ValueError("a route of no tokens")
    return Line(tuple(joined), start)


def read_line(line: Line, reads: Sequence[int] | None) -> Line:
    """The tokens of a line that are read, in their order."""
    if reads is None:
        return Line(line.runs, line.num_tokens)
    by_token = [run.name for run in line.runs for _ in range(run.start, run.stop)]
    return line_of([(by_token[read], 1) for read in reads]) if reads else Line((), 0)


def wasted(line: Line, ranks: Mapping[str, int], stacked: Sequence[str]) -> int:
    """Products of a token with a rank of an adapter that it does not take, if these are stacked."""
    width = sum(ranks[name] for name in stacked)
    return sum(
        (run.stop - run.start) * (width - (0 if run.name is None else ranks[run.name])) for run in line.runs
    )


def why_alone(
    folder: Path, *, held: Quantisation | None = None, tokenizer: PreTrainedTokenizerBase | None = None
) -> str | None:
    """Why an adapter cannot share a batch with others on one base, in words; None when it can.

    `held` says how the shared base is held (None: as it was loaded).  With the base's `tokenizer`, one of the
    adapter's own with other tokens is a reason too: its answers would be read by the wrong one.
    Raises ModelError for a folder that is no adapter or cannot be read.
    """
    if reason := why_unread(folder) or why_apart(read_adapter(folder), held):
        return reason
    return None if tokenizer is None else other_tokenizer(folder, tokenizer)


def why_unread(folder: Path) -> str | None:
    """Why an adapter has to be alone, as far as that is seen without reading its weights."""
    kind = kind_of(folder)
    if kind != LORA:
        return f"its method is {kind}, and only LoRA shares a batch"
    if reason := unsupported(read_json(folder / CONFIG_NAME)):
        return f"it has {reason}, which is more than LoRA's product beside a layer"
    if (folder / MERGED_FIRST).exists():
        return "its base was merged with an earlier adapter before it learned"
    return None


def why_apart(stored: Stored, held: Quantisation | None) -> str | None:
    """Why a LoRA adapter has to be alone, by what it holds."""
    if stored.modules_to_save or stored.whole:
        return f"the modules {', '.join(stored.modules_to_save)} learned whole with it"
    if stored.rows is not None or read_rows(stored.folder) is not None:
        return "rows of tokens learned with it"
    if stored.embedding:
        return f"it brings weights of its own: {', '.join(stored.embedding)}"
    if stored.quantisation is not None and stored.quantisation != held:
        return (
            f"it learned on a base held in {stored.quantisation.describe()},"
            f" and this one is held {'as it was loaded' if held is None else f'in {held.describe()}'}"
        )
    return None


def other_tokenizer(folder: Path, tokenizer: PreTrainedTokenizerBase) -> str | None:
    """How an adapter's tokens differ from the base's; None when it brings none or the same.

    Another chat template is no difference: whoever renders a prompt for the adapter uses its own.
    """
    if not has_tokenizer(folder):
        return None
    own = read_tokenizer(folder)
    if own.get_vocab() != tokenizer.get_vocab() or specials(own) != specials(tokenizer):
        return "it brings a tokenizer with other tokens"
    return None


def specials(tokenizer: PreTrainedTokenizerBase) -> dict[int, str]:
    """Tokens that are left out of an answer's text."""
    return {
        number: token.content for number, token in tokenizer.added_tokens_decoder.items() if token.special
    }


def check_parts(model: PreTrainedModel, stored: Stored) -> None:
    """Raise ModelError unless each stored pair belongs to a linear layer of its size and is finite."""
    found = [reason for name in stored.parts if (reason := misfit(model, stored, name))]
    if not stored.parts:
        found = ["it has no LoRA weights"]
    if found:
        more = f" (and {len(found) - 1} more layers)" if len(found) > 1 else ""
        raise ModelError(
            f"the adapter does not fit this base model: {found[0]}{more}",
            where=stored.folder,
            next_step=GIVE_ITS_BASE,
        )
    for name, pair in stored.parts.items():
        # A product with zero does not hide them from the other rows of a batch.
        if not all(bool(tensor.isfinite().all()) for tensor in pair):
            raise ModelError("the adapter's weights are not finite", where=stored.folder, value=name)


def misfit(model: PreTrainedModel, stored: Stored, name: str) -> str | None:
    """How a stored pair differs from the model's layer of its name; None when it fits."""
    if is_missing(model, name):
        return f"there is no layer {name}"
    module: Any = model.get_submodule(name)
    layer = module.base if isinstance(module, BankedLinear) else module
    if not is_linear(layer) and not isinstance(layer, PackedLinear):
        return f"{name} is a {type(layer).__name__} and no plain linear layer"
    a_KI, b_OK = stored.parts[name]
    if (a_KI.shape[1], b_OK.shape[0]) == (layer.in_features, layer.out_features):
        return None
    return (
        f"{name} maps {layer.in_features} to {layer.out_features},"
        f" and the adapter's maps {a_KI.shape[1]} to {b_OK.shape[0]}"
    )
