"""The engine behind the loop's port: what it hands to the methods, and what it publishes."""

import json
from pathlib import Path

import pytest
import torch
from tiny_models import CHATML, tiny_llama, tiny_model_folder, tiny_tokenizer
from tokenizers import Tokenizer
from train_folders import data_set, greeting
from transformers import PreTrainedTokenizerFast

from tunesmith.core.dataset import DataSet
from tunesmith.core.recipe import Recipe
from tunesmith.runtime import vocabulary
from tunesmith.runtime.models import load_for_inference
from tunesmith.train.engines.port import EngineSetup, Item
from tunesmith.train.engines.ragged import RaggedEngine


@pytest.fixture(scope="module")
def model(tmp_path_factory) -> Path:
    return tiny_model_folder(tmp_path_factory.mktemp("model") / "tiny")


@pytest.fixture(scope="module")
def bare_model(tmp_path_factory) -> Path:
    return tiny_model_folder(tmp_path_factory.mktemp("bare") / "tiny", template=None)


def open_engine(model: Path, data: Path, **settings: object) -> RaggedEngine:
    recipe = Recipe.model_validate(
        {"data": str(data), "model": str(model), "dtype": "float32", "seed": 1, **settings}
    )
    return RaggedEngine(EngineSetup(recipe, "tiny", model))


def learn(engine: RaggedEngine, *, steps: int = 3) -> list[float]:
    items = [Item(str(number), "data", engine.encode(greeting(number), str(number))) for number in range(4)]
    losses = []
    for _ in range(steps):
        losses.append(engine.forward_backward(items).loss)
        engine.optim_step(learning_rate=1e-2, max_norm=1.0)
    return losses


@pytest.mark.parametrize(
    "config",
    [
        {"init_lora_weights": "eva", "r": 4},
        {"init_lora_weights": "corda", "r": 4},
        {"init_lora_weights": "lora_ga", "r": 4},
    ],
    ids=lambda config: config["init_lora_weights"],
)
def test_a_method_that_begins_from_data_is_shown_training_rows(tmp_path: Path, model: Path, config: dict):
    data = data_set(tmp_path)
    method = {"kind": "peft", "peft_type": "LORA", "config": config}
    found, again = (open_engine(model, data, method=method) for _ in range(2))
    losses = learn(found)
    assert losses[-1] < losses[0]
    assert learn(again) == losses, "the same rows are shown each time"
    found.publish(tmp_path / "adapter")
    served = load_for_inference(model, adapter=tmp_path / "adapter", dtype="float32")
    token_1T = torch.tensor([found.encode(greeting(1), "1").token_ids])
    expected = found.losses([Item("1", "data", found.encode(greeting(1), "1"))])[0].nll
    with torch.no_grad():
        logprob_TV = served.model(token_1T).logits[0].log_softmax(-1)
    encoded = found.encode(greeting(1), "1")
    nll = -sum(
        float(logprob_TV[place - 1, token])
        for place, (token, weight) in enumerate(zip(*encoded, strict=True))
        if weight and place
    )
    assert nll == pytest.approx(expected, rel=1e-3)


def test_other_rows_give_other_first_values(tmp_path: Path, model: Path):
    method = {"kind": "peft", "peft_type": "LORA", "config": {"init_lora_weights": "eva", "r": 4}}
    first = data_set(tmp_path / "one")
    other = data_set(
        tmp_path / "two", {"train": [greeting(number * 7919) for number in range(40, 60)], "validation": []}
    )
    assert [row.line for row in DataSet.open(other).split("train")]
    masters = [open_engine(model, data, method=method).session.masters.tensors() for data in (first, other)]
    assert any(not torch.equal(masters[0][name], masters[1][name]) for name in masters[0])


def test_a_template_of_the_recipe_goes_with_the_adapter(tmp_path: Path, bare_model: Path):
    engine = open_engine(bare_model, data_set(tmp_path), template="chatml")
    learn(engine)
    engine.publish(tmp_path / "adapter")
    served = load_for_inference(bare_model, adapter=tmp_path / "adapter", dtype="float32")
    assert served.tokenizer.chat_template == engine.tokenizer.chat_template
    assert len(served.tokenizer) == len(engine.tokenizer)


