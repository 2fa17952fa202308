"""Bottleneck adapters: where they stand, what they compute, and that they come back from disk."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from test_methods import BEGIN, ROWS, learn, loaded, logits, session
from tiny_models import tiny_llama, tiny_model_folder
from torch import nn
from transformers import GPT2Config, GPT2LMHeadModel

from tunesmith.core.errors import ConfigError, ModelError
from tunesmith.core.recipe import Adapter, Lora, Peft
from tunesmith.runtime import bottleneck
from tunesmith.runtime.bottleneck import Bottleneck, BottleneckShape
from tunesmith.runtime.methods import attach
from tunesmith.runtime.models import load_for_inference
from tunesmith.runtime.sampling.engine import Sampler, sample
from tunesmith.runtime.sampling.port import Request
from tunesmith.runtime.structure import halves
from tunesmith.runtime.vocabulary import ROWS_NAME

PLACEMENTS = ("houlsby", "pfeiffer", "parallel")


def adapter(placement: str = "pfeiffer", **changes: object) -> Adapter:
    return Adapter(placement=placement, reduction_factor=4, **changes)


@pytest.mark.parametrize("placement", PLACEMENTS)
def test_step_0_equals_the_base_every_tensor_learns_and_the_base_stays(placement):
    model = loaded()
    before = {name: parameter.clone() for name, parameter in model.model.named_parameters()}
    attached = attach(model, adapter(placement), BEGIN)
    assert attached.unchanged_at_start
    assert torch.equal(logits(model.model), logits(tiny_llama()))
    model = loaded()
    attached = attach(model, adapter(placement), BEGIN)
    opened = session(attached)
    start = {name: tensor.clone() for name, tensor in opened.masters.tensors().items()}
    learn(attached)
    still = [entry.name for entry in attached.trainable if torch.equal(entry.parameter, start[entry.name])]
    assert still == []
    assert {entry.parameter.dtype for entry in attached.trainable} == {torch.float32}
    for name, parameter in model.model.named_parameters():
        if "bottleneck" not in name:
            assert torch.equal(parameter, before[name.replace(".base.", ".")]), name
            assert not parameter.requires_grad


@pytest.mark.parametrize(
    ("placement", "layers", "adapters"),
    [("houlsby", 0, 4), ("pfeiffer", 0, 2), ("parallel", 0, 2), ("houlsby", 1, 2)],
)
def test_the_count_is_that_of_two_matrices_and_two_biases(placement, layers, adapters):
    attached = attach(loaded(), adapter(placement, layers=layers), BEGIN)
    assert attached.expected_parameters == adapters * (2 * 32 * 8 + 8 + 32)
    assert attached.expected_parameters == sum(entry.parameter.numel() for entry in attached.trainable)


def by_hand(layer: Bottleneck, read: torch.Tensor) -> torch.Tensor:
    return layer.scale * layer.up(torch.tanh(layer.down(read)))


def filled(model: nn.Module) -> None:
    for index, (_, layer) in enumerate(bottleneck.adapters(model)):
        nn.init.normal_(layer.up.weight, std=0.2, generator=torch.Generator().manual_seed(index))


def test_each_placement_reads_and_adds_where_its_paper_says():
    x = torch.randn(1, 3, 32, generator=torch.Generator().manual_seed(5))
    for placement in PLACEMENTS:
        model = tiny_llama()
        shape = BottleneckShape(placement, 4, "tanh", scale=2.0)
        expected = model.model.layers[0].mlp
        bottleneck.attach(model, shape, seed=0)
        filled(model)
        model.eval()
        block = model.model.layers[0]
        with torch.no_grad():
            y = expected(x)
            read = x if placement == "parallel" else y
            wanted = y + by_hand(block.mlp.bottleneck, read)
            torch.testing.assert_close(block.mlp(x), wanted)
            assert not torch.allclose(wanted, y, rtol=1e-2, atol=1e-6)
        assert isinstance(block.self_attn, bottleneck.Adapted) == (placement == "houlsby")


@pytest.mark.parametrize("placement", PLACEMENTS)
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_a_published_adapter_gives_the_same_logits_again_to_the_bit(tmp_path: Path, placement, dtype):
    base = tiny_model_folder(tmp_path / "base")
    model = loaded(getattr(torch, dtype))
    attached = attach(model, adapter(placement, non_linearity="gelu", scale=0.5, layers=1), BEGIN)
    learn(attached, rate=1.0)
    attached.publish(tmp_path / "adapter")
    config = json.loads((tmp_path / "adapter" / "adapter_config.json").read_text())
    assert (config["peft_type"], config["placement"]) == ("BOTTLENECK", placement)
    again = load_for_inference(base, adapter=tmp_path / "adapter", dtype=dtype).model
    assert torch.equal(logits(again), logits(model.model))
    assert not torch.equal(logits(again), logits(tiny_llama(dtype=getattr(torch, dtype))))


@pytest.mark.parametrize("placement", PLACEMENTS)
def test_answers_come_token_by_token_as_from_the_whole_row(tmp_path: Path, placement):
    base = tiny_model_folder(tmp_path / "base")
    model = loaded()
    attached = attach(model, adapter(placement), BEGIN)
    filled(model.model)
    attached.publish(tmp_path / "adapter")
    again = load_for_inference(base, adapter=tmp_path / "adapter", dtype="float32")
    row = list(ROWS[0])
    again.model.set_attn_implementation("sdpa")
    with torch.no_grad():
        for _ in range(6):
            row.append(int(again.model(torch.tensor([row])).logits[0, -1].argmax()))
    sampler = Sampler(again.model, again.tokenizer)
    assert sample(sampler, [Request(ROWS[0], 6, temperature=0.0)]) == [again.tokenizer.decode(row[-6:])]


def test_learning_goes_on_from_a_saved_adapter(tmp_path: Path):
    model = loaded()
    attached = attach(model, adapter(), BEGIN)
    learn(attached)
    attached.publish(tmp_path)
    again = loaded()
    begin = replace(BEGIN, adapter=tmp_path, mode="continue")
    continued = attach(again, adapter(), begin)
    assert not continued.unchanged_at_start
    assert torch.equal(logits(again.model), logits(model.model))
    assert continued.expected_parameters == attached.expected_parameters
    with pytest.raises(ConfigError, match="another shape"):
        attach(loaded(), adapter(scale=4.0), begin)
    with pytest.raises(ModelError, match="only LoRA can be stacked"):
        attach(loaded(), adapter(), replace(begin, mode="stack"))


def test_a_new_adapter_over_a_merged_lora_is_served_on_the_merged_base(tmp_path: Path):
    first = attach(loaded(), Lora(rank=2), BEGIN)
    learn(first)
    first.publish(tmp_path / "lora")
    model = loaded()
    attached = attach(model, adapter(), replace(BEGIN, adapter=tmp_path / "lora", mode="merge_then_new"))
    learn(attached)
    attached.publish(tmp_path / "adapter")
    base = tiny_model_folder(tmp_path / "base")
    again = load_for_inference(base, adapter=tmp_path / "adapter", dtype="float32").model
    assert torch.equal(logits(again), logits(model.model))


def test_new_tokens_learn_beside_the_adapter_and_come_back(tmp_path: Path):
    base = tiny_model_folder(tmp_path / "base")
    model = loaded()
    attached = attach(model, adapter(), replace(BEGIN, new_token_ids=(9, 263)))
    assert attached.expected_parameters == sum(entry.parameter.numel() for entry in attached.trainable)
    learn(attached)
    attached.publish(tmp_path / "adapter")
    again = load_for_inference(base, adapter=tmp_path / "adapter", dtype="float32").model
    assert torch.equal(logits(again), logits(model.model))
    same = tiny_llama().model.embed_tokens.weight
    assert not torch.equal(again.model.embed_tokens.weight[9], same[9])
    assert torch.equal(again.model.embed_tokens.weight[10], same[10])


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=["float32", "bfloat16"])
@pytest.mark.parametrize("settings", [adapter(), Peft(peft_type="LOHA")], ids=["adapter", "peft"])
def test_rows_that_an_earlier_adapter_learned_go_on_though_their_tokens_are_new_no_more(
    tmp_path: Path, settings, dtype
):
    model = loaded(dtype)
    first = attach(model, settings, replace(BEGIN, new_token_ids=(9, 263)))
    learn(first)
    first.publish(tmp_path / "first")
    again = loaded(dtype)
    begin = replace(BEGIN, adapter=tmp_path / "first", mode="continue")
    continued = attach(again, settings, begin)
    (rows,) = (entry for entry in continued.trainable if entry.name == "token_rows.input")
    (before,) = (entry for entry in first.trainable if entry.name == "token_rows.input")
    assert torch.equal(rows.parameter, before.parameter)
    torch.testing.assert_close(logits(again.model), logits(model.model), rtol=1e-5, atol=1e-5)
    assert continued.expected_parameters == first.expected_parameters
    continued.publish(tmp_path / "second")
    assert (tmp_path / "second" / ROWS_NAME).exists()
    with pytest.raises(ModelError, match="rows are of other tokens"):
        attach(loaded(dtype), settings, replace(begin, new_token_ids=(10,)))


def test_the_start_depends_on_the_seed_and_leaves_the_random_state_alone():
    before = torch.get_rng_state()
    one, again, other = (
        attach(loaded(), adapter(), replace(BEGIN, seed=seed)).trainable[0].parameter for seed in (1, 1, 2)
    )
    assert torch.equal(one, again)
    assert not torch.equal(one, other)
    assert torch.equal(before, torch.get_rng_state())


def test_a_reduction_that_leaves_nothing_and_too_many_layers_are_refused():
    with pytest.raises(ConfigError, match="leaves no bottleneck"):
        attach(loaded(), Adapter(reduction_factor=33), BEGIN)
    with pytest.raises(ConfigError, match="the model has 2 layers"):
        attach(loaded(), adapter(layers=3), BEGIN)


def test_another_family_works_where_its_blocks_have_the_two_halves():
    with torch.random.fork_rng():
        model = GPT2LMHeadModel(GPT2Config(vocab_size=64, n_embd=32, n_layer=2, n_head=2)).eval()
    before = model(torch.tensor([[1, 2, 3]])).logits
    bottleneck.attach(model, BottleneckShape("houlsby", 4), seed=0)
    assert torch.equal(model(torch.tensor([[1, 2, 3]])).logits, before)
    filled(model)
    assert not torch.allclose(model(torch.tensor([[1, 2, 3]])).logits, before, atol=1e-3)


def test_a_block_of_another_structure_is_refused_by_name():
    class Strange(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.left, self.right = nn.Linear(4, 4), nn.Linear(4, 4)

    with pytest.raises(ModelError, match=r"Strange is not made of .*left \(Linear\), right \(Linear\)"):
        halves(Strange())


def test_an_adapter_of_another_model_or_a_torn_file_is_refused(tmp_path: Path):
    attach(loaded(), adapter(), BEGIN).publish(tmp_path)
    with pytest.raises(ModelError, match="does not fit"):
        bottleneck.load_adapter(tiny_llama(hidden_size=64), tmp_path)
    with pytest.raises(ModelError, match="does not fit"):
        bottleneck.load_adapter(tiny_llama(num_hidden_layers=3), tmp_path)
    weights = tmp_path / "adapter_model.safetensors"
    weights.write_bytes(weights.read_bytes()[:50])
    with pytest.raises(ModelError, match="cannot be read"):
        bottleneck.load_adapter(tiny_llama(), tmp_path)


@pytest.mark.parametrize("name", ["relu", "gelu", "silu", "tanh", "leaky_relu"])
def test_each_non_linearity_is_the_one_it_is_called(name):
    layer = Bottleneck(32, BottleneckShape("pfeiffer", 4, name))
    nn.init.normal_(layer.up.weight, generator=torch.Generator().manual_seed(0))
    x = torch.randn(5, 32, generator=torch.Generator().manual_seed(1))
    expected = layer.up(getattr(torch.nn.functional, name)(layer.down(x)))
    torch.testing.assert_close(layer(x), expected)


def test_houlsbys_first_adapter_adds_to_what_attention_gives_and_keeps_its_weights():
    model = tiny_llama()
    bottleneck.attach(model, BottleneckShape("houlsby", 4, "tanh", scale=2.0), seed=0)
    filled(model)
    model.eval()
    seen = {}
    attention = model.model.layers[0].self_attn
    attention.base.register_forward_hook(lambda module, args, output: seen.update(base=output))
    attention.register_forward_hook(lambda module, args, output: seen.update(adapted=output))
    with torch.no_grad():
        model(torch.tensor([ROWS[0]]))
        (given, *weights), (found, *kept) = seen["base"], seen["adapted"]
        torch.testing.assert_close(found, given + by_hand(attention.bottleneck, given))
    assert not torch.allclose(found, given, rtol=1e-2, atol=1e-6)
    assert weights == kept
