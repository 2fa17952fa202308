"""New tokens and embedding rows that learn, for any method."""

from pathlib import Path

import peft
import pytest
import torch
from lora_training import ROW, attached, learn, logits, loss_of, tiny_loaded
from tiny_models import tiny_llama
from torch import nn
from transformers import AutoTokenizer

from tunesmith.core.errors import ModelError
from tunesmith.core.recipe import Lora
from tunesmith.runtime import lora, vocabulary
from tunesmith.runtime.vocabulary import add_tokens, attach_rows, load_rows, rows_of, save_rows

TIED = pytest.mark.parametrize("tied", [True, False], ids=["tied", "untied"])
DTYPES = pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=["float32", "bfloat16"])
IDS = (5, 9, 258)
"""Two tokens that `ROW` reads and predicts, and one that it never meets."""


@TIED
@DTYPES
def test_spare_rows_are_used_before_the_model_grows(tied: bool, dtype):
    loaded = tiny_loaded(dtype=dtype, tie_word_embeddings=tied)
    ids = add_tokens(loaded, ("<a>", "<b>", "<|im_end|>"))
    assert ids == (258, 259, 257)
    model = loaded.model
    assert model.config.vocab_size == len(model.get_input_embeddings().weight) == 264
    assert model.get_input_embeddings().weight.dtype == dtype


@TIED
@DTYPES
def test_the_model_grows_when_no_row_is_spare(tied: bool, dtype):
    loaded = tiny_loaded(dtype=dtype, tie_word_embeddings=tied, vocab_size=258)
    before = logits(loaded.model)
    state = torch.get_rng_state()
    assert add_tokens(loaded, ("<a>", "<b>")) == (258, 259)
    model = loaded.model
    assert torch.equal(torch.get_rng_state(), state)
    assert model.config.vocab_size == 260
    assert model.get_output_embeddings().out_features == 260
    assert vocabulary.is_tied(model) == tied
    assert model.get_input_embeddings().weight.dtype == dtype
    torch.testing.assert_close(logits(model)[..., :258], before)


@TIED
def test_a_new_row_is_the_mean_of_the_known_ones_and_a_little_noise(tied: bool):
    loaded = tiny_loaded(tie_word_embeddings=tied)
    model = loaded.model
    known = model.get_input_embeddings().weight[:258].detach().clone()
    ids = add_tokens(loaded, ("<a>", "<b>"))
    for layer in (model.get_input_embeddings(), model.get_output_embeddings()):
        rows = layer.weight.detach()[list(ids)]
        if tied or layer is model.get_input_embeddings():
            assert ((rows - known.mean(0)).abs() < 4 * vocabulary.NOISE * known.std(0)).all()
        assert not torch.equal(rows[0], rows[1])
    again = tiny_loaded(tie_word_embeddings=tied)
    add_tokens(again, ("<a>", "<b>"))
    for one, other in zip(model.parameters(), again.model.parameters(), strict=True):
        assert torch.equal(one, other)


def test_a_token_that_is_there_keeps_its_row():
    loaded = tiny_loaded()
    before = loaded.model.get_input_embeddings().weight.detach().clone()
    assert add_tokens(loaded, ("a", "<|im_start|>")) == (loaded.tokenizer.encode("a")[0], 256)
    assert torch.equal(loaded.model.get_input_embeddings().weight, before)
    assert len(loaded.tokenizer) == 258


def test_markup_is_special_and_words_are_not():
    loaded = tiny_loaded()
    ids = add_tokens(loaded, ("<|tool|>", "tunesmith", "[INST]"))
    decode = loaded.tokenizer.decode
    assert decode(ids, skip_special_tokens=True) == "tunesmith"
    assert loaded.tokenizer.encode("a tunesmith<|tool|>")[-2:] == [ids[1], ids[0]]


@pytest.mark.parametrize("token", ["", " a"])
def test_a_token_of_spaces_is_refused(token: str):
    with pytest.raises(ModelError, match="empty or have spaces"):
        add_tokens(tiny_loaded(), (token,))


