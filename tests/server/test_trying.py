"""What can be asked before a job: its faults, its cost."""

import json

import api_server
import httpx
import pytest
from serving import check, strict_client

from tunesmith.api.jobs import trying


def row(question, answer="ok", **more):
    messages = [{"role": "user", "content": question}, {"role": "assistant", "content": answer}]
    return json.dumps({"messages": messages, **more})


@pytest.fixture
def server(tmp_path, database):
    with api_server.serving(tmp_path, database) as running:
        yield running


def upload(server, *lines):
    with strict_client(server.url) as client:
        content = "".join(line + "\n" for line in lines).encode()
        return client.files.create(file=("a.jsonl", content), purpose="fine-tune").id


def ask(server, what, **body):
    answer = httpx.post(f"{server.url}/x/fine_tuning/{what}", json={"model": "fake", **body}, timeout=60)
    if answer.status_code != 200:
        check(answer.json(), "ErrorResponse")
        return answer.status_code, answer.json()["error"]
    return 200, answer.json()


def test_every_fault_of_both_files_is_told_with_line_and_pointer(server):
    wrong_role = json.dumps({"messages": [{"role": "robot", "content": "x"}]})
    no_answer = json.dumps({"messages": [{"role": "user", "content": "x"}]})
    train = upload(server, row("a"), wrong_role, row("b"), no_answer)
    validation = upload(server, json.dumps({"messages": "none"}))
    status, found = ask(server, "validate", training_file=train, validation_file=validation)
    assert status == 200
    assert found["valid"] is False
    first, second = found["files"]
    assert (first["param"], first["examples"], first["num_problems"]) == ("training_file", 2, 2)
    assert [(one["line"], one["pointer"]) for one in first["problems"]] == [
        (2, "/messages/0/role"),
        (4, "/messages"),
    ]
    assert (second["examples"], second["problems"][0]["line"]) == (0, 1)
    assert found["warnings"] == ["fewer than 10 examples teach little"]
    with strict_client(server.url) as client:
        assert client.fine_tuning.jobs.list().data == []


def test_a_job_without_faults_is_told_what_its_hyperparameters_would_become(server):
    train = upload(server, *(row(f"{number}?") for number in range(40)))
    _, found = ask(server, "validate", training_file=train)
    assert found["valid"]
    assert found["warnings"] == []
    assert found["hyperparameters"] == {"n_epochs": 3, "batch_size": 1, "learning_rate_multiplier": 1.0}
    assert found["steps"] == 120


def test_what_a_job_would_cost_is_measured_and_nothing_is_left(server):
    train = upload(server, *(row(f"{number}?") for number in range(40)))
    status, found = ask(server, "estimate", training_file=train, hyperparameters={"n_epochs": 2})
    assert status == 200, found
    assert (found["steps"], found["timed_steps"], found["examples"]) == (80, trying.TIMED_STEPS, 40)
    assert found["tokens"] > 0
    assert found["seconds"] >= 0
    assert list((server.api.folder / "trials").iterdir()) == []
    with strict_client(server.url) as client:
        assert client.fine_tuning.jobs.list().data == []


def test_what_cannot_be_tried_is_refused_as_a_job_would_be(server):
    train = upload(server, json.dumps({"messages": "none"}))
    status, error = ask(server, "estimate", training_file=train)
    assert (status, error["param"], error["code"]) == (400, "training_file", "invalid_training_file")
    assert ask(server, "estimate", training_file="file-none")[0] == 404
    assert ask(server, "validate", training_file=train, model="x")[1]["code"] == "model_not_available"
    assert (
        ask(server, "preview", training_file=train)[1]["message"] == "The fake model has no tokens to show."
    )
    assert ask(server, "preview", training_file=train, rows=51)[0] == 400
    good = upload(server, row("a"))
    assert trying.TURN.acquire(blocking=False)
    try:
        status, error = ask(server, "estimate", training_file=good)
    finally:
        trying.TURN.release()
    assert (status, error["code"]) == (429, "rate_limit_exceeded")
