"""A GGUF file → a model folder of safetensors, in bfloat16, with tokenizer and chat template."""

import io
from contextlib import redirect_stderr
from pathlib import Path

from tunesmith.core.errors import MissingPackage, ModelError
from tunesmith.core.files import read_json, write_json


def convert(gguf: Path, folder: Path) -> None:
    """Dequantise a GGUF file and save it as transformers would.

    transformers refuses to save a model that it loaded from GGUF, so the weights are copied into a
    fresh model of the same configuration.  Raises ModelError when the file cannot be read.
    """
    try:
        import torch
        from transformers import AutoModelForCausalLM, AutoTokenizer

        from tunesmith.runtime.models import quiet_transformers
    except ImportError as error:
        advice = "pip install 'tunesmith[train]'"
        raise MissingPackage("converting a model needs torch and transformers", next_step=advice) from error

    settings = {"gguf_file": gguf.name}
    try:
        # Its advice to load in float32 is about running the quantised weights; we only copy them.  And
        # transformers 5.23 draws a bar for GGUF tensors that its own switch does not turn off.
        with quiet_transformers(), redirect_stderr(io.StringIO()):
            tokenizer = AutoTokenizer.from_pretrained(gguf.parent, **settings)
            packed = AutoModelForCausalLM.from_pretrained(gguf.parent, dtype=torch.bfloat16, **settings)
    except (ValueError, OSError, KeyError, RuntimeError, NotImplementedError) as error:
        raise ModelError(
            f"this GGUF file cannot be read ({error})", where=gguf, next_step="give another file"
        ) from error
    plain = {key: value for key, value in packed.config.to_dict().items() if key != "quantization_config"}
    fresh = AutoModelForCausalLM.from_config(type(packed.config).from_dict(plain), dtype=torch.bfloat16)
    fresh.load_state_dict(packed.state_dict())
    fresh.generation_config = packed.generation_config
    folder.mkdir(parents=True, exist_ok=True)
    with quiet_transformers():
        fresh.save_pretrained(folder)
        tokenizer.save_pretrained(folder)
    forget_the_loading(folder / "tokenizer_config.json")


HOW_IT_WAS_LOADED = ("gguf_file", "is_local", "local_files_only", "name_or_path")
"""Settings that transformers saves although they say nothing about the tokenizer."""


def forget_the_loading(config: Path) -> None:
    """Take them out: the same model has the same content hash, online or offline, wherever its file was."""
    settings = {key: value for key, value in read_json(config).items() if key not in HOW_IT_WAS_LOADED}
    write_json(config, settings)
