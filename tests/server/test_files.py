"""Files and uploads, driven by OpenAI's own client against a live server."""

import base64
import hashlib
import json
import time

import httpx
import openai
import pytest
from api_server import serving
from serving import check, strict_client

from tunesmith.api.call import Api, Caller
from tunesmith.api.files import service as files
from tunesmith.api.forms import Sent
from tunesmith.api.uploads import service as uploads
from tunesmith.core.store import open_store

ROW = b'{"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]}\n'


class Clock:
    """Time that stands still until it is moved."""

    def __init__(self):
        self.now = 1_800_000_000.0

    def __call__(self):
        return self.now


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def server(tmp_path, database, clock):
    with serving(tmp_path, database, clock=clock, max_file_bytes=10_000) as running:
        yield running


@pytest.fixture
def api(server):
    return server.api


@pytest.fixture
def client(server):
    with strict_client(server.url) as made:
        yield made


@pytest.fixture
def http(server):
    with httpx.Client(base_url=server.url) as made:
        yield made


def upload(client, content=ROW, name="train.jsonl", purpose="fine-tune", **more):
    return client.files.create(file=(name, content), purpose=purpose, **more)


def refusal(call, status=400):
    with pytest.raises(openai.APIStatusError) as raised:
        call()
    assert raised.value.status_code == status
    check(raised.value.response.json(), "ErrorResponse")
    return raised.value.body["message"]


def test_a_file_comes_back_as_it_was_sent(client, api):
    made = upload(client)
    check(made.to_dict(), "OpenAIFile")
    assert (made.filename, made.purpose, made.bytes, made.status) == (
        "train.jsonl",
        "fine-tune",
        len(ROW),
        "processed",
    )
    assert client.files.retrieve(made.id) == made
    assert client.files.content(made.id).read() == ROW
    assert made.x_tunesmith == {"sha256": hashlib.sha256(ROW).hexdigest()}
    assert client.files.wait_for_processing(made.id).id == made.id
    assert [path.name for path in (api.folder / "files").iterdir()] == [made.id]


def test_every_answer_says_which_request_it_answers(client, http):
    made = upload(client)
    assert made._request_id.startswith("req_")
    headers = http.get(f"/files/{made.id}").headers
    assert headers["openai-version"]
    assert int(headers["openai-processing-ms"]) >= 0


def test_a_deleted_file_is_gone_with_its_content(client, api):
    made = upload(client)
    gone = client.files.delete(made.id)
    check(gone.to_dict(), "DeleteFileResponse")
    assert refusal(lambda: client.files.retrieve(made.id), 404) == f"No such File object: {made.id}"
    assert refusal(lambda: client.files.delete(made.id), 404)
    assert list((api.folder / "files").iterdir()) == []


def test_files_are_listed_page_by_page_newest_first_and_each_once(client, http):
    made = [upload(client, name=f"{number}.jsonl").id for number in range(7)]
    assert [one.id for one in client.files.list(limit=3)] == made[::-1]
    assert [one.id for one in client.files.list(limit=3, order="asc")] == made
    first = http.get("/files?limit=3").json()
    check(first, "ListFilesResponse")
    assert (first["has_more"], first["last_id"]) == (True, made[4])
    assert http.get(f"/files?limit=4&after={made[4]}").json()["has_more"] is False


def test_a_list_of_nothing_ends(http, client):
    check(http.get("/files").json(), "ListFilesResponse")
    upload(client)
    for query in ("limit=0", "after=file-unknown", "purpose=batch"):
        found = http.get(f"/files?{query}").json()
        assert (found["data"], found["has_more"]) == ([], False)


def test_files_are_listed_by_purpose(client):
    upload(client)
    made = upload(client, b"anything", "a.bin", "user_data")
    assert [one.id for one in client.files.list(purpose="user_data")] == [made.id]


@pytest.mark.parametrize(
    ("content", "line"),
    [
        (b'{"a": 1}\n[1]\n', 'Line 2 is not a dictionary (it is a JSON list)'),
        (b'{"prompt": 1\n', 'Line 1 is not a dictionary (HINT: line starts with: "{"pro...")'),
        (ROW + b"\xff\xfe\n" + ROW, "Line 2 is not a dictionary"),
        (b"[\n" + ROW + b"]\n", 'Line 1 is not a dictionary (HINT: line starts with: "[..."). Neither a'),
    ],
)  # fmt: skip
def test_training_data_that_is_no_json_lines_is_refused_with_its_lines(client, api, content, line):
    said = refusal(lambda: upload(client, content))
    assert said.startswith("Expected file to have JSONL format, where every line is a JSON dictionary. ")
    assert line in said
    assert list((api.folder / "files").iterdir()) == []


def test_many_wrong_lines_are_counted(client):
    said = refusal(lambda: upload(client, b"x\n" * 40))
    assert said.endswith("20, 21 and 19 more.")


