import asyncio
import json
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import aclosing

import httpx
import pytest
import torch
from backend_contract import CONTRACT, ask, collect, go_on, text_of
from chat_templates import MISTRAL
from live_server import live
from lora_training import with_lora
from openai import OpenAI
from tiny_models import CHATML, tiny_llama, tiny_model_folder, tiny_tokenizer
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers
from tokenizers.processors import TemplateProcessing
from transformers import PreTrainedTokenizerFast

from tunesmith.core.conversation import Message
from tunesmith.runtime import lora
from tunesmith.runtime.generate import end_of_turn
from tunesmith.runtime.lora import LoraShape
from tunesmith.runtime.render import render_prompt
from tunesmith.runtime.sampling.engine import Sampler, sample
from tunesmith.runtime.sampling.port import Busy, CannotAdmit, Request
from tunesmith.runtime.sampling.thread import SamplingThread
from tunesmith.runtime.templates import CHATML as OWN_TEMPLATE
from tunesmith.serve.backends.local import GenerationFailed, LocalBackend, Settings, open_model
from tunesmith.serve.backends.port import (
    Calling,
    Conversation,
    GenerationRequest,
    ScoreRequest,
    Text,
    Tokens,
)
from tunesmith.serve.calling import prepared, read_calls
from tunesmith.serve.streams import pieces_of


def backend(sampler=None, *, tokenizer=None, max_waiting=None, **settings):
    tokenizer = tokenizer or tiny_tokenizer()
    thread = SamplingThread(
        sampler or Sampler(tiny_llama(), tokenizer, **settings),
        max_wait_seconds=0.001,
        num_threads=1,
        max_waiting=max_waiting,
    )
    return LocalBackend(thread, tokenizer, context_tokens=512, end_ids=frozenset({257}))


@pytest.fixture
def local():
    made = backend()
    yield made
    made.close()


def test_the_tokens_of_a_prompt_are_those_that_answering_begins_from(local):
    conversation = Conversation((Message("user", "hi"),))

    async def asked():
        chunks = await collect(local, ask("hi", max_tokens=1))
        turns, text = await local.tokenize(conversation), await local.tokenize(Text("née"))
        return chunks[-1].usage.prompt_tokens, turns, await local.detokenize([one.token_id for one in text])

    counted, turns, text = asyncio.run(asked())
    assert [one.token_id for one in turns] == render_prompt(conversation.messages, tiny_tokenizer())
    assert len(turns) == counted
    assert text == "née"
    with pytest.raises(CannotAdmit, match="no token has this id: 1000000"):
        asyncio.run(local.detokenize([1_000_000]))
    assert asyncio.run(local.tokenizer_info())["chat_template"] == tiny_tokenizer().chat_template


def test_a_text_has_the_token_that_begins_a_document_only_where_it_was_asked_for():
    tokenizer = tiny_tokenizer()
    tokenizer.backend_tokenizer.post_processor = TemplateProcessing(
        single="<|im_start|> $A", special_tokens=[("<|im_start|>", 256)]
    )
    made = backend(tokenizer=tokenizer)
    asked = Text("one two")
    whole, bare = asyncio.run(made.tokenize(asked)), asyncio.run(made.tokenize(asked, special=False))
    made.close()
    assert whole[0].token_id == 256
    assert whole[1:] == bare


@pytest.mark.parametrize("template", [OWN_TEMPLATE.read_text(), MISTRAL])
def test_a_call_that_is_required_is_made_with_arguments_that_fit(template):
    tokenizer = tiny_tokenizer(template)
    tokenizer.add_tokens([AddedToken("[TOOL_CALLS]", special=True)], special_tokens=True)
    tool = {
        "type": "function",
        "function": {
            "name": "add",
            "parameters": {
                "type": "object",
                "properties": {"size": {"enum": ["small", "large"]}},
                "required": ["size"],
                "additionalProperties": False,
            },
        },
    }
    made = backend(tokenizer=tokenizer)
    calling = Calling((tool,), required=True, several=False)
    prompt = Conversation((Message("user", "how large?"),), (tool,))
    request, use = prepared(
        made, GenerationRequest(prompt, max_tokens=120, temperature=1.0, seed=3, calling=calling)
    )

    async def answered():
        pieces = read_calls(pieces_of(made, [request]), calling, use)
        return [chunk async for _, chunk in pieces]

    chunks = asyncio.run(answered())
    made.close()
    (call,) = [one for chunk in chunks for one in chunk.calls]
    assert call.name == "add"
    assert json.loads(call.arguments)["size"] in ("small", "large")
    assert "".join(chunk.text for chunk in chunks) == ""
    assert chunks[-1].finish_reason == "tool_calls"


