"""Fine-tuning jobs with the fake engine: OpenAI's client, a live server, worker processes that are killed."""

import base64
import hashlib
import io
import json
import os
import shutil
import signal
import tarfile
import time
from contextlib import contextmanager

import api_server
import httpx
import openai
import psutil
import pytest
from serving import check, strict_client

from tunesmith.core.files import read_json


def rows(number, first=0):
    lines = [
        {
            "messages": [
                {"role": "user", "content": f"{place} Elm St"},
                {"role": "assistant", "content": f'{{"number":"{place}"}}'},
            ]
        }
        for place in range(first, first + number)
    ]
    return "".join(json.dumps(line) + "\n" for line in lines).encode()


@contextmanager
def serving(root, database):
    with api_server.serving(root, database) as server, strict_client(server.url) as client:
        yield client


@pytest.fixture
def client(tmp_path, database):
    with serving(tmp_path, database) as made:
        yield made


def upload(client, content, name="train.jsonl"):
    return client.files.create(file=(name, content), purpose="fine-tune").id


def wait(client, job, *states, seconds=60):
    """The job once it is in one of the states (ours, which tell paused from running)."""
    deadline = time.monotonic() + seconds
    while (found := client.fine_tuning.jobs.retrieve(job)).x_tunesmith["state"] not in states:
        assert time.monotonic() < deadline, (found, messages(client, job))
        time.sleep(0.05)
    return found


def messages(client, job):
    return [event.message for event in client.fine_tuning.jobs.list_events(job, limit=1000)][::-1]


def test_a_job_goes_from_its_file_to_a_model(client):
    train, validation = upload(client, rows(30)), upload(client, rows(6, first=100), "v.jsonl")
    job = client.fine_tuning.jobs.create(
        model="gpt-4o-mini", training_file=train, validation_file=validation, suffix="mine", seed=7
    )
    check(job.to_dict(), "FineTuningJob")
    assert (job.status, job.seed, job.hyperparameters.n_epochs) == ("validating_files", 7, "auto")
    done = wait(client, job.id, "succeeded", "failed")
    check(done.to_dict(), "FineTuningJob")
    assert done.error is None
    assert done.status == "succeeded"
    assert done.fine_tuned_model.startswith("ft:gpt-4o-mini:local:mine:")
    assert (done.hyperparameters.n_epochs, done.hyperparameters.batch_size) == (3, 1)
    assert done.method.supervised.hyperparameters.n_epochs == 3
    assert done.trained_tokens > 0
    assert done.finished_at >= done.created_at
    said = messages(client, job.id)
    assert said[0] == f"Created fine-tuning job: {job.id}"
    assert said[1] == f"Validating training file: {train} and validation file: {validation}"
    assert said[2:4] == ["Files validated, moving job to queued state", "Fine-tuning job started"]
    assert said[-2:] == [
        f"New fine-tuned model created: {done.fine_tuned_model}",
        "The job has successfully completed",
    ]
    steps = [text for text in said if text.startswith("Step ")]
    assert len(steps) == 90
    assert steps[0].startswith("Step 1/90: training loss=")
    assert "full validation loss=" in steps[29]
    checkpoint = client.fine_tuning.jobs.checkpoints.list(job.id).data[0].metrics
    # Each word of an answer that the fake gets wrong costs it 1.
    assert checkpoint.train_mean_token_accuracy == 1 - checkpoint.train_loss
    assert checkpoint.valid_mean_token_accuracy == 1 - checkpoint.valid_loss
    assert checkpoint.full_valid_mean_token_accuracy == checkpoint.valid_mean_token_accuracy
    table = base64.b64decode(client.files.content(done.result_files[0]).read()).decode().splitlines()
    assert [line.count(",") for line in table] == [4] * 91
    assert float(table[30].split(",")[4]) == checkpoint.valid_mean_token_accuracy


