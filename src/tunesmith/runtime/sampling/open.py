"""The sampler that fits a loaded model."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Final

from tunesmith.runtime.lora.bank import AdapterBank
from tunesmith.runtime.models import Loaded
from tunesmith.runtime.packed import pack_linears
from tunesmith.runtime.sampling.engine import DEFAULT_MEMORY_BYTES, Sampler
from tunesmith.runtime.sampling.port import CannotStep, Sampling

NO_ADAPTERS: Final[Mapping[str, Path]] = MappingProxyType({})


def open_sampler(
    loaded: Loaded,
    *,
    adapters: Mapping[str, Path] = NO_ADAPTERS,
    max_batch: int = 32,
    memory_bytes: int = DEFAULT_MEMORY_BYTES,
    pack: bool = True,
) -> Sampling:
    """A sampler that steps the model token by token where that gives the model's own numbers.

    Elsewhere (recurrent and hybrid models, learned prompts, layers that our attention does not know)
    transformers' own forward answers behind the same interface, slower; its `note` says so.  `adapters` by
    name share the batch, each for the requests that name it.  `pack` rearranges bfloat16 weights for this
    processor, after which the model only generates and takes no more adapters.  Raises ModelError for an
    adapter that cannot share the batch, and for a model that neither way computes.
    """
    bank = AdapterBank(loaded.model, info=loaded.info) if adapters else None
    for name, folder in adapters.items():
        assert bank is not None
        bank.add(name, folder)
    if pack:
        pack_linears(loaded.model)
    reason = "its adapter puts learned tokens before each prompt"
    if loaded.forward is None:
        try:
            return Sampler(
                loaded.model, loaded.tokenizer, bank=bank, max_batch=max_batch, memory_bytes=memory_bytes
            )
        except CannotStep as error:
            reason = error.message()
    from tunesmith.runtime.sampling.static import StaticSampler

    return StaticSampler(
        loaded.model,
        loaded.tokenizer,
        forward=loaded.forward,
        bank=bank,
        max_batch=max_batch,
        memory_bytes=memory_bytes,
        reason=reason,
    )
