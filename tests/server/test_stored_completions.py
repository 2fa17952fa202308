"""Chat completions that are kept because their client asked for it."""

import threading
import time

import api_server
import httpx
import openai
import pytest

from tunesmith.api.keys import service as keys
from tunesmith.api.keys.schema import CreateKeyConfig
from tunesmith.core.record import Entry, Record, RecordWriter, StoredAnswers

HELLO = [{"role": "system", "content": "be kind"}, {"role": "user", "content": "hello good world"}]


@pytest.fixture
def server(tmp_path):
    with api_server.serving(tmp_path, tmp_path / "server" / "store.sqlite") as running:
        yield running


@pytest.fixture
def client(server):
    # Not the strict one: it takes every stored message for an assistant's.
    with openai.OpenAI(base_url=server.url, api_key="any", max_retries=0) as made:
        yield made


def kept(client, **more):
    return client.chat.completions.create(model="fake", messages=HELLO, store=True, **more)


def test_what_is_stored_can_be_listed_looked_at_changed_and_forgotten(client):
    made = kept(client, metadata={"case": "7"}, temperature=0.5, n=2)
    client.chat.completions.create(model="fake", messages=HELLO)
    listed = client.chat.completions.list()
    assert [one.id for one in listed] == [made.id]
    found = client.chat.completions.retrieve(made.id)
    assert [choice.message.content for choice in found.choices] == ["hello good world"] * 2
    assert (found.metadata, found.usage.total_tokens) == ({"case": "7"}, made.usage.total_tokens)
    said = client.chat.completions.messages.list(made.id)
    assert [(one.role, one.content) for one in said] == [("system", "be kind"), ("user", "hello good world")]
    assert client.chat.completions.update(made.id, metadata={"case": "8"}).metadata == {"case": "8"}
    assert [one.id for one in client.chat.completions.list(metadata={"case": "8"})] == [made.id]
    assert client.chat.completions.list(metadata={"case": "7"}).data == []
    assert client.get("/chat/completions?metadata=null", cast_to=object)["data"] == []
    client.chat.completions.update(made.id, metadata=None)
    assert len(client.get("/chat/completions?metadata=null", cast_to=object)["data"]) == 1
    with pytest.raises(openai.BadRequestError, match="metadata"):
        client.get("/chat/completions?metadata=some", cast_to=object)
    assert client.chat.completions.delete(made.id).deleted
    for call in (
        lambda: client.chat.completions.retrieve(made.id),
        lambda: client.chat.completions.update(made.id, metadata=None),
        lambda: client.chat.completions.delete(made.id),
        lambda: client.chat.completions.messages.list(made.id),
    ):
        with pytest.raises(openai.NotFoundError, match="No such chat completion"):
            call()


def test_what_is_forgotten_is_gone_from_the_record_and_that_it_was_asked_is_not(client, tmp_path):
    made = kept(client)
    client.chat.completions.delete(made.id)
    (entry,) = Record(tmp_path / "server" / "record.sqlite").entries()
    assert (entry.id, entry.content, entry.messages, entry.answer) == (made.id, "off", None, None)


def test_pages_of_stored_answers_go_both_ways(client):
    ids = [kept(client).id for _ in range(5)]
    assert [one.id for one in client.chat.completions.list(limit=2)] == ids
    assert [one.id for one in client.chat.completions.list(limit=2, order="desc")] == ids[::-1]
    assert client.chat.completions.list(after="chatcmpl-none").data == []
    page = client.chat.completions.list(limit=0)
    assert (page.data, page.has_more) == ([], False)
    said = client.chat.completions.messages.list(ids[0], limit=1, order="desc")
    assert [one.role for one in said] == ["user", "system"]
    assert client.chat.completions.list(model="another").data == []


def test_a_stream_is_stored_once_it_is_over(client):
    chunks = list(kept(client, stream=True))
    deadline = time.monotonic() + 10
    while not (found := client.chat.completions.list().data):
        assert time.monotonic() < deadline
    assert found[0].id == chunks[0].id
    assert found[0].choices[0].message.content == "hello good world"


def test_what_does_not_go_together_is_refused(client, server):
    with pytest.raises(openai.BadRequestError, match="only allowed when 'store' is enabled"):
        client.chat.completions.create(model="fake", messages=HELLO, metadata={"a": "b"})
    with pytest.raises(openai.BadRequestError, match="at most 16 pairs"):
        kept(client, metadata={str(number): "x" for number in range(17)})
    server.state.content = False
    with pytest.raises(openai.BadRequestError, match="--record content"):
        kept(client)


def test_no_project_sees_what_another_keeps(server):
    def of(project):
        _, key = keys.create(server.api.store, CreateKeyConfig(name="k", project=project), 1)
        return openai.OpenAI(base_url=server.url, api_key=key, max_retries=0)

    with of("red") as red, of("blue") as blue:
        made = kept(red)
        assert red.chat.completions.retrieve(made.id).id == made.id
        assert blue.chat.completions.list().data == []
        for call in (
            lambda: blue.chat.completions.retrieve(made.id),
            lambda: blue.chat.completions.delete(made.id),
            lambda: blue.chat.completions.update(made.id, metadata=None),
        ):
            with pytest.raises(openai.NotFoundError):
                call()


def test_an_answer_that_cannot_be_kept_is_not_said_to_be(client, server, monkeypatch):
    monkeypatch.setattr(server.state.writer, "wait_for", lambda number, seconds: False)
    with pytest.raises(openai.InternalServerError, match="could not be stored") as raised:
        kept(client)
    assert raised.value.status_code == 503
    answer = httpx.post(f"{server.url}/chat/completions", json={"messages": HELLO, "store": True})
    assert answer.headers["retry-after"] == "5"


def entry(number, **more):
    values = {"id": f"e{number}", "time": float(number), "model": "m", "version": "v", "status": 200}
    return Entry(**{**values, "total_seconds": 0.1, "messages": [], "answer": "a", "content": "kept", **more})


def test_whoever_waits_for_a_row_finds_it_on_the_disk(tmp_path):
    path = tmp_path / "record.sqlite"
    writer = RecordWriter(path, max_content_bytes=1)
    numbers: list[int | None] = []

    def put(number):
        numbers.append(writer.put(entry(number, stored=True)))

    threads = [threading.Thread(target=put, args=(number,)) for number in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(numbers) == list(range(1, 21))
    assert all(writer.wait_for(number, 10) for number in numbers)
    rows, _ = StoredAnswers(path, "").page(limit=100)
    assert len(rows) == 20  # content that is to be kept is not thinned out
    assert not writer.wait_for(21, 0.01)
    writer.close()
