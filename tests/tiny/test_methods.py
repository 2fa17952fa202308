"""Full fine-tuning and freezing: what learns, what is written, and what keeps the base from rounding away."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from tiny_models import tiny_llama, tiny_model_folder, tiny_tokenizer
from transformers import AutoModelForCausalLM, AutoTokenizer

from tunesmith.core.errors import ConfigError, ModelError, OutOfSpace
from tunesmith.core.recipe import Freeze, Full, Lora, Sft, Sgd
from tunesmith.core.workspace import Manifest
from tunesmith.runtime.catalogue import locate
from tunesmith.runtime.masters import Masters
from tunesmith.runtime.methods import attach, whole
from tunesmith.runtime.methods.port import Attached, Begin
from tunesmith.runtime.models import (
    Loaded,
    describe,
    enable_activation_checkpointing,
    load_for_inference,
    load_model,
    output_head,
)
from tunesmith.runtime.optimisers import make_optimiser
from tunesmith.runtime.quantise import Quantisation, quantise
from tunesmith.runtime.ragged import pack, register
from tunesmith.runtime.session import Session
from tunesmith.runtime.step import Encoded
from tunesmith.train.objectives import supervised

ROWS = ((5, 9, 200, 31, 7, 5, 9, 100), (50, 90, 20, 31, 7), (9, 5, 60))
STEP = [Encoded(row, (1.0,) * len(row)) for row in ROWS]
BEGIN = Begin(seed=1, base_name="tiny")


def loaded(dtype: torch.dtype = torch.float32, **changes: object) -> Loaded:
    model = tiny_llama(dtype=dtype, **changes)
    model.set_attn_implementation(register())
    return Loaded(model, tiny_tokenizer(), describe(model, "tiny", str(dtype)))


def session(attached: Attached) -> Session:
    masters = Masters(attached.trainable)
    return Session(
        attached,
        heads={"output": output_head(attached.model)},
        microbatch_tokens=64,
        masters=masters,
        optimiser=make_optimiser(Sgd(weight_decay=0.0), masters.entries),
    )


def learn(attached: Attached, *, steps: int = 2, rate: float = 0.1) -> Session:
    opened = session(attached)
    for _ in range(steps):
        opened.forward_backward(STEP, supervised(Sft()))
        opened.optim_step(learning_rate=rate, max_norm=None)
    return opened


@torch.no_grad()
def logits(model) -> torch.Tensor:
    model.set_attn_implementation("sdpa")
    return model.eval()(torch.tensor([ROWS[0]])).logits


def test_full_trains_every_number_and_a_tied_weight_once():
    model = loaded()
    attached = attach(model, Full(), BEGIN)
    names = [entry.name for entry in attached.trainable]
    assert attached.expected_parameters == sum(entry.parameter.numel() for entry in attached.trainable)
    assert attached.expected_parameters == model.info.num_parameters
    assert "model.embed_tokens.weight" in names
    assert "lm_head.weight" not in names
    before = {name: parameter.clone() for name, parameter in model.model.named_parameters()}
    learn(attached)
    assert not [name for name, old in before.items() if torch.equal(model.model.get_parameter(name), old)]


def test_norms_biases_and_embeddings_do_not_decay_and_only_hidden_matrices_are_orthogonalised():
    untied = loaded(tie_word_embeddings=False, attention_bias=True)
    entries = {entry.name: entry for entry in attach(untied, Full(), BEGIN).trainable}

    def flags(name: str) -> tuple[bool, bool]:
        return entries[name].decay, entries[name].orthogonal

    assert flags("model.embed_tokens.weight") == (False, False)
    assert flags("lm_head.weight") == (True, False)
    assert flags("model.norm.weight") == (False, False)
    assert flags("model.layers.0.self_attn.q_proj.bias") == (False, False)
    assert flags("model.layers.0.self_attn.q_proj.weight") == (True, True)
    tied = {entry.name: entry for entry in attach(loaded(), Full(), BEGIN).trainable}
    assert tied["model.embed_tokens.weight"].decay is False


@pytest.mark.parametrize("settings", [Full(), Freeze(layers=1)], ids=lambda settings: settings.kind)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
def test_the_published_folder_is_a_whole_model_with_the_same_logits(tmp_path: Path, settings, dtype):
    name = "bfloat16" if dtype == torch.bfloat16 else "float32"
    model = load_model(tiny_model_folder(tmp_path / "base"), dtype=name)
    model.model.set_attn_implementation(register())
    before = logits(load_model(tmp_path / "base", dtype=name).model)
    attached = attach(model, settings, BEGIN)
    learn(attached)
    out = tmp_path / "out"
    attached.publish(out)
    again = AutoModelForCausalLM.from_pretrained(out, dtype="auto")
    assert again.dtype == dtype
    assert not {"tunesmith", "ragged"} & set((out / "config.json").read_text().replace("_", " ").split())
    assert torch.equal(logits(again), logits(model.model))
    assert not torch.equal(logits(again), before)
    tokenizer = AutoTokenizer.from_pretrained(out)
    assert tokenizer.chat_template == tiny_tokenizer().chat_template
    assert torch.equal(logits(load_for_inference(out, dtype=name).model), logits(again))


def test_updates_below_the_resolution_of_bfloat16_survive_in_the_master():
    model = loaded(torch.bfloat16)
    attached = attach(model, Full(), BEGIN)
    opened = session(attached)
    norm = model.model.model.norm.weight
    assert torch.all(norm == 1)
    master = next(entry for entry in opened.masters.entries if entry.name == "model.norm.weight").parameter
    alone = norm.detach().clone()
    # Below 1 the neighbours are 2**-8 apart, so that less than 2**-9 rounds away: each step is 2**-13.
    for _ in range(40):
        opened.clear_gradient()
        for entry in opened.masters.entries:
            entry.parameter.grad = torch.zeros_like(entry.parameter)
        assert master.grad is not None
        master.grad.fill_(1.0)
        opened.optim_step(learning_rate=2**-13, max_norm=None)
        alone -= 2**-13
    assert torch.all(alone == 1), "without a master every step rounds away"
    assert torch.all(norm < 1)
    assert torch.allclose(master.detach(), torch.tensor(1 - 40 * 2**-13))


@pytest.mark.parametrize("settings", [Full(), Freeze(train=("norm",))], ids=lambda settings: settings.kind)
def test_a_quantised_base_is_refused(settings):
    pytest.importorskip("bitsandbytes")
    model = loaded(hidden_size=64, intermediate_size=64)
    quantise(model.model, Quantisation())
    with pytest.raises(ModelError, match="held in few bits"):
        attach(model, settings, BEGIN)


def test_freeze_trains_what_its_expressions_match_and_nothing_else():
    model = loaded()
    attached = attach(model, Freeze(train=(r"layers\.1\..*norm", "q_proj")), BEGIN)
    names = {entry.name for entry in attached.trainable}
    assert names == {
        "model.layers.0.self_attn.q_proj.weight",
        "model.layers.1.self_attn.q_proj.weight",
        "model.layers.1.input_layernorm.weight",
        "model.layers.1.post_attention_layernorm.weight",
    }
    assert attached.expected_parameters == 2 * 32 * 32 + 2 * 32
    before = {name: parameter.clone() for name, parameter in model.model.named_parameters()}
    learn(attached)
    moved = {name for name, old in before.items() if not torch.equal(model.model.get_parameter(name), old)}
    assert moved == names


def test_a_tied_output_layer_is_found_by_its_own_name():
    attached = attach(loaded(), Freeze(train=("lm_head",)), BEGIN)
    assert [entry.name for entry in attached.trainable] == ["model.embed_tokens.weight"]


def test_an_expression_that_matches_nothing_names_the_nearest_parameters():
    with pytest.raises(ModelError) as caught:
        attach(loaded(), Freeze(train=("norm", r"layers\.0\.self_attn\.query_proj")), BEGIN)
    assert "'layers\\\\.0\\\\.self_attn\\\\.query_proj'" in str(caught.value)
    assert "layers.0.self_attn.q_proj.weight" in str(caught.value)


def test_what_is_no_expression_and_more_layers_than_there_are_are_refused():
    with pytest.raises(ConfigError, match="not a regular expression"):
        attach(loaded(), Freeze(train=("layers.(1",)), BEGIN)
    with pytest.raises(ConfigError, match="the model has 2 layers: 3"):
        attach(loaded(), Freeze(layers=3), BEGIN)


def test_nothing_is_computed_backwards_below_the_lowest_layer_that_learns():
    model = loaded(num_hidden_layers=3)
    attach(model, Freeze(layers=1), BEGIN)
    seen = {}
    for index, block in enumerate(model.model.model.layers):
        block.register_forward_hook(
            lambda module, args, output, index=index: seen.update({index: output.requires_grad})
        )
    micro = pack(STEP)
    model.model.get_decoder()(
        input_ids=micro.token_T[None], position_ids=micro.position_T[None], segments=micro.segments
    )
    assert seen == {0: False, 1: False, 2: True}


def test_new_tokens_that_freeze_would_leave_untrained_are_refused():
    begin = replace(BEGIN, new_token_ids=(263,))
    both = r"rows untrained: 'model.embed_tokens.weight, lm_head.weight'"
    with pytest.raises(ConfigError, match=both):
        attach(loaded(), Freeze(layers=1), begin)
    assert attach(loaded(), Freeze(train=("embed_tokens",)), begin).trainable
    untied = {"tie_word_embeddings": False}
    with pytest.raises(ConfigError, match=r"rows untrained: 'lm_head.weight'"):
        attach(loaded(**untied), Freeze(train=("embed_tokens",)), begin)
    assert attach(loaded(**untied), Freeze(train=("embed_tokens", "lm_head")), begin).trainable


def test_full_begins_from_an_adapter_by_merging_it(tmp_path: Path):
    first = loaded()
    attached = attach(first, Lora(rank=2), BEGIN)
    learn(attached)
    attached.publish(tmp_path)
    trained = logits(first.model)
    merged = loaded()
    attach(merged, Full(), replace(BEGIN, adapter=tmp_path, mode="merge_then_new"))
    torch.testing.assert_close(logits(merged.model), trained, rtol=1e-5, atol=1e-5)
    assert not torch.allclose(trained, logits(tiny_llama()), atol=1e-4)
    with pytest.raises(ModelError, match="cannot go on learning as whole weights"):
        attach(loaded(), Full(), replace(BEGIN, adapter=tmp_path, mode="continue"))


@pytest.mark.parametrize("settings", [Full(), Lora(rank=2), Freeze(layers=1)], ids=lambda s: s.kind)
def test_activation_checkpointing_leaves_the_gradients_as_they_are(settings):
    found = []
    for checkpointed in (False, True):
        attached = attach(loaded(), settings, BEGIN)
        calls = 0
        if checkpointed:
            enable_activation_checkpointing(attached.model)

        def count(*_args: object) -> None:
            nonlocal calls
            calls += 1

        attached.model.get_submodule("model.layers.1.self_attn").register_forward_hook(count)
        opened = session(attached)
        report = opened.forward_backward(STEP, supervised(Sft()))
        found.append((report.loss, [parameter.grad.clone() for parameter in opened.masters.parameters]))
        assert calls == (2 if checkpointed else 1)
    assert found[0][0] == found[1][0]
    for plain, again in zip(found[0][1], found[1][1], strict=True):
        assert torch.equal(plain, again)


def test_a_full_disk_while_tensors_are_written_is_one_clear_message(tmp_path: Path, monkeypatch):
    from safetensors import SafetensorError

    attached = attach(loaded(), Full(), BEGIN)

    def full(*_args: object, **_settings: object) -> None:
        raise SafetensorError("I/O error: No space left on device (os error 28)")

    monkeypatch.setattr(type(attached.model), "save_pretrained", full)
    with pytest.raises(OutOfSpace, match="no space left"):
        attached.publish(tmp_path)
    with pytest.raises(SafetensorError), whole.tensor_errors_are_os_errors():
        raise SafetensorError("header too large")


def test_an_adapter_brings_its_own_tokenizer_and_template(tmp_path: Path):
    base = tiny_model_folder(tmp_path / "base", template=None)
    model = loaded()
    attached = attach(model, Lora(rank=2), BEGIN)
    attached.publish(tmp_path / "adapter")
    assert load_for_inference(base, adapter=tmp_path / "adapter").tokenizer.chat_template is None
    tiny_tokenizer("{{ messages[0].content }}").save_pretrained(tmp_path / "adapter")
    again = load_for_inference(base, adapter=tmp_path / "adapter")
    assert again.tokenizer.chat_template == "{{ messages[0].content }}"


def test_a_folder_that_is_no_adapter_is_refused(tmp_path: Path):
    base = tiny_model_folder(tmp_path / "base")
    (tmp_path / "adapter").mkdir()
    with pytest.raises(ModelError, match="not an adapter folder"):
        load_for_inference(base, adapter=tmp_path / "adapter")
    (tmp_path / "adapter" / "adapter_config.json").write_text(json.dumps({"peft_type": "NOVELTY"}))
    with pytest.raises(ConfigError, match="has no such method: 'NOVELTY'"):
        load_for_inference(base, adapter=tmp_path / "adapter")


def finished_run(folder: Path, *, model: str) -> Path:
    """The least that a run's folder needs to be found and loaded."""
    manifest = Manifest(
        kind="run", name=folder.name, id="a" * 64, key="b" * 64, verb="train", created="2026-01-01T00:00:00Z",
        inputs=(), config={"model": model}, seed=0, versions={}, files={}, summary={},
    )  # fmt: skip
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "manifest.json").write_text(json.dumps(manifest.to_json()))
    return folder


