"""The fake journey killed in its earlier steps; tests/fast kills it in a later one."""

import signal

import pytest
from journeys import run_json, signalled_at
from sample_rows import write_rows

QUICKSTART = ("quickstart", "--model", "fake", "--data", "rows.jsonl")


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """What a journey ends with that nobody stopped."""
    folder = tmp_path_factory.mktemp("journey")
    write_rows(folder / "rows.jsonl")
    return run_json(folder, *QUICKSTART)


@pytest.mark.parametrize("step", ["[1/", "[2/", "[3/"])
def test_a_journey_killed_early_ends_with_the_same_content(whole, tmp_path, step):
    write_rows(tmp_path / "rows.jsonl")
    assert signalled_at(tmp_path, step, signal.SIGKILL, *QUICKSTART)[0] == -signal.SIGKILL
    result = run_json(tmp_path, *QUICKSTART)
    assert result["difference"] == whole["difference"]
    assert result["sentence"] == whole["sentence"]
