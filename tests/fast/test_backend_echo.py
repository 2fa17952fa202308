import asyncio

import pytest
from backend_contract import CONTRACT, ask, collect, text_of

from tunesmith.core.fake import FakeModel
from tunesmith.runtime.sampling.port import CannotAdmit, Grammar
from tunesmith.serve.backends.echo import EchoBackend
from tunesmith.serve.backends.port import GenerationRequest, Text, Tokens, Unsupported


@pytest.mark.parametrize("demand", CONTRACT, ids=lambda demand: demand.__name__)
def test_the_echo_back_end_keeps_the_contract(demand):
    asyncio.run(demand(EchoBackend(FakeModel(), context_tokens=64)))


def test_a_learned_answer_is_served():
    model = FakeModel()
    model.learn([("ping", "pong pong")])
    chunks = asyncio.run(collect(EchoBackend(model), ask("ping")))
    assert text_of(chunks) == "pong pong"
    assert len(chunks) == 3
    assert chunks[-1].finish_reason == "stop"


def test_what_the_fake_cannot_do_is_refused_with_the_field():
    backend = EchoBackend(FakeModel())
    refused = {
        "prompt": GenerationRequest(Tokens((60_000,))),
        "logit_bias": GenerationRequest(Text("hi"), logit_bias={60_000: 1.0}),
        "response_format": ask("hi", grammar=Grammar("json_schema", '{"type": "null"}')),
    }
    for field, request in refused.items():
        with pytest.raises(CannotAdmit) as caught:
            asyncio.run(collect(backend, request))
        assert caught.value.where == field
    with pytest.raises(Unsupported, match="regex"):
        asyncio.run(collect(backend, ask("hi", grammar=Grammar("regex", "a+"))))


@pytest.mark.parametrize(
    ("grammar", "answer"),
    [
        (Grammar("json_object"), '{"answer": "hi"}'),
        (Grammar("choice", '["yes", "hi"]'), "hi"),
        (Grammar("choice", '["yes", "no"]'), "yes"),
        (
            Grammar(
                "json_schema",
                '{"type": "object", "properties": {"a": {"type": "string"}, "b": {"enum": [1, 2]}, '
                '"c": {"type": "array"}, "d": {"const": 5}, "e": {"type": "boolean"}}}',
            ),
            '{"a": "hi", "b": 1, "c": [], "d": 5, "e": false}',
        ),
    ],
)
def test_the_fake_answers_in_the_form_that_is_asked_for(grammar, answer):
    assert text_of(asyncio.run(collect(EchoBackend(FakeModel()), ask("hi", grammar=grammar)))) == answer
