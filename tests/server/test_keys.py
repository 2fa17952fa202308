"""Keys: who is let in, what he may do, and that nobody sees another project's things."""

import json
import time
from contextlib import closing, contextmanager

import api_server
import httpx
import openai
import pytest
from serving import check

from tunesmith.api.call import Caller
from tunesmith.api.keys import service
from tunesmith.api.keys.doors import create, list_keys, revoke
from tunesmith.api.keys.guard import check_role
from tunesmith.api.keys.rates import Buckets
from tunesmith.api.keys.schema import CreateKeyConfig, ListKeysConfig, RevokeKeyConfig
from tunesmith.api.serving import opened
from tunesmith.core.errors import UserError
from tunesmith.core.job import Job
from tunesmith.core.store import open_store
from tunesmith.core.workspace import Workspace
from tunesmith.serve.problems import ApiProblem
from tunesmith.serve.schema import ServeConfig

ROW = b'{"messages": [{"role": "user", "content": "1 Elm"}, {"role": "assistant", "content": "1"}]}\n'
HELLO = [{"role": "user", "content": "hello"}]


@pytest.fixture
def server(tmp_path, database):
    with api_server.serving(tmp_path, database) as running:
        yield running


def made(server, name="k", **fields):
    """A new key."""
    return service.create(server.api.store, CreateKeyConfig(name=name, **fields), server.api.now())


@contextmanager
def client(server, key, **more):
    with openai.OpenAI(
        base_url=server.url, api_key=key, max_retries=0, _strict_response_validation=True, **more
    ) as one:
        yield one


def refused(call, kind):
    with pytest.raises(kind) as raised:
        call()
    check(raised.value.response.json(), "ErrorResponse")
    return raised.value.body


def test_a_server_without_keys_lets_everybody_in_and_one_with_keys_nobody_else(server):
    with client(server, "anything") as before:
        assert before.chat.completions.create(model="fake", messages=HELLO).choices
    _, key = made(server)
    with client(server, key) as mine:
        assert mine.models.list().data
        assert mine.chat.completions.create(model="fake", messages=HELLO).choices
    with client(server, "sk-wrong-and-long-enough-to-be-cut") as other:
        said = refused(
            lambda: other.chat.completions.create(model="fake", messages=HELLO), openai.AuthenticationError
        )
    assert said["code"] == "invalid_api_key"
    assert said["message"].startswith("Incorrect API key provided: sk-wro…-cut.")
    answer = httpx.get(f"{server.url}/models")
    assert (answer.status_code, answer.headers["www-authenticate"]) == (401, "Bearer")
    assert "didn't provide an API key" in answer.json()["error"]["message"]
    assert httpx.get(server.url.replace("/v1", "/healthz")).status_code == 200


def test_a_server_that_other_machines_reach_lets_nobody_in_without_a_key(tmp_path, database):
    with (
        api_server.serving(tmp_path, database, open_to_all=False) as running,
        client(running, "x") as stranger,
    ):
        assert refused(stranger.models.list, openai.AuthenticationError)["code"] == "invalid_api_key"


def test_a_revoked_key_is_refused_and_the_server_does_not_open_again(server):
    row, key = made(server)
    service.revoke(server.api.store, row["id"], server.api.now())
    with client(server, key) as mine:
        assert refused(mine.models.list, openai.AuthenticationError)["code"] == "invalid_api_key"


def test_a_key_is_kept_as_a_hash_alone(server, tmp_path):
    row, key = made(server)
    assert key not in json.dumps(row)
    for path in tmp_path.rglob("*"):
        assert not path.is_file() or key.encode() not in path.read_bytes()


