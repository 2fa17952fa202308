"""The fake journey killed in its steps goes on and ends as one that nobody killed."""

import signal
from pathlib import Path

import pytest
from journeys import run_json, signalled_at
from sample_rows import write_rows

from tunesmith.core.workspace import Manifest

QUICKSTART = ("quickstart", "--model", "fake", "--data", "rows.jsonl")


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """What a journey ends with that nobody stopped."""
    folder = tmp_path_factory.mktemp("journey")
    write_rows(folder / "rows.jsonl")
    return run_json(folder, *QUICKSTART)


@pytest.mark.parametrize("step", ["[2/", "[3/", "[5/"])
def test_a_killed_journey_goes_on_and_ends_with_the_same_content(whole, tmp_path, step):
    write_rows(tmp_path / "rows.jsonl")
    assert signalled_at(tmp_path, step, signal.SIGKILL, *QUICKSTART)[0] == -signal.SIGKILL
    result = run_json(tmp_path, *QUICKSTART)
    assert result["difference"] == whole["difference"]
    assert result["sentence"] == whole["sentence"]
    adapters = [Manifest.read(Path(made["run"])).files["adapter/fake_model.json"] for made in (result, whole)]
    assert adapters[0] == adapters[1]
