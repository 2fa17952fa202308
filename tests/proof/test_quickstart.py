"""`tunesmith quickstart` itself, with the embedded model: the product's first promise."""

import json

import pytest
import yaml
from journeys import calls, run

from tunesmith.core.job import Job
from tunesmith.core.workspace import Workspace
from tunesmith.runtime.catalogue import EMBEDDED, locate


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A folder in which the quickstart has run from nothing, and its result."""
    folder = tmp_path_factory.mktemp("quickstart")
    from tunesmith.data import fetch
    from tunesmith.data.schema import FetchConfig

    job = Job(Workspace(folder / ".tunesmith"))
    locate(EMBEDDED.name, job)
    fetch(FetchConfig(name="addresses"), job)
    done = run(folder, "quickstart", "--json")
    assert done.returncode == 0, done.stderr
    print(done.stderr)
    print(json.dumps(json.loads(done.stdout), indent=2))
    return folder, json.loads(done.stdout)


@pytest.mark.fetches
def test_the_tuned_model_beats_the_best_prompt_by_a_margin_that_excludes_zero(finished):
    _, result = finished
    assert result["verdict"] == "better"
    assert result["difference"]["low"] > 0


@pytest.mark.fetches
def test_the_plan_says_to_fine_tune(finished):
    folder, _ = finished
    (plan,) = (folder / ".tunesmith" / "plans").glob("*/plan.yaml")
    assert yaml.safe_load(plan.read_text())["verdict"] == "fine_tune"


@pytest.mark.fetches
def test_nothing_reached_out_of_this_machine(finished):
    folder, _ = finished
    assert calls(folder) == ""


@pytest.mark.fetches
def test_a_second_quickstart_does_nothing_again(finished):
    folder, result = finished
    again = run(folder, "quickstart", "--json")
    assert json.loads(again.stdout) == result
