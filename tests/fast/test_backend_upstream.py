"""Another server behind ours: the contract over a real connection, and what goes wrong there."""

import asyncio
import json

import httpx
import pytest
from backend_contract import WHOLE_CONTRACT, ask, collect, go_on, text_of
from live_server import live
from openai import OpenAI
from servers import completion, failure, server

from tunesmith.core.errors import ServerError, UserError
from tunesmith.core.fake import FakeModel
from tunesmith.runtime.sampling.port import Busy, Grammar
from tunesmith.serve.backends.echo import EchoBackend
from tunesmith.serve.backends.port import PassedOn, ScoreRequest, Text, Tokens, Unsupported
from tunesmith.serve.backends.upstream import open_upstream
from tunesmith.serve.loading import load_models
from tunesmith.serve.schema import ServeConfig


@pytest.fixture(scope="module")
def behind():
    """A back-end whose server is one of ours with the fake model."""
    with live(("fake", EchoBackend(FakeModel(), context_tokens=64))) as there:
        yield open_upstream(there.url, None, ["fake"])["fake"]


@pytest.mark.parametrize("demand", WHOLE_CONTRACT, ids=lambda demand: demand.__name__)
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
