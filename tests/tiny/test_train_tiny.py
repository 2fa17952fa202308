"""Training on a tiny model: the loop in this process, and the whole way from a recipe to a result."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from tiny_models import tiny_model_folder
from train_folders import (
    StopAtOnce,
    data_set,
    greetings,
    job,
    loop_run,
    metrics,
    num_steps,
    same_numbers,
)

from tunesmith.core.conversation import chat
from tunesmith.core.errors import CheckFailed, FolderError, Interrupted
from tunesmith.core.files import canonical_json, hash_file, read_json, read_jsonl, write_json, write_text
from tunesmith.core.recipe import Lora, Recipe
from tunesmith.core.workspace import Manifest
from tunesmith.runtime.catalogue import locate
from tunesmith.train import TrainConfig, checkpoints, loop, replay, train
from tunesmith.train.engines.port import EngineSetup
from tunesmith.train.engines.ragged import RaggedEngine
from tunesmith.train.schema import ReplayConfig, TrainResult

SETTINGS: dict[str, Any] = {
    "method": {"kind": "lora", "rank": 4, "alpha": 8},
    "optimiser": {"learning_rate": 0.03, "schedule": "linear"},
    "step_examples": 6,
    "microbatch_tokens": 200,
    "epochs": 2,
    "evaluations": 2,
    "dtype": "float32",
    "threads": 1,
    "seed": 5,
}


@pytest.fixture(scope="module")
def model(tmp_path_factory) -> Path:
    return tiny_model_folder(tmp_path_factory.mktemp("model") / "tiny")


def recipe_of(model: Path, **changes: object) -> Recipe:
    return Recipe.model_validate({"data": "somewhere", "model": str(model), **SETTINGS, **changes})


def open_run(
    root: Path, model: Path, *, stop_after: int | None = None, **changes: object
) -> tuple[loop.Run, RaggedEngine]:
    """A loop on a tiny model in this process, stopping when so many steps are written down."""
    recipe = recipe_of(model, **changes)
    engine = RaggedEngine(EngineSetup(recipe, "tiny", model))
    root.mkdir(exist_ok=True)
    return loop_run(root, recipe, engine, stop_after=stop_after, rows=18), engine


def state(engine: RaggedEngine) -> dict[str, torch.Tensor]:
    """Every number that has learned."""
    return {entry.name: entry.parameter.detach() for entry in engine.session.masters.entries}


def assert_same(found: Mapping[str, torch.Tensor], wanted: Mapping[str, torch.Tensor]) -> None:
    assert found.keys() == wanted.keys()
    assert wanted
    for name, tensor in wanted.items():
        assert torch.equal(found[name], tensor), name


METHODS = {
    "lora": {"kind": "lora", "rank": 4, "alpha": 8, "dropout": 0.2},
    "qlora": {"kind": "qlora", "rank": 4, "alpha": 8, "dropout": 0.2},
    "full": {"kind": "full"},
    "freeze": {"kind": "freeze", "layers": 1},
    "adapter": {"kind": "adapter", "reduction_factor": 4, "dropout": 0.2},
    "peft": {"kind": "peft", "peft_type": "IA3"},
}
SHAPE = {"hidden_size": 64, "intermediate_size": 96}
"""Wide enough for blocks of 4-bit weights."""


@pytest.fixture(scope="module")
def wide_model(tmp_path_factory) -> Path:
    return tiny_model_folder(tmp_path_factory.mktemp("wide") / "tiny", **SHAPE)


@pytest.mark.parametrize("method", METHODS)
def test_a_resumed_run_equals_the_unbroken_one_to_the_bit(tmp_path: Path, wide_model: Path, method: str):
    settings = {"method": METHODS[method], "optimiser": {"learning_rate": 0.01}}
    whole, engine = open_run(tmp_path / "whole", wide_model, **settings)
    loop.train(whole, engine)
    cut, before = open_run(tmp_path / "cut", wide_model, stop_after=2, **settings)
    with pytest.raises(Interrupted):
        loop.train(cut, before)
    torch.manual_seed(99)  # another process has another random state
    rest, after = open_run(tmp_path / "cut", wide_model, **settings)
    loop.train(rest, after)
    assert same_numbers(tmp_path / "cut") == same_numbers(tmp_path / "whole")
    assert_same(state(after), state(engine))


def test_evaluations_and_generated_answers_leave_the_training_as_it_is(tmp_path: Path, model: Path):
    method = {"method": METHODS["lora"], "objective": {"neftune_alpha": 5}}
    plain, engine = open_run(tmp_path / "plain", model, evaluations=0, **method)
    loop.train(plain, engine)
    generation = {"prompts": 3, "max_tokens": 5}
    watched, other = open_run(tmp_path / "watched", model, evaluations=6, generation=generation, **method)
    loop.train(watched, other)
    assert sum("generation" in row for row in metrics(tmp_path / "watched")) == 6
    losses = [
        [row["loss"] for row in metrics(tmp_path / name) if "loss" in row] for name in ("plain", "watched")
    ]
    assert losses[0] == losses[1]
    assert_same(state(other), state(engine))


def test_the_loss_by_source_adds_up_to_the_loss(tmp_path: Path, model: Path):
    run, engine = open_run(tmp_path, model)
    loop.train(run, engine)
    for row in metrics(tmp_path):
        if "loss" in row:
            assert row["loss_by_source"]["greetings"] == pytest.approx(row["loss"], rel=1e-5)


def test_weights_that_became_not_a_number_stop_the_run_before_they_are_saved(tmp_path: Path, model: Path):
    run, engine = open_run(tmp_path, model, save_every=1)

    def poisoned(event: Mapping[str, Any]) -> None:
        if event["event"] == "checkpoint" and event["step"] == 2:
            with torch.no_grad():
                engine.session.masters.entries[0].parameter.fill_(float("nan"))

    with pytest.raises(CheckFailed, match=r"step 3: the loss is nan(?s:.*)greetings, line \d+"):
        loop.train(replace(run, say=poisoned), engine)
    kept = load_file(run.checkpoints / "step-000002" / "state.safetensors")
    assert all(tensor.isfinite().all() for tensor in kept.values() if tensor.is_floating_point())


def test_a_checkpoint_of_another_shape_is_refused(tmp_path: Path, model: Path):
    run, engine = open_run(tmp_path, model, save_every=1)
    loop.train(run, engine)
    other = run.recipe.model_copy(update={"method": Lora(rank=2)})
    with pytest.raises(FolderError, match="another"):
        checkpoints.load(run.checkpoints, RaggedEngine(EngineSetup(other, "tiny", model)))


def recipe_file(root: Path, data: object, model: Path, **changes: object) -> Path:
    write_text(
        root / "recipe.yaml", canonical_json({"data": data, "model": str(model), **SETTINGS, **changes})
    )
    return root / "recipe.yaml"


def test_the_whole_way_from_recipe_to_adapter(tmp_path: Path, model: Path):
    optimiser = {"learning_rate": "auto", "schedule": "linear"}
    open_choices = {"microbatch_tokens": "auto", "optimiser": optimiser, "epochs": 4}
    recipe = recipe_file(tmp_path, str(data_set(tmp_path)), model, **open_choices)
    result = train(TrainConfig(recipe=recipe), job(tmp_path))
    assert result.last_loss < result.first_loss
    assert result.validation_loss is not None
    adapter = load_file(result.folder / "adapter" / "adapter_model.safetensors")
    assert len(adapter) == 2 * 7 * 2
    assert all(tensor.dtype == torch.float32 for tensor in adapter.values())
    tokens = read_json(result.folder / "tokens.json")[0]["tokens"]
    assert "".join(token["text"] for token in tokens if token["supervised"]).endswith("}<|im_end|>")
    assert read_json(result.folder / "environment.json")["environment"]["OMP_WAIT_POLICY"] == "PASSIVE"
    resolved = (result.folder / "recipe.yaml").read_text()
    assert "microbatch_tokens: 1024" in resolved
    assert ": auto" not in resolved
    said = [
        line.value for line in read_jsonl(result.folder / "events.jsonl") if "learning_rate" in line.value
    ]
    assert said[0]["learning_rate"] == result.learning_rate
    assert "rule of" in said[0]["text"]


def test_full_training_leaves_a_whole_model_that_another_run_begins_from(tmp_path: Path, model: Path):
    data = str(data_set(tmp_path))
    settings = {"method": {"kind": "full"}, "optimiser": {"learning_rate": 1e-3}}
    first = train(TrainConfig(recipe=recipe_file(tmp_path, data, model, **settings)), job(tmp_path))
    assert {"config.json", "model.safetensors", "tokenizer.json"} <= {
        path.name for path in (first.folder / "weights").iterdir()
    }
    start = {"init_from": {"path": first.folder.name}, "name": "second"}
    second = train(TrainConfig(recipe=recipe_file(tmp_path, data, model, **start)), job(tmp_path))
    assert second.first_loss < first.first_loss
    assert (second.folder / "adapter" / "adapter_model.safetensors").exists()
    located = locate(second.folder.name, job(tmp_path))  # what a server loads: the adapter on those weights
    assert located.base is not None
    assert located.base.path == first.folder / "weights"


def test_a_run_begins_from_the_adapter_of_another(tmp_path: Path, model: Path):
    data = data_set(tmp_path, greetings(18))
    first = train(TrainConfig(recipe=recipe_file(tmp_path, str(data), model)), job(tmp_path))
    start = {"init_from": {"path": str(first.folder / "adapter")}, "name": "second"}
    second = train(TrainConfig(recipe=recipe_file(tmp_path, str(data), model, **start)), job(tmp_path))
    assert second.first_loss < first.first_loss
    card = (second.folder / "card.md").read_text()
    assert "begun from" in card


def test_a_replay_of_a_run_with_dropout_is_identical_and_a_planted_difference_is_found(
    tmp_path: Path, model: Path
):
    data = str(data_set(tmp_path))
    settings = {"method": METHODS["lora"], "generation": {"prompts": 1, "max_tokens": 2}}
    result = train(TrainConfig(recipe=recipe_file(tmp_path, data, model, **settings)), job(tmp_path))
    found = replay(ReplayConfig(run=result.folder.name), job(tmp_path))
    assert found.passed
    assert found.files >= 2
    weights = found.replay / "adapter" / "adapter_model.safetensors"
    tensors = load_file(weights)
    next(iter(tensors.values())).view(-1)[0] += 1e-7
    save_file(tensors, weights)
    manifest = Manifest.read(found.replay).to_json()
    manifest["files"]["adapter/adapter_model.safetensors"] = hash_file(weights)
    write_json(found.replay / "manifest.json", manifest)
    again = replay(ReplayConfig(run=result.folder.name), job(tmp_path))
    assert again.difference is not None
    assert again.difference.what == "adapter/adapter_model.safetensors"


def test_the_door_reports_an_interrupt_and_goes_on_when_called_again(tmp_path: Path, model: Path):
    recipe = recipe_file(tmp_path, str(data_set(tmp_path)), model, epochs=20)
    with pytest.raises(Interrupted, match="goes on from there"):
        train(TrainConfig(recipe=recipe), replace(job(tmp_path), progress=StopAtOnce()))
    result = train(TrainConfig(recipe=recipe, resume=True), job(tmp_path))
    assert result.steps == num_steps(result.folder) == 80
    assert "resumed" in [line.value["event"] for line in read_jsonl(result.folder / "events.jsonl")]


ROWS_PROOFS = {"mask", "end_of_turn", "generation_prompt", "rows", "leaks"}


def test_what_a_run_proved_of_the_engine_stands_for_one_on_other_rows(tmp_path: Path, model: Path):
    few, more = str(data_set(tmp_path, greetings(12))), str(data_set(tmp_path, greetings(18)))
    first = train(TrainConfig(recipe=recipe_file(tmp_path, few, model)), job(tmp_path))
    recipe = recipe_file(tmp_path, more, model, epochs=1, seed=3)
    second = train(TrainConfig(recipe=recipe, proved_by=first.folder.name), job(tmp_path))
    stood = {
        proof.name for proof in second.proofs if proof.evidence.startswith(f"tried in {first.folder.name}")
    }
    tried = {proof.name for proof in second.proofs} - stood
    assert stood == {"packing", "plain_step", "microbatches", "gradients", "memory"}
    assert tried == ROWS_PROOFS
    assert not any("tried in" in proof.evidence for proof in second.proofs if proof.name in tried)
    third = train(
        TrainConfig(recipe=recipe_file(tmp_path, more, model, seed=4), proved_by=str(second.folder)),
        job(tmp_path),
    )
    named = [proof.evidence.count("tried in") for proof in third.proofs]
    assert sorted(named) == [0] * 5 + [1] * 5  # by the run that tried it, not by the one between


def test_a_longer_batch_than_the_one_that_was_tried_is_tried_again(tmp_path: Path, model: Path):
    def trained(words: int, **config: str) -> TrainResult:
        texts = ("hi " * words, "hello " * words)
        rows = [chat([("user", f"{number} {texts[0]}"), ("assistant", texts[1])]) for number in range(8)]
        data = str(data_set(tmp_path, {"train": rows}))
        recipe = recipe_file(tmp_path, data, model, microbatch_tokens="auto", evaluations=0)
        return train(TrainConfig(recipe=recipe, **config), job(tmp_path))

    first = trained(1)
    second = trained(30, proved_by=str(first.folder))
    evidence = {proof.name: proof.evidence for proof in second.proofs}
    assert evidence["packing"].startswith(f"tried in {first.folder.name}")
    assert " tokens at once" in evidence["memory"]
    assert not evidence["memory"].startswith("tried in")


def test_proofs_of_another_method_or_model_or_version_do_not_stand(
    tmp_path: Path, model: Path, wide_model: Path
):
    data = str(data_set(tmp_path))
    first = train(TrainConfig(recipe=recipe_file(tmp_path, data, model)), job(tmp_path))
    wider = recipe_file(tmp_path, data, model, method={"kind": "lora", "rank": 8, "alpha": 8})
    with pytest.raises(FolderError, match=r"does not hold for the recipe: method\.rank: 4 → 8\n"):
        train(TrainConfig(recipe=wider, proved_by=str(first.folder)), job(tmp_path))
    other = recipe_file(tmp_path, data, wide_model)
    with pytest.raises(FolderError, match="another model"):
        train(TrainConfig(recipe=other, proved_by=str(first.folder)), job(tmp_path))
    manifest = Manifest.read(first.folder).to_json()
    manifest["versions"]["torch"] = "1.0"
    write_json(first.folder / "manifest.json", manifest)
    with pytest.raises(FolderError, match=r"torch 1\.0 → "):
        train(
            TrainConfig(recipe=recipe_file(tmp_path, data, model, seed=9), proved_by=str(first.folder)),
            job(tmp_path),
        )
    with pytest.raises(ValueError, match="--proved-by spares a run proofs"):
        TrainConfig(recipe=other, proved_by="x", check=True)
