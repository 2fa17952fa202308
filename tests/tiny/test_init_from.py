"""Beginning from an earlier adapter: it goes on, is merged, or lies frozen underneath."""

import json
from dataclasses import replace
from pathlib import Path

import peft
import pytest
import torch
from lora_training import attached, learn, logits, tiny_loaded
from tiny_models import tiny_llama

from tunesmith.core.errors import ModelError
from tunesmith.core.recipe import Lora, Qlora
from tunesmith.runtime import lora
from tunesmith.runtime.init_from import begin_from
from tunesmith.runtime.methods.port import Begin
from tunesmith.runtime.models import read_tokenizer
from tunesmith.runtime.vocabulary import add_tokens

BASIC = Lora(rank=4, alpha=8)
RICH = Lora(
    rank=4,
    alpha=8,
    rslora=True,
    rank_pattern={"q_proj": 2},
    modules_to_save=("norm",),
    trainable_tokens=("a", "<b>"),
)
QUANTISED = Qlora(rank=4, alpha=8)
EMBEDDING = Lora(rank=4, alpha=8, modules_to_save=("embed_tokens",))
EVERY = pytest.mark.parametrize("settings", [BASIC, RICH, QUANTISED], ids=["plain", "rich", "qlora"])
DTYPES = pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=["float32", "bfloat16"])


def earlier(settings: Lora | Qlora, folder: Path, **changes: object) -> torch.Tensor:
    """Train an adapter, write it, and give the logits of what was trained."""
    made = attached(settings, tiny_loaded(**changes))
    learn(made, num_steps=3)
    made.publish(folder)
    return logits(made.model)


def served(folder: Path, **changes: object) -> torch.Tensor:
    model = tiny_llama(**changes)
    lora.load_adapter(model, folder)
    return logits(model)


@EVERY
@DTYPES
def test_an_adapter_that_continues_starts_where_it_stopped_and_learns_on(tmp_path: Path, settings, dtype):
    before = earlier(settings, tmp_path / "first", dtype=dtype)
    loaded = tiny_loaded(dtype=dtype)
    made = attached(settings, loaded, adapter=tmp_path / "first", mode="continue")
    assert torch.equal(logits(made.model), before)
    learn(made)
    assert all(entry.parameter.grad.abs().max() > 0 for entry in made.trainable)
    made.publish(tmp_path / "second")
    assert torch.equal(served(tmp_path / "second", dtype=dtype), logits(made.model))
    assert not torch.equal(logits(made.model), before)


def test_continuing_is_the_unbroken_run(tmp_path: Path):
    made = attached(BASIC)
    learn(made, num_steps=4)
    half = attached(BASIC)
    learn(half, num_steps=2)
    half.publish(tmp_path)
    again = attached(BASIC, adapter=tmp_path, mode="continue")
    learn(again, num_steps=2)
    for one, other in zip(made.trainable, again.trainable, strict=True):
        assert torch.equal(one.parameter, other.parameter)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        (Lora(rank=8, alpha=8), "rank 4, alpha 8.* before, rank 8"),
        (Lora(rank=4, alpha=8, rslora=True), "rank_stabilised False before, .*rank_stabilised True"),
        (Lora(rank=4, alpha=8, target_modules=("q_proj",)), "carries LoRA only before"),
        (Lora(rank=4, alpha=8, modules_to_save=("norm",)), "learn whole differ: model.norm.weight"),
        (Lora(rank=4, alpha=8, trainable_tokens=("a",)), r"token rows \[\] before, \[\d+\] in the recipe"),
        (QUANTISED, r"base held as it is before, 4 bits \(nf4, double quantisation\)"),
    ],
)
def test_continuing_with_other_settings_says_what_differs(tmp_path: Path, settings, words: str):
    earlier(BASIC, tmp_path)
    with pytest.raises(ModelError, match=words):
        attached(settings, adapter=tmp_path, mode="continue")


def with_tokens(settings, **changes: object):
    """A tiny model whose tokenizer is the earlier adapter's."""
    loaded = tiny_loaded(**changes)
    add_tokens(loaded, settings.trainable_tokens)
    return loaded


@EVERY
@DTYPES
def test_merged_the_new_adapter_starts_from_the_old_ones_outputs(tmp_path: Path, settings, dtype):
    before = earlier(settings, tmp_path / "first", dtype=dtype)
    loaded = with_tokens(settings, dtype=dtype)
    made = attached(BASIC, loaded, adapter=tmp_path / "first", mode="merge_then_new")
    start = logits(made.model)
    spread = (logits(tiny_llama(dtype=dtype)) - before).float().norm()
    limit = 1e-4 if dtype == torch.float32 else 0.25
    assert (start - before).float().norm() < limit * spread
    learn(made, num_steps=2)
    made.publish(tmp_path / "second")
    assert torch.equal(served(tmp_path / "second", dtype=dtype), logits(made.model))


