"""The journeys of examples/ with the embedded model, each to its verdict (docs/journeys.md: longer runs)."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).parents[2] / "examples"
SHORTER = {"MINUTES": "3", "EPOCHS": "1"}
"""Less training than the journeys take by themselves."""


def journey(script, folder):
    """What a script prints on standard output."""
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    done = subprocess.run(
        ["bash", str(EXAMPLES / script)],
        cwd=folder,
        env={**os.environ, "PATH": path, **SHORTER},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr[-3000:]
    print(done.stdout)
    return " ".join(done.stdout.replace("│", " ").split())


@pytest.mark.fetches
@pytest.mark.parametrize(("script", "score"), [("commands.sh", "edit_ratio"), ("style.sh", "chrf")])
def test_a_tuned_model_beats_the_best_prompt(tmp_path, script, score):
    said = journey(script, tmp_path)
    assert "(as_is) is better than smollm2-135m-instruct (" in said
    assert f": {score} " in said


@pytest.mark.fetches
def test_pretraining_on_a_domain_makes_its_texts_likelier_and_has_a_verdict_on_questions_and_retention(
    tmp_path,
):
    said = journey("domain.sh", tmp_path)
    assert "is better than smollm2-135m-instruct (as_is): bits_per_byte" in said
    assert said.count("items (") >= 3
