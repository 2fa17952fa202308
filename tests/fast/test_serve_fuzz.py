"""Whatever is sent is answered or refused in OpenAI's form; nothing is the server's fault."""

import asyncio
import json

import httpx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from serving import check

from tunesmith.core.fake import FakeModel
from tunesmith.serve.app import build_app
from tunesmith.serve.backends.echo import EchoBackend
from tunesmith.serve.problems import ApiProblem
from tunesmith.serve.protocol import chat, completions, score
from tunesmith.serve.state import Served, State

APP = build_app(State((Served("fake", "v", 1, EchoBackend(FakeModel())),), None, False, 100_000))
TURN = {"role": "user", "content": "hello"}
JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.sampled_from([0, 1, -1, 2**63, 10**400])
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)
FORMATS = st.fixed_dictionaries(
    {"type": st.sampled_from(["text", "json_object", "json_schema", "xml"])},
    optional={"json_schema": st.dictionaries(st.sampled_from(["name", "schema", "strict"]), JSON)},
)
WAYS = st.dictionaries(st.sampled_from(["json", "regex", "choice", "grammar", "json_object", "x"]), JSON)
LIKELY = {
    "n": st.integers(-1, 5),
    "best_of": st.integers(-1, 5),
    "max_tokens": st.integers(-1, 5),
    "stream": st.booleans(),
    "echo": st.booleans(),
    "logprobs": st.booleans() | st.integers(-1, 6),
    "top_logprobs": st.integers(-1, 21),
    "logit_bias": st.dictionaries(st.sampled_from(["1", "60000", "x", "٣"]), st.floats(-101, 101)),
    "response_format": FORMATS,
    "structured_outputs": WAYS,
    "stop": st.text(max_size=2) | st.lists(st.text(max_size=2), max_size=3),
    "seed": st.integers(-(2**63), 2**63),
    "prompt": st.text(max_size=8) | st.lists(st.text(max_size=8) | st.integers(-1, 60_000), max_size=3),
    "suffix": st.text(max_size=1),
}
GOOD = {
    "n": st.integers(1, 4),
    "max_tokens": st.integers(1, 5),
    "stream": st.booleans(),
    "temperature": st.floats(0, 2),
    "logit_bias": st.dictionaries(st.sampled_from(["1", "60000"]), st.floats(-100, 100)),
    "stop": st.text(min_size=1, max_size=2) | st.lists(st.text(min_size=1, max_size=2), max_size=3),
    "seed": st.integers(-(2**63), 2**62),
    "response_format": st.sampled_from([{"type": "text"}, {"type": "json_object"}]),
}
TEXT = st.text(st.characters(codec="utf-8"), min_size=1, max_size=8)
TOKENS = st.lists(st.integers(0, 50_001), min_size=1, max_size=3)
PROMPTS = TEXT | TOKENS | st.lists(TEXT, min_size=1, max_size=3) | st.lists(TOKENS, min_size=1, max_size=3)
GOOD_CHATS = st.fixed_dictionaries(
    {"messages": TEXT.map(lambda text: [{"role": "user", "content": text}])},
    optional={**GOOD, "logprobs": st.just(True)},
)
GOOD_TEXTS = st.fixed_dictionaries(
    {"prompt": PROMPTS}, optional={**GOOD, "echo": st.booleans(), "logprobs": st.integers(0, 5)}
)
GOOD_ITEMS = st.lists(
    st.fixed_dictionaries({"prompt": TEXT | TOKENS, "answer": TEXT}), min_size=1, max_size=3
)
KNOWN = sorted(
    {*chat.ChatRequest.model_fields, *completions.CompletionRequest.model_fields, *chat.NEUTRAL, "other"}
    - {"model"}
)
FIELDS = st.dictionaries(st.sampled_from(KNOWN), JSON, max_size=4) | st.fixed_dictionaries(
    {}, optional=LIKELY
)
ITEMS = st.lists(
    JSON | st.dictionaries(st.sampled_from(["messages", "prompt", "answer"]), JSON | st.just([TURN])),
    max_size=3,
)


def requests():
    """(path, body) of requests, some good, most bad."""
    return st.one_of(
        st.tuples(st.just("chat/completions"), FIELDS.map(lambda fields: {"messages": [TURN], **fields})),
        st.tuples(st.just("chat/completions"), st.lists(JSON).map(lambda turns: {"messages": turns})),
        st.tuples(st.just("completions"), FIELDS.map(lambda fields: {"prompt": "hi", **fields})),
        st.tuples(st.just("chat/completions"), GOOD_CHATS),
        st.tuples(st.just("completions"), GOOD_TEXTS),
        st.tuples(st.just("x/score"), GOOD_ITEMS.map(lambda items: {"items": items, "per_token": True})),
        st.tuples(st.just("completions"), JSON.map(lambda prompt: {"prompt": prompt})),
        st.tuples(st.just("x/score"), ITEMS.map(lambda items: {"items": items})),
        st.tuples(st.sampled_from(["chat/completions", "completions", "x/score"]), JSON),
    )


def problem_with(ask, body):
    try:
        ask(json.dumps(body).encode())
    except ApiProblem as problem:
        return problem
    return None


@pytest.mark.parametrize("ask", [chat.ask, completions.ask, score.ask], ids=lambda ask: ask.__module__)
@given(body=FIELDS.map(lambda fields: {"messages": [TURN], "prompt": "x", **fields}) | JSON)
@settings(max_examples=150)
def test_a_reader_gives_a_request_or_an_error_of_the_client(ask, body):
    problem = problem_with(ask, body)
    if problem is not None:
        assert problem.status == 400
        check(problem.body(), "ErrorResponse")


@given(requests())
@settings(max_examples=200)
def test_no_request_is_a_failure_of_the_server(request):
    path, body = request

    async def send():
        transport = httpx.ASGITransport(APP, raise_app_exceptions=True)
        async with httpx.AsyncClient(transport=transport, base_url="http://server") as client:
            return await client.post(f"/v1/{path}", content=json.dumps(body))

    answer = asyncio.run(send())
    assert answer.status_code in (200, 400, 404), answer.text
    assert "server_error" not in answer.text
    if answer.status_code != 200:
        check(answer.json(), "ErrorResponse")
