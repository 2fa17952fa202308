"""Another server behind ours: the contract over a real connection, and what goes wrong there."""

import asyncio
import json
import socket
import threading
import time
from contextlib import aclosing, contextmanager

import httpx
import pytest
from backend_contract import CONTRACT, ask, collect, go_on, text_of
from live_server import live
from openai import OpenAI
from servers import completion, failure, server
from serving import HELLO, Endless

from tunesmith.core.config import build
from tunesmith.core.conversation import Message
from tunesmith.core.errors import ConfigError, ServerError, UserError
from tunesmith.core.fake import FakeModel
from tunesmith.runtime.sampling.port import Busy, Grammar
from tunesmith.serve.backends import remote
from tunesmith.serve.backends.echo import EchoBackend
from tunesmith.serve.backends.port import (
    Conversation,
    PassedOn,
    ScoreRequest,
    Text,
    Tokens,
    Unsupported,
)
from tunesmith.serve.backends.upstream import UpstreamBackend, open_upstream
from tunesmith.serve.loading import load_models
from tunesmith.serve.schema import ServeConfig


@pytest.fixture(scope="module")
def behind():
    """A back-end whose server is one of ours with the fake model."""
    with live(("fake", EchoBackend(FakeModel(), context_tokens=64))) as there:
        yield open_upstream(there.url, None, ["fake"])["fake"]


@pytest.mark.parametrize("demand", CONTRACT, ids=lambda demand: demand.__name__)
def test_the_upstream_back_end_keeps_the_contract(demand, behind):
    asyncio.run(demand(behind))


def test_a_server_before_a_server_answers_the_openai_client(behind):
    with live(("fake", behind)) as front, OpenAI(base_url=front.url, api_key="none", max_retries=0) as client:
        settings = {"model": "fake", "messages": [{"role": "user", "content": "one two three"}]}
        whole = client.chat.completions.create(**settings).choices[0].message.content
        pieces = client.chat.completions.create(**settings, stream=True)
        assert "".join(piece.choices[0].delta.content or "" for piece in pieces) == whole
        legacy = client.completions.create(model="fake", prompt="a b c", max_tokens=2, echo=True)
        assert legacy.choices[0].text.startswith("a b c")


def events(*values, done=True):
    """A stream of server-sent events."""
    lines = [f"data: {json.dumps(value)}\n\n" for value in values] + (["data: [DONE]\n\n"] if done else [])
    return 200, {"Content_Type": "text/event-stream"}, "".join(lines).encode()


def delta(text, reason=None):
    return {"choices": [{"index": 0, "delta": {"content": text}, "finish_reason": reason}]}


def asked_with(answer, request):
    """The chunks of a request to a server that answers so, and what it was asked."""
    with server(answer) as there:
        backend = open_upstream(there.url, "secret", ["fake"])["fake"]
        return asyncio.run(collect(backend, request)), there


def test_only_what_differs_from_the_usual_is_sent_and_the_key_with_it():
    reply = events(delta("hi"), delta("", "stop"))
    _, there = asked_with(lambda body: reply, ask("hello", max_tokens=5))
    usual = {"model", "messages", "max_tokens", "temperature", "n", "stream", "stream_options"}
    assert set(there.asked[0]) == usual
    assert there.headers[0]["Authorization"] == "Bearer secret"
    asked = ask("hello", top_k=3, logit_bias={5: 1.0}, grammar=Grammar("regex", "a+"), include_stop=True)
    _, there = asked_with(lambda body: reply, asked)
    sent = there.asked[0]
    assert (sent["top_k"], sent["logit_bias"]) == (3, {"5": 1.0})
    assert sent["structured_outputs"] == {"regex": "a+"}
    assert sent["include_stop_str_in_output"] is True


def test_a_server_that_counts_no_tokens_leaves_the_usage_at_nought():
    chunks, _ = asked_with(lambda body: events(delta("hi"), delta("", "stop")), ask("hello"))
    assert text_of(chunks) == "hi"
    assert tuple(chunks[-1].usage) == (0, 0, 0)


