"""What can go wrong before and between the steps of a run on a tiny model: one message, nothing lost."""

import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from tiny_models import tiny_model_folder
from train_folders import data_set, greeting, greetings, job

from tunesmith.core.errors import FolderError, Interrupted, ModelError
from tunesmith.core.files import canonical_json, read_jsonl, write_text
from tunesmith.core.recipe import Recipe
from tunesmith.runtime.adapter_facts import FACTS_NAME
from tunesmith.runtime.models import Loaded, load_for_inference, load_model
from tunesmith.train import TrainConfig, checkpoints, train, worker
from tunesmith.train.engines.port import EngineSetup, Item
from tunesmith.train.engines.ragged import RaggedEngine
from tunesmith.train.order import WorkOrder
from tunesmith.train.preflight import memory
from tunesmith.train.preflight.memory import Trial
from tunesmith.train.preflight.trial import Phases
from tunesmith.train.starts import find_start

SETTINGS: dict[str, Any] = {
    "method": {"kind": "lora", "rank": 4, "alpha": 8, "dropout": 0.2},
    "optimiser": {"learning_rate": 0.03},
    "step_examples": 6,
    "evaluations": 1,
    "dtype": "float32",
    "threads": 1,
}


@pytest.fixture(scope="module")
def model(tmp_path_factory) -> Path:
    return tiny_model_folder(tmp_path_factory.mktemp("model") / "tiny")


class Stop:
    """The worker's flag, set after it was asked so many times."""

    def __init__(self, after: int) -> None:
        self.left = after

    @property
    def is_set(self) -> bool:
        self.left -= 1
        return self.left < 0


@pytest.fixture
def prepared(tmp_path: Path, model: Path) -> Callable[..., worker.Prepared]:
    """Opens a run in this process, as the worker does before the pre-flight."""

    def make(**changes: object) -> worker.Prepared:
        data = {"path": str(data_set(tmp_path, greetings(12))), "name": "greetings"}
        recipe = Recipe.model_validate({"data": [data], "model": str(model), **SETTINGS, **changes})
        return worker.prepare(tmp_path, WorkOrder(recipe, "tiny", model), None)

    return make


def trial(fits: bool) -> Trial:
    return Trial(fits, {}, "forward and backward", 1, {})


def test_a_model_without_one_of_its_tensors_is_refused_not_filled_with_random_numbers(tmp_path: Path):
    folder = tiny_model_folder(tmp_path / "torn")
    tensors = load_file(folder / "model.safetensors")
    del tensors["model.layers.1.mlp.down_proj.weight"]
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(ModelError, match=r"not whole: a tensor is missing: .model\.layers\.1\.mlp"):
        load_model(folder)


@pytest.fixture(scope="module")
def first(tmp_path_factory, model: Path) -> Path:
    """A finished run that kept checkpoints."""
    root = tmp_path_factory.mktemp("first")
    data = str(data_set(root, greetings(24)))
    settings = {"data": data, "model": str(model), **SETTINGS, "epochs": 2}
    keep = {"save_every": 1, "keep_checkpoints": 3}
    write_text(root / "recipe.yaml", canonical_json({**settings, **keep}))
    return train(TrainConfig(recipe=root / "recipe.yaml"), job(root)).folder


def engine(model: Path, start: Path) -> RaggedEngine:
    """An engine that begins from something."""
    values = {"data": "somewhere", "model": str(model), **SETTINGS, "init_from": {"path": str(start)}}
    recipe = Recipe.model_validate(values)
    assert recipe.init_from is not None
    adapter = find_start(recipe.init_from, job(start)).folder
    return RaggedEngine(EngineSetup(recipe, "tiny", model, adapter))


def test_an_adapter_of_another_base_names_the_layer_that_does_not_fit(tmp_path: Path, first: Path):
    other = tiny_model_folder(tmp_path / "other", hidden_size=64)
    foreign = tmp_path / "foreign"
    shutil.copytree(first / "adapter", foreign)
    (foreign / FACTS_NAME).unlink()  # an adapter of somebody else does not know its base
    with pytest.raises(ModelError, match=r"does not fit this base model: 'model(?s:.*)it was trained on"):
        engine(other, foreign)
    with pytest.raises(ModelError, match=r"learned on other weights than those of the base model other"):
        engine(other, first / "adapter")


def test_a_run_begins_from_a_checkpoint_that_another_one_kept(model: Path, first: Path):
    kept = sorted((first / "checkpoints").glob("step-*"))
    assert [path.name for path in kept] == ["step-000006", "step-000007", "step-000008"]
    middle = load_file(kept[0] / "published" / "adapter_model.safetensors")
    last = load_file(first / "adapter" / "adapter_model.safetensors")
    assert any(not torch.equal(middle[name], last[name]) for name in last)
    begun = engine(model, kept[0]).session.masters.tensors()
    assert {tuple(tensor.flatten().tolist()) for tensor in begun.values()} == {
        tuple(tensor.flatten().tolist()) for tensor in middle.values()
    }


def test_a_checkpoint_that_was_torn_says_how_to_begin_again(tmp_path: Path, model: Path, first: Path):
    shutil.copytree(first / "checkpoints", tmp_path / "checkpoints")
    (tmp_path / "checkpoints" / "step-000008" / "state.safetensors").write_bytes(b"torn")
    with pytest.raises(FolderError, match=r"the checkpoint is damaged(?s:.*)--restart"):
        checkpoints.load(tmp_path / "checkpoints", engine(model, first))


