import pytest
import torch
from sampler_rows import tokens
from tiny_models import tiny_llama, tiny_tokenizer
from torch import nn

from tunesmith.runtime.lora.bank import AdapterBank
from tunesmith.runtime.lora.banked import Part
from tunesmith.runtime.packed import PackedLinear, can_pack, held_bytes, pack_linears
from tunesmith.runtime.sampling.engine import Sampler, sample
from tunesmith.runtime.sampling.port import Request

pytestmark = pytest.mark.skipif(not can_pack(), reason="this processor has no bfloat16 products")


def logits(model, num_tokens):
    with torch.inference_mode():
        return model(torch.tensor([tokens(num_tokens, 1)])).logits.float()


def test_a_packed_model_computes_what_it_did():
    model = tiny_llama(dtype=torch.bfloat16)
    expected = [logits(model, num_tokens) for num_tokens in (1, 9, 300)]
    embedding = model.get_input_embeddings().weight
    assert pack_linears(model) == 2 * 7 + 1
    assert not [module for module in model.modules() if type(module) is nn.Linear]
    for num_tokens, wanted in zip((1, 9, 300), expected, strict=True):
        torch.testing.assert_close(logits(model, num_tokens), wanted, atol=0.03, rtol=0.03)
    assert model.get_input_embeddings().weight is embedding
    assert torch.equal(model.lm_head.weight, embedding)


def test_a_bias_is_added():
    layer = nn.Linear(24, 8).bfloat16()
    x = torch.randn(3, 24, dtype=torch.bfloat16)
    torch.testing.assert_close(PackedLinear(layer)(x), layer(x), atol=0.02, rtol=0.02)


def test_a_float32_model_stays_as_it_is():
    assert pack_linears(tiny_llama()) == 0


def test_layers_under_a_bank_are_packed_and_sampled_from():
    model = tiny_llama(dtype=torch.bfloat16)
    bank = AdapterBank(model)
    layer = bank._wrap("model.layers.0.self_attn.q_proj")
    assert pack_linears(model) == 2 * 7 + 1
    assert isinstance(layer.base, PackedLinear)
    sampler = Sampler(model, tiny_tokenizer(), bank=bank)
    assert len(sample(sampler, [Request(tokens(5, 1), 4)])) == 1


def test_weights_are_counted_once_wherever_they_lie():
    model = tiny_llama(dtype=torch.bfloat16)
    before = sum(parameter.numel() for parameter in model.parameters()) * 2 + held_bytes(
        model.model.rotary_emb
    )
    assert held_bytes(model) == before
    pack_linears(model)
    tied = model.get_input_embeddings().weight
    assert held_bytes(model) == before + 2 * tied.numel(), "the output layer has a copy of the embedding"
    bank = AdapterBank(tiny_llama())
    layer = bank._wrap("model.layers.0.self_attn.q_proj")
    plain = held_bytes(bank.model)
    layer.parts["one"] = Part(torch.zeros(2, 32), torch.zeros(32, 2))
    assert held_bytes(bank.model) == plain + 2 * 64 * 4