def test_marks_line_ends_and_blank_lines_do_no_harm(client):
    content = b"\xef\xbb\xbf" + ROW.replace(b"\n", b"\r\n") + b"\n  \n" + ROW
    assert upload(client, content).bytes == len(content)
    assert "empty" in refusal(lambda: upload(client, b"\n\n"))


def test_an_expiring_file_is_gone_when_its_time_comes(client, api, clock):
    made = upload(client, expires_after={"anchor": "created_at", "seconds": 3600})
    assert made.expires_at == made.created_at + 3600
    check(made.to_dict(), "OpenAIFile")
    assert files.sweep(api) == []
    clock.now += 3600
    refusal(lambda: client.files.retrieve(made.id), 404)
    assert list(client.files.list()) == []
    deadline = time.monotonic() + 10
    while list((api.folder / "files").iterdir()):  # the server itself removes it
        assert time.monotonic() < deadline
        time.sleep(0.02)


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({}, "Missing required parameter: 'purpose'."),
        ({"purpose": "x"}, "Invalid value: 'x'. Supported values are: 'assistants'"),
        ({"purpose": "batch", "colour": "red"}, "Unrecognized request argument supplied: 'colour'."),
        ({"purpose": "batch", "expires_after[anchor]": "created_at"}, "'expires_after.seconds'"),
        ({"purpose": "batch", "expires_after[anchor]": "now", "expires_after[seconds]": "3600"}, "'now'"),
        ({"purpose": "batch", "expires_after[anchor]": "created_at", "expires_after[seconds]": "5"}, "3600"),
        ({"purpose": "batch", "expires_after": "soon", "expires_after[seconds]": "5"}, "sent twice"),
        ({"purpose": "y" * 70_000}, "The field 'purpose' is too long."),
        ({f"f{number}": "1" for number in range(70)}, "more than 64 fields"),
    ],
)  # fmt: skip
def test_a_wrong_form_is_refused_by_its_field(http, api, fields, said):
    answer = http.post("/files", data=fields, files={"file": ("a", b"x")})
    assert answer.status_code == 400
    check(answer.json(), "ErrorResponse")
    assert said in answer.json()["error"]["message"]
    assert list((api.folder / "files").iterdir()) == []


def test_bodies_that_are_no_form_are_refused(http):
    assert "Expected a form" in http.post("/files", json={}).json()["error"]["message"]
    kind = {"content-type": "multipart/form-data; boundary=b"}
    cut = b'--b\r\ncontent-disposition: form-data; name="file"; filename="x"\r\n\r\nabc'
    assert "cut off" in http.post("/files", content=cut, headers=kind).json()["error"]["message"]
    assert (
        "could not be read"
        in http.post("/files", content=b"nonsense", headers=kind).json()["error"]["message"]
    )
    assert (
        "Missing required parameter: 'file'"
        in http.post("/files", content=b"--b--\r\n", headers=kind).json()["error"]["message"]
    )
    twice = [("file", ("a", b"x")), ("file", ("b", b"y"))]
    assert "Only one 'file'" in http.post("/files", files=twice).json()["error"]["message"]
    assert (
        "needs a name"
        in http.post("/files", data={"purpose": "batch"}, files={"file": ("", b"x")}).json()["error"][
            "message"
        ]
    )
    long = b"--b\r\n" + b"x" * 10_000 + b": y\r\n\r\n--b--"
    assert "header" in http.post("/files", content=long, headers=kind).json()["error"]["message"]


def test_a_file_over_the_limit_is_refused_and_leaves_nothing(client, api):
    assert "the limit is 10,000 bytes" in refusal(
        lambda: upload(client, b"x" * 10_001, purpose="user_data"), 413
    )
    assert list((api.folder / "files").iterdir()) == []


@pytest.mark.parametrize(
    "name", ["../../etc/passwd", "/etc/passwd", "a\\b", 'file with ümlaut; "quoted".jsonl']
)
def test_a_name_is_only_a_name(client, api, name):
    made = upload(client, name=name)
    assert (api.folder / "files" / made.id).read_bytes() == ROW
    assert client.files.content(made.id).read() == ROW
    assert {path.name for path in api.folder.parent.iterdir()} == {"server"}


def test_another_project_sees_none_of_it(client, api):
    made = upload(client)
    stranger = Caller(project="proj_other")
    assert files.list_files(api, stranger, files.ListFiles())["data"] == []
    for work in (files.find, files.delete):
        with pytest.raises(files.ApiProblem, match="No such File object"):
            work(api, stranger, made.id)


def test_results_are_base64_text_as_at_openai_or_plain_csv_when_asked(client, http, api, tmp_path):
    path = tmp_path / "made.csv"
    path.write_bytes(b"step,train_loss\n1,2.5\n")
    sent = Sent(path, "step_metrics.csv", path.stat().st_size, "0" * 64)
    made = files.keep_file(api, "proj_default", sent, purpose=files.RESULTS)
    assert base64.b64decode(client.files.content(made["id"]).read()) == b"step,train_loss\n1,2.5\n"
    assert http.get(f"/files/{made['id']}/content?format=csv").content == b"step,train_loss\n1,2.5\n"
    assert http.get(f"/files/{made['id']}/content", headers={"accept": "text/csv"}).text.startswith("step,")


