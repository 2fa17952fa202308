import json
from dataclasses import replace
from pathlib import Path

import pytest
from train_folders import data_set, greeting, greetings

from tunesmith.core.dataset import DataSet, Writer
from tunesmith.core.errors import CheckFailed, OutOfSpace
from tunesmith.core.files import canonical_json
from tunesmith.core.recipe import Recipe
from tunesmith.core.recipe.recipe import PROOFS
from tunesmith.runtime.step import Encoded
from tunesmith.train.corpus import limits, open_corpus, open_sources
from tunesmith.train.engines.fake import FakeEngine
from tunesmith.train.engines.port import EngineSetup
from tunesmith.train.preflight import PreflightContext, ProofResult, read_results, room, rows, run
from tunesmith.train.preflight.rendering import learned_runs, same
from tunesmith.train.preflight.runner import TABLE, allowed_seconds, closing
from tunesmith.train.preflight.sampling import sampled_rows, spread
from tunesmith.train.preflight.schema import activation_checkpointing, as_json, write_results
from tunesmith.train.preflight.steps import matches, window
from tunesmith.train.preflight.trial import TrialOrder, read_progress


def fake_run(root: Path, splits=None, **settings) -> PreflightContext:
    """A run of the fake engine that is about to begin."""
    recipe = Recipe.model_validate(
        {"engine": "fake", "model": "fake"}
        | settings
        | {"data": settings.get("data") or str(data_set(root, splits or greetings(24)))}
    )
    setup = EngineSetup(recipe, "fake", None)
    engine = FakeEngine(setup)
    data = open_sources(recipe)
    train = open_corpus(
        root / "corpus", "train", data, engine.encode, limits=limits(recipe, None), encoding_key=""
    )
    return PreflightContext(recipe, setup, engine, train, None, data, root, 1000, lambda event: None)


def test_every_proof_of_the_recipe_is_in_the_table():
    assert tuple(TABLE) == PROOFS


def test_the_fake_engine_proves_its_rows_and_claims_nothing_else(tmp_path):
    results = run(fake_run(tmp_path))
    passed = [result.name for result in results if result.passed]
    assert passed == ["rows", "leaks"]
    assert {result.outcome for result in results if result.name not in passed} == {"not applicable"}


def test_proofs_that_need_a_model_are_named_in_one_line(tmp_path):
    told: list = []
    run(replace(fake_run(tmp_path), say=told.append))
    texts = [event["text"].split("  ")[0] for event in told if event["event"] == "message"]
    assert texts[:-1] == [
        "– mask, end_of_turn, generation_prompt, packing, plain_step, microbatches, gradients, memory: "
        "not applicable, needs a real model, the fake engine computes no gradients",
        "✓ rows",
        "✓ leaks",
    ]


def test_of_the_pre_flight_only_what_is_asked_for_is_tried(tmp_path):
    context = fake_run(tmp_path)
    assert [result.name for result in run(context, ("memory", "leaks"))] == ["memory", "leaks"]
    assert [result.name for result in read_results(tmp_path)] == ["memory", "leaks"]


def test_rows_that_are_only_measured_cannot_leak(tmp_path):
    learned = {"train": [greeting(1), greeting(2)], "validation": [greeting(3)]}
    measured = {"train": [greeting(3)], "validation": [greeting(9)]}
    sources = [
        {"path": str(data_set(tmp_path, split)), "name": name, "weight": weight}
        for name, split, weight in (("learned", learned, 1), ("measured", measured, 0))
    ]
    results = {result.name: result for result in run(fake_run(tmp_path, data=sources))}
    assert results["leaks"].evidence.startswith("2 training rows share no row")
    held_out = {**measured, "validation": [greeting(1)]}
    sources[1]["path"] = str(data_set(tmp_path, held_out))
    with pytest.raises(CheckFailed, match="measured, validation, line 1: same row"):
        run(fake_run(tmp_path, data=sources))


def test_rows_are_encoded_once_for_all_proofs(tmp_path):
    context = fake_run(tmp_path)
    encoded = []
    encode = context.engine.encode
    context.engine.encode = lambda example, key: encoded.append(key) or encode(example, key)
    first = [row.where for row, _ in zip(context.shown, range(5), strict=False)]
    assert [row.where for row in context.shown][:5] == first
    assert len(list(context.shown)) == len(encoded) == len(set(encoded)) == 24


def test_a_data_set_without_a_training_split_may_be_measured(tmp_path):
    sources = [
        {"path": str(data_set(tmp_path)), "name": "learned"},
        {"path": str(data_set(tmp_path, {"validation": [greeting(99)]})), "name": "kept", "weight": 0},
    ]
    context = fake_run(tmp_path, data=sources)
    assert {row.where.partition(",")[0] for row in context.shown} == {"learned"}
    assert all(result.outcome != "failed" for result in run(context))


