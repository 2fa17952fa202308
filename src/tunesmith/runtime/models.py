"""Loading a model folder: weights, tokenizer, and what is known about them.

Only safetensors are read (a pickle can run code), and code that a model brings along is never run.
`catalogue.locate` turns a name, a GGUF file or a hub id into the folder that is loaded here.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from torch import Tensor, nn
from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedModel, PreTrainedTokenizerBase
from transformers.utils import logging as transformers_logging

from tunesmith.core.errors import ModelError
from tunesmith.runtime import ragged
from tunesmith.runtime.adapter_facts import fingerprint
from tunesmith.runtime.catalogue import check_model_folder
from tunesmith.runtime.quantise import FORMATS
from tunesmith.runtime.quantise import quantise as hold
from tunesmith.runtime.readouts import OutputHead
from tunesmith.runtime.step import Encoded
from tunesmith.runtime.threads import Dtype, FewBits, choose_dtype
from tunesmith.runtime.vocabulary import tokenizer_folder

DTYPES = {"bfloat16": torch.bfloat16, "float32": torch.float32}


@dataclass(frozen=True)
class ModelInfo:
    """What is known about a loaded model, for records and messages."""

    name: str
    architecture: str
    dtype: str
    num_parameters: int
    context_tokens: int | None
    weights: str
    """Fingerprint of the weights as they were loaded."""


@dataclass(frozen=True)
class Loaded:
    """A model in evaluation mode, its tokenizer, and its facts."""

    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase
    info: ModelInfo
    forward: nn.Module | None = None
    """What takes prompts where that is not the model: PEFT's wrapper of learned tokens before each row."""


@contextmanager
def quiet_transformers() -> Iterator[None]:
    """Keep transformers' own bars and advice off the terminal while it loads."""
    level = transformers_logging.get_verbosity()
    bars = transformers_logging.is_progress_bar_enabled()
    transformers_logging.set_verbosity_error()
    transformers_logging.disable_progress_bar()
    try:
        yield
    finally:
        transformers_logging.set_verbosity(level)
        if bars:
            transformers_logging.enable_progress_bar()


@contextmanager
def explain_load_errors(folder: Path) -> Iterator[None]:
    """Turn what transformers raises on a broken or unknown model into a ModelError."""
    try:
        with quiet_transformers():
            yield
    except ModelError:
        raise
    except ImportError as error:
        raise ModelError(
            "a package that this model needs is missing",
            where=folder,
            value=str(error).splitlines()[0],
            next_step="install it beside tunesmith",
        ) from error
    except (OSError, ValueError, KeyError, RuntimeError, SafetensorError) as error:
        # The families of error that from_pretrained is documented or seen to raise on missing files, an
        # unknown architecture, remote code, and torn or misshapen weights.
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise ModelError(
            "the model cannot be loaded",
            where=folder,
            value=reason[:300],
            next_step="copy the model anew, or choose another; `tunesmith models` lists what is here",
        ) from error


def read_tokenizer(folder: Path) -> PreTrainedTokenizerBase:
    """The tokenizer of a model folder, or of an adapter that brings its own."""
    with explain_load_errors(folder):
        tokenizer: PreTrainedTokenizerBase = AutoTokenizer.from_pretrained(folder, local_files_only=True)
    return tokenizer


def load_model(folder: Path, *, dtype: Dtype = "auto", tokenizer: Path | None = None) -> Loaded:
    """Load a model folder (`catalogue.locate` finds one), in evaluation mode.

    `tokenizer` names another folder to take the tokenizer from.  Raises ModelError naming what is missing or
    wrong.
    """
    check_model_folder(folder)
    known = read_tokenizer(tokenizer or folder)
    chosen = choose_dtype(dtype)
    with explain_load_errors(folder):
        # With output_loading_info it gives back a pair, which its type does not say.
        pair: Any = AutoModelForCausalLM.from_pretrained(
            folder,
            dtype=DTYPES[chosen],
            use_safetensors=True,
            trust_remote_code=False,
            local_files_only=True,
            output_loading_info=True,
        )
    model, found = pair
    check_whole(found["missing_keys"], folder)
    model.eval()
    return Loaded(model, known, describe(model, folder.name, chosen))


def check_whole(missing: Collection[str], folder: Path) -> None:
    """Raise ModelError for tensors that the files lack: transformers would fill them with random numbers."""
    if missing:
        first = sorted(missing)[0]
        more = f" and {len(missing) - 1:,} more" if len(missing) > 1 else ""
        raise ModelError(
            "the weights of the model are not whole: a tensor is missing",
            where=folder,
            value=f"{first}{more}",
            next_step="copy the whole model anew",
        )


def describe(model: PreTrainedModel, name: str, dtype: str) -> ModelInfo:
    """The facts of a loaded model."""
    config = model.config.to_dict()
    return ModelInfo(
        name=name,
        architecture=type(model).__name__,
        dtype=dtype,
        num_parameters=sum(parameter.numel() for parameter in model.parameters()),
        context_tokens=config.get("max_position_embeddings"),
        weights=fingerprint(model),
    )


