"""An adapter knows which weights it learned on: others of the same shapes are refused."""

import json
import logging
from pathlib import Path

import peft
import pytest
import torch
from lora_training import learn, logits
from tiny_models import tiny_llama, tiny_model_folder, tiny_tokenizer

from tunesmith.core.errors import ModelError
from tunesmith.core.recipe import Adapter, Lora, Peft, Qlora
from tunesmith.runtime.adapter_facts import facts_of, fingerprint
from tunesmith.runtime.methods import attach
from tunesmith.runtime.methods.port import Begin
from tunesmith.runtime.models import Loaded, describe, load_for_inference

METHODS = pytest.mark.parametrize(
    "settings",
    [Lora(rank=2), Qlora(rank=2), Adapter(reduction_factor=4), Peft(peft_type="IA3")],
    ids=lambda settings: settings.kind,
)


def loaded(seed: int = 0) -> Loaded:
    model = tiny_llama(seed=seed)
    return Loaded(model, tiny_tokenizer(), describe(model, "tiny", "float32"))


def adapter(settings, folder: Path) -> Path:
    made = attach(loaded(), settings, Begin(seed=0, base_name="tiny"))
    learn(made)
    made.publish(folder)
    return folder


@METHODS
def test_weights_of_another_model_are_refused(tmp_path: Path, settings):
    mine = adapter(settings, tmp_path / "adapter")
    assert facts_of(mine)["base"]["name"] == "tiny"
    words = r"(?s)learned on other weights than those of the base model .*: 'tiny, weights .*it learned on"
    with pytest.raises(ModelError, match=words):
        load_for_inference(tiny_model_folder(tmp_path / "other", seed=1), adapter=mine, dtype="float32")
    with pytest.raises(ModelError, match=words):
        attach(loaded(seed=1), settings, Begin(seed=0, base_name="tiny", adapter=mine))


@METHODS
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_the_same_weights_serve_it_from_any_folder_and_in_any_type(tmp_path: Path, settings, dtype, caplog):
    mine = adapter(settings, tmp_path / "adapter")
    load_for_inference(tiny_model_folder(tmp_path / "renamed"), adapter=mine, dtype=dtype)
    assert caplog.text == ""


def test_a_later_adapter_knows_the_base_of_the_first(tmp_path: Path):
    first = adapter(Lora(rank=2), tmp_path / "1")
    begin = Begin(seed=0, base_name="tiny", adapter=first, mode="merge_then_new")
    attach(loaded(), Lora(rank=3), begin).publish(tmp_path / "2")
    weights = fingerprint(tiny_llama())
    assert facts_of(tmp_path / "2")["base"]["weights"] == weights
    assert facts_of(tmp_path / "2" / "merged_first")["base"]["weights"] == weights


def test_a_foreign_adapter_is_taken_and_the_log_says_what_cannot_be_known(tmp_path: Path, caplog):
    theirs = peft.get_peft_model(tiny_llama(), peft.LoraConfig(r=2, target_modules=["q_proj"]))
    theirs.save_pretrained(tmp_path / "theirs")
    path = tmp_path / "theirs" / "adapter_config.json"
    config = json.loads(path.read_text()) | {"base_model_name_or_path": "someone/else"}
    path.write_text(json.dumps(config))
    with caplog.at_level(logging.WARNING):
        found = load_for_inference(
            tiny_model_folder(tmp_path / "base"), adapter=tmp_path / "theirs", dtype="float32"
        )
    torch.testing.assert_close(logits(found.model), logits(theirs), rtol=1e-5, atol=1e-5)
    assert "does not say which weights it learned on (it names 'someone/else')" in caplog.text


def test_a_fingerprint_follows_the_weights_and_not_their_type():
    model = tiny_llama()
    before = fingerprint(model)
    assert fingerprint(tiny_llama(dtype=torch.bfloat16)) == before
    with torch.no_grad():
        model.model.layers[1].mlp.up_proj.weight.mul_(1.1)
    assert fingerprint(model) != before