def test_a_trainable_token_is_one_token_from_the_first_encoding_on(tmp_path: Path, model: Path):
    method = {"kind": "lora", "rank": 2, "trainable_tokens": ["<|address|>"]}
    engine = open_engine(model, data_set(tmp_path), method=method)
    assert engine.encoder.new_tokens == ("<|address|>",)
    assert len(engine.tokenizer.encode("<|address|>", add_special_tokens=False)) == 1
    names = [entry.name for entry in engine.session.masters.entries]
    assert len(names) == len(set(names))
    assert any("rows" in name or "token" in name for name in names), names


def without_marks(folder: Path, *, tied: bool) -> Path:
    """A base model whose tokenizer has neither a template nor the tokens of one, and no row to spare."""
    marks = dict.fromkeys(("bos_token_id", "eos_token_id", "pad_token_id"), 256)
    tiny_llama(vocab_size=257, tie_word_embeddings=tied, **marks).save_pretrained(folder)
    inner = tiny_tokenizer().backend_tokenizer.to_str()
    rules = json.loads(inner)
    rules["added_tokens"] = [{**rules["added_tokens"][0], "content": "<|end|>"}]
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=Tokenizer.from_str(json.dumps(rules)), eos_token="<|end|>"
    )
    tokenizer.save_pretrained(folder)
    return folder


@pytest.mark.parametrize("own", [False, True], ids=["chatml", "a file"])
@pytest.mark.parametrize("tied", [True, False], ids=["tied", "untied"])
@pytest.mark.parametrize("kind", ["lora", "adapter", "full"])
def test_a_base_without_template_or_its_tokens_learns_them_and_saves_them(
    tmp_path: Path, kind: str, tied: bool, own: bool
):
    base = without_marks(tmp_path / "base", tied=tied)
    (tmp_path / "mine.jinja").write_text(CHATML)
    template = str(tmp_path / "mine.jinja") if own else "chatml"
    engine = open_engine(base, data_set(tmp_path), template=template, method={"kind": kind})
    ids = [engine.tokenizer.convert_tokens_to_ids(token) for token in ("<|im_start|>", "<|im_end|>")]
    assert ids == [257, 258]
    rows = engine.session.model.get_input_embeddings()
    before = rows(torch.tensor(ids)).detach().clone()
    assert engine.encode(greeting(1), "1").token_ids[0] == 257
    learn(engine)
    moved = rows(torch.tensor(ids)).detach()
    assert all(not torch.equal(old, new) for old, new in zip(before, moved, strict=True))
    assert vocabulary.is_tied(engine.session.model) == tied
    out = tmp_path / "out"
    engine.publish(out)
    places = (out, None) if kind == "full" else (base, out)
    served = load_for_inference(places[0], adapter=places[1], dtype="float32")
    assert served.tokenizer.chat_template == engine.tokenizer.chat_template
    assert served.tokenizer.convert_tokens_to_ids("<|im_end|>") == 258
    assert torch.equal(served.model.get_input_embeddings()(torch.tensor(ids)), moved)
    encoded = engine.encode(greeting(1), "1")
    with torch.no_grad():
        logprob_TV = served.model(torch.tensor([encoded.token_ids])).logits[0].log_softmax(-1)
    nll = -sum(
        float(logprob_TV[place - 1, token])
        for place, (token, weight) in enumerate(zip(*encoded, strict=True))
        if weight and place
    )
    assert nll == pytest.approx(engine.losses([Item("1", "data", encoded)])[0].nll, rel=1e-4)


@pytest.mark.parametrize(
    "changed",
    [{"neftune_alpha": 5}, {"label_smoothing": 0.1}, {"z_loss": 0.1}, {"loss": "dft"}, {"learn": "all"}],
    ids=lambda changed: next(iter(changed)),
)
def test_every_setting_of_the_objective_reaches_the_step(tmp_path: Path, model: Path, changed: dict):
    data = data_set(tmp_path)
    plain, other = (learn(open_engine(model, data, objective=it), steps=2) for it in ({}, changed))
    assert plain != other
    assert learn(open_engine(model, data, objective=changed), steps=2) == other
