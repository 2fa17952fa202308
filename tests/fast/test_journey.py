"""The whole journey with the fake engine and the fake server: every room, no torch, no outside network."""

import json
import signal
from pathlib import Path

import pytest
from journeys import calls, run, run_json, signalled_at
from sample_rows import write_rows

QUICKSTART = ("quickstart", "--model", "fake", "--data", "rows.jsonl")


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A folder in which the fake journey has run, and its result."""
    folder = tmp_path_factory.mktemp("journey")
    write_rows(folder / "rows.jsonl")
    return folder, run_json(folder, *QUICKSTART)


def test_the_tuned_model_beats_the_best_prompt_and_the_interval_excludes_zero(finished):
    _, result = finished
    assert result["verdict"] == "better"
    assert 0 < result["difference"]["low"] <= result["difference"]["value"] <= result["difference"]["high"]
    assert set(result) >= {"verdict", "base", "prompted", "tuned", "difference", "report", "run"}


def test_nothing_reached_out_of_this_machine(finished):
    folder, _ = finished
    assert calls(folder) == ""


def test_the_report_is_one_file_that_needs_no_network(finished):
    _, result = finished
    page = Path(result["report"]).read_text()
    assert "<html" in page
    for outside in ('src="http', "src='http", '<link rel="stylesheet" href', "@import", "url(http"):
        assert outside not in page


def test_a_second_quickstart_does_nothing_again(finished):
    folder, result = finished
    before = {path: path.stat().st_mtime_ns for path in (folder / ".tunesmith").rglob("manifest.json")}
    again = run(folder, *QUICKSTART, "--json")
    assert json.loads(again.stdout) == result
    assert {
        path: path.stat().st_mtime_ns for path in (folder / ".tunesmith").rglob("manifest.json")
    } == before
    assert again.stderr.count("already done") >= 7


def test_lineage_walks_from_the_report_to_the_users_file_and_back(finished):
    folder, result = finished
    up = run_json(folder, "lineage", Path(result["report"]).parent)
    names = json.dumps(up["made_from"])
    assert "rows.jsonl" in names
    data = next(path for path in (folder / ".tunesmith" / "data").iterdir())
    down = run_json(folder, "lineage", data)
    assert '"kind": "summary"' in json.dumps(down["made_into"])


def test_reindex_finds_every_folder_again(finished):
    folder, _ = finished
    (folder / ".tunesmith" / "index.sqlite").unlink()
    made = {str(path.parent) for path in (folder / ".tunesmith").glob("*/*/manifest.json")}
    assert set(run_json(folder, "reindex")["folders"]) == made


def test_an_interrupted_journey_exits_130_and_says_how_to_go_on(tmp_path):
    write_rows(tmp_path / "rows.jsonl")
    code, said = signalled_at(tmp_path, "[2/", signal.SIGINT, *QUICKSTART)
    assert code == 130
    assert "goes on" in said
    assert "Traceback" not in said


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (None, "no such file"),
        (b"", "empty"),
        (b'{"text": "\xff\xfe bad"}\n', "UTF-8"),
        (b'[{"messages": []}]', "at least one message"),
        (b'{"messages": [{"role": "user", "content": "hi"}]}\n', "assistant"),
    ],
)
def test_a_bad_file_stops_the_journey_with_one_message(tmp_path, content, words):
    if content is not None:
        (tmp_path / "rows.jsonl").write_bytes(content)
    done = run(tmp_path, *QUICKSTART)
    assert done.returncode == 2
    assert words in done.stderr
    assert "Traceback" not in done.stderr
