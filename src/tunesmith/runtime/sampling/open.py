"""The sampler that fits a loaded model."""

from __future__ import annotations

from tunesmith.runtime.lora.bank import AdapterBank
from tunesmith.runtime.models import Loaded
from tunesmith.runtime.packed import pack_linears
from tunesmith.runtime.sampling.engine import DEFAULT_MEMORY_BYTES, Sampler
from tunesmith.runtime.sampling.port import CannotStep, Sampling


def open_sampler(
    loaded: Loaded,
    *,
    bank: AdapterBank | None = None,
    max_batch: int = 32,
    memory_bytes: int = DEFAULT_MEMORY_BYTES,
    pack: bool = True,
) -> Sampling:
    """A sampler that steps the model token by token where that gives the model's own numbers.

    Elsewhere (recurrent and hybrid models, learned prompts, layers that our attention does not know)
    transformers' own forward answers behind the same interface, slower; its `note` says so.  The adapters of
    `bank`, also those that come later, share the batch, each for the requests that name it.  `pack`
    rearranges bfloat16 weights for this processor, after which the model only generates.  Raises ModelError
    for a model that neither way computes.
    """
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
