"""Text completions: what is read, what is written, and that lm-eval can work with it."""

import json

import httpx
import openai
import pytest
from live_server import live
from openai import OpenAI
from serving import SCHEMAS, Scripted, check, strict_client, token

from tunesmith.core.fake import FakeModel
from tunesmith.serve.backends.echo import EchoBackend
from tunesmith.serve.backends.port import Chunk, Text, Tokens, Usage
from tunesmith.serve.problems import ApiProblem
from tunesmith.serve.protocol.body import IDENTIFIERS
from tunesmith.serve.protocol.completions import NEUTRAL, CompletionRequest, ask, parse


@pytest.fixture
def server():
    with live(("fake", EchoBackend(FakeModel(), context_tokens=50))) as running:
        yield running


@pytest.fixture
def client(server):
    with strict_client(server.url) as made:
        yield made


@pytest.fixture
def loose(server):
    # OpenAI's own answers have null for the first token of an echoed prompt; its types do not.
    with OpenAI(base_url=server.url, api_key="none", max_retries=0) as made:
        yield made


def read(**fields):
    return ask(json.dumps({"model": "m", "prompt": "hi", **fields}).encode())


def refusal(**fields):
    with pytest.raises(ApiProblem) as caught:
        read(**fields)
    return caught.value


def test_every_field_of_openais_request_is_acted_on_or_named():
    fields = set(SCHEMAS["completion"]["request_fields"])
    assert fields <= set(CompletionRequest.model_fields) | set(NEUTRAL) | IDENTIFIERS


@pytest.mark.parametrize(
    ("prompt", "prompts"),
    [
        ("hello", [Text("hello")]),
        ("", [Text("")]),
        (["a", "b"], [Text("a"), Text("b")]),
        ([1, 2], [Tokens((1, 2))]),
        ([[1, 2], [3]], [Tokens((1, 2)), Tokens((3,))]),
    ],
)
def test_a_prompt_is_text_or_tokens_one_or_many(prompt, prompts):
    assert [generation.prompt for generation in read(prompt=prompt).generations] == prompts


@pytest.mark.parametrize(
    "prompt", [None, [], [[]], ["a", 1], [[1], "a"], [1.5], [-1], [2**31], [True], {}, 5]
)
def test_any_other_prompt_is_refused(prompt):
    problem = refusal(prompt=prompt)
    assert (problem.status, problem.param) == (400, "prompt")
    assert "array of token ids" in problem.message


def test_openais_defaults_hold():
    asked = read()
    generation = asked.generations[0]
    assert (generation.max_tokens, generation.temperature, generation.n) == (16, 1.0, 1)
    assert (generation.echo, generation.logprobs, asked.returned) == (False, None, 1)


@pytest.mark.parametrize(
    ("fields", "param", "message"),
    [
        ({"suffix": "end"}, "suffix", "Unsupported parameter: 'suffix'"),
        ({"logprobs": 6}, "logprobs", "<= 5"),
        ({"logprobs": True}, "logprobs", "expected an integer"),
        ({"max_tokens": 0}, "max_tokens", "only allowed with 'echo'"),
        ({"best_of": 2, "n": 3}, "best_of", "at least n = 3"),
        ({"best_of": 3, "stream": True}, "best_of", "cannot be streamed"),
        ({"best_of": 21}, "best_of", "<= 20"),
        ({"prompt": ["a"] * 100, "n": 100}, "n", "more than 2048 answers"),
        ({"prompt": ["a"] * 3000}, "prompt", "at most 2048 prompts"),
        ({"messages": []}, "messages", "Unrecognized"),
        ({"tools": []}, "tools", "Unrecognized"),
        ({"stream_options": {}}, "stream_options", "only allowed when 'stream'"),
    ],
)
def test_what_cannot_be_done_is_refused_with_the_field(fields, param, message):
    problem = refusal(**fields)
    assert (problem.status, problem.param) == (400, param)
    assert message in problem.message


def test_a_missing_prompt_is_named():
    with pytest.raises(ApiProblem, match="Missing required parameter: 'prompt'"):
        parse(b'{"model": "m"}')