def test_the_hardest_lines_of_a_file_are_found_by_their_losses(client):
    pairs = [*((f"{place}?", f"answer {place}") for place in range(11)), ("0?", "mislabelled")]
    turns = [
        [{"role": "user", "content": question}, {"role": "assistant", "content": answer}]
        for question, answer in pairs
    ]
    file = upload(client, "".join(json.dumps({"messages": two}) + "\n" for two in turns).encode())
    job = client.fine_tuning.jobs.create(
        model="fake", training_file=file, hyperparameters={"n_epochs": 2, "batch_size": 12}
    )
    place = f"/x/fine_tuning/jobs/{job.id}/examples"
    assert client.get(place, cast_to=object)["data"] == []
    wait(client, job.id, "succeeded", "failed")
    found = client.get(place, cast_to=object, options={"params": {"limit": 2}})
    assert (found["num_examples"], found["has_more"], found["training_file"]) == (12, True, file)
    # One question has two answers: the fake keeps one, and is wrong about the other line.
    first = found["data"][0]
    assert first["last_loss"] == 1.0
    assert first["line"] in (1, 12)
    assert [one["step"] for one in first["seen"]] == [1, 2]
    assert [one["mean_token_accuracy"] for one in first["seen"]] == [0.0, 0.0]
    assert found["data"][1]["last_loss"] == 0.0
    by_line = client.get(place, cast_to=object, options={"params": {"sort": "line", "order": "asc"}})
    assert [one["line"] for one in by_line["data"]] == list(range(1, 13))
    with pytest.raises(openai.BadRequestError, match="Supported values are: 'loss'"):
        client.get(place, cast_to=object, options={"params": {"sort": "beauty"}})
    with pytest.raises(openai.NotFoundError):
        client.get("/x/fine_tuning/jobs/ftjob-none/examples", cast_to=object)


def test_a_job_that_waits_says_its_place_and_when_it_would_be_done(client):
    train = upload(client, rows(30))
    done = client.fine_tuning.jobs.create(model="fake", training_file=train, hyperparameters={"n_epochs": 1})
    wait(client, done.id, "succeeded")
    running = begin(client, train)
    first, second = (
        client.fine_tuning.jobs.create(model="fake", training_file=train, **LONG).id for _ in range(2)
    )
    for job in (first, second):
        wait(client, job, "queued")
    listed = {job.id: job for job in client.fine_tuning.jobs.list()}
    places = [listed[job].x_tunesmith["queue_position"] for job in (running, first, second)]
    assert places == [None, 1, 2]
    assert listed[second].estimated_finish >= listed[first].estimated_finish >= listed[running].created_at
    client.fine_tuning.jobs.cancel(first)
    assert client.fine_tuning.jobs.retrieve(second).x_tunesmith["queue_position"] == 1
    for job in (running, second):
        client.fine_tuning.jobs.cancel(job)


def test_a_job_of_a_model_that_nobody_has_timed_yet_promises_no_time(client):
    train = upload(client, rows(30))
    running = begin(client, train)
    waiting = client.fine_tuning.jobs.create(model="fake", training_file=train, **LONG).id
    found = wait(client, waiting, "queued")
    assert (found.x_tunesmith["queue_position"], found.estimated_finish) == (1, None)
    for job in (running, waiting):
        client.fine_tuning.jobs.cancel(job)


def test_a_job_compares_its_model_with_the_base_where_it_is_asked_to(client):
    train, validation = upload(client, rows(30)), upload(client, rows(20, first=100), "v.jsonl")
    settings = {"model": "fake", "training_file": train, "hyperparameters": {"n_epochs": 1}}
    ask = {"extra_body": {"x_tunesmith": {"evaluate": 12}}}
    with pytest.raises(openai.BadRequestError, match="needs a validation_file"):
        client.fine_tuning.jobs.create(**settings, **ask)
    job = client.fine_tuning.jobs.create(**settings, validation_file=validation, **ask)
    assert job.x_tunesmith["evaluation"] is None
    done = wait(client, job.id, "succeeded", "failed", seconds=120)
    check(done.to_dict(), "FineTuningJob")
    found = done.x_tunesmith["evaluation"]
    assert (found["verdict"], found["scorer"], found["n"]) == ("better", "exact_json", 12)
    assert (found["base"], found["tuned"], found["difference"]["value"]) == (0.0, 1.0, 1.0)
    assert messages(client, job.id)[-2] == found["sentence"]


