import json
import sys
from pathlib import Path

import pytest

from tunesmith.core.errors import Interrupted, StepFailed
from tunesmith.launch import process, steps
from tunesmith.launch.steps import From, Step, run_step, run_steps


def test_a_step_takes_what_an_earlier_one_made():
    step = Step(
        "b", "B", "b", {"x": From("a", "best"), "many": [From("a"), From("a", below="file.txt")], "n": 1}
    )
    resolved = step.resolved({"a": {"folder": "/there", "best": "p"}})
    assert resolved.config == {"x": "p", "many": ["/there", "/there/file.txt"], "n": 1}


def script(code):
    """Stand in for `tunesmith`: the step's process runs this code instead."""
    return lambda *arguments: [sys.executable, "-c", code, *arguments]


def test_a_step_runs_as_a_process_and_its_json_comes_back(job, monkeypatch):
    code = (
        "import sys, json; print(json.dumps({'argv': sys.argv[1:], 'config': json.load(open(sys.argv[4]))}))"
    )
    monkeypatch.setattr(steps, "tunesmith_command", script(code))
    result = run_step(Step("a", "A", "data prepare", {"name": "x"}, out=Path("there")), job)
    assert result["argv"][:3] == ["data", "prepare", "--config"]
    assert result["config"] == {"name": "x"}
    assert {"--json", "--quiet", "--out", "there"} <= set(result["argv"])


@pytest.mark.parametrize(("code", "error"), [(1, StepFailed), (2, StepFailed), (130, Interrupted)])
def test_a_failed_step_stops_the_journey_with_its_exit_code(job, monkeypatch, code, error):
    monkeypatch.setattr(steps, "tunesmith_command", script(f"raise SystemExit({code})"))
    with pytest.raises(error) as caught:
        run_steps([Step("a", "A", "a"), Step("b", "B", "b")], job)
    assert caught.value.exit_code == code


def test_a_step_that_may_say_no_is_an_outcome_and_one_without_a_result_is_not(job, monkeypatch):
    no = script("print('{\"passed\": false}'); raise SystemExit(1)")
    monkeypatch.setattr(steps, "tunesmith_command", no)
    assert run_step(Step("a", "A", "gate", may_say_no=True), job) == {"passed": False}
    with pytest.raises(StepFailed):
        run_step(Step("a", "A", "gate"), job)
    for broken in (script("raise SystemExit(1)"), script("print('{}'); raise SystemExit(2)")):
        monkeypatch.setattr(steps, "tunesmith_command", broken)
        with pytest.raises(StepFailed):
            run_step(Step("a", "A", "gate", may_say_no=True), job)


def test_every_process_we_start_has_telemetry_off(job, monkeypatch):
    code = "import os, json; print(json.dumps(dict(os.environ)))"
    monkeypatch.setattr(steps, "tunesmith_command", script(code))
    environment = run_step(Step("a", "A", "a"), job)
    assert process.TELEMETRY_OFF.items() <= environment.items()
    assert json.dumps(environment)
