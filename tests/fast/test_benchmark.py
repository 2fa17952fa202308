"""Tasks of another harness, run by a small program in its place."""

import json
import sys
from pathlib import Path

import pytest
from servers import completion, last_user, server

from tunesmith.core.errors import ConfigError, MissingPackage, StepFailed
from tunesmith.core.lineage import descendants
from tunesmith.core.workspace import Manifest
from tunesmith.evaluate import CompareConfig, compare
from tunesmith.evaluate.benchmark.door import benchmark
from tunesmith.evaluate.benchmark.runners import RUNNERS, Target
from tunesmith.evaluate.benchmark.schema import BenchmarkConfig
from tunesmith.evaluate.imported.door import import_results
from tunesmith.evaluate.imported.port import json_file
from tunesmith.evaluate.imported.schema import ImportConfig

COMMON = """
import json, os, sys, urllib.request
words = sys.argv[1:]
def given(name):
    return words[words.index(name) + 1]
def ask(url, model, text, key):
    body = {"model": model, "messages": [{"role": "user", "content": text}]}
    head = {"Authorization": "Bearer " + key, "Content-Type": "application/json"}
    request = urllib.request.Request(url, json.dumps(body).encode(), head)
    reply = json.load(urllib.request.urlopen(request))
    return reply["choices"][0]["message"]["content"]
assert os.environ["HF_HUB_OFFLINE"] == os.environ["HF_DATASETS_OFFLINE"] == "1"
print("a line for the log")
QUESTIONS = [f"{n} + 1?" for n in range(12)]
"""
LM_EVAL = """
if "broken" in given("--tasks"):
    print("ValueError: Tasks not found: broken", file=sys.stderr)
    sys.exit(1)
assert words[0] == "run" and given("--num_fewshot") == "2" and given("--include_path") == "mine"
settings = dict(word.split("=", 1) for word in given("--model_args").split(","))
out = os.path.join(given("--output_path"), settings["model"])
os.makedirs(out)
with open(os.path.join(out, "samples_sums_2026-11-23T17-49-09.73.jsonl"), "w") as file:
    for number, text in enumerate(QUESTIONS):
        said = ask(settings["base_url"], settings["model"], text, os.environ["OPENAI_API_KEY"])
        sent = json.dumps([{"role": "user", "content": text}])
        file.write(json.dumps({
            "doc_id": number, "doc": {"question": text}, "target": str(number + 1), "filter": "none",
            "arguments": {"gen_args_0": {"arg_0": [sent], "arg_1": {}}}, "resps": [[said]],
            "filtered_resps": [said], "metrics": ["exact_match"],
            "exact_match": float(said == str(number + 1)),
        }) + "\\n")
"""
INSPECT = """
assert words[:2] == ["eval", "sums.py"] and given("--log-format") == "json"
model = given("--model").removeprefix("openai-api/local/")
url, key = os.environ["LOCAL_BASE_URL"] + "/chat/completions", os.environ["LOCAL_API_KEY"]
samples = [
    {"id": n, "epoch": 1, "input": text, "target": str(n + 1),
     "output": {"completion": (said := ask(url, model, text, key)), "choices": [{"stop_reason": "stop"}]},
     "scores": {"match": {"value": "C" if said == str(n + 1) else "I"}}}
    for n, text in enumerate(QUESTIONS)
]
os.makedirs(given("--log-dir"))
with open(os.path.join(given("--log-dir"), "log.json"), "w") as file:
    run = {"task": "sums", "model": given("--model")}
    json.dump({"status": "success", "eval": run, "samples": samples}, file)
"""


@pytest.fixture
def environment(tmp_path):
    """A virtual environment as far as it is needed: two programs."""
    for name, text in (("lm-eval", LM_EVAL), ("inspect", INSPECT)):
        program = tmp_path / "environment" / "bin" / name
        program.parent.mkdir(parents=True, exist_ok=True)
        program.write_text(f"#!{sys.executable}\n{COMMON}{text}")
        program.chmod(0o755)
    return tmp_path / "environment"


def adds(body):
    return completion(str(int(last_user(body).split()[0]) + 1))


def run(job, environment, *tasks, answer=adds, **options):
    with server(answer, models=("small",)) as script:
        config = BenchmarkConfig(
            tasks=list(tasks), environment=environment, model="small", endpoint=script.url, **options
        )
        return benchmark(config, job), script


SUMS = {"task_folder": Path("mine"), "shots": 2, "chat": True}