def test_a_run_with_weights_is_loaded_without_its_base(tmp_path: Path, job):
    run = finished_run(tmp_path / "run", model=str(tmp_path / "gone"))
    attached = attach(loaded(), Full(), BEGIN)
    learn(attached)
    attached.publish(run / "weights")
    located = locate(str(run), job)
    assert (located.kind, located.model_folder, located.adapter) == ("run", run / "weights", None)
    again = load_for_inference(located.model_folder, adapter=located.adapter, dtype="float32").model
    assert torch.equal(logits(again), logits(attached.model))


def test_a_run_with_an_adapter_is_loaded_on_its_base(tmp_path: Path, job):
    base = tiny_model_folder(tmp_path / "base")
    run = finished_run(tmp_path / "run", model=str(base))
    attach(loaded(), Lora(rank=2), BEGIN).publish(run / "adapter")
    located = locate(str(run), job)
    assert (located.model_folder, located.adapter) == (base, run / "adapter")


def test_a_base_without_template_may_be_trained_and_is_not_served(tmp_path: Path, job):
    base = tiny_model_folder(tmp_path / "base", template=None)
    assert locate(str(base), job, needs_template=False).model_folder == base
    with pytest.raises(ModelError, match="the model has no chat template"):
        locate(str(base), job)
    run = finished_run(tmp_path / "run", model=str(base))
    attach(loaded(), Lora(rank=2), BEGIN).publish(run / "adapter")
    with pytest.raises(ModelError, match="the model has no chat template"):
        locate(str(run), job)
    tiny_tokenizer().save_pretrained(run / "adapter")
    assert locate(str(run), job).adapter == run / "adapter"


def test_an_index_that_names_absent_files_is_refused_with_the_first_of_them(tmp_path: Path, job):
    base = tiny_model_folder(tmp_path / "base")
    names = ("model.safetensors", "model-00002-of-00003.safetensors", "model-00003-of-00003.safetensors")
    index = {"metadata": {}, "weight_map": {f"tensor{at}": name for at, name in enumerate(names)}}
    (base / "model.safetensors.index.json").write_text(json.dumps(index))
    with pytest.raises(ModelError, match=r"2 of 3 files .* are missing: 'model-00002-of-00003"):
        locate(str(base), job)
    (base / "model.safetensors.index.json").write_text("[]")
    with pytest.raises(ModelError, match="lists no files"):
        locate(str(base), job)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
@pytest.mark.parametrize(
    "settings", [Full(), Freeze(layers=1), Freeze(train=("norm",))], ids=lambda settings: str(settings)
)
def test_what_learns_whole_begins_as_the_base_to_the_bit(settings, dtype):
    model = loaded(dtype)
    attached = attach(model, settings, BEGIN)
    session(attached)  # the masters take their numbers from the weights and write none back
    assert attached.unchanged_at_start
    assert torch.equal(logits(model.model), logits(tiny_llama(dtype=dtype)))
