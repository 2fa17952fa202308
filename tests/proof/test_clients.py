"""Clients that other people wrote, each from an environment of its own (`make conformance` builds them)."""

import json
import math
import re
import shutil
import subprocess
from pathlib import Path

import api_server
import httpx
import pytest
import torch
from live_server import live
from test_openai_sdk import seeded_server
from tiny_models import tiny_model_folder

from tunesmith.runtime.models import load_model
from tunesmith.serve.backends.local import Settings, open_model

ROOT = Path(__file__).parents[2]
VENVS, CONFORMANCE = ROOT / ".venvs", ROOT / "tests" / "conformance"
PLAIN = {"PATH": "/usr/bin:/bin:/usr/local/bin", "HF_HUB_OFFLINE": "1", "HOME": "/tmp"}


FEWEST_REQUESTS = 3000


def needs(name):
    return pytest.mark.skipif(
        not (VENVS / name / ".done").exists(), reason="its environment is built by `make conformance`"
    )


def run(*command, **settings):
    done = subprocess.run(
        list(map(str, command)), capture_output=True, text=True, check=False, env=PLAIN, **settings
    )
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-3000:]
    return done.stdout


@needs("openai-1")
def test_the_client_of_before_goes_from_a_file_to_a_chat(tmp_path):
    with api_server.serving(tmp_path, tmp_path / "store.sqlite") as server:
        said = run(
            VENVS / "openai-1" / "bin" / "python", CONFORMANCE / "journey_openai_1.py", str(server.url)
        )
    assert said == "ok\n"


@needs("openai-node")
def test_the_client_in_javascript_goes_from_a_file_to_a_chat(tmp_path):
    with api_server.serving(tmp_path, tmp_path / "store.sqlite") as server:
        said = run(shutil.which("node"), CONFORMANCE / "journey_node.mjs", server.url, VENVS / "openai-node")
    assert said == "ok\n"


@needs("schemathesis")
def test_no_request_that_the_description_allows_or_forbids_is_answered_with_anything_undocumented(tmp_path):
    """No 5xx, no status, type or body that OpenAI's description does not have."""
    checks = "not_a_server_error,status_code_conformance,content_type_conformance,response_schema_conformance"
    options = ["--checks", checks, "--phases", "examples,coverage,fuzzing", "--max-examples", "40"]
    with seeded_server() as url:
        httpx.post(url.removesuffix("/v1") + "/reseed", json={"test": "schemathesis"}).raise_for_status()
        said = run(
            VENVS / "schemathesis" / "bin" / "schemathesis",
            "--config-file",
            CONFORMANCE / "schemathesis.toml",
            "run",
            ROOT / "tests" / "data" / "openai_paths.json",
            "--url",
            url,
            "--seed",
            "1",
            "--no-color",
            *options,
            cwd=tmp_path,
        )
    generated, passed = map(int, re.findall(r"(\d+) generated, (\d+) passed", said)[0])
    assert generated == passed
    assert passed > FEWEST_REQUESTS


TEXTS = (
    ("The capital of France is", " Paris."),
    ("Two and two are", " four, as everybody knows."),
    ("She went to the", " market and bought bread."),
    ("A", " b"),
)


@needs("lm-eval")
def test_lm_eval_reads_the_log_likelihoods_that_the_model_itself_gives(tmp_path):
    """Its `local-completions` on a local task, against a plain forward pass in float32."""
    folder = tiny_model_folder(tmp_path / "model")
    rows = [{"question": question, "answer": answer} for question, answer in TEXTS]
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    task = {
        "task": "local_likelihood",
        "dataset_path": "json",
        "dataset_kwargs": {"data_files": {"test": str(tmp_path / "rows.jsonl")}},
        "output_type": "loglikelihood",
        "test_split": "test",
        "doc_to_text": "{{question}}",
        "doc_to_target": "{{answer}}",
        "target_delimiter": "",
        "metric_list": [{"metric": "perplexity", "aggregation": "perplexity", "higher_is_better": False}],
    }
    (tmp_path / "task.yaml").write_text(json.dumps(task))
    backend = open_model(folder, Settings(threads=1, dtype="float32")).backends[None]
    with live(("tiny", backend)) as server:
        arguments = f"model=tiny,base_url={server.url}/completions,tokenizer_backend=remote,num_concurrent=2"
        run(
            VENVS / "lm-eval" / "bin" / "lm_eval",
            "run",
            "--model",
            "local-completions",
            "--model_args",
            arguments,
            "--tasks",
            "local_likelihood",
            "--include_path",
            tmp_path,
            "--log_samples",
            "--output_path",
            tmp_path / "out",
        )
    found = {}
    for path in (tmp_path / "out").rglob("samples_*.jsonl"):
        for line in path.read_text().splitlines():
            sample = json.loads(line)
            found[sample["doc"]["question"]] = float(sample["resps"][0][0][0])
    loaded = load_model(folder, dtype="float32")
    expected = {}
    for question, answer in TEXTS:
        whole = loaded.tokenizer(question + answer)["input_ids"]
        begun = len(loaded.tokenizer(question)["input_ids"])
        with torch.no_grad():
            logits = loaded.model(input_ids=torch.tensor([whole])).logits[0].log_softmax(-1)
        expected[question] = math.fsum(
            float(logits[place - 1, whole[place]]) for place in range(begun, len(whole))
        )
    assert found == pytest.approx(expected, abs=1e-3)
