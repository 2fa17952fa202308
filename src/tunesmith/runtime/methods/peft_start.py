"""How some LoRA variants begin: from data, from the base's own spectrum, or by changing the base.

PiSSA, OLoRA and KaSA take the adapter's first numbers out of the base weight by a decomposition that gives
the same result whenever it is repeated; PEFT repeats it when the adapter is loaded, so the folder needs
nothing more.  PiSSA's randomised decomposition, CorDA and LoRA-GA cannot be repeated by a reader, so they
are published as the difference to where they began: a plain LoRA of twice the rank (the
conversion that PEFT documents), exact in float32 alone.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager, redirect_stdout
from io import StringIO
from pathlib import Path
from typing import Any, Final

import torch
from safetensors.torch import load_file
from torch import Tensor
from transformers import PreTrainedModel

from tunesmith.core.errors import ConfigError
from tunesmith.core.files import read_json, write_json
from tunesmith.core.recipe import Peft
from tunesmith.runtime.lora import CONFIG_NAME, WEIGHTS_NAME
from tunesmith.runtime.methods.port import Begin
from tunesmith.runtime.tensor_files import write_tensors

WHERE: Final = "method.config.init_lora_weights"
ZERO_UPDATE: Final = (True, "gaussian", "mica", "eva")
"""Initial values under which the update is exactly zero."""


def initial_values(config: Any) -> str:
    """LoRA's initial values by name; empty where they are the plain ones or the method is another."""
    chosen = vars(config).get("init_lora_weights")
    return chosen if isinstance(chosen, str) else ""


def is_converted(chosen: object) -> bool:
    """Whether an adapter of these initial values is published as the difference to its beginning."""
    return str(chosen).startswith("pissa_niter") or chosen in ("corda", "lora_ga")


def changes_base(config: Any) -> bool:
    """Whether setting the method up changes the base's weights."""
    chosen = initial_values(config)
    spectral = chosen.startswith("pissa") or chosen in ("olora", "corda", "lora_ga", "loftq")
    return spectral or vars(config).get("kasa_config") is not None


def check(settings: Peft, model: PreTrainedModel, begin: Begin) -> None:
    """Raise ConfigError where the beginning that is asked for cannot be made here."""
    chosen = settings.config.get("init_lora_weights")
    if settings.begins_from_data and not begin.sample_rows:
        raise ConfigError(
            "these initial values are found from training examples, and none are at hand here",
            where=WHERE,
            value=chosen,
            next_step="choose pissa or olora, which need none",
        )
    if chosen == "loftq" and not torch.cuda.is_available():
        raise ConfigError(
            "the PEFT library computes LoftQ on CUDA only",
            where=WHERE,
            value=chosen,
            next_step="use method qlora, or pissa",
        )
    converted = is_converted(chosen)
    spoiled = {"rank_pattern", "alpha_pattern", "use_dora"} & settings.config.keys()
    if converted and spoiled:
        raise ConfigError(
            "these initial values are published as a difference, which has no such form with this argument",
            where=WHERE,
            value=f"{chosen} with {min(spoiled)}",
            next_step="leave one of the two out",
        )
    if converted and model.dtype != torch.float32:
        raise ConfigError(
            "the base that these initial values leave would be rounded, and no adapter could undo that",
            where=WHERE,
            value=chosen,
            next_step="set `dtype: float32`, or choose pissa, which is exact in bfloat16 too",
        )


def before(config: Any, model: PreTrainedModel, begin: Begin) -> None:
    """What has to be known of the base before the adapter is made."""
    if config.peft_type.value == "FROD":
        config.progressbar = False  # the run has one
        torch.sparse.check_sparse_tensor_invariants.disable()  # torch's default; said aloud it warns no more
    chosen = initial_values(config)
    if chosen == "corda":
        from peft.tuners.lora.corda import preprocess_corda

        with plain_attention(model):
            preprocess_corda(model, config, run_model=lambda: run_rows(model, begin))
    if chosen == "lora_ga":
        from peft.tuners.lora.loraga import preprocess_loraga

        with plain_attention(model):
            preprocess_loraga(model, config, lambda: run_rows(model, begin, backward=True))


def after(config: Any, wrapper: Any, begin: Begin) -> None:
    """What is found once the adapter is in the model."""
    if initial_values(config) != "eva":
        return
    from peft import initialize_lora_eva_weights

    rows = [torch.tensor([row]) for row in begin.sample_rows]
    batches = [{"input_ids": row, "attention_mask": torch.ones_like(row), "labels": row} for row in rows]
    silence = redirect_stdout(StringIO())  # PEFT prints a line for each layer and batch that is too small
    with plain_attention(wrapper.get_base_model()), silence:
        initialize_lora_eva_weights(wrapper, batches, show_progress_bar=False)


def run_rows(model: PreTrainedModel, begin: Begin, *, backward: bool = False) -> None:
    """Show the model the sample rows, one at a time."""
    for row in begin.sample_rows:
        token_1T = torch.tensor([row])
        if backward:
            model(input_ids=token_1T, labels=token_1T).loss.backward()
        else:
            with torch.no_grad():
                model(input_ids=token_1T)


@contextmanager
def plain_attention(model: PreTrainedModel) -> Iterator[None]:
    """Whole rows through the model, whatever attention it is set up for."""
    before = model.config._attn_implementation
    model.set_attn_implementation("sdpa")
    try:
        yield
    finally:
        model.set_attn_implementation(before)


def remember(config: Any, wrapper: Any) -> dict[str, Tensor]:
    """Copies of the initial numbers where publishing is by difference, by their names in the file."""
    if not is_converted(initial_values(config)):
        return {}
    from peft import get_peft_model_state_dict

    state = get_peft_model_state_dict(wrapper, save_embedding_layers=False)
    return {name: tensor.detach().clone() for name, tensor in state.items()}


def publish_difference(folder: Path, initial: Mapping[str, Tensor]) -> None:
    """Turn a published LoRA into its difference to the initial one, a plain LoRA of twice the rank.

    ``B A − B₀ A₀ = [B, −B₀] [A; A₀]``, with rank and alpha doubled so that the scale stays.
    """
    path = folder / WEIGHTS_NAME
    tensors = load_file(path)
    for name, tensor in initial.items():
        sign, dim = (-1, 1) if ".lora_B." in name else (1, 0)
        if ".lora_A." in name or ".lora_B." in name:
            tensors[name] = torch.cat([tensors[name], sign * tensor.cpu()], dim=dim)
    config = read_json(folder / CONFIG_NAME)
    config |= {"init_lora_weights": True, "corda_config": None, "lora_ga_config": None, "r": 2 * config["r"]}
    config["lora_alpha"] *= 2**0.5 if config["use_rslora"] else 2
    write_tensors(path, tensors)
    write_json(folder / CONFIG_NAME, config)
