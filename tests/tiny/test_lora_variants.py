"""One table over LoRA's settings: what learns, how many, where it starts, and that its files say it all."""

import warnings
from pathlib import Path

import peft
import pytest
import torch
from lora_training import attached, learn, logits, loss_of, tiny_loaded
from tiny_models import tiny_llama

from tunesmith.core.recipe import Lora, Qlora
from tunesmith.runtime import lora
from tunesmith.runtime.lora import layer as lora_layer
from tunesmith.runtime.quantise import Quantisation, quantisation_of, quantise
from tunesmith.runtime.vocabulary import is_tied

LAYER_SIDES = (32 + 32) + 2 * (32 + 16) + (32 + 32) + 2 * (32 + 48) + (48 + 32)
"""Inputs and outputs of the seven linear layers of one block of the tiny model."""
ALL = 2 * LAYER_SIDES
BASIC = {"rank": 4, "alpha": 8}

VARIANTS = {
    "plain": (Lora(**BASIC), 4 * ALL),
    "rslora": (Lora(**BASIC, rslora=True), 4 * ALL),
    "lora+": (Lora(**BASIC, lora_plus_ratio=16), 4 * ALL),
    "targets": (
        Lora(**BASIC, target_modules=("q_proj", r"model\.layers\.1\.mlp\..*")),
        4 * (2 * 64 + 3 * 80),
    ),
    "output layer": (Lora(**BASIC, target_modules=("lm_head",)), 4 * (32 + 264)),
    "layers": (Lora(**BASIC, layers=1), 4 * LAYER_SIDES),
    "patterns": (
        Lora(**BASIC, rank_pattern={"q_proj": 2, r"1\.mlp\.up_proj": 7}, alpha_pattern={".*mlp.*": 3.0}),
        4 * (ALL - 2 * 64 - 80) + 2 * 2 * 64 + 7 * 80,
    ),
    "modules_to_save": (Lora(**BASIC, modules_to_save=("norm", "input_layernorm")), 4 * ALL + 3 * 32),
    "a linear layer whole": (Lora(**BASIC, modules_to_save=("down_proj",)), 4 * (ALL - 160) + 2 * 48 * 32),
    "the embedding whole": (Lora(**BASIC, modules_to_save=("embed_tokens",)), 4 * ALL + 264 * 32),
    "tokens": (Lora(**BASIC, trainable_tokens=("a", "<|new|>")), 4 * ALL + 2 * 32),
    "dropout": (Lora(**BASIC, dropout=0.3), 4 * ALL),
    "qlora 4": (Qlora(**BASIC), 4 * ALL),
    "qlora 4 single": (Qlora(**BASIC, double_quantisation=False), 4 * ALL),
    "qlora fp4": (Qlora(**BASIC, quant_type="fp4"), 4 * ALL),
    "qlora 8": (Qlora(**BASIC, bits=8), 4 * ALL),
    "qlora with norm and tokens": (
        Qlora(**BASIC, layers=1, modules_to_save=("norm",), trainable_tokens=("a",)),
        4 * LAYER_SIDES + 32 + 32,
    ),
}

EVERY = pytest.mark.parametrize("name", VARIANTS)
UNTIED = pytest.mark.parametrize("tied", [True, False], ids=["tied", "untied"])


@EVERY
def test_the_count_is_the_formulas(name: str):
    settings, expected = VARIANTS[name]
    made = attached(settings)
    assert made.expected_parameters == expected
    assert sum(entry.parameter.numel() for entry in made.trainable) == expected
    assert sum(p.numel() for p in made.model.parameters() if p.requires_grad) == expected
    assert len({entry.name for entry in made.trainable}) == len(made.trainable)


@EVERY
def test_the_output_is_unchanged_at_the_start(name: str):
    settings, _ = VARIANTS[name]
    base = tiny_loaded()
    if isinstance(settings, Qlora):
        quantise(base.model, Quantisation.of(settings), packed=False)
    before = logits(base.model)
    made = attached(settings)
    assert made.unchanged_at_start
    # The row of a token that was added was a spare one; the tokens before it keep every bit.
    num_known = 258
    assert torch.equal(logits(made.model)[..., :num_known], before[..., :num_known])


@EVERY
def test_all_that_learns_gets_a_gradient_and_moves_and_nothing_else_does(name: str):
    made = attached(VARIANTS[name][0])
    learning = {id(entry.parameter) for entry in made.trainable}
    before = {entry.name: entry.parameter.detach().clone() for entry in made.trainable}
    frozen = {
        key: value.detach().clone()
        for key, value in [*made.model.named_parameters(), *made.model.named_buffers()]
        if id(value) not in learning
    }
    learn(made)  # A's gradient is zero while B is
    learn(made)
    for entry in made.trainable:
        assert entry.parameter.grad.abs().max() > 0, entry.name
        assert not torch.equal(entry.parameter, before[entry.name]), entry.name
    after = {**dict(made.model.named_parameters()), **dict(made.model.named_buffers())}
    for key, value in frozen.items():
        assert after[key].grad is None
        learned = made.model.get_input_embeddings().ids_N if "embed_tokens.base" in key else []
        kept = torch.ones(len(value), dtype=torch.bool) if value.dim() else ...
        if len(learned):
            kept[learned] = False
        assert torch.equal(after[key][kept], value[kept]), key