@pytest.mark.parametrize(
    ("reply", "error", "words"),
    [
        (failure(429, "slow down"), Busy, "slow down"),
        (failure(400, "no such field"), PassedOn, "no such field"),
        (failure(503, "loading"), PassedOn, "loading"),
        ((500, {}, b"<html>oops</html>"), PassedOn, "oops"),
        (events(delta("half"), done=False), PassedOn, "ended before"),
        (events(delta("half")), PassedOn, "ended before"),
        (events({"error": {"message": "out of memory"}}), PassedOn, "out of memory"),
        (events({"error": "out of memory"}), PassedOn, "out of memory"),
        (events({"choices": [{"delta": {"content": "no index"}}]}), PassedOn, "KeyError: 'index'"),
        (events({"choices": [{"index": 9, "delta": {}}]}), PassedOn, "as OpenAI's API does"),
        (events({"choices": [{"index": 0, "delta": "?"}]}), PassedOn, "as OpenAI's API does"),
        (events([1]), PassedOn, "no JSON object"),
        ((307, {"Location": "/elsewhere"}, b""), PassedOn, "with status 307"),
        ((200, {}, b"data: {broken\n\n"), PassedOn, "JSON"),
    ],
)
def test_what_another_server_says_is_passed_on(reply, error, words):
    with pytest.raises(error, match=words):
        asked_with(lambda body: reply, ask("hello"))


def test_the_status_of_a_refusal_reaches_the_client():
    with server(lambda body: failure(418, "I am a teapot")) as there:
        backend = open_upstream(there.url, None, ["fake"])["fake"]
        with live(("fake", backend)) as front:
            body = {"model": "fake", "messages": [{"role": "user", "content": "hi"}]}
            said = httpx.post(f"{front.url}/chat/completions", json=body, trust_env=False)
    assert said.status_code == 418
    assert said.json()["error"]["message"] == "I am a teapot"


def test_a_server_that_is_gone_is_one_clear_error():
    with server(lambda body: completion("x")) as there:
        backend = open_upstream(there.url, None, ["fake"])["fake"]
    with pytest.raises(PassedOn, match="cannot be reached") as caught:
        asyncio.run(collect(backend, ask("hello")))
    assert caught.value.status == 502
    with pytest.raises(ServerError, match="does not answer"):
        open_upstream(there.url, None, ["fake"])


def test_models_and_urls_are_checked_before_anything_is_served(monkeypatch, job):
    with server(lambda body: completion("x"), models=("large", "small")) as there:
        with pytest.raises(ServerError, match="did you mean 'large'"):
            open_upstream(there.url, None, ["larg"])
        with pytest.raises(ServerError, match="not a URL"):
            open_upstream("here", None, ["large"])
        monkeypatch.delenv("THEIR_KEY", raising=False)
        config = ServeConfig(models=("large",), upstream=there.url, upstream_key="THEIR_KEY")
        with pytest.raises(UserError, match="THEIR_KEY"):
            load_models(config, job)
        monkeypatch.setenv("THEIR_KEY", "k")
        assert [model.name for model in load_models(config, job)] == ["large"]


def test_another_makers_server_scores_text_behind_text_by_an_echo():
    def answer(body):
        assert body["prompt"] == "ab cd"
        logprobs = {
            "tokens": ["ab", " cd", "!"],
            "token_logprobs": [None, -1.5, -0.1],
            "top_logprobs": None,
            "text_offset": [0, 2, 5],
        }
        choice = {"index": 0, "text": "ab cd!", "logprobs": logprobs, "finish_reason": "length"}
        return 200, {}, json.dumps({"choices": [choice]}).encode()

    with server(answer, owner="someone") as there:
        backend = open_upstream(there.url, None, ["fake"])["fake"]
        found = asyncio.run(backend.score([ScoreRequest(Text("ab"), " cd")]))
        assert [(token.text, token.logprob) for token in found[0].tokens] == [(" cd", -1.5)]
        with pytest.raises(Unsupported, match="text behind text"):
            asyncio.run(backend.score([ScoreRequest(Tokens((1, 2)), " cd")]))


