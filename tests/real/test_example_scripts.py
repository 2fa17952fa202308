"""The journeys of examples/, as they stand, with the fake model on their real data."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).parents[2] / "examples"


@pytest.mark.fetches
@pytest.mark.parametrize(("script", "metric"), [("commands.sh", "edit_ratio"), ("style.sh", "chrf")])
def test_a_journey_runs_to_its_verdict(tmp_path, script, metric):
    words = {"MODEL": "fake", "TUNESMITH": f"{sys.executable} -m tunesmith"}
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    done = subprocess.run(
        ["bash", str(EXAMPLES / script)],
        cwd=tmp_path,
        env={**os.environ, **words, "PATH": path},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    found = json.loads(next((tmp_path / ".tunesmith" / "comparisons").glob("*/comparison.json")).read_text())
    assert (found["primary"], found["n"]) == (metric, 100)
    assert found["sentence"] in " ".join(done.stdout.replace("│", " ").split())


def test_packages_become_documents_and_questions_about_two_halves(tmp_path):
    entries = "\n".join(
        f"Package: tool{number}\nSection: {'perl' if number % 2 else 'python'}\n"
        f"Description: does thing {number}\nTag: role::program,\n works-with::text\nSize: 10\n"
        for number in range(1700)
    )
    script = [sys.executable, str(EXAMPLES / "debian_packages.py"), str(tmp_path)]
    subprocess.run(script, input=entries, text=True, check=True)
    rows = {
        name: [json.loads(line) for line in (tmp_path / f"{name}.jsonl").read_text().splitlines()]
        for name in ("documents", "questions", "asked")
    }
    assert {name: len(found) for name, found in rows.items()} == {
        "documents": 640, "questions": 320, "asked": 160,
    }  # fmt: skip
    assert "Tag: role::program, works-with::text" in rows["documents"][0]["text"]
    assert "Size" not in rows["documents"][0]["text"]
    asked = [{row["messages"][0]["content"] for row in rows[name]} for name in ("questions", "asked")]
    assert not asked[0] & asked[1]
    few = subprocess.run(script, input=entries[:2000], text=True, capture_output=True, check=False)
    assert few.returncode == 1
    assert "apt-get update" in few.stderr
