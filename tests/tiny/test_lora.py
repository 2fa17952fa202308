import json
from pathlib import Path

import peft
import pytest
import torch
from lora_training import with_lora
from tiny_models import tiny_llama, tiny_model_folder

from tunesmith.core.errors import ModelError
from tunesmith.runtime import lora
from tunesmith.runtime.models import load_for_inference, load_model

ROW = torch.tensor([[5, 9, 200, 31, 7]])


def trained(shape: lora.LoraShape, *, dtype: torch.dtype = torch.float32):
    model = tiny_llama(dtype=dtype)
    for index, parameter in enumerate(with_lora(model, shape, seed=1)):
        noise = torch.randn(parameter.shape, generator=torch.Generator().manual_seed(index))
        parameter.data.add_(noise * 0.1)
    return model


@pytest.mark.parametrize("rank_stabilised", [False, True])
def test_peft_loads_the_folder_and_gives_the_same_logits(tmp_path: Path, rank_stabilised: bool):
    shape = lora.LoraShape(4, 12, rank_stabilised)
    ours = trained(shape)
    lora.save_adapter(ours, tmp_path, base_name="tiny")
    theirs = peft.PeftModel.from_pretrained(tiny_llama(), tmp_path).eval()
    with torch.no_grad():
        torch.testing.assert_close(ours(ROW).logits, theirs(input_ids=ROW).logits, rtol=1e-5, atol=1e-5)
        assert not torch.allclose(ours(ROW).logits, tiny_llama()(ROW).logits, atol=1e-2)


def test_an_adapter_that_peft_saved_loads_here(tmp_path: Path):
    config = peft.LoraConfig(r=4, lora_alpha=8, target_modules=["q_proj", "v_proj"], init_lora_weights=False)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        theirs = peft.get_peft_model(tiny_llama(), config).eval()
    theirs.save_pretrained(tmp_path)
    ours = tiny_llama()
    lora.load_adapter(ours, tmp_path)
    with torch.no_grad():
        torch.testing.assert_close(ours(ROW).logits, theirs(input_ids=ROW).logits, rtol=1e-5, atol=1e-5)


def test_save_and_load_give_back_the_same_outputs_to_the_bit(tmp_path: Path):
    shape = lora.LoraShape(4, 8)
    folder = tiny_model_folder(tmp_path / "base")
    model = load_model(folder, dtype="bfloat16").model
    for parameter in with_lora(model, shape, seed=1):
        parameter.data.add_(0.05)
    lora.save_adapter(model, tmp_path / "adapter", base_name="tiny")
    again = load_for_inference(folder, adapter=tmp_path / "adapter", dtype="bfloat16").model
    with torch.no_grad():
        assert torch.equal(model(ROW).logits, again(ROW).logits)


def test_a_fresh_adapter_changes_nothing():
    model = tiny_llama()
    with torch.no_grad():
        before = model(ROW).logits
        with_lora(model, lora.LoraShape(4, 8), seed=0)
        assert torch.equal(model(ROW).logits, before)


def test_every_linear_layer_but_the_output_carries_lora():
    model = tiny_llama()
    with_lora(model, lora.LoraShape(2, 2), seed=0)
    names = {name.rpartition(".")[2] for name, _ in lora.lora_layers(model)}
    assert names == {"q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"}


def test_the_start_depends_on_the_seed_and_leaves_the_random_state_alone():
    before = torch.get_rng_state()
    first, again, other = (with_lora(tiny_llama(), lora.LoraShape(2, 2), seed=seed)[0] for seed in (1, 1, 2))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    assert torch.equal(before, torch.get_rng_state())


def test_an_adapter_for_another_model_is_refused(tmp_path: Path):
    shape = lora.LoraShape(4, 8)
    lora.save_adapter(trained(shape), tmp_path, base_name="tiny")
    with pytest.raises(ModelError, match="does not fit"):
        lora.load_adapter(tiny_llama(hidden_size=64), tmp_path)


@pytest.mark.parametrize(
    "change",
    [
        {"use_dora": True},
        {"target_parameters": ["experts"]},
        {"peft_type": "IA3"},
        {"init_lora_weights": "pissa"},
    ],
)
def test_settings_that_our_forward_does_not_compute_are_refused(tmp_path: Path, change: dict):
    shape = lora.LoraShape(4, 8)
    lora.save_adapter(trained(shape), tmp_path, base_name="tiny")
    path = tmp_path / lora.CONFIG_NAME
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    with pytest.raises(ModelError, match="not supported"):
        lora.load_adapter(tiny_llama(), tmp_path)


def test_a_torn_adapter_file_is_refused(tmp_path: Path):
    shape = lora.LoraShape(4, 8)
    lora.save_adapter(trained(shape), tmp_path, base_name="tiny")
    path = tmp_path / lora.WEIGHTS_NAME
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(ModelError, match="cannot be read"):
        lora.load_adapter(tiny_llama(), tmp_path)


def test_a_model_folder_loads_with_its_facts(tmp_path: Path):
    loaded = load_model(tiny_model_folder(tmp_path / "tiny"), dtype="float32")
    assert (loaded.info.name, loaded.info.architecture, loaded.info.dtype) == (
        "tiny",
        "LlamaForCausalLM",
        "float32",
    )
    assert loaded.info.context_tokens == 512
    assert loaded.tokenizer.decode(loaded.tokenizer("hi").input_ids) == "hi"


def test_torn_weights_are_refused_in_one_message(tmp_path: Path):
    folder = tiny_model_folder(tmp_path / "tiny")
    (folder / "model.safetensors").write_bytes(b"torn")
    with pytest.raises(ModelError, match="cannot be loaded"):
        load_model(folder, dtype="float32")


def test_an_unknown_architecture_is_refused_in_one_message(tmp_path: Path):
    folder = tiny_model_folder(tmp_path / "tiny")
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(
        json.dumps(config | {"model_type": "nobody", "architectures": ["Nobody"]})
    )
    with pytest.raises(ModelError, match="cannot be loaded"):
        load_model(folder, dtype="float32")


def test_a_folder_without_tokenizer_is_refused(tmp_path: Path):
    folder = tiny_model_folder(tmp_path / "tiny")
    (folder / "tokenizer.json").unlink()
    with pytest.raises(ModelError, match="no tokenizer"):
        load_model(folder)


def test_a_settled_layer_computes_the_same_to_the_last_bit():
    for dtype in (torch.float32, torch.bfloat16):
        base = torch.nn.Linear(24, 40).to(dtype)
        layer = lora.LoraLinear(base, lora.LoraShape(rank=4, alpha=8))
        torch.nn.init.normal_(layer.lora_b, std=0.1)
        x = torch.randn(7, 24, generator=torch.Generator().manual_seed(0)).to(dtype)
        with torch.no_grad():
            expected = layer(x)
            layer.settle()
            assert torch.equal(layer(x), expected)
