import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tunesmith.serve.problems import ApiProblem
from tunesmith.serve.protocol import IDENTIFIERS, NEUTRAL, ChatRequest, parse

SCHEMAS = json.loads((Path(__file__).parents[1] / "data" / "openai_chat_schemas.json").read_text())
TURN = {"role": "user", "content": "hello"}
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)


def read(**fields):
    return parse(json.dumps({"model": "m", "messages": [TURN], **fields}).encode())


def refusal(**fields):
    with pytest.raises(ApiProblem) as caught:
        read(**fields)
    return caught.value


def test_every_field_of_openais_request_is_acted_on_or_named():
    assert set(SCHEMAS["request_fields"]) <= set(ChatRequest.model_fields) | set(NEUTRAL) | IDENTIFIERS


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
    assert [(turn.role, turn.content) for turn in request.messages] == [("user", "hello")]


def test_openais_defaults_hold():
    request = read(stop=None, temperature=None).to_generation()
    assert (request.temperature, request.top_p, request.max_tokens, request.stop) == (1.0, 1.0, None, ())
    assert read(stop="x").to_generation().stop == ("x",)


def test_text_parts_are_joined():
    parts = [{"type": "text", "text": "one"}, {"type": "text", "text": "two"}]
    assert (
        read(messages=[{"role": "user", "content": parts}]).to_generation().messages[0].content == "one\ntwo"
    )


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("n", 2),
        ("n", True),
        ("logprobs", True),
        ("tools", [{"type": "function", "function": {"name": "f"}}]),
        ("response_format", {"type": "json_object"}),
        ("logit_bias", {"5": 1}),
        ("store", True),
        ("frequency_penalty", 0.5),
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
        ({"stop": ["a"] * 5}, "at most 4 stop strings", "stop", "invalid_value"),
        ({"stop": ""}, "none of them empty", "stop", "invalid_value"),
        ({"stop": 5}, "expected a string or an array of strings", "stop", "invalid_value"),
        ({"messages": []}, "messages", "messages", "invalid_value"),
        ({"messages": "hi"}, "expected an array, but got a string", "messages", "invalid_type"),
        (
            {"stream_options": {"include_usage": True}},
            "only allowed when 'stream'",
            "stream_options",
            "invalid_value",
        ),
    ],
)
def test_a_wrong_value_is_named_with_what_was_expected(fields, message, param, code):
    problem = refusal(**fields)
    assert message in problem.message
    assert (problem.param, problem.code) == (param, code)


@pytest.mark.parametrize(
    ("turn", "message", "param"),
    [
        ({"content": "x"}, "Missing required parameter: 'messages[0].role'", "messages[0].role"),
        ({"role": "user"}, "Missing required parameter", "messages[0].content"),
        ({"role": "user", "content": None}, "got null", "messages[0].content"),
        ({"role": "robot", "content": "x"}, "Supported values are", "messages[0].role"),
        ({"role": "user", "content": "x", "mood": 1}, "Unrecognized", "messages[0].mood"),
        ({"role": "tool", "content": "x", "tool_call_id": "1"}, "tools are not offered", "messages[0].role"),
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


@pytest.mark.parametrize("body", [b"", b"{", b"\xff\xfe", b"[" * 100_000, b"[]", b'"x"', b"1" * 5000])
def test_a_body_that_is_no_json_object_is_refused(body):
    with pytest.raises(ApiProblem, match="JSON body"):
        parse(body)


def test_half_a_surrogate_pair_is_the_clients_fault():
    with pytest.raises(ApiProblem):
        parse(b'{"messages": [{"role": "user", "content": "\\ud800"}]}')


def problem_with(body):
    try:
        parse(json.dumps(body).encode())
    except ApiProblem as problem:
        return problem
    return None


@given(st.dictionaries(st.sampled_from([*ChatRequest.model_fields, *NEUTRAL, "other"]), JSON), st.lists(JSON))
def test_whatever_is_sent_is_read_or_refused_in_openais_form(fields, turns):
    for body in ({"messages": [TURN], **fields}, {**fields, "messages": turns}):
        problem = problem_with(body)
        assert problem is None or (problem.status == 400 and problem.body()["error"]["message"])