def test_a_model_whose_template_shows_no_tools_cannot_call_any(local):
    assert local.tool_use() is None


@pytest.mark.parametrize("demand", CONTRACT, ids=lambda demand: demand.__name__)
def test_the_local_back_end_keeps_the_contract(demand, local):
    asyncio.run(demand(local))


def test_a_model_folder_is_loaded_and_answers(tmp_path):
    folder = tiny_model_folder(tmp_path / "model")
    made = open_model(folder, Settings(max_batch=2, max_context_tokens=300, threads=1)).backends[None]
    assert made.context_tokens == 300
    try:
        assert asyncio.run(collect(made, ask("hello", max_tokens=4)))[-1].usage.prompt_tokens > 5
    finally:
        made.close()


def test_the_end_of_a_turn_is_what_the_template_writes_there():
    template = CHATML.replace("'<|im_end|>\\n'", "'<|im_end|>'")
    assert end_of_turn(tiny_llama(), tiny_tokenizer(template)) == {257}


def test_a_conversation_that_the_template_refuses_is_the_clients_fault(local):
    broken = GenerationRequest(Conversation((Message("user", None),)))
    with pytest.raises(ValueError, match="content is null"):
        asyncio.run(collect(local, broken))


class BrokenOnce(Sampler):
    """Fails in its first step, as running out of memory does."""

    broken = False

    def step(self):
        if not self.broken:
            self.broken = True
            raise RuntimeError("out of memory")
        return super().step()


def test_a_failure_ends_its_batch_and_the_next_request_is_answered():
    made = backend(BrokenOnce(tiny_llama(), tiny_tokenizer()))
    try:
        with pytest.raises(GenerationFailed, match="out of memory"):
            asyncio.run(collect(made, ask("first", max_tokens=3)))
        assert asyncio.run(collect(made, ask("second", max_tokens=3)))[-1].finish_reason
    finally:
        made.close()


def test_a_request_that_is_given_up_leaves_the_batch():
    sampler = Sampler(tiny_llama(), tiny_tokenizer())
    made = backend(sampler)

    async def give_up():
        chunks = made.start(ask("a", max_tokens=400))
        await anext(chunks)
        await chunks.aclose()

    asyncio.run(give_up())
    asyncio.run(collect(made, ask("b", max_tokens=2)))
    made.close()
    assert not sampler.busy


def test_the_openai_client_streams_from_the_model_and_gets_the_same_text_at_once():
    with (
        live(("tiny", backend())) as server,
        OpenAI(base_url=server.url, api_key="none", max_retries=0) as client,
    ):
        settings = {"model": "tiny", "messages": [{"role": "user", "content": "hello"}], "max_tokens": 20}
        whole = client.chat.completions.create(**settings, temperature=0.8, seed=5)
        stream = client.chat.completions.create(**settings, temperature=0.8, seed=5, stream=True)
        pieces = [chunk.choices[0].delta.content or "" for chunk in stream]
        assert "".join(pieces) == whole.choices[0].message.content


def test_a_long_prompt_is_cancelled_while_it_waits():
    sampler = Sampler(tiny_llama(), tiny_tokenizer(), max_batch=1)
    first = sampler.submit(Request((1, 2, 3), 50))
    second = sampler.submit(Request((1, 2, 3), 50))
    sampler.step()
    assert [event.finish_reason for event in sampler.cancel(second)] == ["cancelled"]
    assert [event.finish_reason for event in sampler.cancel(first)] == ["cancelled"]
    assert not sampler.busy


