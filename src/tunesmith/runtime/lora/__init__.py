"""LoRA on our own forward: layers, which of them carry it, files in PEFT's format, loading and merging."""

from tunesmith.runtime.lora.attaching import (
    MERGED_FIRST,
    Rounding,
    attach_layers,
    copy_parts,
    lay_under,
    load_adapter,
    merge_adapter,
    merge_first,
    put_beside,
)
from tunesmith.runtime.lora.files import (
    CONFIG_NAME,
    PEFT_PREFIX,
    WEIGHTS_NAME,
    Stored,
    read_adapter,
    save_adapter,
    unsupported,
)
from tunesmith.runtime.lora.layer import LoraLinear, LoraShape, lora_layers, plain_forward
from tunesmith.runtime.lora.targets import Plan, linear_layers, plan

__all__ = [
    "CONFIG_NAME",
    "MERGED_FIRST",
    "PEFT_PREFIX",
    "WEIGHTS_NAME",
    "LoraLinear",
    "LoraShape",
    "Plan",
    "Rounding",
    "Stored",
    "attach_layers",
    "copy_parts",
    "lay_under",
    "linear_layers",
    "load_adapter",
    "lora_layers",
    "merge_adapter",
    "merge_first",
    "plain_forward",
    "plan",
    "put_beside",
    "read_adapter",
    "save_adapter",
    "unsupported",
]