def test_the_other_server_has_to_be_told_how_long_a_completion_may_be(behind):
    with pytest.raises(Unsupported, match="how many tokens"):
        asyncio.run(collect(behind, go_on("hello")))


def test_when_to_come_again_is_passed_on_with_a_refusal_for_too_many_requests():
    with server(lambda body: failure(429, "slow down", Retry_After="7")) as there:
        backend = open_upstream(there.url, None)["fake"]
        with live(("fake", backend)) as front:
            said = httpx.post(f"{front.url}/chat/completions", json={"messages": HELLO}, trust_env=False)
    assert (said.status_code, said.headers["retry-after"]) == (429, "7")
    assert "slow down" in said.json()["error"]["message"]


def test_a_code_that_is_a_number_reaches_the_client_as_text():
    error = {"error": {"message": "no such model", "type": "NotFoundError", "param": None, "code": 404}}
    with pytest.raises(PassedOn) as caught:
        asked_with(lambda body: (404, {}, json.dumps(error).encode()), ask("hello"))
    assert (caught.value.kind, caught.value.param, caught.value.code) == ("NotFoundError", None, "404")


@contextmanager
def dying(first: bytes):
    """A server that sends the beginning of a stream and then drops the connection."""

    def serve(listener):
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:  # closed: the test is over
                return
            with connection:
                connection.recv(65536)
                head = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
                connection.sendall(head + b"%x\r\n%s\r\n" % (len(first), first))

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=serve, args=(listener,))
        thread.start()
        try:
            yield remote.Remote(f"http://127.0.0.1:{listener.getsockname()[1]}/v1")
        finally:
            listener.shutdown(socket.SHUT_RDWR)
            thread.join()


def test_a_server_that_dies_in_mid_stream_ends_that_answer_with_an_error_and_no_other():
    with dying(f"data: {json.dumps(delta('half an'))}\n\n".encode()) as there:
        dead = UpstreamBackend(there, "fake", context_tokens=64, scores=True)
        with (
            live(("dead", dead), ("alive", EchoBackend(FakeModel()))) as front,
            httpx.Client(base_url=front.url, trust_env=False) as client,
        ):
            body = {"messages": HELLO, "stream": True}
            said = client.post("/chat/completions", json={**body, "model": "dead"}).text
            whole = client.post("/chat/completions", json={**body, "model": "alive"}).text
            scored = client.post("/x/score", json={"items": [{"prompt": "a", "answer": "b"}]})
    assert "half an" in said
    assert "the connection to the server behind this one broke" in said.splitlines()[-2]
    assert "[DONE]" not in said
    assert "[DONE]" in whole
    assert scored.status_code == 502


def test_an_answer_that_is_given_up_ends_the_work_on_the_other_side():
    engine = Endless()
    with live(("endless", engine)) as there:
        backend = open_upstream(there.url, None)["endless"]

        async def give_up():
            async with aclosing(backend.start(ask("hello"))) as chunks:
                await anext(chunks)
            assert engine.running == 1 or engine.given_up.is_set()

        asyncio.run(give_up())
        deadline = time.monotonic() + 10
        while engine.running:
            assert time.monotonic() < deadline


def test_a_server_that_does_not_answer_in_time_is_not_waited_for(monkeypatch):
    monkeypatch.setattr(remote, "ANSWER_SECONDS", 0.05)
    done = threading.Event()
    with server(lambda body: done.wait(10) and completion("late")) as there:
        backend = open_upstream(there.url, None)["fake"]
        with pytest.raises(PassedOn, match="in time") as caught:
            asyncio.run(collect(backend, ask("hello")))
        done.set()
    assert caught.value.status == 504


