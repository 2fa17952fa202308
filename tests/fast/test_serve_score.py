"""`/v1/x/score`."""

import json
import math

import httpx
import pytest
from live_server import live
from serving import Scripted, check, token

from tunesmith.core.conversation import Message
from tunesmith.core.fake import FakeModel
from tunesmith.serve.backends.echo import EchoBackend
from tunesmith.serve.backends.port import Conversation, ScoreRequest, Text, Tokens
from tunesmith.serve.problems import ApiProblem
from tunesmith.serve.protocol.score import ask

TURN = {"role": "user", "content": "hello"}


def refusal(**fields):
    with pytest.raises(ApiProblem) as caught:
        ask(json.dumps({"model": "m", **fields}).encode())
    return caught.value


def test_items_are_a_conversation_a_text_or_tokens_with_an_answer():
    items = [
        {"messages": [TURN], "answer": "a"},
        {"prompt": "text", "answer": "b"},
        {"prompt": [1, 2], "answer": "c"},
    ]
    asked = ask(json.dumps({"items": items}).encode())
    assert asked.requests == (
        ScoreRequest(Conversation((Message("user", "hello"),)), "a"),
        ScoreRequest(Text("text"), "b"),
        ScoreRequest(Tokens((1, 2)), "c"),
    )
    assert not asked.per_token


@pytest.mark.parametrize(
    ("fields", "param", "message"),
    [
        ({}, "items", "Missing required parameter"),
        ({"items": []}, "items", "at least 1 item"),
        ({"items": [{"prompt": "x", "answer": "y"}] * 1025}, "items", "at most 1024 items"),
        ({"items": [{"prompt": "x", "answer": ""}]}, "items[0].answer", "at least 1 character"),
        ({"items": [{"prompt": "x"}]}, "items[0].answer", "Missing required parameter"),
        ({"items": [{"answer": "x"}]}, "items[0]", "either 'messages' or 'prompt'"),
        ({"items": [{"prompt": "x", "messages": [TURN], "answer": "y"}]}, "items[0]", "either"),
        ({"items": [{"prompt": [], "answer": "y"}]}, "items[0].prompt", "not empty"),
        ({"items": [{"prompt": [1.5], "answer": "y"}]}, "items[0].prompt", "token ids"),
        ({"items": [{"messages": [], "answer": "y"}]}, "items[0].messages", "at least 1 item"),
        (
            {"items": [{"messages": [{"role": "tool", "content": "x"}], "answer": "y"}]},
            "items[0].messages[0].tool_call_id",
            "has a 'tool_call_id'",
        ),
        ({"items": [{"prompt": "x", "answer": "y"}], "per_token": 1}, "per_token", "expected a boolean"),
        ({"items": [{"prompt": "x", "answer": "y"}], "temperature": 1}, "temperature", "Unrecognized"),
    ],
)
def test_what_cannot_be_scored_is_refused_with_its_place(fields, param, message):
    problem = refusal(**fields)
    assert (problem.status, problem.param) == (400, param)
    assert message in problem.message


def test_answers_are_scored_in_order():
    items = [{"prompt": "one", "answer": " two three"}, {"messages": [TURN], "answer": "four"}]
    with live(("fake", EchoBackend(FakeModel()))) as server:
        body = httpx.post(f"{server.url}/x/score", json={"items": items, "per_token": True}).json()
    assert (body["object"], body["model"]) == ("x.score", "fake")
    assert [item["index"] for item in body["data"]] == [0, 1]
    first, second = body["data"]
    assert [entry["token"] for entry in first["tokens"]] == [" two", " three"]
    assert [bytes(entry["bytes"]) for entry in second["tokens"]] == [b"four", b"<end>"]
    for item in body["data"]:
        own = [entry["logprob"] for entry in item["tokens"]]
        assert item["num_tokens"] == len(own)
        assert item["logprob"] == pytest.approx(sum(own))
        assert item["mean_logprob"] == pytest.approx(sum(own) / len(own))
        assert item["perplexity"] == pytest.approx(math.exp(-sum(own) / len(own)))


def test_tokens_are_left_out_unless_asked_for():
    with live(("fake", EchoBackend(FakeModel()))) as server:
        body = httpx.post(f"{server.url}/x/score", json={"items": [{"prompt": "a", "answer": "b"}]}).json()
    assert "tokens" not in body["data"][0]


def test_a_perplexity_that_is_no_number_is_null():
    with live(("fake", Scripted(lambda _: [token("x", -math.inf)]))) as server:
        body = httpx.post(f"{server.url}/x/score", json={"items": [{"prompt": "a", "answer": "x"}]}).json()
    assert (body["data"][0]["logprob"], body["data"][0]["perplexity"]) == (-9999.0, None)


def test_one_item_that_does_not_fit_refuses_them_all():
    items = [{"prompt": "a", "answer": "b"}, {"prompt": "word " * 60, "answer": "b"}]
    with live(("fake", EchoBackend(FakeModel(), context_tokens=50))) as server:
        answer = httpx.post(f"{server.url}/x/score", json={"items": items})
    assert answer.status_code == 400
    check(answer.json(), "ErrorResponse")
    assert (answer.json()["error"]["code"], answer.json()["error"]["param"]) == (
        "context_length_exceeded",
        "items",
    )
