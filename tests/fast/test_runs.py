import fcntl
import json
import shutil
from io import StringIO
from pathlib import Path

import pytest
from journeys import run as command
from pydantic import ValidationError
from rich.console import Console
from train_folders import data_set, greetings, job, metrics, recipe_file

from tunesmith.cli import show_runs
from tunesmith.cli.plot import BLOCKS, Points, plot, sparkline
from tunesmith.core.errors import CheckFailed, FolderError, UserError
from tunesmith.core.files import append_jsonl, write_json, write_jsonl
from tunesmith.core.workspace import Manifest, Workspace, name_for_commands
from tunesmith.train import TrainConfig, compare_runs, list_runs, plot_runs, show_run, train
from tunesmith.train.schema import (
    RunsCompareConfig,
    RunsListConfig,
    RunsPlotConfig,
    RunsShowConfig,
    TrainResult,
)


@pytest.fixture(scope="module")
def root(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("runs")


@pytest.fixture(scope="module")
def finished(root: Path) -> list[TrainResult]:
    """Two runs on the same data, one twice as long."""
    data = data_set(root)
    recipes = [
        recipe_file(root, data, name=f"{name}.yaml", epochs=epochs) for name, epochs in (("a", 1), ("b", 2))
    ]
    return [train(TrainConfig(recipe=recipe), job(root)) for recipe in recipes]


@pytest.fixture
def unfinished(tmp_path: Path, finished: list[TrainResult]) -> Path:
    """A folder as a run leaves it that was killed after three steps, in a workspace of its own."""
    folder = tmp_path / "workspace" / "runs" / "killed-0123abcd"
    folder.mkdir(parents=True)
    for name in ("recipe.yaml", "events.jsonl"):
        shutil.copy(finished[0].folder / name, folder)
    write_jsonl(folder / "metrics.jsonl", [row for row in metrics(finished[0].folder) if row["step"] <= 3])
    (folder / ".lock").touch()
    state = {"kind": "run", "key": "k", "updated": "2030-01-01T00:00:00+00:00", "inputs": {"data": "x"}}
    write_json(folder / "state.json", state)
    return folder


def shown(show, result) -> str:
    console = Console(width=160, record=True, file=StringIO())
    show(result, console)
    return console.export_text()


def test_the_list_has_every_run_with_its_figures(root: Path, finished: list[TrainResult]):
    runs = {run.name: run for run in list_runs(RunsListConfig(), job(root)).runs}
    for result in finished:
        run = runs[result.folder.name]
        assert (run.state, run.method, run.model, run.steps) == ("finished", "lora", "fake", result.steps)
        assert run.validation_loss == result.validation_loss
        assert run.tokens_per_second == result.tokens_per_second
    assert len(list_runs(RunsListConfig(limit=1), job(root)).runs) == 1


def test_a_run_without_a_manifest_is_interrupted_until_a_process_holds_it(tmp_path: Path, unfinished: Path):
    run = list_runs(RunsListConfig(), job(tmp_path)).runs[0]
    assert (run.name, run.state, run.steps, run.planned_steps) == ("killed-0123abcd", "interrupted", 3, 6)
    assert run.training_loss == metrics(unfinished)[-1].get("loss", metrics(unfinished)[-2].get("loss"))
    with (unfinished / ".lock").open() as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        assert list_runs(RunsListConfig(), job(tmp_path)).runs[0].state == "running"
    assert list_runs(RunsListConfig(), job(tmp_path)).runs[0].state == "interrupted"


def test_a_failed_run_says_what_it_said(tmp_path: Path, unfinished: Path):
    append_jsonl(unfinished / "events.jsonl", {"event": "failed", "message": "step 4: the loss is nan"})
    found = show_run(RunsShowConfig(run="killed-0123abcd"), job(tmp_path))
    assert (found.run.state, found.problem) == ("failed", "step 4: the loss is nan")
    assert "step 4: the loss is nan" in shown(show_runs.show_run, found)


def test_a_pasted_command_names_a_run_of_this_workspace_by_its_name_and_another_by_its_path(
    tmp_path: Path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    here = Workspace.find().root / "runs" / "run-1234"
    assert name_for_commands(here) == "run-1234"
    assert name_for_commands(tmp_path / "other" / "run-1234") == str(tmp_path / "other" / "run-1234")


def test_a_run_that_the_proofs_refuse_shows_which_one(tmp_path: Path):
    recipe = recipe_file(tmp_path, data_set(tmp_path), max_length=8, too_long="truncate_right")
    with pytest.raises(CheckFailed, match="the pre-flight refuses the run"):
        train(TrainConfig(recipe=recipe), job(tmp_path))
    (run,) = list_runs(RunsListConfig(), job(tmp_path)).runs
    found = show_run(RunsShowConfig(run=run.name), job(tmp_path))
    assert (run.state, [proof.name for proof in found.proofs if proof.outcome == "failed"]) == (
        "failed",
        ["rows"],
    )
    assert found.next_commands == (f"tunesmith train {run.folder}",)


def test_a_run_is_shown_with_settings_curves_sources_proofs_and_next_commands(
    root: Path, finished: list[TrainResult]
):
    found = show_run(RunsShowConfig(run=finished[0].folder.name), job(root))
    assert found.settings["method.rank"] == 16
    assert found.curves[0].steps == (1, 2, 3, 4, 5, 6)
    assert {proof.name for proof in found.proofs} >= {"leaks", "rows"}
    text = shown(show_runs.show_run, found)
    assert any(block in text for block in BLOCKS)
    assert f"tunesmith chat {found.run.folder}" in text
    assert found.sources[0].fingerprint[:16] in text


def test_runs_are_found_by_folder_name_and_id_and_by_nothing_else(root: Path, finished: list[TrainResult]):
    folder = finished[0].folder
    for name in (str(folder), folder.name, Manifest.read(folder).id[:10]):
        assert show_run(RunsShowConfig(run=name), job(root)).run.folder == folder
    with pytest.raises(FolderError, match="no run of this name"):
        show_run(RunsShowConfig(run="nothing"), job(root))
    data = Path(Manifest.read(folder).inputs[0].path)
    with pytest.raises(FolderError, match="a data-set, not a run"):
        show_run(RunsShowConfig(run=str(data)), job(root))


def test_comparing_shows_only_the_settings_that_differ(root: Path, finished: list[TrainResult]):
    names = [result.folder.name for result in finished]
    found = compare_runs(RunsCompareConfig(a=names[0], b=names[1]), job(root))
    assert [(pair.name, pair.a, pair.b) for pair in found.settings] == [("epochs", 1.0, 2.0)]
    assert found.same_data
    losses = {pair.name: (pair.a, pair.b) for pair in found.losses}
    assert losses["validation loss"] == tuple(result.validation_loss for result in finished)
    assert "other data" not in shown(show_runs.show_compare, found)


def test_comparing_runs_on_other_data_says_so(root: Path, finished: list[TrainResult]):
    recipe = recipe_file(root, data_set(root, greetings(8, first=500)), name="c.yaml")
    other = train(TrainConfig(recipe=recipe), job(root))
    found = compare_runs(RunsCompareConfig(a=finished[0].folder.name, b=other.folder.name), job(root))
    assert not found.same_data
    assert "data" in {pair.name for pair in found.settings}
    assert "other data" in shown(show_runs.show_compare, found)


def test_plotting_takes_any_number_of_the_metrics(root: Path, finished: list[TrainResult]):
    names = tuple(result.folder.name for result in finished)
    found = plot_runs(RunsPlotConfig(runs=names), job(root))
    assert [len(curve.steps) for curve in found.curves] == [6, 12]
    text = shown(show_runs.show_plot, found)
    assert all(name in text for name in names)
    source = next(iter(metrics(finished[0].folder)[0]["loss_by_source"]))
    nested = plot_runs(RunsPlotConfig(runs=names[:1], key=f"loss_by_source.{source}"), job(root))
    assert nested.curves[0].values == found.curves[0].values
    with pytest.raises(UserError, match="did you mean 'learning_rate'"):
        plot_runs(RunsPlotConfig(runs=names, key="learningrate"), job(root))


def test_a_list_of_runs_leaves_columns_out_before_it_cuts_a_cell(root: Path, finished: list[TrainResult]):
    rows = [show_runs.list_cells(run) for run in list_runs(RunsListConfig(), job(root)).runs]
    assert tuple(show_runs.fitting(rows, 500)) == show_runs.LIST_COLUMNS
    assert show_runs.fitting(rows, 10) == ["run", "state", "steps", "validation"]
    console = Console(width=70, file=StringIO(), record=True)
    show_runs.show_list(list_runs(RunsListConfig(), job(root)), console)
    text = console.export_text()
    assert "…" not in text
    assert "a wider terminal or --json shows" in text
    with pytest.raises(ValidationError):
        RunsListConfig(limit=-1)


def test_settings_are_shown_with_the_kind_of_each_section_first():
    shuffled = {"name": "a", "method.rank": 4, "method.kind": "lora", "seed": 0}
    assert [name for name, _ in show_runs.kinds_first(shuffled)] == [
        "name",
        "method.kind",
        "method.rank",
        "seed",
    ]


def test_a_run_differs_in_no_setting_from_itself(root: Path, finished: list[TrainResult]):
    name = finished[0].folder.name
    found = compare_runs(RunsCompareConfig(a=name, b=name), job(root))
    assert "the same" in shown(show_runs.show_compare, found)


def test_a_curve_of_one_value_is_drawn_in_the_middle_with_one_label():
    drawn = plot([Points("one", (5,), (1.5,))], width=10, height=4).plain.splitlines()
    assert [line[:9].strip() for line in drawn[:4]] == ["", "", "1.5", ""]
    assert [bool(line[11:].strip()) for line in drawn[:4]].count(True) == 1
    assert drawn[5].split() == ["5"]


def test_a_curve_is_drawn_from_its_corner_to_its_corner():
    drawn = plot([Points("up", (1, 2, 3), (0.0, 1.0, 2.0))], width=10, height=4).plain.splitlines()
    cells = [line[11:] for line in drawn[:4]]
    assert cells[0].rstrip()[-1] != " " and len(cells[0].rstrip()) == 10  # noqa: PT018
    assert cells[3][0] != " "
    assert drawn[0].strip().startswith("2") and drawn[3].strip().startswith("0")  # noqa: PT018
    assert plot([Points("one", (5,), (1.0,))], width=10, height=4).plain.count("⠀") == 0


def test_a_sparkline_shows_means_of_its_shares():
    assert sparkline([0, 0, 7, 7], width=2) == "▁█"
    assert sparkline([3.0, 3.0, 3.0]) == "▅▅▅"
    assert sparkline([]) == ""


def test_the_commands_answer_with_json_and_with_tables(root: Path, finished: list[TrainResult]):
    place = ("--workspace", root / "workspace")
    names = [result.folder.name for result in finished]
    for words in (("list",), ("show", names[0]), ("compare", *names), ("plot", *names, "--key", "tokens")):
        plain = command(root, "runs", *words, *place)
        assert plain.returncode == 0, plain.stderr
        assert names[0] in plain.stdout
        assert json.loads(command(root, "runs", *words, *place, "--json").stdout)