def test_an_adapter_is_served_beside_its_base(tmp_path):
    shape = LoraShape(rank=4, alpha=8)
    tuned = tiny_llama()
    with_lora(tuned, shape, seed=1)
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():  # B starts at zero, which would change no answer
        for name, parameter in tuned.named_parameters():
            if name.endswith("lora_b"):
                parameter.normal_(std=1.0, generator=generator)
    lora.save_adapter(tuned, tmp_path / "adapter", base_name="tiny")
    folder = tiny_model_folder(tmp_path / "base")
    sampler = Sampler(tuned, tiny_tokenizer())
    prompt = tuple(render_prompt((Message("user", "hello"),), tiny_tokenizer()))
    expected = sample(sampler, [Request(prompt, 12, stop_token_ids=frozenset({257}))])[0]
    answers = []
    for adapter in (tmp_path / "adapter", None):
        made = open_model(folder, Settings(threads=1, dtype="float32"), adapter=adapter).backends[None]
        answers.append(text_of(asyncio.run(collect(made, ask("hello", max_tokens=12)))))
        made.close()
    assert answers[0] == expected
    assert answers[1] != expected


def test_a_text_begins_with_what_the_tokenizer_puts_before_one_as_in_training():
    tokenizer = tiny_tokenizer()
    tokenizer.backend_tokenizer.post_processor = TemplateProcessing(
        single="<|im_start|> $A", special_tokens=[("<|im_start|>", 256)]
    )
    made = backend(tokenizer=tokenizer)
    try:
        for text in ("abc", "<|im_start|>abc", ""):
            chunks = asyncio.run(collect(made, go_on(text, max_tokens=1, echo=True, logprobs=0)))
            tokens = [token.text for token in chunks[0].prompt]
            assert tokens == ["<|im_start|>", *text.removeprefix("<|im_start|>")]
        plain, written = asyncio.run(
            made.score([ScoreRequest(Text("abc"), "d"), ScoreRequest(Text("<|im_start|>abc"), "d")])
        )
        assert plain == written
        given = asyncio.run(collect(made, GenerationRequest(Tokens((5,)), max_tokens=1)))
        assert given[-1].usage.prompt_tokens == 1, "token ids are taken as they come"
    finally:
        made.close()


def melting_tokenizer():
    """Pieces with a mark for spaces, one at the beginning of a text, of which some melt together."""
    letters = "▁abcdefgh\n"
    inner = Tokenizer(
        models.BPE(vocab={piece: place for place, piece in enumerate([*letters, "▁a", "bc"])},
                   merges=[("▁", "a"), ("b", "c")])
    )  # fmt: skip
    inner.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="first", split=False)
    inner.decoder = decoders.Metaspace(prepend_scheme="first")
    return PreTrainedTokenizerFast(tokenizer_object=inner, eos_token="h")


def test_an_answer_has_the_tokens_that_it_has_in_the_whole_text_unless_it_would_melt_into_the_prompt():
    made = backend(tokenizer=melting_tokenizer())
    asked = {
        (Text("d"), " a"): [" a"],
        (Text("d"), "ef"): ["e", "f"],
        (Text("d b"), "c"): ["c"],
        (Tokens((4,)), "c"): ["c"],
        (Tokens((4,)), " a"): [" a"],
    }
    requests = [ScoreRequest(prompt, answer) for prompt, answer in asked]
    try:
        found = [[token.text for token in score.tokens] for score in asyncio.run(made.score(requests))]
        assert found == list(asked.values())
    finally:
        made.close()


class Held(Sampler):
    """Steps only once it may."""

    def __init__(self, *arguments, **settings):
        super().__init__(*arguments, **settings)
        self.stepping, self.go = threading.Event(), threading.Event()

    def step(self):
        self.stepping.set()
        assert self.go.wait(60)
        return super().step()


NO_SCHEMA = {
    "response_format": {"type": "json_schema", "json_schema": {"name": "n", "schema": {"type": "?"}}}
}


def chat_body(text, **settings):
    return {"messages": [{"role": "user", "content": text}], "temperature": 0, **settings}


def test_what_finds_no_room_to_wait_is_told_to_come_again_and_the_others_are_answered():
    sampler = Held(tiny_llama(), tiny_tokenizer())
    with (
        live(("tiny", backend(sampler, max_waiting=1))) as server,
        httpx.Client(base_url=server.url, trust_env=False, timeout=60) as client,
        ThreadPoolExecutor(1) as others,
    ):
        first = others.submit(client.post, "/chat/completions", json=chat_body("hi", max_tokens=2))
        assert sampler.stepping.wait(60)
        refused = client.post("/chat/completions", json=chat_body("me too", max_tokens=2))
        scored = client.post("/x/score", json={"items": [{"prompt": "a", "answer": "b"}]})
        sampler.go.set()
        assert first.result().status_code == 200
        again = client.post("/chat/completions", json=chat_body("me too", max_tokens=2))
    assert (refused.status_code, scored.status_code, again.status_code) == (429, 429, 200)
    assert refused.headers["retry-after"] == "1"