def test_what_optimisers_are_told_of_each_parameter():
    settings = Lora(
        rank=4,
        lora_plus_ratio=16,
        target_modules=("q_proj", "lm_head"),
        modules_to_save=("norm", "down_proj", "embed_tokens"),
    )
    made = attached(settings, tiny_loaded(tie_word_embeddings=False))
    found = {
        entry.name: (entry.rate_factor, entry.decay, entry.orthogonal)
        for entry in made.trainable
        if "layers.0" not in entry.name
    }
    assert found == {
        "model.layers.1.self_attn.q_proj.lora_A": (1, True, True),
        "model.layers.1.self_attn.q_proj.lora_B": (16, True, True),
        "lm_head.lora_A": (1, True, False),
        "lm_head.lora_B": (16, True, False),
        "model.embed_tokens.weight": (1, False, False),
        "model.layers.1.mlp.down_proj.weight": (1, True, True),
        "model.norm.weight": (1, False, False),
    }


@UNTIED
def test_an_embedding_that_learned_whole_stays_tied_or_untied(tmp_path: Path, tied: bool):
    published(Lora(rank=4, modules_to_save=("embed_tokens",)), tmp_path, tie_word_embeddings=tied)
    again = tiny_llama(tie_word_embeddings=tied)
    lora.load_adapter(again, tmp_path)
    assert is_tied(again) == tied
    assert lora.read_adapter(tmp_path).tied == tied


def published(settings: Lora | Qlora, folder: Path, **changes: object):
    made = attached(settings, tiny_loaded(**changes))
    learn(made, num_steps=3)
    made.publish(folder)
    return made.model


@EVERY
@UNTIED
def test_saved_and_loaded_it_gives_the_same_logits_to_the_bit(tmp_path: Path, name: str, tied: bool):
    ours = published(VARIANTS[name][0], tmp_path, tie_word_embeddings=tied)
    again = tiny_llama(tie_word_embeddings=tied)
    lora.load_adapter(again, tmp_path)
    assert torch.equal(logits(again), logits(ours))
    for _, layer in lora.lora_layers(again):
        layer.settle()
    assert torch.equal(logits(again), logits(ours))
    assert not torch.allclose(logits(again)[..., :264], logits(tiny_llama()), atol=1e-3)


def plain_peft(folder: Path, num_tokens: int, settings: Lora | Qlora, *, tied: bool) -> torch.nn.Module:
    """The adapter in plain PEFT; a vocabulary that grew is made larger first, as the docs say."""
    base = tiny_llama(tie_word_embeddings=tied)
    if isinstance(settings, Qlora):
        # A base with the quantised weights, wide: bitsandbytes' own layers need sizes that tiny ones lack.
        quantise(base, quantisation_of(folder), keep=settings.modules_to_save, packed=False)
    if num_tokens > 264:
        base.resize_token_embeddings(num_tokens, mean_resizing=False)
    with warnings.catch_warnings():
        # PEFT's remark that a tied embedding was trained; that it stays tied is what is tested.
        warnings.filterwarnings("ignore", message="Model has `tie_word_embeddings=True`")
        return peft.PeftModel.from_pretrained(base, folder).eval()


@EVERY
@UNTIED
def test_plain_peft_loads_it_and_gives_the_same_logits(tmp_path: Path, name: str, tied: bool):
    settings = VARIANTS[name][0]
    ours = published(settings, tmp_path, tie_word_embeddings=tied)
    theirs = plain_peft(tmp_path, ours.config.vocab_size, settings, tied=tied)
    torch.testing.assert_close(logits(theirs), logits(ours), rtol=1e-5, atol=1e-5)


@EVERY
def test_fused_and_plain_forward_agree_in_loss_and_gradients(name: str):
    settings = VARIANTS[name][0].model_copy(update={"dropout": 0.0})
    made = attached(settings)
    learn(made, num_steps=2)
    found = []
    for plain in (False, True):
        for entry in made.trainable:
            entry.parameter.grad = None
        if plain:
            with lora.plain_forward(made.model):
                loss = loss_of(made.model)
        else:
            loss = loss_of(made.model)
        loss.backward()
        found.append((loss.detach(), [entry.parameter.grad for entry in made.trainable]))
    (fused_loss, fused), (plain_loss, plain) = found
    torch.testing.assert_close(fused_loss, plain_loss, rtol=1e-5, atol=0)
    for entry, one, other in zip(made.trainable, fused, plain, strict=True):
        assert (one - other).norm() <= 1e-5 * other.norm(), entry.name


def test_the_plain_switch_would_see_a_wrong_fused_gradient(monkeypatch: pytest.MonkeyPatch):
    whole = lora_layer._LoraProduct.backward

    def wrong(ctx, *grads):
        x, _, a, b = whole(ctx, *grads)
        return x, None, a, b * 1.001

    monkeypatch.setattr(lora_layer._LoraProduct, "backward", staticmethod(wrong))
    with pytest.raises(AssertionError):
        test_fused_and_plain_forward_agree_in_loss_and_gradients("plain")


def test_dropout_hides_the_same_inputs_as_peft_does(tmp_path: Path):
    made = attached(Lora(**BASIC, dropout=0.3))
    learn(made)
    made.publish(tmp_path)
    theirs = peft.PeftModel.from_pretrained(tiny_llama(), tmp_path, is_trainable=True)
    for module in theirs.modules():
        if isinstance(module, peft.tuners.lora.Linear):  # a published adapter is for inference
            module.lora_dropout["default"] = torch.nn.Dropout(0.3)
    losses = []
    for model in (made.model, theirs):
        model.train()
        model.zero_grad()
        torch.manual_seed(3)
        loss = loss_of(model)
        loss.backward()
        losses.append(float(loss.detach()))
    assert losses[0] == losses[1]
    gradients = {name: parameter.grad for name, parameter in theirs.named_parameters()}
    for name, layer in lora.lora_layers(made.model):
        assert torch.equal(layer.lora_b.grad, gradients[f"base_model.model.{name}.lora_B.default.weight"])
    assert float(loss_of(made.model.eval()).detach()) != losses[0]
