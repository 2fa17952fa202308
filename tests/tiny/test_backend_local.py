import asyncio

import pytest
import torch
from backend_contract import WHOLE_CONTRACT, ask, collect, text_of
from live_server import live
from lora_training import with_lora
from openai import OpenAI
from tiny_models import CHATML, tiny_llama, tiny_model_folder, tiny_tokenizer

from tunesmith.core.conversation import Message
from tunesmith.runtime import lora
from tunesmith.runtime.generate import end_of_turn
from tunesmith.runtime.lora import LoraShape
from tunesmith.runtime.render import render_prompt
from tunesmith.runtime.sampling.engine import Sampler, sample
from tunesmith.runtime.sampling.port import Request
from tunesmith.runtime.sampling.thread import SamplingThread
from tunesmith.serve.backends.local import GenerationFailed, LocalBackend, Settings, open_model
from tunesmith.serve.backends.port import Conversation, GenerationRequest


def backend(sampler=None, **settings):
    tokenizer = tiny_tokenizer()
    thread = SamplingThread(
        sampler or Sampler(tiny_llama(), tokenizer, **settings), max_wait_seconds=0.001, num_threads=1
    )
    return LocalBackend(thread, tokenizer, context_tokens=512, end_ids=frozenset({257}))


@pytest.fixture
def local():
    made = backend()
    yield made
    made.close()


@pytest.mark.parametrize("demand", WHOLE_CONTRACT, ids=lambda demand: demand.__name__)
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