def test_the_environments_proxy_is_not_asked_for_this_machines_own_servers(monkeypatch):
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    chunks, _ = asked_with(lambda body: events(delta("hi", "stop")), ask("hello"))
    assert text_of(chunks) == "hi"


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("http://user:secret@127.0.0.1:9/v1", "--upstream-key"),
        ("http://127.0.0.1:9/v1?version=2", "behind its path"),
        ("http://127.0.0.1:port/v1", "not a URL"),
        ("ftp://127.0.0.1/v1", "not a URL"),
    ],
)
def test_a_url_that_cannot_be_one_is_refused_before_it_is_asked(url, words):
    with pytest.raises(ServerError, match=words) as caught:
        open_upstream(url, None)
    assert "secret" not in str(caught.value)


def test_a_key_with_a_line_break_is_refused_and_not_shown(monkeypatch, job):
    monkeypatch.setenv("THEIR_KEY", "secret\n")
    with pytest.raises(ConfigError, match="--upstream-key") as caught:
        load_models(ServeConfig(upstream="http://127.0.0.1:9/v1", upstream_key="THEIR_KEY"), job)
    assert "secret" not in str(caught.value)


def test_without_names_all_models_of_the_other_server_are_served(job):
    with server(lambda body: completion("x"), models=("large", "small")) as there:
        assert [model.name for model in load_models(ServeConfig(upstream=there.url), job)] == [
            "large",
            "small",
        ]
        one = ServeConfig(models=("small", "small"), upstream=there.url)
        assert [model.name for model in load_models(one, job)] == ["small"]
    with (
        server(lambda body: completion("x"), models=()) as there,
        pytest.raises(ServerError, match="no models"),
    ):
        load_models(ServeConfig(upstream=there.url), job)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"upstream_key": "KEY"}, "give its URL with --upstream"),
        ({"upstream": "http://127.0.0.1:9/v1", "max_batch": 4}, "--max-batch is for models of this process"),
        ({"upstream": "http://127.0.0.1:9/v1", "threads": 0}, "--threads is for models of this process"),
        (
            {"upstream": "http://127.0.0.1:9/v1", "quantise": "nf4"},
            "--quantise is for models of this process",
        ),
    ],
)
def test_settings_that_would_do_nothing_are_refused(settings, words):
    with pytest.raises(ConfigError, match=words):
        build(ServeConfig, settings, source="command line")


def scored(prompt, answer, **logprobs):
    """What a server's echo says of an answer."""
    logprobs = {"top_logprobs": None, **logprobs} if logprobs else None
    choice = {"index": 0, "text": "", "logprobs": logprobs, "finish_reason": "length"}
    with server(lambda body: (200, {}, json.dumps({"choices": [choice]}).encode()), owner="other") as there:
        backend = open_upstream(there.url, None)["fake"]
        return asyncio.run(backend.score([ScoreRequest(Text(prompt), answer)]))


@pytest.mark.parametrize(
    ("prompt", "answer", "said", "words"),
    [
        ("ab", "cd", {}, "no log-probabilities"),
        (
            "ab", "cd",
            {"tokens": ["a", "bc", "d"], "token_logprobs": [None, -1, -2], "text_offset": [0, 1, 3]},
            "melt into one token",
        ),
        (
            "", "ab",
            {"tokens": ["a", "b"], "token_logprobs": [None, -1], "text_offset": [0, 1]},
            "no log-probabilities of this prompt",
        ),
    ],
)  # fmt: skip
def test_an_echo_that_does_not_tell_the_whole_score_is_no_score(prompt, answer, said, words):
    with pytest.raises(Unsupported, match=words):
        scored(prompt, answer, **said)


def test_a_conversation_with_tools_is_not_scored_as_one_without(behind):
    prompt = Conversation((Message("user", "hi"),), tools=({"type": "function"},))
    with pytest.raises(Unsupported, match="with tools"):
        asyncio.run(behind.score([ScoreRequest(prompt, "yes")]))


def test_scores_that_are_missing_are_noticed():
    with server(lambda body: (200, {}, b'{"data": []}')) as there:
        backend = open_upstream(there.url, None)["fake"]
        with pytest.raises(PassedOn, match="0 scores for 1 items"):
            asyncio.run(backend.score([ScoreRequest(Text("a"), "b")]))