async def ends_of(made, generations):
    """How many of the answers to a list of prompts come to their end."""
    async with aclosing(pieces_of(made, generations)) as pieces:
        return sum([chunk.finish_reason is not None async for _, chunk in pieces])


def test_one_request_alone_is_not_sent_away_for_what_it_asks_itself():
    made = backend(max_waiting=3)
    try:
        assert len(asyncio.run(made.score([ScoreRequest(Text("a"), "b")] * 20))) == 20
        assert asyncio.run(ends_of(made, [go_on("a", max_tokens=2)] * 20)) == 20
        assert asyncio.run(collect(made, ask("hi", max_tokens=2, n=3)))[-1].usage is not None
        with pytest.raises(CannotAdmit, match="--max-waiting") as caught:
            asyncio.run(collect(made, ask("hi", max_tokens=2, n=4)))
        assert caught.value.where == "n"
    finally:
        made.close()
    with pytest.raises(Busy, match="closed"):
        asyncio.run(collect(made, ask("hi", max_tokens=2)))


def test_a_client_that_vanishes_leaves_the_batch_and_the_others_go_on():
    sampler = Held(tiny_llama(), tiny_tokenizer())
    sampler.go.set()
    with (
        live(("tiny", backend(sampler))) as server,
        httpx.Client(base_url=server.url, trust_env=False, timeout=60) as client,
        ThreadPoolExecutor(2) as others,
    ):
        body = chat_body("tell me all", max_tokens=60)
        alone = client.post("/chat/completions", json=body).json()["choices"][0]
        stays = [others.submit(client.post, "/chat/completions", json=body) for _ in range(2)]
        vanishing = chat_body("for ever", max_tokens=400, stream=True, logit_bias={"257": -100})
        with client.stream("POST", "/chat/completions", json=vanishing) as stream:
            next(stream.iter_lines())
        for answer in stays:
            assert answer.result().json()["choices"][0] == alone
        deadline = time.monotonic() + 10
        while sampler.busy:
            assert time.monotonic() < deadline


@pytest.mark.parametrize(
    ("fields", "param", "code"),
    [
        ({"max_tokens": 600}, "messages", "context_length_exceeded"),
        ({"messages": [{"role": "user", "content": "word " * 600}]}, "messages", "context_length_exceeded"),
        ({"seed": 2**63}, "seed", "invalid_value"),
        ({"logit_bias": {"264": 1}}, "logit_bias", "invalid_value"),
        (NO_SCHEMA, "response_format", "invalid_value"),
        ({"structured_outputs": {"regex": "("}}, "structured_outputs", "invalid_value"),
        ({"structured_outputs": {"grammar": "start: missing"}}, "structured_outputs", "invalid_value"),
    ],
)
def test_bad_input_has_one_answer_with_its_place(fields, param, code, server_of_one):
    refused = server_of_one.post("/chat/completions", json={**chat_body("hi"), **fields})
    assert refused.status_code == 400, refused.text
    problem = refused.json()["error"]
    assert (problem["param"], problem["code"]) == (param, code)
    assert server_of_one.post("/chat/completions", json=chat_body("hi", max_tokens=2)).status_code == 200


@pytest.fixture(scope="module")
def server_of_one():
    with (
        live(("tiny", backend())) as server,
        httpx.Client(base_url=server.url, trust_env=False, timeout=60) as client,
    ):
        yield client


def test_a_document_is_as_likely_as_behind_the_end_of_another_one():
    tokenizer, model = tiny_tokenizer(), tiny_llama()
    made = backend()
    try:
        (score,) = asyncio.run(made.score([ScoreRequest(Text(""), "abcd")]))
    finally:
        made.close()
    ids = torch.tensor([[tokenizer.eos_token_id, *tokenizer("abcd", add_special_tokens=False)["input_ids"]]])
    with torch.no_grad():
        logprobs = model(ids).logits[0].float().log_softmax(-1)
    expected = [float(logprobs[place, token]) for place, token in enumerate(ids[0, 1:])]
    assert [token.logprob for token in score.tokens] == pytest.approx(expected, abs=1e-4)