def test_no_project_sees_anything_of_another(server):
    _, one = made(server, project="red")
    _, two = made(server, project="blue")
    with client(server, one) as red, client(server, two) as blue:
        file = red.files.create(file=("a.jsonl", ROW * 12), purpose="fine-tune")
        job = red.fine_tuning.jobs.create(model="fake", training_file=file.id, suffix="mine")
        upload = red.uploads.create(filename="b.jsonl", purpose="fine-tune", bytes=9, mime_type="text/jsonl")
        while (now := red.fine_tuning.jobs.retrieve(job.id)).status not in ("succeeded", "failed"):
            assert now.error is None
        name = now.fine_tuned_model
        assert red.chat.completions.create(model=name, messages=HELLO).model == name
        assert not blue.files.list().data
        assert not blue.fine_tuning.jobs.list().data
        assert name not in [model.id for model in blue.models.list()]
        for call in (
            lambda: blue.files.retrieve(file.id),
            lambda: blue.files.content(file.id),
            lambda: blue.files.delete(file.id),
            lambda: blue.files.content(now.result_files[0]),
            lambda: blue.fine_tuning.jobs.retrieve(job.id),
            lambda: blue.fine_tuning.jobs.cancel(job.id),
            lambda: blue.fine_tuning.jobs.pause(job.id),
            lambda: blue.fine_tuning.jobs.resume(job.id),
            lambda: blue.fine_tuning.jobs.list_events(job.id),
            lambda: blue.fine_tuning.jobs.checkpoints.list(job.id),
            lambda: blue.fine_tuning.jobs.create(model="fake", training_file=file.id),
            lambda: blue.uploads.cancel(upload.id),
            lambda: blue.uploads.complete(upload.id, part_ids=[]),
            lambda: blue.uploads.parts.create(upload.id, data=b"x"),
            lambda: blue.models.retrieve(name),
            lambda: blue.chat.completions.create(model=name, messages=HELLO),
            lambda: blue.completions.create(model=name, prompt="x"),
        ):
            refused(call, openai.NotFoundError)
    with client(server, made(server, project="blue", role="admin")[1]) as chief:
        refused(lambda: chief.models.delete(name), openai.NotFoundError)


def test_a_header_that_names_another_project_than_the_keys_is_refused(server):
    _, key = made(server, organization="acme", project="red")
    with client(server, key, organization="acme", project="red") as right:
        assert right.models.list().data
    with client(server, key, project="blue") as wrong:
        assert refused(wrong.models.list, openai.AuthenticationError)["code"] == "mismatched_project"
    with client(server, key, organization="other") as wrong:
        assert refused(wrong.models.list, openai.AuthenticationError)["code"] == "mismatched_organization"


def test_roles_may_do_what_they_are_for(server):
    with client(server, made(server, role="read-only")[1]) as reader:
        assert reader.models.list().data
        for call in (
            lambda: reader.files.create(file=("a.jsonl", ROW), purpose="fine-tune"),
            lambda: reader.chat.completions.create(model="fake", messages=HELLO),
        ):
            said = refused(call, openai.PermissionDeniedError)
            assert "needs a key with the role 'member', and this one has 'read-only'" in said["message"]
    with client(server, made(server)[1]) as member:
        assert member.files.create(file=("a.jsonl", ROW), purpose="fine-tune").id
        said = refused(lambda: member.models.delete("ft:x"), openai.PermissionDeniedError)
        assert "role 'admin'" in said["message"]
    check_role(Caller(role="admin"), "DELETE", "/v1/models/x")
    with pytest.raises(ApiProblem):
        check_role(Caller(role="member"), "GET", "/metrics")


def test_requests_over_the_limit_are_told_when_to_come_back(server):
    _, key = made(server, requests_per_minute=2)
    with client(server, key) as mine:
        first = mine.models.with_raw_response.list()
        assert first.headers["x-ratelimit-limit-requests"] == "2"
        assert first.headers["x-ratelimit-remaining-requests"] == "1"
        mine.models.list()
        with pytest.raises(openai.RateLimitError) as raised:
            mine.models.list()
        assert 1 <= int(raised.value.response.headers["retry-after"]) <= 30
    with client(server, made(server)[1]) as other:
        assert other.models.list().data


def test_a_bucket_fills_at_the_rate_of_its_limit():
    now = [0.0]
    buckets = Buckets(lambda: now[0])
    assert [buckets.take("k", 60).passed for _ in range(61)] == [True] * 60 + [False]
    assert buckets.take("k", 60).wait_seconds == pytest.approx(1)
    now[0] = 1.0
    assert [buckets.take("k", 60).passed for _ in range(2)] == [True, False]
    now[0] = 3600.0
    assert buckets.take("k", 60).remaining == 59


def test_files_and_uploads_fit_what_the_key_allows(server):
    _, key = made(server, storage_mb=0.001)
    with client(server, key) as mine:
        file = mine.files.create(file=("a.jsonl", ROW * 8), purpose="fine-tune")
        for call in (
            lambda: mine.files.create(file=("b.jsonl", ROW * 8), purpose="fine-tune"),
            lambda: mine.uploads.create(filename="b", purpose="batch", bytes=500, mime_type="x"),
        ):
            said = refused(call, openai.PermissionDeniedError)
            assert said["code"] == "storage_limit_exceeded"
            assert "of the 1,000 that this key allows" in said["message"]
        mine.files.delete(file.id)
        mine.uploads.create(filename="b", purpose="batch", bytes=500, mime_type="x")
        refused(
            lambda: mine.uploads.create(filename="c", purpose="batch", bytes=501, mime_type="x"),
            openai.PermissionDeniedError,
        )


