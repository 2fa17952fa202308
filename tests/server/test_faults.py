"""What attackers send and what machines suffer: a clear answer, nothing lost, and the server stays up."""

import gzip
import json
import socket
import sqlite3
from contextlib import closing
from urllib.parse import urlsplit

import api_server
import httpx
import openai
import pytest
from serving import check, strict_client
from test_jobs import rows, upload, wait

from tunesmith.api import forms
from tunesmith.core import store as store_module

DEEP = 20_000


@pytest.fixture
def server(tmp_path, database):
    with api_server.serving(tmp_path, database) as running:
        yield running


def post(server, path, content, **headers):
    kind = {"content-type": "application/json", **headers}
    answer = httpx.post(f"{server.url}{path}", content=content, headers=kind, timeout=60)
    check(answer.json(), "ErrorResponse")
    return answer


def is_up(server):
    return httpx.get(f"{server.url}/models", timeout=10).status_code == 200


def test_many_clients_that_send_their_requests_a_byte_at_a_time_keep_nobody_waiting(server):
    place = urlsplit(str(server.url))
    slow = []
    try:
        for number in range(100):
            connection = socket.create_connection((place.hostname, place.port))
            slow.append(connection)
            if number % 2:
                connection.sendall(b"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\nx-a: b")
            else:
                head = b"POST /v1/files HTTP/1.1\r\nhost: x\r\ncontent-length: 9999\r\n"
                connection.sendall(head + b"content-type: multipart/form-data; boundary=b\r\n\r\n--b\r\n")
        assert is_up(server)
        with strict_client(server.url) as client:
            assert client.files.list().data == []
    finally:
        for connection in slow:
            connection.close()
    assert is_up(server)


@pytest.mark.parametrize("path", ["/chat/completions", "/completions", "/fine_tuning/jobs", "/uploads"])
def test_json_in_json_without_end_is_refused(server, path):
    for body in (b"[" * DEEP, b'{"a":' * DEEP, b'{"metadata": ' + b"[" * DEEP + b"]" * DEEP + b"}"):
        assert post(server, path, body).status_code == 400
    assert is_up(server)


def test_a_header_without_end_is_refused(server):
    place = urlsplit(str(server.url))
    with closing(socket.create_connection((place.hostname, place.port), timeout=20)) as connection:
        connection.sendall(b"GET /v1/models HTTP/1.1\r\nhost: x\r\nx-long: ")
        said = b""
        try:
            for _ in range(200):
                connection.sendall(b"a" * 10_000)
            said = connection.recv(1000)
        except (BrokenPipeError, ConnectionResetError):
            said = said or b"closed"
    assert said == b"closed" or said.startswith(b"HTTP/1.1 4")
    assert is_up(server)


def test_a_body_that_unpacks_to_a_thousand_times_its_size_is_not_unpacked(server):
    packed = gzip.compress(b" " * 50_000_000)
    answer = post(server, "/chat/completions", packed, **{"content-encoding": "gzip"})
    assert answer.status_code == 400
    with strict_client(server.url) as client, pytest.raises(openai.BadRequestError):
        client.files.create(file=("train.jsonl", gzip.compress(b"0" * 50_000_000)), purpose="fine-tune")


def test_a_line_of_many_megabytes_is_a_fault_of_its_line(server):
    with strict_client(server.url) as client:
        long = b'{"messages": "' + b"a" * 70_000_000 + b'"}\n'
        with pytest.raises(openai.BadRequestError, match="Line 13 is longer than"):
            client.files.create(file=("train.jsonl", rows(12) + long), purpose="fine-tune")
        assert client.files.list().data == []


@pytest.mark.parametrize(
    "url",
    ["http://169.254.169.254/latest/meta-data", "file:///etc/passwd", "http://127.0.0.1:1/x"],
)
def test_no_request_makes_the_server_fetch_anything(server, url):
    image = {"role": "user", "content": [{"type": "image_url", "image_url": {"url": url}}]}
    body = json.dumps({"model": "fake", "messages": [image]}).encode()
    answer = post(server, "/chat/completions", body)
    assert answer.json()["error"]["message"].startswith("Invalid content type")
    with strict_client(server.url) as client:
        train = upload(client, rows(12))
        with pytest.raises(openai.BadRequestError):
            client.fine_tuning.jobs.create(model=url, training_file=train)
        for field in ({"data": url}, {"model": url}, {"init_from": {"path": url}}, {"template": url}):
            with pytest.raises(openai.BadRequestError, match="recipe"):
                client.fine_tuning.jobs.create(
                    model="fake", training_file=train, extra_body={"x_tunesmith": {"recipe": field}}
                )


