import json
import shutil
from pathlib import Path

import pytest
from journeys import run as command
from train_folders import data_set, greetings, job, recipe_file

from tunesmith.core.errors import FolderError
from tunesmith.core.files import read_jsonl, write_json, write_jsonl
from tunesmith.core.workspace import Manifest
from tunesmith.train import TrainConfig, replay, train
from tunesmith.train.schema import ReplayConfig, TrainResult


def finished(root: Path, **settings: object) -> TrainResult:
    recipe = recipe_file(root, data_set(root), generation={"prompts": 2}, **settings)
    return train(TrainConfig(recipe=recipe), job(root))


def test_a_replay_is_a_run_of_its_own_that_is_identical(tmp_path: Path):
    result = finished(tmp_path)
    found = replay(ReplayConfig(run=result.folder.name), job(tmp_path))
    assert found.passed
    assert (found.difference, found.steps, found.files) == (None, 6, 2)
    assert found.replay != result.folder
    assert Manifest.read(found.replay).kind == "run"
    assert replay(ReplayConfig(run=result.folder.name), job(tmp_path)).replay == found.replay


def tampered(folder: Path, name: str, change) -> None:
    rows = [line.value for line in read_jsonl(folder / name)]
    change(rows)
    write_jsonl(folder / name, rows)


@pytest.mark.parametrize(
    ("name", "change", "key"),
    [
        ("metrics.jsonl", lambda rows: rows[2].update(loss=0.123), "loss"),
        ("metrics.jsonl", lambda rows: rows[2].update(gradient_norm=0.5), "gradient_norm"),
        ("metrics.jsonl", lambda rows: rows.pop(), "step"),
        ("samples.jsonl", lambda rows: rows[0].update(answer="no"), "answer"),
    ],
)
def test_the_first_number_that_differs_is_named(tmp_path: Path, name: str, change, key: str):
    result = finished(tmp_path)
    tampered(result.folder, name, change)
    found = replay(ReplayConfig(run=str(result.folder)), job(tmp_path))
    assert not found.passed
    assert found.difference is not None
    assert (found.difference.what, found.difference.key) == (name, key)


def test_the_clock_is_not_compared(tmp_path: Path):
    result = finished(tmp_path)
    tampered(result.folder, "metrics.jsonl", lambda rows: [row.update(seconds=99.0) for row in rows])
    assert replay(ReplayConfig(run=str(result.folder)), job(tmp_path)).passed


def test_another_result_is_a_difference_although_every_loss_is_the_same(tmp_path: Path):
    result = finished(tmp_path)
    manifest = Manifest.read(result.folder)
    files = {**manifest.files, "adapter/fake_model.json": "0" * 64}
    write_json(result.folder / "manifest.json", {**manifest.to_json(), "files": files})
    found = replay(ReplayConfig(run=str(result.folder)), job(tmp_path))
    assert found.difference is not None
    assert (found.difference.what, found.difference.step) == ("adapter/fake_model.json", None)


def test_a_replay_without_its_data_is_refused_by_name(tmp_path: Path):
    result = finished(tmp_path)
    data = Path(Manifest.read(result.folder).inputs[0].path)
    moved = data.with_name("moved")
    shutil.move(data, moved)
    with pytest.raises(FolderError, match="the data of this run is gone or changed"):
        replay(ReplayConfig(run=str(result.folder)), job(tmp_path))
    job(tmp_path).workspace.reindex()
    assert replay(ReplayConfig(run=str(result.folder)), job(tmp_path)).passed  # found again, by content


def test_a_replay_on_changed_rows_is_refused(tmp_path: Path):
    result = finished(tmp_path)
    data = Path(Manifest.read(result.folder).inputs[0].path)
    other = data_set(tmp_path / "other", greetings(24, first=50))
    shutil.copy(other / "train.parquet", data / "train.parquet")
    with pytest.raises(ValueError, match=r"train.parquet: this file of the data set was changed"):
        replay(ReplayConfig(run=str(result.folder)), job(tmp_path))


def test_a_run_that_has_not_finished_is_not_replayed(tmp_path: Path):
    result = finished(tmp_path)
    (result.folder / "manifest.json").unlink()
    with pytest.raises(FolderError, match="has not finished"):
        replay(ReplayConfig(run=str(result.folder)), job(tmp_path))


def test_the_command_exits_with_1_when_something_differs(tmp_path: Path):
    result = finished(tmp_path)
    place = ("--workspace", tmp_path / "workspace")
    same = command(tmp_path, "replay", result.folder.name, *place)
    assert (same.returncode, "identical" in same.stdout) == (0, True), same.stderr
    tampered(result.folder, "metrics.jsonl", lambda rows: rows[2].update(loss=0.123))
    other = command(tmp_path, "replay", result.folder.name, *place, "--json")
    assert other.returncode == 1
    found = json.loads(other.stdout)["difference"]
    assert (found["step"], found["key"], found["first"]) == (2, "loss", 0.123)
