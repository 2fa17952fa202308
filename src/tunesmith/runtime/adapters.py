"""Putting a saved adapter of any kind on its base model, to generate with.

An adapter stays beside the weights: merging in float32 and rounding to bfloat16 loses the part of an update
that is smaller than half a step of the weight's eight bits; kept apart, the outputs are those of training to
the last bit.  Methods of the PEFT library that compute a whole matrix in each forward are merged where that
loses nothing but rounding, which is on a float32 base.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import torch

from tunesmith.core.errors import ModelError
from tunesmith.core.files import read_json
from tunesmith.runtime import bottleneck, lora
from tunesmith.runtime.adapter_facts import check_base
from tunesmith.runtime.init_from import LORA, kind_of
from tunesmith.runtime.models import Loaded
from tunesmith.runtime.quantise import Quantisation, quantise
from tunesmith.runtime.vocabulary import load_rows


def put_on(loaded: Loaded, folder: Path, *, held: Quantisation | None = None) -> Loaded:
    """The model with the adapter of a folder, frozen and in evaluation mode.

    `held` holds the base in few bits; None: as the adapter says.  Raises ModelError when the folder is none,
    does not fit the base or learned on another, or holds a method that cannot be sampled from here, or not on
    few bits.
    """
    kind = kind_of(folder)
    check_base(folder, loaded.info)
    if kind == LORA and lora.unsupported(read_json(folder / lora.CONFIG_NAME)) is None:
        put_on_lora(loaded, folder, held)
    elif kind == bottleneck.PEFT_TYPE:
        lora.merge_first(loaded.model, folder)
        bottleneck.load_adapter(loaded.model, folder)
        if held is not None:
            quantise(loaded.model, held, keep=["bottleneck"])
        load_rows(loaded.model, folder)
    elif held is not None:
        raise ModelError(
            f"{kind} of the PEFT library cannot lie on a base held in {held.describe()} by tunesmith",
            where=folder,
            next_step="leave --quantise out",
        )
    else:
        loaded = put_on_peft(loaded, folder, kind)
    for module in (loaded.model, loaded.forward):
        if module is not None:
            module.requires_grad_(False).eval()
    return loaded


def put_on_lora(loaded: Loaded, folder: Path, held: Quantisation | None) -> None:
    """LoRA on our own forward, its masters rounded once."""
    lora.load_adapter(loaded.model, folder, held=held)
    for _, layer in lora.lora_layers(loaded.model):
        layer.settle()


def put_on_peft(loaded: Loaded, folder: Path, kind: str) -> Loaded:
    """Any other method, through the PEFT library; its wrapper takes the prompts where it learned one."""
    from tunesmith.runtime.methods import peft
    from tunesmith.runtime.methods.peft_config import kind_of as peft_kind

    found = peft_kind(kind)
    if found.layout == "padded" and not found.learns_prompt:
        raise ModelError(
            f"{kind} runs a second model beside this one, which the sampler cannot do",
            where=folder,
            next_step="use it with PEFT itself (`PeftModel.from_pretrained`), or train lora instead",
        )
    lora.merge_first(loaded.model, folder)
    wrapper = peft.load_wrapper(loaded.model, folder, wide=found.wide)
    load_rows(loaded.model, folder)
    called = peft.what_is_called(wrapper, kind)
    if found.learns_prompt:
        wrapper.word_embeddings = loaded.model.get_input_embeddings()  # it looks tokens up by itself
        return replace(loaded, forward=called)
    # the base's layers may have no bias to add it to
    biased = read_json(folder / lora.CONFIG_NAME).get("lora_bias", False)
    if found.merges and not biased and loaded.model.dtype == torch.float32:
        with peft.quiet():
            wrapper.merge_and_unload()
    return loaded
