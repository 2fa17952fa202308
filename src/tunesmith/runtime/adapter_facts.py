"""What an adapter's folder says beyond PEFT's configuration, and which base model it learned on.

A name or a path says little about a base: both stay when the weights behind them change, and both change with
a copy.  So the folder keeps a fingerprint of the weights, and a base with other weights is refused even where
every shape fits.
"""

from __future__ import annotations

import hashlib
import logging
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import torch
from torch import nn

from tunesmith.core.errors import ModelError
from tunesmith.core.files import read_json

if TYPE_CHECKING:
    from tunesmith.runtime.models import ModelInfo

FACTS_NAME: Final = "tunesmith_adapter.json"
PEFT_CONFIG_NAME: Final = "adapter_config.json"
NUMBERS: Final = 64
"""Numbers of each weight in a fingerprint: training or merging moves nearly all of a weight, and so few are
read in no time."""

log = logging.getLogger(__name__)


def facts_of(adapter: Path) -> dict[str, Any]:
    """What our own file beside an adapter's configuration says; empty when it is absent."""
    path = adapter / FACTS_NAME
    facts: dict[str, Any] = read_json(path) if path.exists() else {}
    return facts


def fingerprint(model: nn.Module) -> str:
    """Hash of numbers spread over every weight, by name.

    They are rounded to bfloat16, so that a model has the same fingerprint whatever type it was loaded in.
    """
    digest = hashlib.sha256()
    for name, parameter in model.named_parameters():
        flat = parameter.detach().flatten()
        few = flat[:: max(1, len(flat) // NUMBERS)].to("cpu", torch.bfloat16)
        digest.update(f"{name}\n".encode())
        digest.update(few.view(torch.int16).numpy().tobytes())
    return digest.hexdigest()


def base_facts(name: str, info: ModelInfo) -> dict[str, Any]:
    """The entry of an adapter folder's facts that `check_base` reads."""
    return {"base": {"name": name, "weights": info.weights}}


def check_base(adapter: Path, info: ModelInfo) -> None:
    """Raise ModelError when an adapter learned on other weights; log that it cannot be known where it cannot.

    Adapters of others name their base at most, by a hub id or somebody's path: that proves nothing.
    """
    learned_on = facts_of(adapter).get("base")
    if learned_on is None:
        named = read_json(adapter / PEFT_CONFIG_NAME).get("base_model_name_or_path")
        log.warning(
            "%s does not say which weights it learned on (it names %r): that %s has them cannot be checked",
            adapter,
            named,
            info.name,
        )
    elif learned_on["weights"] != info.weights:
        raise ModelError(
            f"this adapter learned on other weights than those of the base model {info.name}",
            where=adapter,
            value=f"{learned_on['name']}, weights {learned_on['weights'][:12]} (here {info.weights[:12]})",
            next_step="give the base model that it learned on",
        )