def test_a_comparison_that_fails_leaves_the_model_and_says_so(client, tmp_path):
    train, validation = upload(client, rows(30)), upload(client, rows(20, first=100), "v.jsonl")
    job = client.fine_tuning.jobs.create(
        model="fake",
        training_file=train,
        validation_file=validation,
        extra_body={"x_tunesmith": {"evaluate": 12}},
    ).id
    # Something of another kind stands where the answers would be kept.
    (tmp_path / "server" / "jobs" / job).mkdir(parents=True, exist_ok=True)
    (tmp_path / "server" / "jobs" / job / "evaluation").write_text("in the way")
    done = wait(client, job, "succeeded", "failed", seconds=120)
    assert (done.status, done.x_tunesmith["evaluation"]) == ("succeeded", None)
    assert "could not be compared with its base" in messages(client, job)[-2]
    answer = client.chat.completions.create(
        model=done.fine_tuned_model, messages=[{"role": "user", "content": "3 Elm St"}]
    )
    assert json.loads(answer.choices[0].message.content) == {"number": "3"}


def test_a_request_unlike_the_training_prompts_is_told_so_and_counted(client):
    turns = [{"role": "system", "content": "You read addresses."}, *json.loads(rows(1))["messages"]]
    train = upload(client, (json.dumps({"messages": turns}) + "\n").encode() * 12)
    job = client.fine_tuning.jobs.create(model="fake", training_file=train, hyperparameters={"n_epochs": 1})
    name = wait(client, job.id, "succeeded", "failed").fine_tuned_model
    checkpoint = client.fine_tuning.jobs.checkpoints.list(job.id).data[0].fine_tuned_model_checkpoint

    def told(messages, model=name):
        answer = client.chat.completions.with_raw_response.create(model=model, messages=messages)
        assert answer.headers["x-tunesmith-version"]
        return answer.headers.get("x-tunesmith-deviation")

    assert checkpoint == name
    assert told(turns[:2]) is None
    assert told(turns[1:2]) == "system-missing"
    assert told([{"role": "system", "content": "You are a pirate."}, turns[1]]) == "system-other"
    assert told(turns[1:2], "fake") is None, "a base model has no training prompts here"
    shown = client.models.retrieve(name).x_tunesmith["prompt_shape"]
    assert (shown["system"], shown["with_system"], shown["with_tools"]) == ("You read addresses.", 12, 0)
    metrics = httpx.get(str(client.base_url).replace("/v1/", "/metrics")).text
    line = f'tunesmith_prompt_deviations_total{{deviation="system-other",gen_ai_request_model="{name}"}} 1.0'
    assert line in metrics


def test_events_and_checkpoints_are_listed_and_the_results_are_a_table(client):
    job = client.fine_tuning.jobs.create(
        model="fake", training_file=upload(client, rows(20)), hyperparameters={"n_epochs": 2, "batch_size": 5}
    )
    done = wait(client, job.id, "succeeded", "failed")
    assert done.status == "succeeded", done.error
    events = client.fine_tuning.jobs.list_events(job.id, limit=3)
    check(events.to_dict(), "ListFineTuningJobEventsResponse")
    everything = list(events)
    assert len({event.id for event in everything}) == len(everything) > 10
    metrics = [event for event in everything if event.type == "metrics"]
    assert [event.data["step"] for event in metrics] == [8, 7, 6, 5, 4, 3, 2, 1]
    assert set(metrics[0].data) == {"step", "total_steps", "train_loss", "train_mean_token_accuracy"}
    checkpoints = client.fine_tuning.jobs.checkpoints.list(job.id)
    check(checkpoints.to_dict(), "ListFineTuningJobCheckpointsResponse")
    assert [one.step_number for one in checkpoints] == [8, 4]
    assert checkpoints.data[0].fine_tuned_model_checkpoint == done.fine_tuned_model
    assert checkpoints.data[1].fine_tuned_model_checkpoint == f"{done.fine_tuned_model}:ckpt-step-4"
    table = base64.b64decode(client.files.content(done.result_files[0]).read()).decode().splitlines()
    assert table[0] == "step,train_loss,train_accuracy,valid_loss,valid_mean_token_accuracy"
    assert len(table) == 9
    cells = [line.split(",") for line in table[1:]]
    assert [float(accuracy) for _, _, accuracy, *_ in cells] == [1 - float(loss) for _, loss, *_ in cells]
    assert {tuple(rest) for *_, rest in ([*cell[:3], cell[3:]] for cell in cells)} == {("", "")}
    listed = client.fine_tuning.jobs.list()
    check(listed.to_dict(), "ListPaginatedFineTuningJobsResponse")
    assert [one.id for one in listed] == [job.id]