def full_gradients(tied: bool, dtype) -> tuple[torch.Tensor, torch.Tensor]:
    """What an embedding and an output layer that learn whole would get at the rows."""
    model = tiny_llama(dtype=dtype, tie_word_embeddings=tied).requires_grad_(False)
    model.get_input_embeddings().weight.requires_grad_(True)
    model.get_output_embeddings().weight.requires_grad_(True)
    loss_of(model).backward()
    return model.get_input_embeddings().weight.grad, model.get_output_embeddings().weight.grad


@TIED
@DTYPES
@pytest.mark.parametrize("plain", [False, True], ids=["fused", "plain"])
def test_gradients_are_those_of_a_full_embedding_restricted_to_the_rows(tied: bool, dtype, plain: bool):
    model = tiny_llama(dtype=dtype, tie_word_embeddings=tied).requires_grad_(False)
    trainable = attach_rows(model, IDS)
    assert [entry.name for entry in trainable] == ["token_rows.input", "token_rows.output"][: 2 - tied]
    for module in vocabulary.row_modules(model):
        module.plain = plain
    loss_of(model).backward()
    for entry, full in zip(trainable, full_gradients(tied, dtype), strict=False):
        assert entry.parameter.dtype == entry.parameter.grad.dtype == torch.float32
        limit = 1e-5 if dtype == torch.float32 else 0.02
        found, expected = entry.parameter.grad, full[list(IDS)].float()
        assert (found - expected).norm() <= limit * expected.norm()
        assert expected[0].norm() > 0


@TIED
@DTYPES
def test_logits_of_learned_tokens_follow_their_rows_and_other_rows_keep_every_bit(tied: bool, dtype):
    model = tiny_llama(dtype=dtype, tie_word_embeddings=tied).requires_grad_(False)
    before = [model.get_input_embeddings().weight.clone(), model.get_output_embeddings().weight.clone()]
    start = logits(model)
    trainable = attach_rows(model, IDS)
    assert torch.equal(logits(model), start)
    with torch.no_grad():
        trainable[-1].parameter[2] += 1.0  # token 258 is never read: only its logit may move
    moved = logits(model)
    others = [token for token in range(264) if token != 258]
    assert torch.equal(moved[..., others], start[..., others])
    hidden = model.model(ROW).last_hidden_state.detach()
    expected = hidden.float() @ trainable[-1].parameter[2].detach().to(dtype).float()
    torch.testing.assert_close(moved[..., 258].float(), expected, rtol=0.02, atol=0.02)
    untouched = [token for token in range(264) if token not in IDS]
    layers = (model.get_input_embeddings(), model.get_output_embeddings())
    for layer, weight in zip(layers, before, strict=True):
        assert torch.equal(layer.weight[untouched], weight[untouched])


def test_two_forwards_before_a_backward_are_right_too():
    model = tiny_llama().requires_grad_(False)
    (entry,) = attach_rows(model, IDS)
    (loss_of(model) + loss_of(model)).backward()
    both, entry.parameter.grad = entry.parameter.grad, None
    loss_of(model).backward()
    torch.testing.assert_close(both, 2 * entry.parameter.grad)


def test_a_scaled_embedding_passes_its_factor_to_the_rows():
    """Gemma multiplies embeddings inside the module."""

    class Scaled(nn.Embedding):
        embed_scale = torch.tensor(3.0)

        def forward(self, ids: torch.Tensor) -> torch.Tensor:
            return super().forward(ids) * self.embed_scale

    grads = []
    for plain in (False, True):
        base = Scaled(10, 4)
        nn.init.ones_(base.weight)
        rows = nn.Parameter(torch.ones(2, 4))
        module = vocabulary.RowsEmbedding(base, rows, torch.tensor([1, 3]))
        module.plain = plain
        module(torch.tensor([[1, 1, 2, 3]])).sum().backward()
        grads.append(rows.grad)
    assert torch.equal(grads[0], torch.tensor([[6.0] * 4, [3.0] * 4]))
    assert torch.equal(*grads)