def test_merging_says_how_much_rounding_took(tmp_path: Path):
    earlier(BASIC, tmp_path)
    exact = lora.merge_adapter(tiny_llama(), tmp_path)
    coarse = lora.merge_adapter(tiny_llama(dtype=torch.bfloat16), tmp_path)
    assert exact.share < 1e-4 < coarse.share < 1
    assert exact.largest < coarse.largest
    made = attached(BASIC, adapter=tmp_path, mode="merge_then_new")
    made.publish(tmp_path / "second")
    facts = json.loads((tmp_path / "second" / "tunesmith_adapter.json").read_text())
    assert facts["merge_rounding"]["share"] == exact.share


def test_a_chain_of_merges_is_served_as_it_was_trained(tmp_path: Path):
    earlier(BASIC, tmp_path / "1")
    for step, mode in ((2, "merge_then_new"), (3, "merge_then_new"), (4, "continue"), (5, "stack")):
        settings = QUANTISED if step == 2 else BASIC
        made = attached(settings, adapter=tmp_path / str(step - 1), mode=mode)
        learn(made, num_steps=2)
        made.publish(tmp_path / str(step))
        assert torch.equal(served(tmp_path / str(step)), logits(made.model))


@DTYPES
@pytest.mark.parametrize(
    ("old", "new"),
    [
        (BASIC, Lora(rank=8, alpha=4, rslora=True)),
        (Lora(rank=2, rslora=True, target_modules=("q_proj", "v_proj")), Lora(rank=3, layers=1)),
        (Lora(rank=2, rank_pattern={"q_proj": 5}), Lora(rank=3, target_modules=("q_proj",))),
        (RICH, RICH.model_copy(update={"rank": 3})),
        (QUANTISED, Qlora(rank=2)),
    ],
    ids=["scales", "other layers", "patterns", "rows and modules", "qlora"],
)
def test_stacked_the_old_stays_and_both_are_served_as_one(tmp_path: Path, old, new, dtype):
    before = earlier(old, tmp_path / "first", dtype=dtype)
    made = attached(new, tiny_loaded(dtype=dtype), adapter=tmp_path / "first", mode="stack")
    # One product of the joined rank adds up in another order than one of the old rank.
    limit = 1e-5 if dtype == torch.float32 else 0.02
    assert (logits(made.model) - before).float().norm() < limit * before.float().norm()
    assert made.expected_parameters == sum(entry.parameter.numel() for entry in made.trainable)
    kept = {name: layer.earlier_a.clone() for name, layer in lora.lora_layers(made.model) if layer.earlier}
    learn(made, num_steps=3)
    assert all(entry.parameter.grad.abs().max() > 0 for entry in made.trainable)
    layers = dict(lora.lora_layers(made.model))
    assert all(torch.equal(layers[name].earlier_a, value) for name, value in kept.items())
    made.publish(tmp_path / "second")
    assert torch.equal(served(tmp_path / "second", dtype=dtype), logits(made.model))
    assert not torch.equal(logits(made.model), before)
    stored = lora.read_adapter(tmp_path / "second")
    first = lora.read_adapter(tmp_path / "first")
    for name, shape in first.shapes.items():
        own = 0 if layers[name].shape is None else layers[name].shape.rank
        assert stored.shapes[name].rank == shape.rank + own


def test_plain_peft_loads_a_stack_with_the_same_logits(tmp_path: Path):
    earlier(Lora(rank=2, rslora=True, target_modules=("q_proj", "v_proj")), tmp_path / "first")
    made = attached(Lora(rank=3, layers=1), adapter=tmp_path / "first", mode="stack")
    learn(made, num_steps=3)
    made.publish(tmp_path / "second")
    theirs = peft.PeftModel.from_pretrained(tiny_llama(), tmp_path / "second")
    torch.testing.assert_close(logits(theirs), logits(made.model), rtol=1e-5, atol=1e-5)


