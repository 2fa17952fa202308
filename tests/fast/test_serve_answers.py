"""Several answers, log-probabilities, the form of answers: what the chat endpoint writes."""

import json
import math

import openai
import pytest
from live_server import live
from pydantic import BaseModel
from serving import HELLO, Scripted, check, strict_client, token

from tunesmith.core.fake import FakeModel
from tunesmith.runtime.sampling.port import Grammar
from tunesmith.serve.backends.echo import EchoBackend
from tunesmith.serve.backends.port import Chunk, Usage


def numbered(request):
    """Answer i is "answer i", word by word in turns; the last ends first."""
    for index in range(request.n):
        yield Chunk("answer ", index=index, logprobs=(token("answer "),))
    for index in reversed(range(request.n)):
        usage = Usage(3, 2 * request.n) if index == 0 else None
        reason = "length" if index == 1 else "stop"
        yield Chunk(str(index), reason, usage, index, (token(str(index)),), end=token("<end>"))


@pytest.fixture
def scripted():
    return Scripted(numbered)


@pytest.fixture
def server(scripted):
    with live(("fake", EchoBackend(FakeModel())), ("numbered", scripted)) as running:
        yield running


@pytest.fixture
def client(server):
    with strict_client(server.url) as made:
        yield made


def test_n_answers_come_in_order_whoever_ends_first(client):
    answer = client.chat.completions.create(model="numbered", messages=HELLO, n=3)
    assert [choice.index for choice in answer.choices] == [0, 1, 2]
    assert [choice.message.content for choice in answer.choices] == ["answer 0", "answer 1", "answer 2"]
    assert [choice.finish_reason for choice in answer.choices] == ["stop", "length", "stop"]
    assert (answer.usage.prompt_tokens, answer.usage.completion_tokens) == (3, 6)
    check(answer.to_dict(), "CreateChatCompletionResponse")


def test_n_answers_stream_each_under_its_index(client):
    stream = client.chat.completions.create(
        model="numbered", messages=HELLO, n=3, stream=True, stream_options={"include_usage": True}
    )
    chunks = list(stream)
    for chunk in chunks:
        check(chunk.to_dict(), "CreateChatCompletionStreamResponse")
    texts, roles, reasons = [""] * 3, [None] * 3, [[], [], []]
    for chunk in chunks[:-1]:
        choice = chunk.choices[0]
        assert choice.delta.content is None or reasons[choice.index] == [], "text after the end"
        texts[choice.index] += choice.delta.content or ""
        roles[choice.index] = choice.delta.role or roles[choice.index]
        reasons[choice.index] += [choice.finish_reason] if choice.finish_reason else []
    assert texts == ["answer 0", "answer 1", "answer 2"]
    assert roles == ["assistant"] * 3
    assert reasons == [["stop"], ["length"], ["stop"]]
    assert chunks[-1].choices == []
    assert chunks[-1].usage.completion_tokens == 6


def test_the_settings_reach_the_engine(client, scripted):
    extra = {"top_k": 5, "min_p": 0.1, "repetition_penalty": 1.2}
    client.chat.completions.create(
        model="numbered",
        messages=HELLO,
        n=2,
        presence_penalty=-1.5,
        frequency_penalty=0.5,
        logit_bias={"17": -100, "5": 2.5},
        seed=-7,
        extra_body=extra,
    )
    asked = scripted.asked[0]
    assert (asked.n, asked.seed, asked.logprobs) == (2, -7, None)
    assert (asked.presence_penalty, asked.frequency_penalty) == (-1.5, 0.5)
    assert asked.logit_bias == {17: -100, 5: 2.5}
    assert (asked.top_k, asked.min_p, asked.repetition_penalty) == (5, 0.1, 1.2)


def test_log_probabilities_come_with_the_likeliest_tokens(client):
    answer = client.chat.completions.create(model="fake", messages=HELLO, n=2, logprobs=True, top_logprobs=3)
    check(answer.to_dict(), "CreateChatCompletionResponse")
    for choice in answer.choices:
        entries = choice.logprobs.content
        assert [entry.token for entry in entries] == ["hello", " good", " world"], "the end has no text"
        assert bytes(entries[1].bytes) == b" good"
        assert all(entry.logprob == entry.top_logprobs[0].logprob < 0 for entry in entries)
        assert all(len(entry.top_logprobs) == 3 for entry in entries)
        assert sum(math.exp(top.logprob) for top in entries[0].top_logprobs) <= 1


def test_log_probabilities_stream_with_their_text(client):
    stream = client.chat.completions.create(
        model="fake", messages=HELLO, logprobs=True, top_logprobs=0, stream=True
    )
    entries = []
    for chunk in stream:
        check(chunk.to_dict(), "CreateChatCompletionStreamResponse")
        choice = chunk.choices[0]
        if choice.logprobs is not None:
            assert "".join(entry.token for entry in choice.logprobs.content) == choice.delta.content
            entries += choice.logprobs.content
    assert [entry.token for entry in entries] == ["hello", " good", " world"]
    assert [entry.top_logprobs for entry in entries] == [[], [], []]