def test_jobs_are_found_by_their_metadata(client):
    train = upload(client, rows(12))
    made = [
        client.fine_tuning.jobs.create(model="fake", training_file=train, metadata=pairs).id
        for pairs in ({"team": "a b", "x": ""}, {"team": "c"}, openai.omit)
    ]
    found = {
        str(query): [job.id for job in client.fine_tuning.jobs.list(**query)]
        for query in ({"metadata": {"team": "a b"}}, {"metadata": {"x": ""}}, {"metadata": {"team": "z"}})
    }
    assert list(found.values()) == [[made[0]], [made[0]], []]
    none = client.fine_tuning.jobs.list(extra_query={"metadata": "null"})
    assert [job.id for job in none] == [made[2]]
    for job in made:
        client.fine_tuning.jobs.cancel(job)


LONG = {
    "hyperparameters": {"n_epochs": 10, "batch_size": 1},
    "seed": 1,
    "extra_body": {"x_tunesmith": {"recipe": {"save_every": 1}}},
}
"""300 steps on 30 rows, each with a checkpoint: some seconds of the fake engine, which is fast."""
STEPS = 300


def begin(client, train):
    """A job that takes some seconds, once it has made steps."""
    job = client.fine_tuning.jobs.create(model="fake", training_file=train, **LONG).id
    deadline = time.monotonic() + 60
    while client.fine_tuning.jobs.list_events(job, limit=1).data[0].type != "metrics":
        assert time.monotonic() < deadline, messages(client, job)
        time.sleep(0.01)
    return job


def learned(root, job):
    return read_json(root / "server" / "jobs" / job / "run" / "adapter" / "fake_model.json")


def workers(job):
    """Processes that work for a job."""
    return [
        process.pid for process in psutil.process_iter() if any(job in word for word in command_of(process))
    ]


def command_of(process):
    try:
        return process.cmdline()
    except psutil.Error:
        return []


def steps_told(client, job):
    return [
        event.data["step"]
        for event in client.fine_tuning.jobs.list_events(job, limit=5000)
        if event.type == "metrics"
    ]


def test_a_paused_job_stands_still_and_a_resumed_one_learns_what_the_unbroken_one_does(client, tmp_path):
    train = upload(client, rows(30))
    whole = client.fine_tuning.jobs.create(model="fake", training_file=train, **LONG).id
    wait(client, whole, "succeeded")
    job = begin(client, train)
    paused = client.fine_tuning.jobs.pause(job)
    check(paused.to_dict(), "FineTuningJob")
    assert (paused.status, paused.x_tunesmith["state"]) == ("running", "paused")
    gone(job)
    seen = len(steps_told(client, job))
    assert 0 < seen < STEPS
    refused(lambda: client.fine_tuning.jobs.pause(job), f"Job {job} is paused: it cannot be paused.")
    resumed = client.fine_tuning.jobs.resume(job)
    assert resumed.x_tunesmith["state"] in ("queued", "running")
    assert wait(client, job, "succeeded", "failed").status == "succeeded"
    assert steps_told(client, job) == list(range(STEPS, 0, -1))
    assert learned(tmp_path, job) == learned(tmp_path, whole)
    refused(lambda: client.fine_tuning.jobs.resume(job), f"Job has already completed: {job}")


def gone(job, seconds=10):
    """Every process of a job ends within ten seconds."""
    deadline = time.monotonic() + seconds
    while workers(job):
        assert time.monotonic() < deadline, workers(job)
        time.sleep(0.05)


