import json

import pytest
from serving import SCHEMAS

from tunesmith.serve.problems import ApiProblem
from tunesmith.serve.protocol.body import IDENTIFIERS
from tunesmith.serve.protocol.chat import NEUTRAL, ChatRequest, parse

TURN = {"role": "user", "content": "hello"}


def read(**fields):
    return parse(json.dumps({"model": "m", "messages": [TURN], **fields}).encode())


def refusal(**fields):
    with pytest.raises(ApiProblem) as caught:
        read(**fields)
    return caught.value


def test_every_field_of_openais_request_is_acted_on_or_named():
    assert (
        set(SCHEMAS["chat"]["request_fields"]) <= set(ChatRequest.model_fields) | set(NEUTRAL) | IDENTIFIERS
    )


def test_a_request_becomes_what_the_engine_is_asked():
    request = read(
        temperature=0.5,
        top_p=0.9,
        max_completion_tokens=7,
        stop=["a", "b"],
        seed=3,
        include_stop_str_in_output=True,
    ).to_generation()
    assert (request.temperature, request.top_p, request.max_tokens, request.seed) == (0.5, 0.9, 7, 3)
    assert (request.stop, request.include_stop) == (("a", "b"), True)
    assert [(turn.role, turn.content) for turn in request.prompt.messages] == [("user", "hello")]


def test_openais_defaults_hold():
    request = read(stop=None, temperature=None).to_generation()
    assert (request.temperature, request.top_p, request.max_tokens, request.stop) == (1.0, 1.0, None, ())
    assert read(stop="x").to_generation().stop == ("x",)


def test_text_parts_are_joined():
    parts = [{"type": "text", "text": "one"}, {"type": "text", "text": "two"}]
    request = read(messages=[{"role": "user", "content": parts}]).to_generation()
    assert request.prompt.messages[0].content == "one\ntwo"


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("guided_json", {}),
        ("modalities", ["text", "audio"]),
        ("service_tier", "flex"),
    ],
)
def test_what_is_not_offered_is_refused_by_name(name, value):
    problem = refusal(**{name: value})
    assert (problem.status, problem.param, problem.code) == (400, name, "unsupported_parameter")
    assert name in problem.message


@pytest.mark.parametrize("name", sorted(NEUTRAL))
def test_null_and_values_that_ask_for_nothing_are_accepted(name):
    for value in (None, *NEUTRAL[name][0]):
        assert read(**{name: value}).messages


@pytest.mark.parametrize(
    ("fields", "message", "param", "code"),
    [
        ({"temprature": 1}, "Did you mean 'temperature'?", "temprature", "unknown_parameter"),
        (
            {"temperature": "0.5"},
            "expected a number, but got a string instead",
            "temperature",
            "invalid_type",
        ),
        ({"temperature": 3}, "Expected a value <= 2, but got 3 instead", "temperature", "invalid_value"),
        ({"max_tokens": 0}, "Expected a value >= 1, but got 0 instead", "max_tokens", "invalid_value"),
        ({"seed": 1.5}, "expected an integer, but got a number", "seed", "invalid_type"),
        ({"stream": 1}, "expected a boolean, but got an integer", "stream", "invalid_type"),
        ({"stop": ["a"] * 17}, "at most 16 stop strings", "stop", "invalid_value"),
        ({"stop": ""}, "none of them empty", "stop", "invalid_value"),
        ({"stop": 5}, "expected a string or an array of strings", "stop", "invalid_value"),
        ({"messages": []}, "messages", "messages", "invalid_value"),
        ({"messages": "hi"}, "expected an array, but got a string", "messages", "invalid_type"),
        ({"n": 0}, "Expected a value >= 1, but got 0 instead", "n", "invalid_value"),
        ({"n": 129}, "Expected a value <= 128, but got 129 instead", "n", "invalid_value"),
        ({"n": True}, "expected an integer, but got a boolean", "n", "invalid_type"),
        ({"seed": 2**63}, "above maximum value", "seed", "invalid_value"),
        ({"seed": -(2**63) - 1}, "below minimum value", "seed", "invalid_value"),
        ({"presence_penalty": 2.5}, "Expected a value <= 2", "presence_penalty", "invalid_value"),
        ({"frequency_penalty": -3}, "Expected a value >= -2", "frequency_penalty", "invalid_value"),
        ({"repetition_penalty": 0}, "Expected a value > 0", "repetition_penalty", "invalid_value"),
        ({"min_p": 2}, "Expected a value <= 1", "min_p", "invalid_value"),
        ({"top_k": -2}, "Expected a value >= -1", "top_k", "invalid_value"),
        ({"logprobs": 1}, "expected a boolean, but got an integer", "logprobs", "invalid_type"),
        ({"top_logprobs": 21}, "Expected a value <= 20", "top_logprobs", "invalid_value"),
        ({"logit_bias": {"5": 101}}, "Expected a value <= 100", "logit_bias.5", "invalid_value"),
        ({"logit_bias": {"foo": 0}}, "token ids as keys, but got 'foo'", "logit_bias", "invalid_value"),
        ({"logit_bias": {"-5": 0}}, "token ids as keys", "logit_bias", "invalid_value"),
        ({"logit_bias": [1]}, "expected an object, but got an array", "logit_bias", "invalid_type"),
        ({"response_format": {"type": "xml"}}, "Supported values", "response_format.type", "invalid_value"),
        (
            {"response_format": {"type": "json_schema", "json_schema": {"name": "a b"}}},
            "pattern",
            "response_format.json_schema.name",
            "invalid_value",
        ),
        (
            {"response_format": {"type": "json_schema", "json_schema": {"name": "a", "schema": []}}},
            "expected an object, but got an array",
            "response_format.json_schema.schema",
            "invalid_type",
        ),
        (
            {"structured_outputs": {"json": "{"}},
            "no JSON",
            "structured_outputs.json",
            "invalid_value",
        ),
        (
            {"structured_outputs": {"json": [1]}},
            "an object, or a string",
            "structured_outputs.json",
            "invalid_value",
        ),
        (
            {"structured_outputs": {"choice": []}},
            "at least 1 item",
            "structured_outputs.choice",
            "invalid_value",
        ),
    ],
)
def test_a_wrong_value_is_named_with_what_was_expected(fields, message, param, code):
    problem = refusal(**fields)
    assert message in problem.message
    assert (problem.param, problem.code) == (param, code)