def test_parts_cannot_fill_the_disk(server):
    with client(server, "x") as anyone:
        upload = anyone.uploads.create(filename="b", purpose="batch", bytes=10, mime_type="x")
        anyone.uploads.parts.create(upload.id, data=b"x" * 20)
        said = refused(lambda: anyone.uploads.parts.create(upload.id, data=b"x"), openai.BadRequestError)
        assert said["message"].startswith("The parts hold 21 bytes: far more")


class Endless:
    """A worker that works until it is stopped."""

    def __init__(self, folder):
        self.stopped = False

    def poll(self):
        return 0 if self.stopped else None

    def stop(self):
        self.stopped = True


def test_jobs_of_one_key_wait_for_each_other_and_not_for_those_of_others(tmp_path, database):
    with api_server.serving(tmp_path, database, jobs_at_once=4) as server:
        server.runner.launch = Endless
        (_, one), (_, two) = made(server, jobs=1), made(server)
        with client(server, one) as mine, client(server, two) as others:

            def asked(whom):
                file = whom.files.create(file=("a.jsonl", ROW * 12), purpose="fine-tune")
                return whom.fine_tuning.jobs.create(model="fake", training_file=file.id).id

            ids = [asked(mine), asked(mine), asked(others), asked(others)]
            deadline = time.monotonic() + 20
            while sum(mine.fine_tuning.jobs.retrieve(one).status == "running" for one in ids) < 3:
                assert time.monotonic() < deadline
            server.runner.look()
            assert len(server.runner.active) == 3
            assert sorted(mine.fine_tuning.jobs.retrieve(one).status for one in ids[:2]) == [
                "queued",
                "running",
            ]


def test_a_store_that_fails_lets_nobody_in_and_says_so(server, monkeypatch):
    def fail(*_):
        raise UserError("the store cannot be used", value="database is locked")

    monkeypatch.setattr(service, "find", fail)
    with client(server, "sk-any") as anyone:
        said = refused(anyone.models.list, openai.InternalServerError)
    assert "the store cannot be used" in said["message"]


def test_a_key_that_cannot_be_noted_as_used_works_all_the_same(server, monkeypatch):
    def fail(*_):
        raise UserError("the store cannot be used", value="database is locked")

    _, key = made(server)
    monkeypatch.setattr(service, "note_use", fail)
    with client(server, key) as mine:
        assert mine.models.list().data


def test_the_organisation_stands_in_the_names_of_models(server):
    _, key = made(server, organization="org-acme", project="red")
    with client(server, key) as mine:
        file = mine.files.create(file=("a.jsonl", ROW * 12), purpose="fine-tune")
        job = mine.fine_tuning.jobs.create(model="fake", training_file=file.id, suffix="s")
        assert job.organization_id == "org-acme"
        answer = mine.models.with_raw_response.list()
        assert answer.headers["openai-organization"] == "org-acme"


@pytest.fixture
def job(tmp_path):
    return Job(Workspace(tmp_path / ".tunesmith"))


def test_keys_are_made_listed_and_revoked_from_the_command_line(job):
    new = create(CreateKeyConfig(name="laptop", jobs=2, storage_mb=1.5), job)
    (listed,) = list_keys(ListKeysConfig(), job).keys
    assert (listed.id, listed.name, listed.storage_mb, listed.revoked_at) == (new.id, "laptop", 1.5, None)
    assert new.key not in listed.model_dump_json()
    assert revoke(RevokeKeyConfig(key=new.id), job).revoked_at is not None
    with pytest.raises(UserError, match="no key has this id"):
        revoke(RevokeKeyConfig(key="key_x"), job)


def test_a_project_belongs_to_one_organisation(job):
    create(CreateKeyConfig(name="a", organization="acme", project="red"), job)
    with pytest.raises(UserError, match="another organisation's"):
        create(CreateKeyConfig(name="b", project="red"), job)


def test_another_machine_is_served_only_once_a_key_was_made(job):
    far = ServeConfig(models=("fake",), host="0.0.0.0")
    with pytest.raises(UserError, match="no key was made yet"), opened(far, job):
        pass
    create(CreateKeyConfig(name="a"), job)
    with opened(far, job) as (_, open_to_all):
        assert not open_to_all
    with opened(ServeConfig(models=("fake",)), job) as (api, open_to_all):
        assert open_to_all
        with closing(open_store(job.workspace.root / "server" / "store.sqlite")) as store:
            assert service.any_made(store)
        assert api.base_of("fake") == "fake"