def refused(call, message, status=400):
    with pytest.raises(openai.APIStatusError) as raised:
        call()
    assert raised.value.status_code == status
    check(raised.value.response.json(), "ErrorResponse")
    assert message in raised.value.body["message"]


def test_a_cancelled_job_is_over_at_once_and_its_processes_are_gone(client):
    job = begin(client, upload(client, rows(30)))
    over = client.fine_tuning.jobs.cancel(job)
    assert (over.status, over.fine_tuned_model) == ("cancelled", None)
    assert over.finished_at is not None
    gone(job)
    refused(lambda: client.fine_tuning.jobs.cancel(job), f"Job has already completed: {job}")
    assert messages(client, job)[-1].startswith(("The job was cancelled", "Step ", "Checkpoint"))
    assert wait(client, job, "cancelled").status == "cancelled"


def test_jobs_wait_for_their_turn(client):
    train = upload(client, rows(30))
    first = begin(client, train)
    second = client.fine_tuning.jobs.create(model="fake", training_file=train).id
    wait(client, second, "queued")
    client.fine_tuning.jobs.cancel(first)
    assert wait(client, second, "succeeded", "failed").status == "succeeded"


def test_a_killed_worker_is_followed_by_another_that_goes_on(client):
    job = begin(client, upload(client, rows(30)))
    for pid in workers(job):
        os.kill(pid, signal.SIGKILL)
    assert wait(client, job, "succeeded", "failed").status == "succeeded"
    assert any("The worker was stopped" in text for text in messages(client, job))
    assert steps_told(client, job) == list(range(STEPS, 0, -1))


def test_a_stopped_server_goes_on_with_its_jobs_when_it_starts_again(tmp_path, database):
    with serving(tmp_path, database) as client:
        job = begin(client, upload(client, rows(30)))
    gone(job)
    with serving(tmp_path, database) as client:
        assert wait(client, job, "succeeded", "failed").status == "succeeded"
        assert any("The server was started again" in text for text in messages(client, job))
        assert steps_told(client, job) == list(range(STEPS, 0, -1))


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (rows(12) + b'{"messages": []}\n', "Example 13, /messages"),
        (rows(12) + b'{"messages": [{"role": "boss", "content": "x"}]}\n', "Example 13, /messages/0/role"),
        (rows(12) + b'{"text": 1}\n' + rows(1) + b'{"messages": 1}\n', "2 lines cannot be used: 13, 15."),
        (b'{"colour": "red"}\n' * 12, "Unexpected file format"),
    ],
)
def test_a_file_that_cannot_be_learned_from_fails_the_job_with_every_line(client, content, said):
    job = client.fine_tuning.jobs.create(model="fake", training_file=upload(client, content))
    failed = wait(client, job.id, "failed")
    check(failed.to_dict(), "FineTuningJob")
    assert (failed.status, failed.error.code, failed.error.param) == (
        "failed",
        "invalid_training_file",
        "training_file",
    )
    assert said in failed.error.message
    assert client.fine_tuning.jobs.list_events(job.id).data[0].level == "error"