def test_contents_that_a_killed_server_left_without_a_row_are_swept_away(api, clock):
    left = api.folder / "files" / "file-left"
    left.parent.mkdir(parents=True)
    left.write_bytes(b"x")
    clock.now = left.stat().st_mtime + 10
    files.sweep(api)
    assert left.exists()  # it may be on its way
    clock.now += 3600
    files.sweep(api)
    assert not left.exists()


def test_parts_become_the_file_in_the_order_that_is_asked_for(client, api):
    begun = client.uploads.create(
        filename="big.jsonl", purpose="fine-tune", bytes=3 * len(ROW), mime_type="text/jsonl"
    )
    check(begun.to_dict(), "Upload")
    assert (begun.status, begun.expires_at - begun.created_at) == ("pending", 3600)
    parts = [
        client.uploads.parts.create(begun.id, data=content) for content in (ROW[5:] + ROW, ROW + ROW[:5])
    ]
    check(parts[0].to_dict(), "UploadPart")
    ended = client.uploads.complete(
        begun.id, part_ids=[parts[1].id, parts[0].id], md5=hashlib.md5(3 * ROW).hexdigest()
    )
    check(ended.to_dict(), "Upload")
    assert (ended.status, ended.file.filename) == ("completed", "big.jsonl")
    assert client.files.content(ended.file.id).read() == 3 * ROW
    assert not (api.folder / "uploads" / begun.id).exists()
    said = refusal(lambda: client.uploads.parts.create(begun.id, data=ROW))
    assert said == f"Upload {begun.id} is completed: only a pending one can be changed."


def test_the_clients_own_chunking_works(client):
    content = 30 * ROW
    made = client.uploads.upload_file_chunked(
        file=content,
        filename="c.jsonl",
        bytes=30 * len(ROW),
        mime_type="text/jsonl",
        purpose="fine-tune",
        part_size=999,
    )
    assert client.files.content(made.file.id).read() == 30 * ROW


def test_an_upload_that_does_not_add_up_is_refused_and_stays_open(client):
    begun = client.uploads.create(filename="a", purpose="user_data", bytes=6, mime_type="text/plain")
    other = client.uploads.create(filename="a", purpose="user_data", bytes=6, mime_type="text/plain")
    part = client.uploads.parts.create(begun.id, data=b"abcdef").id
    foreign = client.uploads.parts.create(other.id, data=b"abcdef").id
    said = refusal(lambda: client.uploads.complete(begun.id, part_ids=[]))
    assert said == "The parts hold 0 bytes, but the upload was created with bytes=6."
    assert "named twice" in refusal(lambda: client.uploads.complete(begun.id, part_ids=[part, part]))
    assert "No such part" in refusal(lambda: client.uploads.complete(begun.id, part_ids=[foreign]))
    assert "have the MD5" in refusal(lambda: client.uploads.complete(begun.id, part_ids=[part], md5="0" * 32))
    assert client.uploads.complete(begun.id, part_ids=[part]).status == "completed"


def test_an_upload_is_cancelled_or_expires(client, api, clock):
    begun = [
        client.uploads.create(
            filename="a", purpose="user_data", bytes=1, mime_type="text/plain", expires_after=keep
        )
        for keep in (openai.omit, {"anchor": "created_at", "seconds": 7200})
    ]
    ended = client.uploads.cancel(begun[0].id)
    check(ended.to_dict(), "Upload")
    assert ended.status == "cancelled"
    assert refusal(lambda: client.uploads.cancel(begun[0].id))
    part = client.uploads.parts.create(begun[1].id, data=b"x").id
    clock.now += 3601
    assert "is expired" in refusal(lambda: client.uploads.complete(begun[1].id, part_ids=[part]))
    uploads.sweep(api)
    assert not (api.folder / "uploads" / begun[1].id).exists()
    assert refusal(lambda: client.uploads.cancel("upload_x"), 404) == "No such Upload object: upload_x"


def test_a_store_that_fails_is_told_as_such_and_the_server_stays(client, api, monkeypatch):
    made = upload(client)

    def broken(*_):
        raise RuntimeError("bug")

    with monkeypatch.context() as patched:
        patched.setattr(files, "find", broken)
        assert "had an error" in refusal(lambda: client.files.retrieve(made.id), 500)
    assert client.files.retrieve(made.id).id == made.id


def test_the_list_of_files_survives_the_server(client, api, database):
    made = upload(client)
    again = open_store(database)
    try:
        found = files.list_files(Api(again, api.folder), Caller(), files.ListFiles())
        assert json.loads(json.dumps(found))["data"][0]["id"] == made.id
    finally:
        again.close()