@TIED
@pytest.mark.parametrize("rows", [264, 258], ids=["spare", "grown"])
def test_rows_are_saved_and_loaded_beside_any_adapter(tmp_path: Path, tied: bool, rows: int):
    loaded = tiny_loaded(tie_word_embeddings=tied, vocab_size=rows)
    ids = add_tokens(loaded, ("<a>", "<b>"))
    for entry in attach_rows(loaded.model, ids):
        entry.parameter.data += 0.3
    expected = logits(loaded.model)
    save_rows(loaded.model, tmp_path)
    vocabulary.save_tokenizer(loaded, tmp_path)
    served = tiny_llama(tie_word_embeddings=tied, vocab_size=rows)
    assert load_rows(served, tmp_path)
    assert torch.equal(logits(served), expected)
    learns = tiny_loaded(tie_word_embeddings=tied, vocab_size=rows)
    add_tokens(learns, ("<a>", "<b>"))
    attach_rows(learns.model, ids)
    load_rows(learns.model, tmp_path)
    assert torch.equal(logits(learns.model), expected)
    assert torch.equal(rows_of(learns.model).input_ND, rows_of(loaded.model).input_ND)
    found = vocabulary.tokenizer_folder(Path("base"), tmp_path)
    assert AutoTokenizer.from_pretrained(found).encode("<a>") == [258]


def test_a_folder_without_rows_loads_none(tmp_path: Path):
    assert not load_rows(tiny_llama(), tmp_path)
    assert vocabulary.tokenizer_folder(Path("base"), tmp_path) == Path("base")
    save_rows(tiny_llama(), tmp_path)
    assert not list(tmp_path.iterdir())


def test_rows_of_other_tokens_and_widths_are_refused(tmp_path: Path):
    model = tiny_llama()
    attach_rows(model, (5, 6))
    save_rows(model, tmp_path)
    other = tiny_llama()
    attach_rows(other, (5, 7))
    with pytest.raises(ModelError, match="other tokens"):
        load_rows(other, tmp_path)
    with pytest.raises(ModelError, match="another width"):
        load_rows(tiny_llama(hidden_size=64), tmp_path)
    with pytest.raises(ModelError, match="no such embedding row"):
        attach_rows(tiny_llama(), (264,))
    with pytest.raises(ModelError, match="beside another method"):
        attach_rows(model, (5,))


@TIED
def test_an_adapter_with_new_tokens_brings_its_tokenizer_and_plain_peft_agrees(tmp_path: Path, tied: bool):
    settings = Lora(rank=4, trainable_tokens=("<a>", "<b>", "a"))
    loaded = tiny_loaded(tie_word_embeddings=tied, vocab_size=258)
    made = attached(settings, loaded)
    row = torch.tensor([loaded.tokenizer.encode("<a>a<b>b")])
    learn(made, num_steps=2)
    made.publish(tmp_path)
    assert AutoTokenizer.from_pretrained(tmp_path).encode("<b>") == [259]
    ours = tiny_llama(tie_word_embeddings=tied, vocab_size=258)
    lora.load_adapter(ours, tmp_path)
    assert ours.config.vocab_size == 260
    assert torch.equal(logits(ours, row), logits(made.model, row))
    base = tiny_llama(tie_word_embeddings=tied, vocab_size=258)
    base.resize_token_embeddings(260, mean_resizing=False)
    theirs = peft.PeftModel.from_pretrained(base, tmp_path)
    torch.testing.assert_close(logits(theirs, row), logits(ours, row), rtol=1e-5, atol=1e-5)


def test_an_adapter_without_new_tokens_brings_no_tokenizer(tmp_path: Path):
    attached(Lora(rank=4, trainable_tokens=("a",))).publish(tmp_path)
    assert not vocabulary.has_tokenizer(tmp_path)


def test_new_tokens_learn_with_an_embedding_that_learns_whole():
    made = attached(Lora(rank=4, modules_to_save=("embed_tokens",)), new_token_ids=(260,))
    assert not any("token_rows" in entry.name for entry in made.trainable)
    with pytest.raises(ModelError, match=r"name both: lm_head, model\.embed_tokens"):
        attached(
            Lora(rank=4, modules_to_save=("embed_tokens",)),
            tiny_loaded(tie_word_embeddings=False),
            new_token_ids=(260,),
        )