def test_what_only_a_full_disk_explains_is_no_failed_proof(tmp_path, monkeypatch):
    def full(context):
        raise OutOfSpace("no space left on the disk", next_step="free some space")

    monkeypatch.setitem(TABLE, "rows", TABLE["rows"]._replace(check=full))
    with pytest.raises(OutOfSpace) as refused:
        run(fake_run(tmp_path))
    assert "waive" not in str(refused.value)


def with_sources(context, data):
    """The context on other data sets, each a source of the recipe."""
    sources = tuple(context.recipe.data[0].model_copy(update={"name": name}) for name in data)
    return replace(context, data=data, recipe=context.recipe.model_copy(update={"data": sources}))


def test_a_leak_refuses_the_run_unless_it_is_waived(tmp_path):
    context = fake_run(tmp_path)
    other = DataSet.open(data_set(tmp_path, {"train": [greeting(500)], "test": [greeting(3), greeting(4)]}))
    context = with_sources(context, {**context.data, "other": other})
    with pytest.raises(CheckFailed) as refused:
        run(context)
    assert str(refused.value) == (
        "the pre-flight refuses the run: a proof failed\n"
        "leaks: 2 held-out rows share a row or group with training (other, test, line 1: same row; "
        "other, test, line 2: same row), of 4 validation, 2 test rows\n"
        "  this means: the scores on held-out rows would be too good\n"
        "  → run `tunesmith data prepare` again, or take the source that overlaps out of the mixture\n"
        "  → or go on at your own risk with `waive: [leaks]` in the recipe"
    )
    waived = run(replace(context, recipe=context.recipe.model_copy(update={"waive": ("leaks",)})))
    assert waived[-1].outcome == "waived"
    assert not waived[-1].passed


def test_results_are_read_back_as_they_were_written(tmp_path):
    results = [ProofResult("memory", "passed", "fits", {"activation_checkpointing": True}, 0.25)]
    write_results(tmp_path, results)
    assert read_results(tmp_path) == results
    assert activation_checkpointing(results) is True
    assert activation_checkpointing([]) is None
    assert read_results(tmp_path / "none") == []


def test_details_become_json():
    made = as_json({"a": (1, float("inf")), "b": {"c": float("nan")}})
    assert json.loads(json.dumps(made, allow_nan=False)) == {"a": [1, "inf"], "b": {"c": "nan"}}


def account(**counts: int) -> dict:
    """An account of 100 rows with 1,000 learned tokens."""
    empty = {"truncated": 0, "dropped": 0, "unsupervised": 0, "learned_tokens_cut": 0, "learned_tokens": 1000}
    return {"rows": 100, **empty, **counts}


@pytest.mark.parametrize(
    ("counts", "may_lose", "fault"),
    [
        ({"truncated": 3, "dropped": 2}, False, None),
        ({"truncated": 3, "dropped": 3}, False, "6% of rows are cut or left out"),
        ({"learned_tokens_cut": 10}, False, None),
        ({"learned_tokens_cut": 11}, False, "1.1% of learned tokens are cut away"),
        ({"learned_tokens_cut": 11}, True, None),
        ({"unsupervised": 5}, False, None),
        ({"unsupervised": 6}, False, "6% of rows teach nothing"),
        ({"learned_tokens": 0}, False, "no token of it is learned"),
    ],
)
def test_thresholds_of_rows(counts, may_lose, fault):
    found = list(rows.faults_of("s", account(**counts), may_lose=may_lose))
    assert (not found) if fault is None else (len(found) == 1 and fault in found[0])


def test_room_is_what_is_left_on_the_machine_and_in_every_control_group(tmp_path):
    proc, root = tmp_path / "proc", tmp_path / "cgroup"
    (proc / "self").mkdir(parents=True)
    (proc / "meminfo").write_text("MemTotal: 1000 kB\nMemAvailable:  600 kB\n")
    (proc / "self" / "cgroup").write_text("0::/outer/inner\n")
    inner = root / "outer" / "inner"
    inner.mkdir(parents=True)
    assert room.free_on_machine(1, proc) == 600 * 1024
    assert room.free_in_group(proc, root) == float("inf")
    for folder, limit in ((inner, "max"), (root / "outer", "5000")):
        (folder / "memory.max").write_text(f"{limit}\n")
        (folder / "memory.current").write_text("3000\n")
        (folder / "memory.stat").write_text("anon 2000\ninactive_file 500\n")
    assert room.free_in_group(proc, root) == 2500
    assert room.free_on_machine(1000, tmp_path / "none") == 700


def test_a_process_that_is_gone_holds_nothing():
    assert room.resident_bytes(2**22 + 1) == 0


def test_a_trial_is_read_as_far_as_it_came(tmp_path):
    path = tmp_path / "phases.jsonl"
    assert read_progress(path).phase == "load"
    done = '{"phase": "load", "peak_bytes": 7, "seconds": 0.5}'
    path.write_text(f'{{"phase": "load"}}\n{done}\n{{"phase": "optimiser"}}\n{{"pha')
    assert read_progress(path) == ({"load": 7}, {"load": 0.5}, "optimiser", "", False)
    path.write_text('{"phase": "load"}\n{"error": "no model", "disk_full": true}\n')
    assert read_progress(path) == ({}, {}, "load", "no model", True)


