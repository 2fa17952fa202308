"""Which layers carry LoRA: what a recipe may name, and the words for what it may not."""

import json
import warnings
from pathlib import Path

import peft
import pytest
import torch
from lora_training import attached, logits, tiny_loaded
from peft.utils.other import get_pattern_key
from tiny_models import tiny_llama
from transformers import AutoModelForCausalLM

from tunesmith.core.errors import ModelError
from tunesmith.core.recipe import Lora
from tunesmith.runtime import lora
from tunesmith.runtime.lora.targets import linear_layers, pattern_key
from tunesmith.runtime.vocabulary import attach_rows, is_tied, resize

BLOCK = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")
PARTS = [f"{'mlp' if name in BLOCK[4:] else 'self_attn'}.{name}" for name in BLOCK]


def carried(settings: Lora, **changes: object) -> list[str]:
    """Names of the layers that carry LoRA, without their common beginning."""
    made = attached(settings, tiny_loaded(**changes))
    return [name.removeprefix("model.layers.") for name, _ in lora.lora_layers(made.model)]


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({"target_modules": ("q_proj",)}, ["0.self_attn.q_proj", "1.self_attn.q_proj"]),
        ({"target_modules": ("mlp.up_proj",), "layers": 1}, ["1.mlp.up_proj"]),
        ({"target_modules": (r"model\.layers\.0\..*_proj",)}, [f"0.{name}" for name in PARTS]),
        ({"target_modules": ("model.layers.1.mlp.down_proj",)}, ["1.mlp.down_proj"]),
        ({"target_modules": ("q_proj", "lm_head"), "layers": 1}, ["1.self_attn.q_proj", "lm_head"]),
        ({"layers": 1, "modules_to_save": ("mlp",)}, [f"1.{name}" for name in PARTS[:4]]),
    ],
)
def test_names_endings_and_expressions_choose_layers(settings: dict, expected: list[str]):
    assert carried(Lora(rank=2, **settings)) == expected


def test_an_expression_for_everything_means_the_blocks():
    assert len(carried(Lora(rank=2, target_modules=(".*",)))) == 14


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"target_modules": ("q_porj",)}, "no linear layer .*'q_porj'\n.*did you mean 'q_proj'"),
        ({"target_modules": ("q_proj", "embed_tokens")}, "no linear layer .*'embed_tokens'"),
        ({"target_modules": ("(",)}, "not a regular expression"),
        ({"layers": 3}, "the model has 2 layers: 3"),
        ({"rank": 17}, "above the smaller side of layer .*k_proj .16."),
        ({"rank_pattern": {"up_proj": 33}}, "above the smaller side of layer .*up_proj .32."),
        (
            {"rank_pattern": {"q_porj": 2}},
            "rank_pattern: a pattern decides for no .*'q_porj'\n.*q_proj",
        ),
        ({"alpha_pattern": {"q_proj$": 2, "q_proj": 3}}, "alpha_pattern: a pattern .*'q_proj'"),
        ({"alpha_pattern": {"*": 2}}, "not a regular expression"),
        ({"target_modules": ("q_proj",), "rank_pattern": {"k_proj": 2}}, "decides for no layer"),
        ({"modules_to_save": ("nrom",)}, "no module .*'nrom'\n.*did you mean 'norm'"),
        ({"modules_to_save": ("lm_head",)}, "shares its weight with the embedding.*\n.*model.embed_tokens"),
        ({"modules_to_save": ("layers",)}, "a list of modules cannot be saved"),
        ({"modules_to_save": ("act_fn",)}, "has no parameters"),
        ({"modules_to_save": ("mlp", "up_proj")}, "up_proj lies inside .*mlp, which is named too"),
        ({"modules_to_save": ("q_proj",), "target_modules": ("q_proj",)}, "all that match learn whole"),
        ({"trainable_tokens": (" ",)}, "empty or have spaces"),
        ({"trainable_tokens": ("a",), "target_modules": ("lm_head",)}, "beside another method"),
    ],
)
def test_what_cannot_be_is_said_in_one_message(settings: dict, words: str):
    with pytest.raises(ModelError, match=words):
        attached(Lora(**{"rank": 4, **settings}))