@pytest.mark.parametrize(
    ("fields", "message", "param"),
    [
        ({"stream_options": {"include_usage": True}}, "only allowed when 'stream'", "stream_options"),
        ({"top_logprobs": 3}, "only allowed when 'logprobs'", "top_logprobs"),
        ({"seed": 2**63 - 1, "n": 2}, "seed + i", "seed"),
        (
            {"response_format": {"type": "json_schema"}},
            "Missing required parameter",
            "response_format.json_schema",
        ),
        (
            {"response_format": {"type": "text", "json_schema": {"name": "a"}}},
            "needs the type 'json_schema'",
            "response_format",
        ),
        ({"structured_outputs": {}}, "exactly one of json, regex", "structured_outputs"),
        ({"structured_outputs": {"regex": "a", "choice": ["b"]}}, "exactly one", "structured_outputs"),
        (
            {"structured_outputs": {"regex": "a"}, "response_format": {"type": "json_object"}},
            "cannot both",
            "structured_outputs",
        ),
    ],
)
def test_fields_that_do_not_go_together_are_refused(fields, message, param):
    with pytest.raises(ApiProblem) as caught:
        read(**fields).to_generation()
    assert message in caught.value.message
    assert caught.value.param == param


def test_the_largest_seed_is_taken():
    assert read(seed=2**63 - 1).to_generation().seed == 2**63 - 1
    assert read(seed=-(2**63), n=128).to_generation().seed == -(2**63)


def test_all_tokens_is_no_limit():
    assert read(top_k=-1).to_generation().top_k == 0


@pytest.mark.parametrize(
    ("turn", "message", "param"),
    [
        ({"content": "x"}, "Missing required parameter: 'messages[0].role'", "messages[0].role"),
        ({"role": "user"}, "Missing required parameter", "messages[0].content"),
        ({"role": "user", "content": None}, "got null", "messages[0].content"),
        ({"role": "robot", "content": "x"}, "Supported values are", "messages[0].role"),
        ({"role": "user", "content": "x", "mood": 1}, "Unrecognized", "messages[0].mood"),
        (
            {"role": "user", "content": [{"type": "image_url", "image_url": {"url": "x"}}]},
            "'image_url' is refused",
            "messages[0].content[0].type",
        ),
    ],
)
def test_a_wrong_turn_is_named_by_its_place(turn, message, param):
    problem = refusal(messages=[turn])
    assert message in problem.message
    assert problem.param == param


def test_an_answer_can_be_sent_back_as_it_came():
    answer = {"role": "assistant", "content": "hi", "refusal": None, "annotations": [], "tool_calls": None}
    assert len(read(messages=[TURN, {**answer, "audio": None, "function_call": None}]).messages) == 2


@pytest.mark.parametrize(
    "body", [b"", b"{", b"\xff\xfe", b"[" * 100_000, b"[]", b'"x"', b"1" * 5000, b'{"seed": NaN}']
)
def test_a_body_that_is_no_json_object_is_refused(body):
    with pytest.raises(ApiProblem, match="JSON body"):
        parse(body)


def test_half_a_surrogate_pair_is_the_clients_fault():
    with pytest.raises(ApiProblem):
        parse(b'{"messages": [{"role": "user", "content": "\\ud800"}]}')


def test_a_body_that_is_nested_too_deep_is_refused_before_anything_walks_it():
    schema = {}
    for _ in range(200):
        schema = {"properties": schema}
    problem = refusal(structured_outputs={"json": schema})
    assert "nested more than 100 levels" in problem.message