def test_fused_and_plain_forward_agree_over_a_stack(tmp_path: Path):
    earlier(BASIC, tmp_path)
    made = attached(Lora(rank=3), adapter=tmp_path, mode="stack")
    learn(made, num_steps=2)
    fused = logits(made.model)
    with lora.plain_forward(made.model):
        torch.testing.assert_close(logits(made.model), fused, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("tied", [True, False], ids=["tied", "untied"])
@pytest.mark.parametrize("mode", ["continue", "stack"])
def test_an_embedding_that_learned_whole_goes_on(tmp_path: Path, mode: str, tied: bool):
    before = earlier(EMBEDDING, tmp_path / "first", tie_word_embeddings=tied)
    loaded = tiny_loaded(tie_word_embeddings=tied)
    made = attached(EMBEDDING, loaded, adapter=tmp_path / "first", mode=mode)
    torch.testing.assert_close(logits(made.model), before, rtol=1e-5, atol=1e-5)
    learn(made, num_steps=2)
    made.publish(tmp_path / "second")
    assert torch.equal(served(tmp_path / "second", tie_word_embeddings=tied), logits(made.model))


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        (BASIC, QUANTISED, "held in other bits"),
        (Lora(rank=4, modules_to_save=("norm",)), BASIC, "modules norm have to go on learning|model.norm"),
    ],
)
def test_a_stack_that_cannot_be_published_is_refused(tmp_path: Path, old, new, words: str):
    earlier(old, tmp_path)
    with pytest.raises(ModelError, match=words):
        attached(new, adapter=tmp_path, mode="stack")


def foreign(folder: Path, kind: str) -> Path:
    folder.mkdir(exist_ok=True)
    (folder / "adapter_config.json").write_text(json.dumps({"peft_type": kind}))
    return folder


@pytest.mark.parametrize(
    ("mode", "words"),
    [
        ("continue", "an adapter of kind IA3 cannot go on learning as LORA"),
        ("merge_then_new", "an adapter of kind IA3 cannot be merged"),
        ("stack", "only LoRA can be stacked on LoRA; here LORA would lie on IA3"),
    ],
)
def test_other_kinds_are_refused_by_name(tmp_path: Path, mode: str, words: str):
    with pytest.raises(ModelError, match=words):
        attached(BASIC, adapter=foreign(tmp_path / "other", "IA3"), mode=mode)


def test_other_methods_merge_lora_too_and_refuse_the_rest(tmp_path: Path):
    before = earlier(BASIC, tmp_path)
    loaded = tiny_loaded()
    start = begin_from(loaded, Begin(0, "tiny", adapter=tmp_path, mode="merge_then_new"), kind="")
    torch.testing.assert_close(logits(loaded.model), before, rtol=1e-4, atol=1e-4)
    start.publish(loaded, tmp_path / "out", base_name="tiny")
    assert (tmp_path / "out" / lora.MERGED_FIRST / "adapter_config.json").exists()
    with pytest.raises(ModelError, match="LORA cannot go on learning as whole weights"):
        begin_from(tiny_loaded(), Begin(0, "tiny", adapter=tmp_path, mode="continue"), kind="")
    with pytest.raises(ModelError, match="here IA3 would lie on LORA"):
        begin_from(tiny_loaded(), Begin(0, "tiny", adapter=tmp_path, mode="stack"), kind="IA3")
    assert begin_from(tiny_loaded(), Begin(0, "tiny"), kind="IA3").mode == "new"


def test_a_folder_without_adapter_is_refused(tmp_path: Path):
    with pytest.raises(ModelError, match="not an adapter folder"):
        attached(BASIC, adapter=tmp_path)


def test_tokens_of_the_earlier_adapter_have_to_be_known(tmp_path: Path):
    earlier(RICH, tmp_path)
    with pytest.raises(ModelError, match=r"knows the token '<b>' as 258, this tokenizer as None"):
        attached(BASIC, adapter=tmp_path, mode="merge_then_new")
    with pytest.raises(ModelError, match=r"knows the token '<b>' as 258, this tokenizer as 259"):
        attached(Lora(rank=4, trainable_tokens=("<c>", "<b>")), adapter=tmp_path, mode="merge_then_new")


@pytest.mark.parametrize("mode", ["continue", "stack"])
def test_rows_of_the_earlier_adapter_go_on_learning_unasked(tmp_path: Path, mode: str):
    """Its tokenizer knows its tokens, so that nothing calls them new any more."""
    settings = Lora(rank=4, trainable_tokens=("<b>",))
    before = earlier(settings, tmp_path / "first")
    loaded = replace(tiny_loaded(), tokenizer=read_tokenizer(tmp_path / "first"))
    made = attached(Lora(rank=4), loaded, adapter=tmp_path / "first", mode=mode)
    torch.testing.assert_close(logits(made.model), before, rtol=1e-5, atol=1e-5)
    assert "token_rows.input" in [entry.name for entry in made.trainable]
    made.publish(tmp_path / "second")
    assert read_tokenizer(tmp_path / "second").get_vocab()["<b>"] == 258