def test_the_openai_client_gets_completions(client):
    answer = client.completions.create(model="fake", prompt="hello good world", max_tokens=2)
    assert (answer.choices[0].text, answer.choices[0].finish_reason) == ("hello good", "length")
    assert (answer.usage.prompt_tokens, answer.usage.completion_tokens) == (3, 2)
    check(answer.to_dict(), "CreateCompletionResponse")


def test_many_prompts_are_answered_in_order_n_times_each(client):
    prompts = [f"question {number}" for number in range(70)]
    answer = client.completions.create(model="fake", prompt=prompts, n=2)
    assert [choice.index for choice in answer.choices] == list(range(140))
    assert [choice.text for choice in answer.choices] == [text for text in prompts for _ in range(2)]
    assert answer.usage.prompt_tokens == 140
    assert answer.usage.completion_tokens == 140 * 3
    check(answer.to_dict(), "CreateCompletionResponse")


def test_a_stream_has_an_index_over_prompts_and_answers(loose):
    stream = loose.completions.create(
        model="fake",
        prompt=["one two", "three"],
        n=2,
        echo=True,
        stream=True,
        stream_options={"include_usage": True},
    )
    chunks = list(stream)
    texts, reasons = [""] * 4, [[], [], [], []]
    for chunk in chunks[:-1]:
        texts[chunk.choices[0].index] += chunk.choices[0].text
        reasons[chunk.choices[0].index] += [chunk.choices[0].finish_reason]
    assert texts == ["one twoone two"] * 2 + ["threethree"] * 2
    assert all(own[-1] == "stop" and set(own[:-1]) == {None} for own in reasons)
    assert chunks[-1].choices == []
    assert (chunks[-1].usage.prompt_tokens, chunks[-1].usage.completion_tokens) == (3, 10)


def test_log_probabilities_have_the_legacy_shape_with_offsets_into_the_text(client):
    answer = client.completions.create(model="fake", prompt="hello good world", logprobs=2)
    check(answer.to_dict(), "CreateCompletionResponse")
    choice = answer.choices[0]
    logprobs = choice.logprobs
    assert logprobs.tokens == ["hello", " good", " world", "<end>"]
    assert logprobs.text_offset == [0, 5, 10, 16]
    for place, text in zip(logprobs.text_offset[:-1], logprobs.tokens, strict=False):
        assert choice.text[place:].startswith(text)
    for text, logprob, top in zip(
        logprobs.tokens, logprobs.token_logprobs, logprobs.top_logprobs, strict=True
    ):
        assert top[text] == logprob == max(top.values()) < 0
        assert len(top) == 2


def test_with_no_likeliest_tokens_asked_for_the_token_itself_is_there(client):
    logprobs = client.completions.create(model="fake", prompt="hi", logprobs=0).choices[0].logprobs
    assert [list(top) for top in logprobs.top_logprobs] == [["hi"], ["<end>"]]


def test_streamed_log_probabilities_are_those_of_the_whole_answer(loose):
    settings = {"model": "fake", "prompt": ["one two", "three"], "n": 2, "echo": True, "logprobs": 1}
    whole = loose.completions.create(**settings).choices
    joined = [{"tokens": [], "token_logprobs": [], "top_logprobs": [], "text_offset": []} for _ in whole]
    for chunk in loose.completions.create(**settings, stream=True):
        choice = chunk.choices[0]
        for name, values in joined[choice.index].items():
            values += getattr(choice.logprobs, name) if choice.logprobs is not None else []
    assert joined == [choice.logprobs.to_dict() for choice in whole]
    assert whole[0].logprobs.text_offset == [0, 3, 7, 10, 14]


def test_of_several_texts_of_one_token_the_likeliest_counts(server):
    top = (token("?", -0.1), token("?", -3.0))

    def play(_):
        yield Chunk("?", "stop", Usage(1, 1), logprobs=(token("?", -3.0, top),))

    with live(("same", Scripted(play))) as other, strict_client(other.url) as client:
        logprobs = client.completions.create(model="same", prompt="x", logprobs=2).choices[0].logprobs
    assert logprobs.top_logprobs == [{"?": -0.1}]


