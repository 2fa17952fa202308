"""Jobs of another server, brought home and trained again; our own server plays OpenAI."""

import json
import os
import subprocess
import sys

import api_server
import httpx
import pytest
from serving import strict_client
from test_jobs import rows, upload, wait

from tunesmith.api.bringing.door import fetched
from tunesmith.api.bringing.remote import Remote
from tunesmith.api.bringing.schema import ImportOpenaiConfig
from tunesmith.core.errors import ServerError
from tunesmith.core.job import Job
from tunesmith.core.workspace import Workspace

SETTINGS = {"n_epochs": 2, "batch_size": 4, "learning_rate_multiplier": 0.5}


@pytest.fixture
def server(tmp_path, database):
    with api_server.serving(tmp_path / "there", database) as running:
        yield running


def brought(server, root, *options, code=0, key="sk-any"):
    command = [sys.executable, "-m", "tunesmith", "import", "openai", "--endpoint", str(server.url)]
    command += ["--model", "fake", "--workspace", str(root / "here"), "--json", *options]
    done = subprocess.run(
        command,
        capture_output=True,
        text=True,
        stdin=subprocess.DEVNULL,
        env={**os.environ, "OPENAI_API_KEY": key},
        check=False,
    )
    assert done.returncode == code, done.stderr
    return json.loads(done.stdout) if code == 0 else done.stderr


def test_jobs_are_brought_with_files_settings_and_results_and_trained_again(server, tmp_path):
    with strict_client(server.url) as client:
        train, validation = upload(client, rows(20)), upload(client, rows(8, first=50), "v.jsonl")
        whole = client.fine_tuning.jobs.create(
            model="gpt-4o-mini", training_file=train, validation_file=validation, seed=5,
            hyperparameters=SETTINGS,
        )  # fmt: skip
        gone = upload(client, rows(12))
        lost = client.fine_tuning.jobs.create(model="fake", training_file=gone)
        for job in (whole, lost):
            there = wait(client, job.id, "succeeded")
        client.files.delete(gone)
    found = brought(server, tmp_path)
    assert [one["id"] for one in found["jobs"]] == [lost.id, whole.id]
    first, second = found["jobs"]
    assert first["obstacle"] == "its training file is gone from the service"
    assert first["missing"][0].startswith(f"training file {gone}: ")
    assert (second["examples"], second["missing"], second["obstacle"]) == (20, [], None)
    folder = tmp_path / "here"
    place = next(folder.rglob(f"{whole.id}/recipe.yaml")).parent
    assert (place / "training_file.jsonl").read_bytes() == rows(20)
    assert (place / "validation_file.jsonl").read_bytes() == rows(8, first=50)
    assert (place / "results-0.csv").read_text().startswith("step,train_loss,")
    events = [json.loads(line)["message"] for line in (place / "events.jsonl").read_text().splitlines()]
    assert events[0] == "The job has successfully completed"
    again = brought(server, tmp_path, "--train", "--evaluate", "8")
    assert again["folder"] == found["folder"]
    trained = again["jobs"][1]
    assert trained["verdict"].startswith("The"), trained
    model = json.loads((folder / "brought" / whole.id / "run" / "adapter" / "fake_model.json").read_text())
    theirs = next((tmp_path / "there").rglob(f"{whole.id}/run/adapter/fake_model.json"))
    assert model == json.loads(theirs.read_text()), "the same files and settings teach the same"
    assert there.fine_tuned_model


def test_only_the_jobs_that_are_named_are_brought(server, tmp_path):
    with strict_client(server.url) as client:
        file = upload(client, rows(12))
        jobs = [client.fine_tuning.jobs.create(model="fake", training_file=file).id for _ in range(2)]
        for job in jobs:
            wait(client, job, "succeeded")
    found = brought(server, tmp_path, "--job", jobs[0])
    assert [one["id"] for one in found["jobs"]] == [jobs[0]]
    said = brought(server, tmp_path, "--job", "ftjob-none", code=2)
    assert "the service knows no such job: 'ftjob-none'" in said


def test_what_cannot_be_brought_is_one_clear_message(server, tmp_path):
    assert "this environment variable is not set: 'OPENAI_API_KEY'" in brought(
        server, tmp_path, code=2, key=""
    )
    said = brought(server._replace(url="http://127.0.0.1:9/v1"), tmp_path, code=2)
    assert "the server did not answer (ConnectError" in said
    assert "check --endpoint" in said
    elsewhere = server._replace(url=str(server.url).removesuffix("/v1"))
    assert "the URL usually ends in /v1" in brought(elsewhere, tmp_path, code=2)


def test_a_server_cannot_choose_where_its_files_are_written(tmp_path):
    def answer(request):
        return httpx.Response(200, json={"data": [{"id": "../../escaped"}], "has_more": False})

    config = ImportOpenaiConfig(endpoint="http://x/v1", model="fake")
    transport = httpx.MockTransport(answer)
    with (
        httpx.Client(base_url="http://x/v1/", transport=transport) as client,
        pytest.raises(ServerError, match="this id of a job is no name"),
    ):
        fetched(Remote(client), config, Job(Workspace(tmp_path / "here")))
    assert not list(tmp_path.rglob("escaped"))


def test_a_busy_service_is_asked_again_and_a_refused_key_is_not(tmp_path):
    answers, slept = iter([429, 503, 200]), []

    def answer(request):
        status = next(answers)
        return httpx.Response(status, json={"data": [{"id": "ftjob-1"}], "has_more": False})

    with httpx.Client(base_url="http://x/v1/", transport=httpx.MockTransport(answer)) as client:
        assert list(Remote(client, slept.append).jobs()) == [{"id": "ftjob-1"}]
        assert slept == sorted(slept)
        assert len(slept) == 2
        answers = iter([401])
        with pytest.raises(ServerError, match="401"):
            list(Remote(client, slept.append).jobs())
