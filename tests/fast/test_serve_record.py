"""What is recorded of requests beyond a plain chat."""

from contextlib import closing

import httpx
import pytest
from live_server import live
from serving import HELLO, Scripted, recorded, token

from tunesmith.core.fake import FakeModel
from tunesmith.core.job import Job
from tunesmith.core.record import Record, RecordWriter
from tunesmith.core.workspace import Workspace
from tunesmith.monitor import MonitorConfig, monitor
from tunesmith.serve.backends.echo import EchoBackend
from tunesmith.serve.backends.port import Chunk, Usage


def numbered(request):
    for index in reversed(range(request.n)):
        usage = Usage(3, 2 * request.n) if index == 0 else None
        logprobs = (token("x", -float(index) - 1),)
        yield Chunk(f"answer {index}", "length" if index else "stop", usage, index, logprobs)


@pytest.fixture
def record(tmp_path):
    return Record(Workspace(tmp_path).record)


@pytest.fixture
def server(record):
    backends = (("fake", EchoBackend(FakeModel())), ("numbered", Scripted(numbered)))
    with closing(RecordWriter(record.path)) as writer, live(*backends, writer=writer) as running:
        yield running


def post(server, path, **body):
    answer = httpx.post(f"{server.url}/{path}", json=body)
    assert answer.status_code == 200, answer.text
    return answer


def test_a_plain_chat_is_recorded_without_an_endpoint(server, record):
    post(server, "chat/completions", messages=HELLO)
    entry = recorded(record)
    assert entry.parameters == {}
    assert entry.endpoint == "/v1/chat/completions"
    assert entry.answers == ["hello good world"]


@pytest.mark.parametrize("stream", [False, True])
def test_all_of_n_answers_are_recorded_in_order(server, record, stream):
    post(server, "chat/completions", model="numbered", messages=HELLO, n=3, stream=stream)
    entry = recorded(record)
    assert entry.answers == ["answer 0", "answer 1", "answer 2"]
    assert entry.answer == '["answer 0", "answer 1", "answer 2"]'
    assert entry.parameters == {"n": 3, "finish_reasons": ["stop", "length", "length"]}
    assert (entry.finish_reason, entry.completion_tokens, entry.streamed) == ("length", 6, stream)


def test_an_answer_that_looks_like_several_is_one(server, record):
    post(server, "completions", prompt='["a", "b"]')
    assert recorded(record).answers == ['["a", "b"]']


def test_a_form_is_recorded_as_it_was_asked_for(server, record):
    form = {"type": "json_schema", "json_schema": {"name": "n", "schema": {"type": "object"}}}
    post(server, "chat/completions", messages=HELLO, response_format=form, logit_bias={"5": 1})
    assert recorded(record).parameters == {"response_format": form, "logit_bias": {"5": 1.0}}


def test_completions_are_recorded_with_their_prompts(server, record):
    post(server, "completions", prompt=["one", "two"], n=2, max_tokens=4, user="me")
    entry = recorded(record)
    assert entry.endpoint == "/v1/completions"
    assert entry.messages == [{"role": "text", "content": "one"}, {"role": "text", "content": "two"}]
    assert entry.answers == ["one", "one", "two", "two"]
    assert entry.parameters["max_tokens"] == 4
    assert (entry.prompt_tokens, entry.completion_tokens) == (2, 8)


def test_token_ids_are_recorded_as_such(server, record):
    post(server, "completions", prompt=[1, 2])
    assert recorded(record).messages == [{"role": "text", "content": None, "token_ids": [1, 2]}]


def test_the_best_answers_are_recorded_as_they_were_returned(server, record):
    post(server, "completions", model="numbered", prompt="x", best_of=3, n=2)
    assert recorded(record).answers == ["answer 0", "answer 1"]


def test_scores_are_recorded_with_their_items(server, record):
    items = [{"prompt": "a", "answer": "b c"}, {"messages": HELLO, "answer": "d"}]
    body = post(server, "x/score", items=items, per_token=True).json()
    entry = recorded(record)
    assert (entry.endpoint, entry.status, entry.model) == ("/v1/x/score", 200, "fake")
    assert entry.messages == items
    assert entry.answers == []
    assert entry.answer == str([item["logprob"] for item in body["data"]])
    assert entry.parameters == {"per_token": True, "endpoint": "/v1/x/score"}


def test_without_content_nothing_that_was_said_is_kept(record):
    with (
        closing(RecordWriter(record.path)) as writer,
        live(("fake", EchoBackend(FakeModel())), writer=writer, content=False) as server,
    ):
        post(server, "chat/completions", messages=[{"role": "user", "content": "secret"}], n=2)
        post(server, "completions", prompt=["secret", "secret"])
        post(server, "x/score", items=[{"prompt": "secret", "answer": "secret"}])
        recorded(record, 3)
    for entry in record.entries():
        assert (entry.messages, entry.answer, entry.answers, entry.content) == (None, None, [], "off")
    assert b"secret" not in record.path.read_bytes()


def test_the_monitor_counts_every_endpoint(server, record, tmp_path):
    post(server, "chat/completions", messages=HELLO, n=2)
    post(server, "completions", prompt="one")
    post(server, "x/score", items=[{"prompt": "a", "answer": "b"}])
    recorded(record, 3)
    found = monitor(MonitorConfig(), Job(Workspace(tmp_path)))
    assert (found.overall.requests, found.overall.errors) == (3, 0)
    assert found.overall.completion_tokens == 4 * 2 + 2