def test_activations_are_computed_again_where_only_that_fits_and_the_steps_stay_the_same(
    tmp_path: Path, prepared: Callable[..., worker.Prepared], monkeypatch
):
    ran = {}
    for fits in ("off", "on"):
        monkeypatch.setattr(
            memory, "try_in_child", lambda context, examples, tried, *, limit, fits=fits: trial(tried == fits)
        )
        folder = tmp_path / fits
        folder.mkdir()
        opened = prepared()
        proved = worker.prove(folder, opened, Stop(10**6))
        assert proved.engine is opened.engine
        assert proved.recipe.activation_checkpointing == fits
        assert proved.engine.session.model.is_gradient_checkpointing == (fits == "on")
        said = [line.value.get("text", "") for line in read_jsonl(folder / "events.jsonl")]
        assert any("activation checkpointing is on" in text for text in said) == (fits == "on")
        worker.train(folder, proved, Stop(10**6))
        ran[fits] = {entry.name: entry.parameter.detach() for entry in proved.engine.session.masters.entries}
    for name, tensor in ran["off"].items():
        assert torch.equal(tensor, ran["on"][name]), name


@pytest.mark.parametrize("after", [0, 4])
def test_whoever_asks_to_stop_during_the_proofs_does_not_wait_for_the_last_one(
    tmp_path: Path, prepared: Callable[..., worker.Prepared], after: int
):
    with pytest.raises(Interrupted, match="begins again"):
        worker.prove(tmp_path, prepared(), Stop(after))
    tried = [line.value["proof"] for line in read_jsonl(tmp_path / "events.jsonl") if "proof" in line.value]
    assert len(tried) == after


def test_the_memory_trial_ends_when_it_is_asked_to_stop(tmp_path: Path):
    def stop() -> None:
        raise Interrupted("now")

    (tmp_path / "order.json").write_text("{}")
    with pytest.raises(Interrupted):
        memory.watch(tmp_path, 1 << 40, stop)


def test_a_trial_whose_run_was_killed_stops_before_its_next_phase(tmp_path: Path):
    phases = Phases(tmp_path / "phases.jsonl")
    with phases.phase("load"):
        phases.parent = -1
    with pytest.raises(SystemExit, match="nobody waits"), phases.phase("optimiser"):
        pass


@pytest.mark.parametrize("where", ["the run", "a checkpoint", "the adapter"])
@pytest.mark.parametrize("mode", ["continue", "merge_then_new", "stack"])
def test_each_way_to_begin_from_each_thing_starts_with_what_was_learned(
    tmp_path: Path, model: Path, first: Path, where: str, mode: str
):
    checkpoint = first / "checkpoints" / "step-000008"
    path = {"the run": first, "a checkpoint": checkpoint, "the adapter": first / "adapter"}[where]
    start = {"path": str(path), "mode": mode}
    values = {"data": "somewhere", "model": str(model), **SETTINGS}
    begun = Recipe.model_validate({**values, "init_from": start})
    found = find_start(begun.init_from, job(tmp_path))
    opened = RaggedEngine(EngineSetup(begun, "tiny", model, found.folder))
    plain = RaggedEngine(EngineSetup(Recipe.model_validate(values), "tiny", model))
    held_out = [item_of(plain, number) for number in range(2000, 2004)]
    learned = sum(losses_of(load_for_inference(model, adapter=first / "adapter", dtype="float32"), held_out))
    assert total_nll(opened, held_out) == pytest.approx(learned, rel=1e-4)
    assert total_nll(plain, held_out) > 1.05 * learned
    before = {name: tensor.clone() for name, tensor in opened.session.masters.tensors().items()}
    for _ in range(3):
        opened.forward_backward(held_out)
        opened.optim_step(learning_rate=0.03, max_norm=1.0)
    assert total_nll(opened, held_out) < learned
    assert any(not torch.equal(before[name], now) for name, now in opened.session.masters.tensors().items())
    opened.publish(tmp_path / "adapter")
    served = load_for_inference(model, adapter=tmp_path / "adapter", dtype="float32")
    assert sum(losses_of(served, held_out)) == pytest.approx(total_nll(opened, held_out), rel=1e-4)


def total_nll(engine: RaggedEngine, items: Sequence[Item]) -> float:
    return sum(one.nll for one in engine.losses(items))


def item_of(engine: RaggedEngine, number: int) -> Item:
    return Item(str(number), "greetings", engine.encode(greeting(number), str(number)))


@torch.no_grad()
def losses_of(served: Loaded, items: list[Item]) -> list[float]:
    """Summed loss of the learned tokens of each item, as plain transformers computes it."""
    found = []
    for item in items:
        ids, weights = item.encoded
        logprob_TV = served.model(torch.tensor([ids])).logits[0].log_softmax(-1)
        found.append(-sum(float(logprob_TV[at - 1, ids[at]]) for at in range(1, len(ids)) if weights[at]))
    return found


def test_a_base_without_a_template_is_refused_before_the_first_step(tmp_path: Path):
    bare = tiny_model_folder(tmp_path / "bare", template=None)
    data = {"path": str(data_set(tmp_path, greetings(4))), "name": "greetings"}
    recipe = Recipe.model_validate({"data": [data], "model": str(bare), **SETTINGS})
    with pytest.raises(ModelError, match=r"no chat template(?s:.*)template: chatml"):
        worker.prepare(tmp_path, WorkOrder(recipe, "bare", bare), None)
    chatml = recipe.model_copy(update={"template": "chatml"})
    assert len(worker.prepare(tmp_path, WorkOrder(chatml, "bare", bare), None).train) == 4