def test_the_pre_flight_says_when_it_took_longer_than_it_may():
    details = {"tokens": 100, "seconds": {"forward and backward": 0.5}}
    memory = ProofResult("memory", "passed", "fits", details)
    assert allowed_seconds([memory], planned_tokens=1000) == 30
    assert allowed_seconds([memory], planned_tokens=1_000_000) == 250
    assert allowed_seconds([replace(memory, details={})], planned_tokens=10**9) == 30
    assert closing([memory], 29.9, 30) == "pre-flight: 1 of 1 proofs passed in 29.9 s"
    assert closing([memory], 31, 30).endswith("in 31.0 s, more than the 30 s that it should take")


def test_an_order_of_a_trial_is_read_back(tmp_path):
    recipe = Recipe.model_validate({"data": "d", "activation_checkpointing": "on"})
    order = TrialOrder(
        EngineSetup(recipe, "m", tmp_path / "m"),
        [Encoded((1, 2), (0.0, 1.0))],
        tmp_path / "p",
        tmp_path / "s",
    )
    order.write(tmp_path / "order.json")
    assert TrialOrder.read(tmp_path / "order.json") == order


@pytest.mark.parametrize(
    ("total", "count", "found"), [(0, 4, []), (3, 4, [0, 1, 2]), (10, 4, [0, 3, 6, 9]), (9, 1, [0])]
)
def test_numbers_are_spread_evenly(total, count, found):
    assert spread(total, count) == found


def test_a_sample_takes_rows_of_every_source_in_turn(tmp_path):
    data = {
        name: DataSet.open(data_set(tmp_path, greetings(rows, first=first)))
        for name, rows, first in (("a", 400, 0), ("b", 2, 5000))
    }
    found = list(sampled_rows(data, 40))
    assert [name for name, _ in found][:5] == ["a", "b", "a", "b", "a"]
    lines = [row.line for name, row in found if name == "a"]
    assert len(set(lines)) == len(lines) == 20
    assert {1, 400} <= set(lines)
    assert max(lines[:5]) - min(lines[:5]) > 100


def test_a_window_holds_the_first_learned_token():
    example = Encoded(tuple(range(100)), tuple(float(place >= 80) for place in range(100)))
    found = window(example, 10)
    assert found.token_ids == tuple(range(75, 85))
    assert found.num_supervised == 5
    assert window(example, 1000).token_ids == example.token_ids


def test_learned_runs_and_places_of_a_piece():
    whole = Encoded((1, 2, 3, 4, 5), (0.0, 1.0, 1.0, 0.0, 0.5))
    assert learned_runs(whole) == [[2, 3], [5]]
    assert same(whole, Encoded((3, 4), (1.0, 0.0)), 2)
    assert not same(whole, Encoded((3, 4), (1.0, 1.0)), 2)


@pytest.mark.parametrize(
    ("pattern", "name", "found"),
    [
        ("q_proj", "layers.0.q_proj.lora_a", True),
        ("q_proj", "layers.0.qq_proj2.lora_a", False),
        (r"layers\.(0|1)\..*q_proj", "layers.1.attn.q_proj.lora_a", True),
        (r"layers\.0\..*q_proj$", "layers.0.attn.q_proj.lora_a", True),
        ("norm$", "layers.0.attn.q_proj.lora_a", False),
    ],
)
def test_names_in_a_recipe_match_what_learns(pattern, name, found):
    assert matches(pattern, name, anywhere=False) is found


def test_an_expression_of_freeze_is_found_anywhere():
    assert matches(r"layers\.1\.", "model.layers.1.norm.weight", anywhere=True)
    assert not matches(r"layers\.1\.", "model.layers.11.norm.weight", anywhere=True)


def test_held_out_rows_of_a_group_that_is_learned_are_a_leak_whatever_they_say(tmp_path):
    def grouped(name: str, **splits: tuple[int, str]) -> DataSet:
        """A data set of one row a split, each with its number and its group."""
        data = DataSet.open(data_set(tmp_path))
        folder = tmp_path / name
        folder.mkdir()
        with Writer(folder, list(splits)) as writer:
            for split, (number, group) in splits.items():
                example = greeting(number)
                text = canonical_json(example.to_json())
                writer.add(split, example_json=text, row_hash=example.row_hash, group_id=group, line=7)
        return replace(data, folder=folder)

    context = fake_run(tmp_path)
    learned = grouped("learned", train=(1, "a family"), validation=(2, "others"))
    held_out = grouped("held-out", train=(3, "strangers"), test=(4, "a family"))
    apart = grouped("apart", train=(3, "strangers"), test=(4, "another family"))
    found = rows.check_leaks(with_sources(context, {"learned": learned, "held-out": held_out}))
    assert found.outcome == "failed"
    assert "(held-out, test, line 7: same group)" in found.evidence
    assert rows.check_leaks(with_sources(context, {"learned": learned, "apart": apart})).outcome == "passed"