def load_for_inference(
    folder: Path, *, adapter: Path | None = None, dtype: Dtype = "auto", quantise: FewBits | None = None
) -> Loaded:
    """Load a model folder to generate with; an adapter stays beside the weights, as it was trained.

    The tokenizer and its chat template are the adapter's own where it brings them (new tokens, a template
    that the base model has not).  `quantise` holds the blocks' linear layers in few bits: less memory, not
    more speed.  None holds them as the adapter says: the base of a QLoRA run in the bits that it learned on.
    Raises ModelError where both are given and differ.
    """
    held = None if quantise is None else FORMATS[quantise]
    loaded = load_model(folder, dtype=dtype, tokenizer=tokenizer_folder(folder, adapter))
    if adapter is not None:
        from tunesmith.runtime.adapters import put_on

        return put_on(loaded, adapter, held=held)
    if held is not None:
        hold(loaded.model, held)
    return loaded


def use_own_attention(model: PreTrainedModel) -> None:
    """Switch a model back from our attention to one of transformers' own that gives its numbers."""
    model.set_attn_implementation("sdpa" if model._supports_sdpa else "eager")


def enable_activation_checkpointing(model: PreTrainedModel) -> None:
    """Compute each block's activations again in the backward pass instead of keeping them.

    Raises ModelError for a model, or a method in it, that cannot.  Gradients stay the same.
    """
    try:
        model.activation_checkpointing_enable({"use_reentrant": False})
    except (ValueError, NotImplementedError) as error:
        # What transformers raises for a class without checkpointing, or one whose method forbids it.
        raise ModelError(
            "activations of this model cannot be computed again",
            value=str(error).splitlines()[0],
            next_step="set `activation_checkpointing: off`, and smaller microbatch_tokens if memory is short",
        ) from error


def output_head(model: PreTrainedModel) -> OutputHead:
    """The output layer with the scale and cap that the model's configuration asks for.

    Ask again after a method was attached: it may have put a layer of its own there.
    """
    layer = model.get_output_embeddings()
    if layer is None:
        raise ModelError(
            "the model has no output layer",
            value=type(model).__name__,
            next_step="choose a causal language model, such as smollm2-135m-instruct",
        )
    config = model.config.to_dict()
    scale = float(config.get("logit_scale") or 1.0) / float(config.get("logits_scaling") or 1.0)
    return OutputHead(layer, scale, config.get("final_logit_softcapping"))


def prepare_for_training(model: PreTrainedModel) -> OutputHead:
    """Switch a loaded model to the ragged attention, and prove on it that nothing but speed changes.

    Raises ModelError when packed rows and our output layer do not give the model's own logits, and for a
    folder whose weights were quantised before.
    """
    refuse_quantised_before(model)
    head = output_head(model)
    generator = torch.Generator().manual_seed(0)
    rows = [torch.randint(0, model.config.vocab_size, (length,), generator=generator) for length in (7, 12)]
    with torch.no_grad():
        expected = torch.cat([model(input_ids=row[None], use_cache=False).logits[0] for row in rows])
        model.set_attn_implementation(ragged.register())
        found = packed_logits(model, head, rows)
    check_equal(found, expected, type(model).__name__)
    return head


def refuse_quantised_before(model: PreTrainedModel) -> None:
    """Raise ModelError for layers of a quantisation library: on a processor they may repack themselves.

    bitsandbytes' 4-bit layer does so at its first evaluation, and then passes no gradient down, with no more
    than a warning (`runtime/quantise.py` has the layer that does not).
    """
    if model.config.to_dict().get("quantization_config"):
        raise ModelError(
            "the weights of this folder were quantised before: nothing can be trained on them",
            where=model.name_or_path,
            next_step="take the model's wide weights; method qlora holds them in 4 or 8 bits by itself",
        )


def packed_logits(model: PreTrainedModel, head: OutputHead, rows: list[Tensor]) -> Tensor:
    """Logits of every position of the rows, packed into one micro-batch, through our output layer."""
    micro = ragged.pack([Encoded(tuple(row.tolist()), (True,) * len(row)) for row in rows])
    output = model.get_decoder()(
        input_ids=micro.token_T[None],
        position_ids=micro.position_T[None],
        use_cache=False,
        segments=micro.segments,
    )
    return head(output.last_hidden_state[0][: sum(len(row) for row in rows)])


def check_equal(found: Tensor, expected: Tensor, name: str) -> None:
    """Raise ModelError unless two sets of logits agree within the rounding of their dtype.

    Rounding of eight bits through thirty layers moves a logit by a few hundredths of the logits' spread; a
    missing mask, scale or cap moves it by the spread itself.
    """
    spread = float(expected.float().std())
    difference = float((found.float() - expected.float()).square().mean().sqrt())
    limit = (0.1 if expected.dtype == torch.bfloat16 else 1e-3) * spread
    if not difference <= limit:
        raise ModelError(
            "packed training would not compute what this model computes",
            value=f"{name}: logits differ by {difference:.3g} (spread {spread:.3g})",
            next_step="choose a model of the Llama family, such as smollm2-135m-instruct",
        )