def test_what_can_never_run_is_refused_at_once(client):
    train = upload(client, rows(12))
    other = client.files.create(file=("a", b"x"), purpose="user_data").id
    create = client.fine_tuning.jobs.create
    for asked, message, status in (
        ({"model": "gpt-9"}, "Model gpt-9 is not available for fine-tuning or does not exist.", 400),
        ({"training_file": "file-none"}, "No such File object: file-none", 404),
        ({"validation_file": "file-none"}, "No such File object: file-none", 404),
        ({"training_file": other}, "Invalid file purpose: 'user_data'", 400),
        ({"suffix": "x" * 65}, "'suffix'", 400),
        ({"seed": -1}, "'seed'", 400),
        ({"hyperparameters": {"n_epochs": 0}}, "expected 'auto' or an integer from 1 to 50, but got 0", 400),
        ({"hyperparameters": {"batch_size": True}}, "expected 'auto' or an integer from 1 to 256", 400),
        ({"hyperparameters": {"learning_rate_multiplier": 0}}, "expected 'auto' or a number over 0", 400),
        (
            {"hyperparameters": {"colour": 1}},
            "Unrecognized request argument supplied: 'hyperparameters.colour'",
            400,
        ),
        ({"method": {"type": "dpo", "dpo": {}}}, "not available for fine-tuning with the method 'dpo'", 400),
        ({"metadata": {str(n): "" for n in range(17)}}, "at most 16 pairs", 400),
        ({"metadata": {"a": "x" * 513}}, "at most 64 characters and values 512", 400),
        ({"extra_body": {"x_tunesmith": {"recipe": {"data": "/etc"}}}}, "not a client's", 400),
        (
            {"extra_body": {"x_tunesmith": {"recipe": {"template": "/etc/passwd"}}}},
            "no such template here",
            400,
        ),
        ({"extra_body": {"x_tunesmith": {"recipe": {"method": {"rnk": 4}}}}}, "rnk", 400),
    ):
        refused(
            lambda asked=asked: create(**{"model": "fake", "training_file": train, **asked}), message, status
        )
    refused(lambda: client.fine_tuning.jobs.retrieve("ftjob-x"), "Could not find fine tune: ftjob-x", 404)
    assert list(client.fine_tuning.jobs.list()) == []


def test_any_field_of_the_recipe_can_be_given(client):
    recipe = {"step_examples": 4, "max_steps": 2}
    job = client.fine_tuning.jobs.create(
        model="fake", training_file=upload(client, rows(12)), extra_body={"x_tunesmith": {"recipe": recipe}}
    )
    done = wait(client, job.id, "succeeded", "failed")
    assert done.error is None
    assert steps_told(client, job.id) == [2, 1]


def test_what_is_not_done_is_said(client):
    wandb = {"type": "wandb", "wandb": {"project": "p", "tags": ["t"]}}
    job = client.fine_tuning.jobs.create(
        model="fake", training_file=upload(client, rows(3)), integrations=[wandb]
    )
    wait(client, job.id, "succeeded")
    warned = [event.message for event in client.fine_tuning.jobs.list_events(job.id) if event.level == "warn"]
    assert any("wandb is not told" in text for text in warned)
    assert any("Training file has 3 example(s)" in text for text in warned)


def test_a_file_that_is_deleted_meanwhile_fails_a_job_that_has_not_taken_it_and_no_other(client):
    train = upload(client, rows(30))
    first = begin(client, train)
    client.files.delete(train)
    refused(lambda: client.fine_tuning.jobs.create(model="fake", training_file=train), "No such File", 404)
    assert wait(client, first, "succeeded", "failed").status == "succeeded"


def test_the_model_of_a_job_answers_and_so_do_its_checkpoints(client):
    job = client.fine_tuning.jobs.create(
        model="gpt-4o-mini", training_file=upload(client, rows(12)), suffix="x"
    )
    done = wait(client, job.id, "succeeded", "failed")
    asked = [{"role": "user", "content": "3 Elm St"}]
    answer = client.chat.completions.create(model=done.fine_tuned_model, messages=asked)
    assert answer.choices[0].message.content == '{"number": "3"}'
    assert answer.model == done.fine_tuned_model
    names = [one.fine_tuned_model_checkpoint for one in client.fine_tuning.jobs.checkpoints.list(job.id)]
    assert len(names) == 8
    for name in names[:4]:  # more than are held at a time
        assert client.chat.completions.create(model=name, messages=asked).choices[0].message.content
    listed = client.models.list()
    check(listed.to_dict(), "ListModelsResponse")
    assert {"fake", *names} == {model.id for model in listed}
    shown = client.models.retrieve(names[1])
    check(shown.to_dict(), "Model")
    assert shown.x_tunesmith["job"] == job.id
    gone = client.models.delete(names[1])
    check(gone.to_dict(), "DeleteModelResponse")
    refused(lambda: client.models.retrieve(names[1]), "does not exist", 404)
    refused(lambda: client.chat.completions.create(model=names[1], messages=asked), "does not exist", 404)
    refused(lambda: client.models.delete(names[1]), "does not exist", 404)
    refused(lambda: client.models.delete("fake"), "cannot be deleted", 403)


