"""The frozen base in few bits: the same numbers as bitsandbytes' own, and nothing that moves them."""

import json
import subprocess
import sys
import warnings
from pathlib import Path

import peft
import pytest
import torch
from lora_training import ROW, attached, learn, logits, loss_of, tiny_loaded
from tiny_models import tiny_llama, tiny_model_folder
from transformers import AutoModelForCausalLM, AutoTokenizer, BitsAndBytesConfig

from tunesmith.core.errors import ModelError
from tunesmith.core.recipe import Lora, Qlora
from tunesmith.runtime import lora
from tunesmith.runtime.bits import import_bitsandbytes
from tunesmith.runtime.models import load_model, prepare_for_training
from tunesmith.runtime.quantise import (
    Quantisation,
    QuantisedLinear,
    quantisation_of,
    quantise,
    quantised_layers,
)

WIDE = {"hidden_size": 128, "intermediate_size": 192, "num_attention_heads": 4, "num_key_value_heads": 2}
"""Sizes that bitsandbytes' own layers can compute."""
KINDS = {
    "nf4 double": Qlora(rank=4),
    "nf4 single": Qlora(rank=4, double_quantisation=False),
    "fp4": Qlora(rank=4, quant_type="fp4"),
    "8 bits": Qlora(rank=4, bits=8),
}
EVERY = pytest.mark.parametrize("kind", KINDS)
DTYPES = pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=["float32", "bfloat16"])


def upstream(folder: Path, settings: Qlora, dtype: torch.dtype) -> torch.nn.Module:
    """The model as transformers loads it into bitsandbytes' own layers."""
    config = BitsAndBytesConfig(
        load_in_4bit=settings.bits == 4,
        load_in_8bit=settings.bits == 8,
        bnb_4bit_quant_type=settings.quant_type,
        bnb_4bit_use_double_quant=settings.double_quantisation,
        bnb_4bit_compute_dtype=dtype,
    )
    import_bitsandbytes()
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=dtype, quantization_config=config)
    for module in model.modules():
        if type(module).__name__ == "Linear4bit":
            module.support_avx512bf16_for_cpu = False
    return model


@EVERY
@DTYPES
def test_the_weights_are_those_of_transformers_and_bitsandbytes(tmp_path: Path, kind: str, dtype):
    settings = KINDS[kind]
    folder = tiny_model_folder(tmp_path, **WIDE)
    ours = tiny_llama(dtype=dtype, **WIDE)
    quantise(ours, Quantisation.of(settings))
    theirs = upstream(folder, settings, dtype)
    layers = quantised_layers(ours)
    assert len(layers) == 14
    for name, layer in layers.items():
        weight = theirs.get_submodule(name).weight
        if settings.bits == 4:
            widened = import_bitsandbytes().functional.dequantize_4bit(weight.data, weight.quant_state)
            assert torch.equal(layer.widened(), widened)
        else:
            assert torch.equal(layer.packed, weight.CB)
            assert torch.equal(layer.scale, weight.SCB)


@EVERY
@DTYPES
def test_peft_on_bitsandbytes_own_layers_gives_the_same_logits(tmp_path: Path, kind: str, dtype):
    settings = KINDS[kind]
    made = attached(settings, tiny_loaded(dtype=dtype, **WIDE))
    learn(made, num_steps=3)
    made.publish(tmp_path / "adapter")
    folder = tiny_model_folder(tmp_path / "base", **WIDE)
    theirs = peft.PeftModel.from_pretrained(upstream(folder, settings, dtype), tmp_path / "adapter")
    # bitsandbytes rounds activations to 8 bits in evaluation (LLM.int8()) and not in training on a processor.
    theirs.train(settings.bits == 8)
    with torch.no_grad():
        found = theirs(input_ids=ROW).logits
    expected = logits(made.model)
    if dtype == torch.float32:
        torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)
    else:
        # PEFT multiplies A and B in float32 and we in bfloat16, which has steps of 1/256.
        assert (found.float() - expected.float()).norm() < 0.02 * expected.float().norm()


@EVERY
def test_evaluation_between_steps_leaves_gradients_and_the_stored_base_as_they_are(kind: str):
    runs = []
    for evaluates in (False, True):
        made = attached(KINDS[kind], tiny_loaded(dtype=torch.bfloat16, **WIDE))
        learn(made, num_steps=2)
        stored = {key: value.clone() for key, value in made.model.named_buffers()}
        if evaluates:
            logits(made.model)
            made.model(input_ids=ROW)
        learn(made)
        assert all(torch.equal(value, stored[key]) for key, value in made.model.named_buffers())
        runs.append([entry.parameter.grad for entry in made.trainable])
    assert all(torch.equal(one, other) for one, other in zip(*runs, strict=True))
    assert all(grad.abs().max() > 0 for grad in runs[0])


def test_bitsandbytes_own_layer_would_not_have_passed():
    """Why the layers are ours: theirs repacks itself in evaluation where the processor has AVX512-BF16."""
    library = import_bitsandbytes()
    if not library.functional.has_avx512bf16():
        pytest.skip("this processor has no AVX512-BF16")
    layer = library.nn.Linear4bit(128, 128, bias=False, quant_type="nf4", compute_dtype=torch.bfloat16)
    layer = layer.to("cpu").to(torch.bfloat16)
    before = layer.weight.data.clone()
    with torch.no_grad():
        layer.eval()(torch.ones(2, 128, dtype=torch.bfloat16))
    assert layer.weight.data.shape != before.shape or not torch.equal(layer.weight.data, before)


