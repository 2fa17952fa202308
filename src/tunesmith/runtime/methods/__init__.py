"""The methods: each turns a loaded model into one that learns.  `METHODS` maps a recipe's `method.kind`."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from tunesmith.runtime.methods.port import Attach, Attached, Begin
    from tunesmith.runtime.models import Loaded

METHODS: Final = {
    "full": "tunesmith.runtime.methods.full",
    "freeze": "tunesmith.runtime.methods.freeze",
    "lora": "tunesmith.runtime.methods.lora",
    "qlora": "tunesmith.runtime.methods.lora",
    "adapter": "tunesmith.runtime.methods.adapter",
    "peft": "tunesmith.runtime.methods.peft",
}
"""Kind → module with its `attach`; imported when used, because some bring libraries along."""


def attach(loaded: Loaded, settings: Any, begin: Begin) -> Attached:
    """Set a loaded model up for the method that `settings` (a recipe's `method` section) names."""
    method: Attach = import_module(METHODS[settings.kind]).attach
    return method(loaded, settings, begin)
