"""Several served models on one base: the weights are loaded once for all that can share them."""

import asyncio
import re
from dataclasses import replace

import pytest
import torch
from backend_contract import ask, collect, go_on, text_of, total
from live_server import live
from lora_training import attached
from openai import OpenAI
from tiny_models import CHATML, tiny_model_folder, tiny_tokenizer

from tunesmith.core.conversation import Message
from tunesmith.core.errors import ModelError
from tunesmith.core.recipe import Adapter, Lora
from tunesmith.runtime import lora
from tunesmith.runtime.catalogue import Located
from tunesmith.runtime.methods.adapter import attach as attach_bottleneck
from tunesmith.runtime.methods.port import Begin
from tunesmith.runtime.models import load_model
from tunesmith.runtime.packed import held_bytes
from tunesmith.runtime.sampling.port import CannotAdmit, Grammar
from tunesmith.serve.backends.local import Settings, open_model
from tunesmith.serve.backends.port import ContextExceeded, Conversation, ScoreRequest, Text
from tunesmith.serve.loading import load_models, on_one_base
from tunesmith.serve.schema import ServeConfig

QUIET = {"dtype": "float32", "threads": 1, "max_wait_ms": 1.0}


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    """Weights so wide that an adapter changes what is said."""
    return tiny_model_folder(tmp_path_factory.mktemp("base"), initializer_range=0.3)


def lora_folder(base, folder, *, seed):
    """An adapter with large random numbers."""
    made = attached(Lora(rank=4, alpha=8), load_model(base, dtype="float32"))
    with torch.no_grad():
        for _, layer in lora.lora_layers(made.model):
            layer.lora_b.normal_(std=0.3, generator=torch.Generator().manual_seed(seed))
    made.publish(folder)
    return folder


def bottleneck_folder(base, folder):
    made = attach_bottleneck(load_model(base, dtype="float32"), Adapter(), Begin(seed=1, base_name="tiny"))
    made.publish(folder)
    return folder


@pytest.fixture
def models(base, tmp_path):
    """The base, two LoRA runs and a bottleneck run, as the catalogue finds them."""
    plain = Located("tiny", "folder", base, "0" * 64)
    folders = {
        "first": lora_folder(base, tmp_path / "first", seed=1),
        "second": lora_folder(base, tmp_path / "second", seed=2),
        "third": bottleneck_folder(base, tmp_path / "third"),
    }
    return {
        "tiny": plain,
        **{
            name: Located(name, "run", folder, name[0] * 64, base=plain, adapter=folder)
            for name, folder in folders.items()
        },
    }


def backends_of(*given):
    return {ref: engine.backend for ref, engine in on_one_base(*given).items()}


class Said(list):
    """A progress that keeps what it is told."""

    def say(self, line):
        self.append(line)


def test_lora_runs_share_their_base_and_another_method_has_weights_of_its_own(base, models, job):
    said = Said()
    job = replace(job, progress=said)
    alone = {}
    for name, found in models.items():
        made = open_model(base, Settings(threads=1, dtype="float32"), adapter=found.adapter).backends[None]
        alone[name] = text_of(asyncio.run(collect(made, ask("hello there", max_tokens=12))))
        made.close()
    assert len(set(alone.values())) >= 3
    backends = backends_of(base, models, ServeConfig(models=tuple(models), **QUIET), job)

    async def all_at_once():
        return await asyncio.gather(
            *(collect(backend, ask("hello there", max_tokens=12)) for backend in backends.values())
        )

    try:
        together = dict(zip(backends, map(text_of, asyncio.run(all_at_once())), strict=True))
    finally:
        for backend in backends.values():
            backend.close()
    assert together == alone
    sizes = [re.match(r"weights 0\.00 GB \+ up to 2 GB for keys and values", line) for line in said]
    assert len([size for size in sizes if size]) == 2, "one shared, one alone"
    assert [line for line in said if "of its own" in line] == [
        "third gets a copy of the weights of its own: its method is BOTTLENECK, and only LoRA shares a batch"
    ]


def test_a_run_with_a_template_of_its_own_shares_the_weights_and_speaks_in_its_own_way(base, models, job):
    longer = CHATML.replace("<|im_start|>", "another form: ")
    tiny_tokenizer(longer).save_pretrained(models["first"].adapter)
    said = Said()
    group = {name: models[name] for name in ("tiny", "first")}
    config = ServeConfig(models=tuple(group), **QUIET)
    backends = backends_of(base, group, config, replace(job, progress=said))
    settings = Settings(threads=1, dtype="float32")
    alone = open_model(base, settings, adapter=models["first"].adapter).backends[None]

    async def asked(backend):
        yes = ScoreRequest(Conversation((Message("user", "hello"),)), "yes")
        return await collect(backend, ask("hello", max_tokens=9)), await backend.score([yes])

    try:
        tiny, first, expected = (
            asyncio.run(asked(backend)) for backend in (backends["tiny"], backends["first"], alone)
        )
        assert (text_of(first[0]), first[0][-1].usage) == (text_of(expected[0]), expected[0][-1].usage)
        found, wanted = (total(scores[0].tokens) for scores in (first[1], expected[1]))
        assert found == pytest.approx(wanted, abs=1e-3)
        assert first[0][-1].usage.prompt_tokens > tiny[0][-1].usage.prompt_tokens + 20
        assert not [line for line in said if "of its own" in line]
    finally:
        for backend in (*backends.values(), alone):
            backend.close()