@EVERY
def test_gradients_are_those_of_the_widened_base(kind: str):
    quantised = attached(KINDS[kind], tiny_loaded(**WIDE))
    wide = tiny_loaded(**WIDE)
    quantise(wide.model, Quantisation.of(KINDS[kind]), packed=False)
    settings = KINDS[kind].model_dump(exclude={"kind", "bits", "quant_type", "double_quantisation"})
    other = attached(Lora(**settings), wide)
    for made in (quantised, other):
        learn(made, num_steps=2)
    for one, two in zip(quantised.trainable, other.trainable, strict=True):
        assert torch.equal(one.parameter.grad, two.parameter.grad), one.name
        assert torch.equal(one.parameter, two.parameter), one.name


@EVERY
def test_a_quantised_layer_without_lora_passes_gradients_down(kind: str):
    settings = KINDS[kind].model_copy(update={"target_modules": ("q_proj",), "trainable_tokens": ("a",)})
    made = attached(settings, tiny_loaded(**WIDE))
    learn(made, num_steps=2)
    assert all(entry.parameter.grad.abs().max() > 0 for entry in made.trainable)
    layer = next(module for module in made.model.modules() if isinstance(module, QuantisedLinear))
    x = torch.randn(3, layer.in_features, requires_grad=True)
    layer(x).square().sum().backward()
    fused, x.grad = x.grad, None
    layer.plain = True
    layer(x).square().sum().backward()
    torch.testing.assert_close(fused, x.grad)


def test_the_base_takes_the_bits_that_it_should():
    model = tiny_llama(dtype=torch.bfloat16, **WIDE)
    before = sum(p.numel() * 2 for name, p in model.named_parameters() if "proj" in name)
    quantise(model, Quantisation())
    after = sum(
        layer.packed.nbytes + layer.scale.nbytes + layer.nested_scale.nbytes
        for layer in quantised_layers(model).values()
    )
    assert after < before * 0.27
    assert not any("proj" in name for name, _ in model.named_parameters())


@EVERY
def test_the_folder_says_how_the_base_is_held(tmp_path: Path, kind: str):
    made = attached(KINDS[kind])
    made.publish(tmp_path)
    assert quantisation_of(tmp_path) == Quantisation.of(KINDS[kind])
    config = json.loads((tmp_path / "adapter_config.json").read_text())
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # PEFT warns of keys that it does not know
        peft.LoraConfig.from_peft_type(**config)
    already = tiny_llama()
    quantise(already, Quantisation.of(KINDS[kind]))
    lora.load_adapter(already, tmp_path)
    assert torch.equal(logits(already), logits(made.model))


@EVERY
@DTYPES
def test_served_wide_or_packed_the_outputs_are_the_same_to_the_bit(tmp_path: Path, kind: str, dtype):
    made = attached(KINDS[kind], tiny_loaded(dtype=dtype))
    learn(made, num_steps=2)
    made.publish(tmp_path)
    for packed in (True, False):
        served = tiny_llama(dtype=dtype)
        lora.load_adapter(served, tmp_path, packed=packed)
        assert bool(quantised_layers(served)) == packed
        for _, layer in lora.lora_layers(served):
            layer.settle()
        assert torch.equal(logits(served), logits(made.model))


def test_a_plain_adapter_says_nothing_of_bits(tmp_path: Path):
    attached(Lora(rank=4)).publish(tmp_path)
    assert quantisation_of(tmp_path) is None


def test_a_model_is_not_quantised_twice():
    model = tiny_llama()
    quantise(model, Quantisation())
    with pytest.raises(ModelError, match="quantised already"):
        quantise(model, Quantisation())


def test_importing_bitsandbytes_asks_no_hub_for_a_kernel(tmp_path: Path):
    """With a package `kernels` on the path that fails loudly when it is used."""
    (tmp_path / "kernels.py").write_text("def get_kernel(*_, **__):\n    raise SystemExit('asked a hub')\n")
    code = (
        f"import sys; sys.path.insert(0, {str(tmp_path)!r})\n"
        "from tunesmith.runtime.bits import import_bitsandbytes\n"
        "import_bitsandbytes(); import kernels; print('imported', kernels.__name__)"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert found.stdout.strip() == "imported kernels", found.stderr
    assert "kernel" not in found.stderr


def test_two_runs_of_qlora_are_the_same_to_the_bit():
    runs = [attached(Qlora(rank=4), tiny_loaded(dtype=torch.bfloat16)) for _ in range(2)]
    for made in runs:
        learn(made, num_steps=3)
    assert loss_of(runs[0].model) == loss_of(runs[1].model)


@pytest.mark.parametrize("bits", [4, 8])
def test_a_folder_that_was_quantised_before_is_no_base_to_train_on(tmp_path: Path, bits: int):
    """bitsandbytes' own layers would repack themselves, or pass gradients of 8-bit weights to nobody."""
    wide = tiny_model_folder(tmp_path / "wide", **WIDE)
    held = upstream(wide, Qlora(bits=bits), torch.float32)
    held.save_pretrained(tmp_path / "held")
    AutoTokenizer.from_pretrained(wide).save_pretrained(tmp_path / "held")
    loaded = load_model(tmp_path / "held", dtype="float32")
    with pytest.raises(ModelError, match=r"held: the weights .* were quantised before(?s:.*)method qlora"):
        prepare_for_training(loaded.model)
    prepare_for_training(load_model(wide, dtype="float32").model)