def test_offsets_count_characters_and_leave_out_what_stands_before_the_written_prompt():
    prompt = (
        token("<s>", None),
        token("é"),
        token("x")._replace(raw=b"\xe2\x82"),
        token("y")._replace(raw=b"\xac"),
    )

    def play(_):
        yield Chunk("z", "stop", Usage(4, 1), prompt=prompt, logprobs=(token("z"),))

    with live(("euro", Scripted(play))) as other, OpenAI(base_url=other.url, api_key="none") as client:
        choice = client.completions.create(model="euro", prompt="é€", echo=True, logprobs=0).choices[0]
    assert choice.text == "é€z"
    assert choice.logprobs.text_offset == [0, 0, 1, 1, 2]


def test_the_best_of_several_answers_are_returned_and_all_are_counted():
    def play(request):
        for index, logprob in enumerate((-3.0, -0.5, -1.0)):
            usage = Usage(1, 3) if index == 2 else None
            yield Chunk(f"answer {index}", "stop", usage, index, (token("answer", logprob),))

    backend = Scripted(play)
    with live(("three", backend)) as server, strict_client(server.url) as client:
        answer = client.completions.create(model="three", prompt="x", n=2, best_of=3)
    assert [choice.text for choice in answer.choices] == ["answer 1", "answer 2"]
    assert [choice.index for choice in answer.choices] == [0, 1]
    assert [choice.logprobs for choice in answer.choices] == [None, None]
    assert answer.usage.completion_tokens == 3
    assert (backend.asked[0].n, backend.asked[0].logprobs) == (3, 0)


def lm_eval_request(prompts):
    """What lm-eval's `local-completions` asks for to score continuations."""
    return {
        "model": "fake",
        "prompt": prompts,
        "temperature": 0,
        "max_tokens": 1,
        "logprobs": 1,
        "seed": 1234,
        "echo": True,
    }


def test_lm_eval_reads_the_log_probabilities_of_its_continuations(server):
    contexts, continuations = [[1, 2, 3], [4]], [[7, 8], [9, 10, 11]]
    prompts = [context + more for context, more in zip(contexts, continuations, strict=True)]
    body = httpx.post(f"{server.url}/completions", json=lm_eval_request(prompts)).json()
    scores = httpx.post(
        f"{server.url}/x/score",
        json={
            "model": "fake",
            "items": [
                {"prompt": context, "answer": "".join(f" {word}" for word in more)}
                for context, more in zip(contexts, continuations, strict=True)
            ],
        },
    ).json()["data"]
    # The way of its `parse_logprobs`: behind the context, without the one generated token.
    for choice, context, more, score in zip(
        sorted(body["choices"], key=lambda one: one["index"]), contexts, continuations, scores, strict=True
    ):
        own = choice["logprobs"]["token_logprobs"][len(context) : -1]
        tops = choice["logprobs"]["top_logprobs"][len(context) : -1]
        assert len(own) == len(more) == score["num_tokens"]
        assert sum(own) == pytest.approx(score["logprob"])
        assert all(value == max(top.values()) for value, top in zip(own, tops, strict=True))


def test_an_answer_that_ends_at_once_still_has_its_entry(loose):
    # The fake answers with its prompt, and one word has no room for another.
    ends = Scripted(
        lambda _: [
            Chunk("", "stop", Usage(2, 1), prompt=(token("a", None), token("b")), end=token("<end>", -0.2))
        ]
    )
    with live(("fake", ends)) as server:
        body = httpx.post(f"{server.url}/completions", json=lm_eval_request([[1, 2]])).json()
    assert body["choices"][0]["logprobs"]["token_logprobs"] == [None, -0.5, -0.2]


def test_a_prompt_alone_can_be_measured(loose):
    choice = loose.completions.create(
        model="fake", prompt="hello good world", max_tokens=0, echo=True, logprobs=1
    ).choices[0]
    assert (choice.text, choice.finish_reason) == ("hello good world", "length")
    assert choice.logprobs.token_logprobs[0] is None
    assert len(choice.logprobs.tokens) == 3


def test_a_token_that_the_model_does_not_have_is_refused(client):
    with pytest.raises(openai.BadRequestError, match="vocabulary") as caught:
        client.completions.create(model="fake", prompt=[[1], [60_000]])
    assert caught.value.param == "prompt"


def test_a_prompt_longer_than_the_context_is_refused_with_the_numbers(client):
    with pytest.raises(openai.BadRequestError) as caught:
        client.completions.create(model="fake", prompt="word " * 60)
    assert (caught.value.code, caught.value.param) == ("context_length_exceeded", "prompt")