def test_served_runs_name_their_base(base, models, job, monkeypatch):
    monkeypatch.setattr("tunesmith.serve.loading.locate", lambda ref, job: models[ref])
    config = ServeConfig(models=("first", "tiny", "second"), **QUIET)
    served = load_models(config, job)
    try:
        assert [(model.name, model.parent) for model in served] == [
            ("first", "tiny"), ("tiny", None), ("second", "tiny"),
        ]  # fmt: skip
        with (
            live(*((model.name, model.backend) for model in served)) as server,
            OpenAI(base_url=server.url, api_key="none", max_retries=0) as client,
        ):
            turns = [{"role": "user", "content": "hello"}]
            answers = {
                name: client.chat.completions.create(model=name, messages=turns, max_tokens=8, temperature=0)
                for name in ("tiny", "first", "second")
            }
            assert len({found.choices[0].message.content for found in answers.values()}) == 3
    finally:
        for model in served:
            model.backend.close()


def test_an_adapter_of_another_base_is_refused_before_anything_is_served(base, models, job, tmp_path):
    other = tiny_model_folder(tmp_path / "other", initializer_range=0.2)
    with pytest.raises(ModelError, match="learned on other weights"):
        on_one_base(other, models, ServeConfig(models=tuple(models), **QUIET), job)


@pytest.mark.parametrize("quantise", ["nf4", "int8"])
def test_a_base_in_few_bits_answers_and_its_runs_with_it(base, models, job, quantise):
    group = {name: models[name] for name in ("tiny", "first")}
    backends = backends_of(base, group, ServeConfig(models=tuple(group), quantise=quantise, **QUIET), job)
    try:
        for backend in backends.values():
            chunks = asyncio.run(collect(backend, ask("hello", max_tokens=5)))
            assert chunks[-1].usage.completion_tokens > 0
    finally:
        for backend in backends.values():
            backend.close()


@pytest.mark.parametrize("dtype", ["float32", "auto"])
def test_an_adapter_joins_a_model_that_answers_and_leaves_it_again(base, models, dtype):
    """With `auto` the weights are rearranged for a processor that has bfloat16 products."""
    settings = Settings(threads=1, dtype=dtype)
    alone = open_model(base, settings, adapter=models["first"].adapter)
    opened = open_model(base, settings)
    before, host = held_bytes(opened.host.bank.model), opened.host

    def said(backend, tokens=12):
        return text_of(asyncio.run(collect(backend, ask("hello there", max_tokens=tokens))))

    async def while_the_base_answers():
        long = asyncio.create_task(collect(opened.backends[None], ask("hello there", max_tokens=60)))
        first = await asyncio.to_thread(host.join, "first", models["first"].adapter)
        answer = text_of(await collect(first, ask("hello there", max_tokens=12)))
        await asyncio.to_thread(first.close)
        return answer, text_of(await long)

    try:
        expected, base_says = said(alone.backends[None]), said(opened.backends[None], 60)
        joined, meanwhile = asyncio.run(while_the_base_answers())
        # In bfloat16 a row's last bits depend on how many others are computed with it.
        assert dtype == "auto" or (joined, meanwhile) == (expected, base_says)
        assert said(opened.backends[None], 60) == base_says
        assert expected != base_says[: len(expected)]
        assert held_bytes(host.bank.model) == before
        assert host.why_alone(models["third"].adapter).startswith("its method is BOTTLENECK")
        with pytest.raises(ModelError, match="cannot share a batch: its method is BOTTLENECK"):
            host.join("third", models["third"].adapter)
        both = [host.join(name, models[name].adapter) for name in ("first", "second")]
        assert [said(backend) == expected for backend in both] == [True, False]
        opened.backends[None].close()
        for backend in both:
            backend.close()
    finally:
        for one in (alone, opened):
            one.backends[None].close()
    assert alone.host is None


def test_what_cannot_be_answered_is_refused_before_the_first_chunk_and_the_others_go_on(base):
    backend = open_model(base, Settings(threads=1, dtype="float32")).backends[None]
    refused = {
        "vocabulary": go_on("a", max_tokens=2, logit_bias={999: 1.0}),
        "regex": ask("a", max_tokens=2, grammar=Grammar("regex", "(")),
    }

    async def all_at_once():
        good = [collect(backend, ask(f"hello {number}", max_tokens=6)) for number in range(3)]
        bad = [collect(backend, request) for request in refused.values()]
        return await asyncio.gather(*good, *bad, return_exceptions=True)

    try:
        found = asyncio.run(all_at_once())
        assert all(chunks[-1].finish_reason for chunks in found[:3])
        for error, words in zip(found[3:], refused, strict=True):
            assert isinstance(error, CannotAdmit)
            assert words in str(error)
        with pytest.raises(ContextExceeded):
            asyncio.run(backend.score([ScoreRequest(Text("fine"), "x" * 600)]))
        scores = asyncio.run(backend.score([ScoreRequest(Text("fine"), f"x{n}") for n in range(40)]))
        assert [len(score.tokens) for score in scores] == [2 + (n > 9) for n in range(40)]
    finally:
        backend.close()