def test_the_harness_asks_our_server_and_its_results_are_a_report(job, environment, monkeypatch):
    monkeypatch.setenv("SERVER_KEY", "secret-key")
    result, script = run(job, environment, "sums", api_key_variable="SERVER_KEY", **SUMS)
    assert len(script.asked) == 12
    assert {head["Authorization"] for head in script.headers} == {"Bearer secret-key"}
    assert (result.model, result.suite, result.kept) == ("small", "sums", 12)
    assert result.scores["exact_match"].value == 1
    assert "--apply_chat_template" in result.command
    assert "secret-key" not in json.dumps(result.to_json())
    assert (result.folder / "harness" / "harness.log").read_text() == "a line for the log\n"
    manifest = Manifest.read(result.folder)
    assert (manifest.verb, manifest.kind) == ("benchmark", "report")
    assert [(one.role, one.kind) for one in manifest.inputs] == [("model", "remote")]
    assert not descendants(job.workspace, result.folder)  # it is not made from itself


def test_online_the_harness_may_reach_the_hub(job, environment, monkeypatch):
    monkeypatch.delenv("HF_DATASETS_OFFLINE", raising=False)
    with pytest.raises(StepFailed, match="KeyError: 'HF_DATASETS_OFFLINE'"):  # the program here asks for it
        run(job, environment, "sums", online=True, **SUMS)


def test_two_models_are_compared_on_what_the_harness_asked(job, environment):
    wrong, _ = run(job, environment, "sums", answer=lambda body: completion("no"), **SUMS)
    right, _ = run(job, environment, "sums", **SUMS)
    assert wrong.folder != right.folder
    assert compare(CompareConfig(a=wrong.folder, b=right.folder), job).verdict == "better"


def test_inspect_is_run_alike(job, environment):
    result, _ = run(job, environment, "sums.py", harness="inspect", limit=12)
    assert (result.harness, result.model, result.scores["match"].value) == ("inspect", "small", 1)
    assert json_file(result.folder / "harness" / "results" / "log.json")["status"] == "success"


def test_a_model_of_this_machine_is_served_for_the_harness(job, environment):
    config = BenchmarkConfig(tasks=["sums.py"], harness="inspect", environment=environment, model="fake")
    result = benchmark(config, job)
    assert (result.model, result.errors, result.kept) == ("fake", 0, 12)
    assert Manifest.read(result.folder).inputs[0].kind == "model"


def test_a_harness_that_fails_says_so_in_its_own_last_words_and_leaves_its_log(job, environment):
    with pytest.raises(StepFailed, match=r"lm-eval ended with code 1:\n.*\n? +ValueError: Tasks not found"):
        run(job, environment, "broken")
    assert not job.workspace.folders("report")
    log = job.workspace.root / "harness" / "lm-eval-broken" / "harness.log"
    assert "a line for the log" in log.read_text()


def test_what_was_measured_is_kept_where_the_report_is_refused(job, environment):
    with pytest.raises(ConfigError, match="did you mean 'exact_match'"):
        run(job, environment, "sums", metric="exact_mach", **SUMS)
    (kept,) = (job.workspace.root / "harness").iterdir()
    result = import_results(ImportConfig(results=kept, metric="exact_match"), job)
    assert (result.kept, result.scores["exact_match"].value) == (12, 1)


def test_without_the_harness_the_message_says_how_to_install_it(job, tmp_path):
    with pytest.raises(MissingPackage, match=r"lm-eval is not installed there: .*\n.*pip install 'lm_eval\["):
        run(job, tmp_path / "none", "sums")


@pytest.mark.parametrize(
    ("options", "why"),
    [
        ({"shots": 2}, "--shots: this is for lm-eval"),
        ({"task_folder": Path("x")}, "--task-folder: this is for lm-eval"),
        ({"chat": True}, "--chat: Inspect always asks in chats"),
    ],
)
def test_what_inspect_would_ignore_is_refused(job, environment, options, why):
    with pytest.raises(ConfigError, match=why):
        run(job, environment, "sums.py", harness="inspect", **options)


def test_lm_eval_counts_tokens_with_the_models_own_tokenizer_where_there_is_one():
    config = BenchmarkConfig(tasks=["a", "b"], limit=3)
    made = {
        folder: RUNNERS["lm-eval"].arguments(config, Target("http://x/v1", "m", None, folder), Path("out"))
        for folder in (None, Path("/models/m"))
    }
    settings = {folder: words[words.index("--model_args") + 1] for folder, words in made.items()}
    assert "base_url=http://x/v1/completions" in settings[None]
    assert settings[None].endswith("tokenizer_backend=None")
    assert settings[Path("/models/m")].endswith("tokenizer=/models/m")
    assert made[None][made[None].index("--tasks") + 1] == "a,b"
    assert made[None][made[None].index("--limit") + 1] == "3"
