"""What goes wrong: refusals, too many requests, clients that leave, one failure among several."""

import asyncio
import time
from contextlib import closing

import httpx
import openai
import pytest
from live_server import live
from openai import OpenAI
from serving import HELLO, Endless, Scripted, check, recorded

from tunesmith.core.errors import DataError
from tunesmith.core.record import Record, RecordWriter
from tunesmith.runtime.sampling.port import Busy, CannotAdmit
from tunesmith.serve.backends.port import Chunk, ContextExceeded, Text, Unsupported, Usage

TOO_LONG = ContextExceeded(context_tokens=1, prompt_tokens=2, max_tokens=3)
PROMPTS = {"prompt": ["good", "bad", "good"], "max_tokens": 5}


@pytest.fixture
def record(tmp_path):
    return Record(tmp_path / "record.sqlite")


def failing(error):
    """A back-end that raises at once."""
    return Scripted(lambda _: [error])


def post(server, path, **body):
    return httpx.post(f"{server.url}/{path}", json=body)


@pytest.mark.parametrize(
    ("error", "status", "param", "code"),
    [
        (CannotAdmit("no such token", where="logit_bias", value=9), 400, "logit_bias", "invalid_value"),
        (CannotAdmit("no memory for it"), 400, "prompt", "invalid_value"),
        (CannotAdmit("no memory", where="--max-memory"), 400, "prompt", "invalid_value"),
        (Unsupported("not here", where="logprobs"), 400, "logprobs", "unsupported_parameter"),
        (TOO_LONG, 400, "prompt", "context_length_exceeded"),
        (DataError("the template refuses it"), 400, "prompt", "invalid_value"),
        (Busy("9 requests wait"), 429, None, "rate_limit_exceeded"),
        (RuntimeError("broken"), 500, None, None),
    ],
)
@pytest.mark.parametrize("stream", [False, True])
def test_what_an_engine_raises_has_its_status_before_anything_is_sent(error, status, param, code, stream):
    with live(("m", failing(error))) as server:
        answer = post(server, "completions", prompt="x", stream=stream)
    assert answer.status_code == status
    check(answer.json(), "ErrorResponse")
    problem = answer.json()["error"]
    assert (problem["param"], problem["code"]) == (param, code)


@pytest.mark.parametrize(
    "field", [{"response_format": {"type": "json_object"}}, {"structured_outputs": {"json_object": True}}]
)
def test_a_grammar_that_an_engine_refuses_is_the_fault_of_the_field_that_brought_it(field):
    refusal = CannotAdmit("no such type", where="json_object, #/type")
    with live(("m", failing(refusal))) as server:
        answer = post(server, "chat/completions", messages=HELLO, **field)
    assert answer.json()["error"]["param"] == next(iter(field))


def test_an_overloaded_server_says_when_to_come_again_and_the_client_does(monkeypatch):
    turns = iter([Busy("9 requests wait"), Chunk("at last", "stop", Usage(1, 2))])
    backend = Scripted(lambda _: [next(turns)])
    with live(("m", backend)) as server:
        answer = post(server, "chat/completions", messages=HELLO)
        assert answer.headers["retry-after"] == "1"
        assert answer.json()["error"]["message"].startswith("The server is overloaded")
    waited = []
    monkeypatch.setattr(time, "sleep", waited.append)
    turns = iter([Busy("9 requests wait"), Chunk("at last", "stop", Usage(1, 2))])
    with live(("m", backend)) as server, OpenAI(base_url=server.url, api_key="none", max_retries=1) as client:
        answer = client.chat.completions.create(model="m", messages=HELLO)
    assert answer.choices[0].message.content == "at last"
    assert (len(backend.asked), waited) == (3, [1.0])


class OneBad(Endless):
    """Fails for the prompt "bad" after some words of the others, which never end."""

    async def start(self, request):
        if request.prompt == Text("bad"):
            yield Chunk("bad ")
            await asyncio.sleep(0.01)
            raise CannotAdmit("this one is bad", where="prompt")
        async for chunk in super().start(request):
            yield chunk


def test_one_bad_prompt_among_several_refuses_them_all_and_stops_the_others(record):
    engine = OneBad()
    with closing(RecordWriter(record.path)) as writer, live(("m", engine), writer=writer) as server:
        answer = post(server, "completions", **PROMPTS)
        entry = recorded(record)
    assert answer.status_code == 400
    assert "this one is bad" in answer.json()["error"]["message"]
    assert engine.running == 0
    assert (entry.status, entry.endpoint) == (400, "/v1/completions")


def test_one_bad_prompt_inside_a_stream_ends_it_with_the_error(record):
    engine = OneBad()
    with live(("m", engine)) as server, OpenAI(base_url=server.url, api_key="none") as client:
        stream = client.completions.create(model="m", **PROMPTS, stream=True)
        with pytest.raises(openai.APIError, match="this one is bad"):
            list(stream)
    assert engine.running == 0


def test_a_client_that_leaves_cancels_all_answers_to_all_prompts(record):
    engine = Endless()
    body = {"prompt": ["a", "b", "c"], "n": 4, "stream": True}
    with closing(RecordWriter(record.path)) as writer, live(("m", engine), writer=writer) as server:
        with httpx.stream("POST", f"{server.url}/completions", json=body) as answer:
            lines = (line for line in answer.iter_lines() if line)
            assert all(next(lines).startswith("data: ") for _ in range(3))
        entry = recorded(record)
    assert engine.running == 0
    assert entry.status == 499
    assert len(entry.answers) == 12


def test_a_client_that_leaves_while_it_waits_for_n_answers_cancels_them(record):
    engine = Endless()
    with closing(RecordWriter(record.path)) as writer, live(("m", engine), writer=writer) as server:
        with pytest.raises(httpx.ReadTimeout):
            httpx.post(f"{server.url}/chat/completions", json={"messages": HELLO, "n": 5}, timeout=0.2)
        assert recorded(record).status == 499
    assert engine.running == 0


def test_a_client_that_leaves_cancels_its_scores(record):
    engine = Endless()
    body = {"items": [{"prompt": "a", "answer": "b"}]}
    with closing(RecordWriter(record.path)) as writer, live(("m", engine), writer=writer) as server:
        with pytest.raises(httpx.ReadTimeout):
            httpx.post(f"{server.url}/x/score", json=body, timeout=0.2)
        assert recorded(record).status == 499
    assert engine.given_up.is_set()


def test_other_requests_go_on_when_one_fails():
    def play(request):
        return [CannotAdmit("bad")] if request.n == 2 else [Chunk("fine", "stop", Usage(1, 1))]

    with live(("m", Scripted(play))) as server:
        assert post(server, "chat/completions", messages=HELLO, n=2).status_code == 400
        assert post(server, "chat/completions", messages=HELLO).status_code == 200


@pytest.mark.parametrize(("places", "reached"), [(64, 63), (7, 6), (2, 3)])
def test_one_request_does_not_take_the_whole_engine(places, reached):
    running, most = 0, 0

    class Counting(Scripted):
        at_once = places

        async def start(self, request):
            nonlocal running, most
            running += request.n
            most = max(most, running)
            await asyncio.sleep(0)
            yield Chunk("x", usage=None)
            for index in range(request.n):
                yield Chunk("", "stop", Usage(1, 1) if index == request.n - 1 else None, index)
            running -= request.n

    with live(("m", Counting(None))) as server:
        assert post(server, "completions", prompt=["a"] * 100, n=3).status_code == 200
    assert running == 0
    # Answers to one prompt are drawn together; what is too much for that a back-end refuses itself.
    assert most == reached
