"""A base held in few bits for inference: the same numbers in every way of computing them."""

from pathlib import Path

import pytest
import torch
from lora_training import ROW, attached, learn, logits, tiny_loaded
from tiny_models import tiny_llama, tiny_model_folder, tiny_tokenizer

from tunesmith.core.errors import ModelError
from tunesmith.core.recipe import Lora, Peft, Qlora
from tunesmith.runtime.bottleneck import BottleneckShape
from tunesmith.runtime.bottleneck import attach as attach_bottleneck
from tunesmith.runtime.bottleneck import save_adapter as save_bottleneck
from tunesmith.runtime.methods.peft import attach as attach_peft
from tunesmith.runtime.methods.port import Begin
from tunesmith.runtime.models import load_for_inference
from tunesmith.runtime.quantise import FORMATS, quantise, quantised_layers
from tunesmith.runtime.sampling.engine import Sampler
from tunesmith.runtime.sampling.port import Request

WIDE = {"hidden_size": 128, "intermediate_size": 192}
TRAINED = {"nf4": Qlora(rank=4), "int8": Qlora(rank=4, bits=8)}
FORMS = pytest.mark.parametrize("form", sorted(FORMATS))


def rounded(form):
    """The wide model whose weights are what the bits can say."""
    model = tiny_llama(**WIDE)
    quantise(model, FORMATS[form], packed=False)
    return model


@FORMS
def test_the_blocks_are_held_in_few_bits_and_compute_what_the_bits_say(tmp_path: Path, form: str):
    base = tiny_model_folder(tmp_path, **WIDE)
    loaded = load_for_inference(base, dtype="float32", quantise=form)
    layers = quantised_layers(loaded.model)
    assert len(layers) == 14
    assert {layer.settings for layer in layers.values()} == {FORMATS[form]}
    assert torch.equal(logits(loaded.model), logits(rounded(form)))
    assert (logits(loaded.model) - logits(tiny_llama(**WIDE))).abs().max() > 1e-3


@FORMS
def test_the_sampler_generates_from_it_what_transformers_does(tmp_path: Path, form: str):
    base = tiny_model_folder(tmp_path, **WIDE)
    prompts = [(5, 9, 200), (31, 7, 65, 66, 1, 2), (8,)]
    reference, expected = rounded(form), []
    for prompt in prompts:
        ids = torch.tensor([prompt])
        out = reference.generate(
            ids, attention_mask=torch.ones_like(ids), max_new_tokens=12, do_sample=False, pad_token_id=257
        )
        expected.append(out[0, len(prompt) :].tolist())
    sampler = Sampler(load_for_inference(base, dtype="float32", quantise=form).model, tiny_tokenizer())
    keys = [sampler.submit(Request(prompt, 12, stop_token_ids=frozenset({257}))) for prompt in prompts]
    rows = {row.key: row for row in sampler.waiting}
    while sampler.busy:
        sampler.step()
    assert [rows[key].generated for key in keys] == expected


@FORMS
def test_a_qlora_run_is_sampled_on_the_base_that_it_was_trained_on(tmp_path: Path, form: str):
    base = tiny_model_folder(tmp_path / "base", **WIDE)
    made = attached(TRAINED[form], tiny_loaded(**WIDE))
    learn(made, num_steps=2)
    made.publish(tmp_path / "adapter")
    for asked in (None, form):
        again = load_for_inference(base, adapter=tmp_path / "adapter", dtype="float32", quantise=asked).model
        assert {layer.settings for layer in quantised_layers(again).values()} == {FORMATS[form]}
        torch.testing.assert_close(logits(again), logits(made.model), rtol=1e-6, atol=1e-6)
    other = "int8" if form == "nf4" else "nf4"
    with pytest.raises(ModelError, match=r"learned on a base in . bits.*, not in . bits"):
        load_for_inference(base, adapter=tmp_path / "adapter", dtype="float32", quantise=other)


def test_the_details_of_the_bits_are_those_that_the_adapter_learned_on(tmp_path: Path):
    base = tiny_model_folder(tmp_path / "base", **WIDE)
    attached(Qlora(rank=4, double_quantisation=False), tiny_loaded(**WIDE)).publish(tmp_path / "adapter")
    again = load_for_inference(base, adapter=tmp_path / "adapter", dtype="float32", quantise="nf4").model
    assert not any(layer.settings.double_quantisation for layer in quantised_layers(again).values())


@FORMS
def test_adapters_that_learned_on_a_wide_base_go_on_few_bits_when_asked(tmp_path: Path, form: str):
    base = tiny_model_folder(tmp_path / "base", **WIDE)
    made = attached(Lora(rank=4), tiny_loaded(**WIDE))
    learn(made, num_steps=2)
    made.publish(tmp_path / "lora")
    narrow, shape = tiny_llama(**WIDE), BottleneckShape(reduction_factor=4)
    attach_bottleneck(narrow, shape, seed=0)
    save_bottleneck(narrow, shape, tmp_path / "narrow", base_name="tiny")
    found = {}
    for name in ("lora", "narrow"):
        model = load_for_inference(base, adapter=tmp_path / name, dtype="float32", quantise=form).model
        assert len(quantised_layers(model)) == 14
        found[name] = logits(model)
    expected = rounded(form)
    assert torch.equal(found["narrow"], logits(expected))  # a new bottleneck adds nothing
    assert (found["lora"] - logits(expected)).abs().max() > 1e-3


def test_a_method_of_the_peft_library_is_refused_on_few_bits(tmp_path: Path):
    base = tiny_model_folder(tmp_path / "base", **WIDE)
    loaded = tiny_loaded(**WIDE)
    attach_peft(loaded, Peft(peft_type="IA3"), Begin(seed=1, base_name="tiny")).publish(tmp_path / "adapter")
    with pytest.raises(ModelError, match="IA3 of the PEFT library cannot lie on a base held in 8 bits"):
        load_for_inference(base, adapter=tmp_path / "adapter", quantise="int8")


def test_layers_that_learned_whole_stay_wide_on_a_base_in_few_bits(tmp_path: Path):
    base = tiny_model_folder(tmp_path / "base", **WIDE)
    made = attached(Lora(rank=2, modules_to_save=("layers.0.mlp.up_proj",)), tiny_loaded(**WIDE))
    made.publish(tmp_path / "adapter")
    again = load_for_inference(base, adapter=tmp_path / "adapter", dtype="float32", quantise="nf4").model
    assert len(quantised_layers(again)) == 13
    kept = again.model.layers[0].mlp.up_proj.weight
    assert torch.equal(kept, tiny_llama(**WIDE).model.layers[0].mlp.up_proj.weight)
    assert again(input_ids=ROW).logits.isfinite().all()
