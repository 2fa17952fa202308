"""Putting a saved adapter of any kind on its base model, to generate with.

An adapter stays beside the weights: merging in float32 and rounding to bfloat16 loses the part of an update
that is smaller than half a step of the weight's eight bits; kept apart, the outputs are those of training to
the last bit.  Methods of the PEFT library that compute a whole matrix in each forward are merged where that
loses nothing but rounding, which is on a float32 base.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

import torch

from tunesmith.core.errors import ModelError
from tunesmith.core.files import read_json
from tunesmith.runtime import bottleneck, lora
from tunesmith.runtime.init_from import LORA, kind_of
from tunesmith.runtime.models import Loaded
from tunesmith.runtime.vocabulary import load_rows

CONFIG: Final = lora.CONFIG_NAME


def put_on(loaded: Loaded, folder: Path) -> Loaded:
    """The model with the adapter of a folder, frozen and in evaluation mode.

    Raises ModelError when the folder is none, does not fit the base, or holds a method that cannot be
    sampled from here.
    """
    kind = kind_of(folder)
    if kind == LORA and lora.unsupported(read_json(folder / CONFIG)) is None:
        put_on_lora(loaded, folder)
    elif kind == bottleneck.PEFT_TYPE:
        prepare_base(loaded, folder)
        bottleneck.load_adapter(loaded.model, folder)
        load_rows(loaded.model, folder)
    else:
        put_on_peft(loaded, folder, kind)
    loaded.model.requires_grad_(False)
    loaded.model.eval()
    return loaded


def put_on_lora(loaded: Loaded, folder: Path) -> None:
    """LoRA on our own forward, its masters rounded once."""
    lora.load_adapter(loaded.model, folder)
    for _, layer in lora.lora_layers(loaded.model):
        layer.settle()


def prepare_base(loaded: Loaded, folder: Path) -> None:
    """Merge the adapter that the base was merged with before this one learned, if there is one."""
    if (folder / lora.MERGED_FIRST).exists():
        lora.merge_adapter(loaded.model, folder / lora.MERGED_FIRST)


def put_on_peft(loaded: Loaded, folder: Path, kind: str) -> None:
    """Any other method, through the PEFT library."""
    from tunesmith.runtime.methods import peft
    from tunesmith.runtime.methods.peft_config import kind_of as peft_kind

    found = peft_kind(kind)
    if found.layout == "padded":
        raise ModelError(
            f"{kind} puts learned tokens before each row, or runs a second model beside this one, which the"
            " sampler cannot do",
            where=folder,
            next_step="use it with PEFT itself (`PeftModel.from_pretrained`), or train lora instead",
        )
    prepare_base(loaded, folder)
    wrapper = peft.load_wrapper(loaded.model, folder, wide=found.wide)
    load_rows(loaded.model, folder)
    if kind == "POLY":
        peft.name_first_task(loaded.model)
    biased = read_json(folder / CONFIG).get(
        "lora_bias", False
    )  # the base's layers may have none to add it to
    if found.merges and not biased and loaded.model.dtype == torch.float32:
        with peft.quiet():
            wrapper.merge_and_unload()