class Full:
    """A file on a disk without room."""

    def __init__(self, file):
        self.file, self.name = file, file.name

    def __getattr__(self, name):
        return getattr(self.file, name)

    def __enter__(self):
        self.file.__enter__()
        return self

    def __exit__(self, *error):
        return self.file.__exit__(*error)

    def write(self, data):
        raise OSError(28, "No space left on device")


def test_a_full_disk_refuses_uploads_by_name_and_leaves_what_is_there(server, monkeypatch):
    with strict_client(server.url) as client:
        kept = upload(client, rows(12))
        whole = forms.tempfile.NamedTemporaryFile
        with monkeypatch.context() as full:
            full.setattr(forms.tempfile, "NamedTemporaryFile", lambda *a, **k: Full(whole(*a, **k)))
            with pytest.raises(openai.InternalServerError, match="no space left on the disk") as raised:
                client.with_options(max_retries=0).files.create(
                    file=("b.jsonl", rows(9)), purpose="fine-tune"
                )
        assert raised.value.status_code == 507
        assert [file.id for file in client.files.list()] == [kept]
        assert client.files.content(kept).read() == rows(12)
        upload(client, rows(9))
    assert len(list((server.api.folder / "files").iterdir())) == 2


def test_a_locked_database_is_said_and_answered_from_again_once_it_is_free(tmp_path, monkeypatch):
    monkeypatch.setattr(store_module, "BUSY_MILLISECONDS", 50)
    place = tmp_path / "server" / "store.sqlite"
    with api_server.serving(tmp_path, place) as server, strict_client(server.url) as client:
        file = upload(client, rows(12))
        impatient = client.with_options(max_retries=0)
        with closing(sqlite3.connect(place, isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            with pytest.raises(openai.InternalServerError, match="The server cannot work at the moment"):
                impatient.fine_tuning.jobs.create(model="fake", training_file=file)
            assert client.files.retrieve(file).id == file, "reading goes on"
            other.execute("ROLLBACK")
        job = client.fine_tuning.jobs.create(model="fake", training_file=file)
        assert wait(client, job.id, "succeeded", "failed").status == "succeeded"
        assert [one.id for one in client.fine_tuning.jobs.list()] == [job.id]


def test_a_null_character_is_refused_wherever_it_stands(server):
    asked = {"model": "fake", "training_file": "file-x"}
    for more in ({"suffix": "a\0"}, {"metadata": {"a\0": "b"}}, {"metadata": {"a": "\0"}}, {"model": "a\0b"}):
        answer = post(server, "/fine_tuning/jobs", json.dumps({**asked, **more}).encode())
        assert answer.status_code == 400
        assert "null character" in answer.json()["error"]["message"]
    assert httpx.get(f"{server.url}/files?after=%00").status_code == 400


def test_templates_of_clients_are_never_run(server):
    """`chat_template` in a request is refused by name: a server's own templates run in a sandbox."""
    asked = {"model": "fake", "messages": [{"role": "user", "content": "hi"}], "chat_template": "{{ 7 * 7 }}"}
    answer = post(server, "/chat/completions", json.dumps(asked).encode())
    assert answer.json()["error"]["param"] == "chat_template"
    nasty = "{{ cycler.__init__.__globals__.os.popen('id').read() }}"
    hello = {"model": "fake", "messages": [{"role": "user", "content": nasty}]}
    said = httpx.post(f"{server.url}/chat/completions", json=hello).json()
    assert "uid=" not in said["choices"][0]["message"]["content"]


@pytest.mark.parametrize("name", ["../../etc/passwd", "..%2f..%2fstore.sqlite", "%00", "a" * 5000])
def test_ids_are_names_and_never_paths(server, name):
    for path in (
        "/files/{}",
        "/files/{}/content",
        "/fine_tuning/jobs/{}",
        "/models/{}",
        "/x/models/{}/weights",
    ):
        answer = httpx.get(server.url + path.format(name), timeout=30)
        assert answer.status_code in (400, 404), path
    assert is_up(server)