def test_half_a_character_streams_its_log_probability_although_it_has_no_text(server):
    halves = (b"\xe2\x82", b"\xac")

    def euro(_):
        for raw, text in zip(halves, ("", "€"), strict=True):
            yield Chunk(text, logprobs=(token("")._replace(text=f"bytes:{raw!r}", raw=raw),))
        yield Chunk("", "stop", Usage(1, 2))

    with live(("euro", Scripted(euro))) as other, strict_client(other.url) as client:
        stream = client.chat.completions.create(model="euro", messages=HELLO, logprobs=True, stream=True)
        entries = [
            entry for chunk in stream if (found := chunk.choices[0].logprobs) for entry in found.content
        ]
    assert b"".join(bytes(entry.bytes) for entry in entries).decode() == "€"


def test_a_probability_of_nought_is_a_number_that_json_has(server):
    def impossible(_):
        yield Chunk("x", "stop", Usage(1, 1), logprobs=(token("x", -math.inf),))

    with live(("impossible", Scripted(impossible))) as other, strict_client(other.url) as client:
        answer = client.chat.completions.create(model="impossible", messages=HELLO, logprobs=True)
    assert answer.choices[0].logprobs.content[0].logprob == -9999.0


@pytest.mark.parametrize(
    ("fields", "grammar"),
    [
        ({"response_format": {"type": "text"}}, None),
        ({"response_format": {"type": "json_object"}}, Grammar("json_object")),
        (
            {
                "response_format": {
                    "type": "json_schema",
                    "json_schema": {"name": "n", "schema": {"b": 1, "a": 2}, "strict": None},
                }
            },
            Grammar("json_schema", '{"b": 1, "a": 2}'),
        ),
        (
            {"response_format": {"type": "json_schema", "json_schema": {"name": "n", "strict": False}}},
            Grammar("json_object"),
        ),
        ({"structured_outputs": {"json": {"type": "null"}}}, Grammar("json_schema", '{"type": "null"}')),
        ({"structured_outputs": {"json": '{"type": "null"}'}}, Grammar("json_schema", '{"type": "null"}')),
        ({"structured_outputs": {"regex": "a+"}}, Grammar("regex", "a+")),
        ({"structured_outputs": {"choice": ["ä", "b"]}}, Grammar("choice", '["ä", "b"]')),
        ({"structured_outputs": {"grammar": 'start: "a"'}}, Grammar("lark", 'start: "a"')),
        ({"structured_outputs": {"json_object": True}}, Grammar("json_object")),
    ],
)
def test_the_form_of_an_answer_reaches_the_engine(client, scripted, fields, grammar):
    client.chat.completions.create(model="numbered", messages=HELLO, extra_body=fields)
    assert scripted.asked[0].grammar == grammar


class Address(BaseModel):
    city: str
    number: int


def test_the_clients_own_parsing_gives_an_object_whole_and_streamed(client):
    answer = client.chat.completions.parse(model="fake", messages=HELLO, response_format=Address)
    assert answer.choices[0].message.parsed == Address(city="hello good world", number=0)
    with client.chat.completions.stream(model="fake", messages=HELLO, response_format=Address) as stream:
        for _ in stream:
            pass
        final = stream.get_final_completion()
    assert final.choices[0].message.parsed == Address(city="hello good world", number=0)


def test_a_json_object_is_answered_with_one(client):
    answer = client.chat.completions.create(
        model="fake", messages=HELLO, response_format={"type": "json_object"}
    )
    assert json.loads(answer.choices[0].message.content) == {"answer": "hello good world"}


def test_an_adapter_is_listed_with_the_base_that_it_belongs_to():
    from tunesmith.serve.state import Served

    backend = EchoBackend(FakeModel(), context_tokens=9)
    assert Served("base", "v1", 5, backend).to_json()["x_tunesmith"] == {
        "version": "v1",
        "context_tokens": 9,
        "root": "base",
        "parent": None,
        "prompt_shape": None,
    }
    adapter = Served("tuned", "v2", 5, backend, parent="base").to_json()
    assert (adapter["x_tunesmith"]["root"], adapter["x_tunesmith"]["parent"]) == ("base", "base")
    check({"object": "list", "data": [adapter]}, "ListModelsResponse")


def test_a_field_that_the_engine_cannot_take_is_named(client):
    with pytest.raises(openai.BadRequestError) as caught:
        client.chat.completions.create(model="fake", messages=HELLO, logit_bias={"60000": 1})
    assert caught.value.param == "logit_bias"
    with pytest.raises(openai.BadRequestError) as caught:
        client.chat.completions.create(
            model="fake", messages=HELLO, extra_body={"structured_outputs": {"regex": "a"}}
        )
    assert caught.value.code == "unsupported_parameter"
