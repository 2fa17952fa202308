"""examples/journey.sh, as it stands, with the fake model on the real addresses."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from journeys import calls, environment

from tunesmith.core.job import Job
from tunesmith.core.workspace import Workspace

SCRIPT = Path(__file__).parents[2] / "examples" / "journey.sh"


@pytest.mark.fetches
def test_the_journey_script_runs_to_its_report(tmp_path):
    from tunesmith.data import fetch
    from tunesmith.data.schema import FetchConfig

    fetch(FetchConfig(name="addresses"), Job(Workspace(tmp_path / ".tunesmith")))
    words = {"MODEL": "fake", "TUNESMITH": f"{sys.executable} -m tunesmith"}
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    done = subprocess.run(
        ["bash", str(SCRIPT)],
        cwd=tmp_path,
        env={**environment(tmp_path), **words, "PATH": path},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert calls(tmp_path) == ""
    comparison = next((tmp_path / ".tunesmith" / "comparisons").glob("*/comparison.json"))
    assert json.loads(comparison.read_text())["n"] == 100
    assert list((tmp_path / ".tunesmith" / "summaries").glob("*/report.html"))