def test_patterns_match_as_in_peft():
    names = linear_layers(tiny_llama())
    patterns = ["q_proj", r"1\.mlp.*", "model.layers.0.mlp.up_proj", "proj", "^v_proj", "[kv]_proj"]
    for name in names:
        ours = pattern_key(patterns, name)
        assert (name if ours is None else ours) == get_pattern_key(patterns, name)


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({}, {"target_modules": sorted(BLOCK)}),
        ({"layers": 1}, {"target_modules": sorted(BLOCK), "layers_to_transform": [1]}),
        (
            {"target_modules": ("0.mlp.up_proj", "1.mlp.down_proj")},
            {"target_modules": ["model.layers.0.mlp.up_proj", "model.layers.1.mlp.down_proj"]},
        ),
    ],
)
def test_the_file_names_layers_as_shortly_as_says_it_all(tmp_path: Path, settings: dict, expected: dict):
    attached(Lora(rank=2, **settings)).publish(tmp_path)
    config = json.loads((tmp_path / "adapter_config.json").read_text())
    assert {key: config[key] for key in expected} == expected


PEFT_WRITES = {
    "patterns": {"rank_pattern": {"q_proj": 3}, "alpha_pattern": {"v_proj": 1}, "use_rslora": True},
    "layers": {"layers_to_transform": [1]},
    "expression": {"target_modules": r".*\.(q|v)_proj"},
    "norm": {"modules_to_save": ["norm"]},
    "linear whole": {"modules_to_save": ["up_proj"]},
    "embedding": {"modules_to_save": ["embed_tokens"], "ensure_weight_tying": True},
    "embedding alone": {"modules_to_save": ["embed_tokens"]},
    "tokens": {"trainable_token_indices": [7, 5]},
    "tokens of both": {"trainable_token_indices": {"embed_tokens": [7, 5], "lm_head": [7, 5]}},
    "output layer": {"target_modules": ["lm_head", "q_proj"]},
}


@pytest.mark.parametrize("tied", [True, False], ids=["tied", "untied"])
@pytest.mark.parametrize("name", PEFT_WRITES)
def test_an_adapter_that_peft_wrote_gives_the_same_logits_here(tmp_path: Path, name: str, tied: bool):
    settings = {"r": 4, "target_modules": ["q_proj", "v_proj"], "init_lora_weights": False}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # PEFT's remarks on tied weights; the outputs are what counts
        theirs = peft.get_peft_model(
            tiny_llama(tie_word_embeddings=tied), peft.LoraConfig(**{**settings, **PEFT_WRITES[name]})
        )
        generator = torch.Generator().manual_seed(0)
        with torch.no_grad():
            for parameter in theirs.parameters():
                if parameter.requires_grad:
                    parameter += 0.2 * torch.randn(parameter.shape, generator=generator)
        theirs.save_pretrained(tmp_path)
    ours = tiny_llama(tie_word_embeddings=tied)
    lora.load_adapter(ours, tmp_path)
    torch.testing.assert_close(logits(ours), logits(theirs), rtol=1e-5, atol=1e-5)
    assert not torch.allclose(logits(ours), logits(tiny_llama(tie_word_embeddings=tied)), atol=1e-2)


def test_an_embedding_that_peft_learned_alone_stays_apart_when_it_grows_and_is_saved(tmp_path: Path, caplog):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # PEFT's remark that it learns the one and not the other
        settings = {"target_modules": ["q_proj"], "modules_to_save": ["embed_tokens"]}
        theirs = peft.get_peft_model(tiny_llama(), peft.LoraConfig(**settings))
        with torch.no_grad():
            theirs.get_input_embeddings().weight.add_(0.1)
        theirs.save_pretrained(tmp_path / "theirs")
    merged = tiny_llama()
    lora.merge_adapter(merged, tmp_path / "theirs")
    resize(merged, 272)
    merged.save_pretrained(tmp_path / "merged")
    again = AutoModelForCausalLM.from_pretrained(tmp_path / "merged")
    for model in (merged, again):
        assert not is_tied(model)
        torch.testing.assert_close(logits(model)[..., :264], logits(theirs), rtol=1e-5, atol=1e-5)
    assert "tie" not in caplog.text


def test_an_adapter_of_a_vocabulary_that_peft_saved_grown_loads(tmp_path: Path):
    base = tiny_llama()
    base.resize_token_embeddings(270, mean_resizing=False)
    theirs = peft.get_peft_model(base, peft.LoraConfig(r=2, target_modules=["q_proj"]))
    theirs.save_pretrained(tmp_path, save_embedding_layers=True)
    ours = tiny_llama()
    lora.load_adapter(ours, tmp_path)
    assert ours.config.vocab_size == 270
    torch.testing.assert_close(logits(ours), logits(theirs), rtol=1e-5, atol=1e-5)


def test_rows_and_lora_on_the_same_layer_are_refused():
    model = tiny_llama()
    lora.attach_layers(model, {"lm_head": lora.LoraShape(2, 2)}, seed=0)
    with pytest.raises(ModelError, match="beside another method"):
        attach_rows(model, (5,))