def test_an_earlier_jobs_model_goes_on_learning(client):
    def tuned(model, first):
        file = upload(client, rows(12, first=first))
        job = client.fine_tuning.jobs.create(model=model, training_file=file, suffix="s", seed=1)
        done = wait(client, job.id, "succeeded", "failed")
        assert done.error is None, done
        return done.fine_tuned_model

    def answer(model, number):
        hello = [{"role": "user", "content": f"{number} Elm St"}]
        return client.chat.completions.create(model=model, messages=hello).choices[0].message.content

    first = tuned("gpt-4o-mini", 0)
    second = tuned(first, 500)
    assert second.startswith("ft:gpt-4o-mini:local:s:")
    assert second != first
    model = client.models.retrieve(second)
    assert (model.x_tunesmith["root"], model.x_tunesmith["parent"]) == ("fake", first)
    assert [answer(second, number) for number in (3, 503)] == ['{"number": "3"}', '{"number": "503"}']


def test_a_model_that_is_deleted_while_a_job_waits_fails_it(client):
    file = upload(client, rows(12))
    job = client.fine_tuning.jobs.create(model="fake", training_file=file)
    name = wait(client, job.id, "succeeded").fine_tuned_model
    running = begin(client, upload(client, rows(30)))
    waiting = client.fine_tuning.jobs.create(model=name, training_file=file)
    client.models.delete(name)
    client.fine_tuning.jobs.cancel(running)
    done = wait(client, waiting.id, "failed")
    assert done.error.code == "model_not_available"
    assert done.error.message == f"Model {name} was deleted before the job began."
    with pytest.raises(openai.BadRequestError, match="not available for fine-tuning"):
        client.fine_tuning.jobs.create(model=name, training_file=file)


def finished(client, **more):
    """The model of a job that has succeeded."""
    file = upload(client, rows(12))
    job = client.fine_tuning.jobs.create(model="fake", training_file=file, **more)
    return wait(client, job.id, "succeeded").fine_tuned_model, job, file


def test_the_weights_of_a_model_can_be_taken_home_with_what_made_them(client):
    name, job, file = finished(client, seed=3)
    place = f"{client.base_url}x/models"
    facts = httpx.get(f"{place}/{name}/lineage").json()
    answer = httpx.get(f"{place}/{name}/weights")
    assert answer.headers["content-type"] == "application/x-tar"
    with tarfile.open(fileobj=io.BytesIO(answer.content)) as tar:
        held = {entry.name: tar.extractfile(entry).read() for entry in tar if entry.isfile()}
    assert json.loads(held.pop("lineage.json")) == facts
    assert {path: hashlib.sha256(content).hexdigest() for path, content in held.items()} == facts["files"]
    assert "fake_model.json" in held
    assert facts["base"] == "fake"
    assert facts["trained_on"]["training_file"]["sha256"] == hashlib.sha256(rows(12)).hexdigest()
    assert (facts["job"]["id"], facts["job"]["seed"]) == (job.id, 3)
    refused = httpx.get(f"{place}/{name}/weights", params={"form": "merged"})
    assert (refused.status_code, refused.json()["error"]["param"]) == (400, "form")
    client.files.delete(file)
    assert httpx.get(f"{place}/{name}/lineage").json()["trained_on"] == {"training_file": {"id": file}}
    for what in ("weights", "lineage"):
        missing = httpx.get(f"{place}/ft:none/{what}")
        assert (missing.status_code, missing.json()["error"]["code"]) == (404, "model_not_found")


def test_a_model_whose_files_are_gone_is_said_to_be_gone(client, tmp_path):
    name, _, _ = finished(client)
    for folder in tmp_path.rglob("run"):
        shutil.rmtree(folder)
    hello = [{"role": "user", "content": "hi"}]
    with pytest.raises(openai.InternalServerError, match="are gone from this server") as raised:
        client.chat.completions.create(model=name, messages=hello)
    assert raised.value.status_code == 503
    answer = httpx.get(f"{client.base_url}x/models/{name}/weights")
    assert (answer.status_code, answer.json()["error"]["type"]) == (503, "server_error")
