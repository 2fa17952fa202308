"""Groups, prefixes, chunks, adapters and the memory budget of the sampler."""

import random

import pytest
import torch
from lora_training import with_lora
from sampler_rows import END, WithOffsets, answers, generate, held_bytes, tokens
from tiny_models import tiny_llama, tiny_model_folder, tiny_tokenizer

from tunesmith.runtime import lora
from tunesmith.runtime.lora import LoraShape
from tunesmith.runtime.lora.bank import AdapterBank
from tunesmith.runtime.models import load_for_inference
from tunesmith.runtime.sampling import engine
from tunesmith.runtime.sampling.engine import Sampler, sample
from tunesmith.runtime.sampling.forward import Stepper
from tunesmith.runtime.sampling.open import open_sampler
from tunesmith.runtime.sampling.port import CannotAdmit, Request
from tunesmith.runtime.sampling.prefixes import common_length

TOKEN_BYTES = 2 * 2 * 8 * 2 * 4
"""Of the tiny model: two layers, two heads of width 8, keys and values, float32."""


class Passes(Stepper):
    """Notes the tokens of each pass."""

    def __init__(self, stepper):
        self.__dict__ = stepper.__dict__
        self.lines = []

    def logits(self, line):
        self.lines.append(line)
        return super().logits(line)


def watched(sampler):
    sampler._stepper = Passes(sampler._stepper)
    return sampler._stepper.lines


def make(**settings):
    return Sampler(tiny_llama(max_position_embeddings=4096), tiny_tokenizer(), **settings)


def test_common_length_equals_walking_token_by_token():
    generator = random.Random(0)
    for _ in range(300):
        one, other = ([generator.choice((1, 2)) for _ in range(generator.randrange(9))] for _ in range(2))
        walked = 0
        while walked < min(len(one), len(other)) and one[walked] == other[walked]:
            walked += 1
        assert common_length(one, other) == walked


def test_samples_of_one_prompt_compute_it_once_and_read_it_once():
    prompt = tokens(600, 1)
    sampler = make()
    lines = watched(sampler)
    expected = generate(tiny_llama(max_position_embeddings=4096), prompt, 20)
    assert answers(sampler, [Request(prompt, 20, stop_token_ids=END)] * 6) == [expected] * 6
    assert sum(len(line.tokens) for line in lines) <= 600 + 6 * 20
    assert any(line.parts[0].group.start == 599 and line.parts[0].num_tokens == 6 for line in lines)


def test_rows_fall_into_groups_each_with_its_own_beginning():
    first, second = tokens(300, 1), tokens(200, 2)
    prompts = [first + tokens(7 + n, 3 + n) for n in range(3)]
    prompts += [second + tokens(9 + n, 13 + n) for n in range(3)]
    prompts += [tokens(40, 23), tokens(50, 24)]
    model = tiny_llama(max_position_embeddings=4096)
    expected = [generate(model, prompt, 25) for prompt in prompts]
    sampler = make()
    lines = watched(sampler)
    assert answers(sampler, [Request(prompt, 25, stop_token_ids=END) for prompt in prompts]) == expected
    assert {0, 200, 300} <= {part.group.start for line in lines for part in line.parts}
    prefill = sum(len(prompt) for prompt in prompts) - 2 * 300 - 2 * 200
    assert sum(len(line.tokens) for line in lines) <= prefill + 25 * len(prompts)


def test_a_row_that_runs_already_moves_onto_a_beginning_that_a_later_one_shares():
    beginning = tokens(400, 1)
    prompts = [beginning + tokens(5, 2), beginning + tokens(6, 3)]
    model = tiny_llama(max_position_embeddings=4096)
    expected = [generate(model, prompt, 30) for prompt in prompts]
    sampler = make()
    rows = []
    for prompt in prompts:
        sampler.submit(Request(prompt, 30, stop_token_ids=END))
        rows.append(sampler.waiting[-1])
        for _ in range(4):
            sampler.step()
    assert [row.group.start for row in rows] == [400, 400]
    assert rows[0].group is rows[1].group
    while sampler.busy:
        sampler.step()
    assert [row.generated for row in rows] == expected


def test_a_long_prompt_stops_running_rows_for_no_longer_than_one_chunk(monkeypatch):
    monkeypatch.setattr(engine, "CHUNK_TOKENS", 64)
    sampler = make()
    lines = watched(sampler)
    short, long = tokens(10, 1), tokens(1000, 2)
    sampler.submit(Request(short, 60, stop_token_ids=END))
    row = sampler.waiting[0]
    sampler.step()
    sampler.submit(Request(long, 5, stop_token_ids=END))
    late = sampler.waiting[0]
    while not late.generated:
        before = len(row.generated)
        sampler.step()
        assert len(row.generated) == before + 1
    assert max(len(line.tokens) for line in lines) == 64 + 1
    while sampler.busy:
        sampler.step()
    model = tiny_llama(max_position_embeddings=4096)
    assert (row.generated, late.generated) == (generate(model, short, 60), generate(model, long, 5))


def with_adapters(**settings):
    model = tiny_llama(max_position_embeddings=4096)
    bank = WithOffsets(model, ("red", "blue"))
    return Sampler(model, tiny_tokenizer(), bank=bank, **settings)


def test_adapters_in_one_batch_answer_as_alone_and_never_take_each_others_keys():
    prompt = tokens(100, 1)
    requests = [
        Request(prompt + tokens(n, n), 20, adapter=adapter, stop_token_ids=END)
        for n in (1, 2, 3)
        for adapter in (None, "red", "blue")
    ]
    expected = [answers(with_adapters(), [request])[0] for request in requests]
    assert len({tuple(answer) for answer in expected[:3]}) == 3
    sampler = with_adapters()
    lines = watched(sampler)
    assert answers(sampler, requests) == expected
    assert answers(sampler, list(reversed(requests))) == list(reversed(expected))
    assert any(len({name for name, _ in line.runs}) == 3 for line in lines)


def test_a_model_is_opened_with_its_adapters_in_one_batch(tmp_path):
    folder = tiny_model_folder(tmp_path / "base")
    for seed, name in enumerate(("red", "blue")):
        tuned = tiny_llama()
        with_lora(tuned, LoraShape(rank=4, alpha=8), seed=seed)
        generator = torch.Generator().manual_seed(seed)
        with torch.no_grad():  # B starts at zero, which would change no answer
            for parameter in (p for n, p in tuned.named_parameters() if n.endswith("lora_b")):
                parameter.normal_(std=1.0, generator=generator)
        lora.save_adapter(tuned, tmp_path / name, base_name="tiny")
    prompt = tokens(50, 1)
    expected = []
    for adapter in (None, tmp_path / "red", tmp_path / "blue"):
        loaded = load_for_inference(folder, adapter=adapter, dtype="float32")
        expected += answers(open_sampler(loaded), [Request(prompt, 20, stop_token_ids=END)])
    loaded = load_for_inference(folder, dtype="float32")
    bank = AdapterBank(loaded.model, info=loaded.info)
    for name in ("red", "blue"):
        bank.add(name, tmp_path / name)
    sampler = open_sampler(loaded, bank=bank)
    names = (None, "red", "blue")
    requests = [Request(prompt, 20, adapter=name, stop_token_ids=END) for name in names]
    assert answers(sampler, requests) == expected
    assert len({tuple(answer) for answer in expected}) == 3


def test_an_unknown_adapter_is_refused_with_the_known_ones():
    with pytest.raises(CannotAdmit, match=r"'reed'\n.*did you mean 'red'"):
        with_adapters().submit(Request((1,), 1, adapter="reed"))
    with pytest.raises(CannotAdmit, match="no adapter of this name"):
        make().submit(Request((1,), 1, adapter="red"))


@pytest.mark.parametrize(
    ("request_", "says"),
    [
        (Request((), 1), "at least one prompt token"),
        (Request((3, 264), 1), r"vocabulary of 264: 264\n"),
        (Request((-1,), 1), "vocabulary of 264: -1"),
        (Request((1,), 1, logit_bias={999: 1.0}), "vocabulary of 264: 999"),
        (Request((1,), 1, seed=2**63), "seed is out of range"),
        (Request((1,), 1, seed=-1), "seed is out of range"),
        (Request((1,) * 4000, 100), r"4,000 prompt tokens and 100 .*context of 4,096\n.*at most 96 tokens"),
        (Request((1,) * 5000, 1), r"context of 4,096\n.*shorten the prompt by 905 tokens"),
        (Request((1,), 1, top_p=1.5), "top_p is out of range: 1.5"),
        (Request((1,), 1, temperature=float("nan")), "temperature is out of range"),
        (Request((1,), -1), "max_tokens is out of range"),
        (Request((1,), 1, logprobs=21), "logprobs is out of range"),
        (Request((1,), 1, repetition_penalty=0.0), "repetition_penalty must be above 0"),
    ],
)
def test_a_request_that_can_never_be_answered_is_refused(request_, says):
    sampler = make()
    with pytest.raises(CannotAdmit, match=says):
        sampler.submit(request_)
    assert not sampler.busy


def test_a_request_that_the_memory_cannot_hold_is_refused_with_numbers():
    sampler = make(memory_bytes=100 * TOKEN_BYTES)
    assert sampler.longest == 100
    with pytest.raises(CannotAdmit, match=r"110 tokens do not fit .* holds 100\n.*at most 20 tokens.*memory"):
        sampler.submit(Request((1,) * 80, 30))
    assert answers(sampler, [Request((1,) * 80, 20)])[0]


def test_a_lone_row_may_take_all_the_memory_there_is():
    prompt = tokens(37, 1)
    expected = generate(tiny_llama(max_position_embeddings=4096), prompt, 263)
    sampler = make(memory_bytes=300 * TOKEN_BYTES)
    sampler.submit(Request(prompt, 263, stop_token_ids=END))
    row = sampler.waiting[0]
    while sampler.busy:
        sampler.step()
        assert held_bytes(sampler) <= 300 * TOKEN_BYTES
    assert row.generated == expected


def random_request(generator):
    beginnings = [tokens(length, length) for length in (40, 150, 300)]
    beginning = generator.choice([(), *beginnings])
    prompt = beginning + tokens(generator.randrange(1, 60), generator.randrange(5))
    scored = generator.random() < 0.2
    return Request(
        prompt,
        generator.choice([0, 5]) if scored else generator.choice([1, 3, 20, 150]),
        temperature=generator.choice([0.0, 1.0]),
        seed=generator.randrange(100),
        stop_token_ids=END,
        adapter=generator.choice([None, "red", "blue"]),
        prompt_logprobs=2 if scored else None,
        prompt_logprobs_from=generator.choice([1, 30]),
    )


def result_of(sampler, request):
    """Tokens and prompt log-probabilities, alone."""
    key = sampler.submit(request)
    row, events = sampler.waiting[0], []
    while sampler.busy:
        events += sampler.step()
    assert events[-1].key == key
    return list(row.generated), list(row.prompt_logprobs)


@pytest.mark.parametrize("seed", range(4))
def test_whatever_comes_and_goes_answers_stay_and_memory_is_kept(seed, monkeypatch):
    """Requests come and are cancelled at random moments, under memory for a few of them."""
    monkeypatch.setattr(engine, "CHUNK_TOKENS", 48)
    monkeypatch.setattr(engine, "CHUNK_READS", 16)
    generator = random.Random(seed)
    budget = generator.choice([700, 1500, 6000]) * TOKEN_BYTES
    sampler = with_adapters(max_batch=generator.choice([2, 5, 12]), memory_bytes=budget)
    requests = [random_request(generator) for _ in range(25)]
    submitted, rows, cancelled = {}, {}, set()
    todo = list(requests)
    while sampler.busy or todo:
        if todo and generator.random() < 0.5:
            request = todo.pop()
            key = sampler.submit(request)
            submitted[key], rows[key] = request, sampler.waiting[-1]
        if rows and generator.random() < 0.05:
            key = generator.choice(list(rows))
            if sampler.cancel(key):
                cancelled.add(key)
        sampler.step()
        assert held_bytes(sampler) <= budget
        assert held_bytes(sampler) == sampler.memory.num_bytes
    assert not sampler.memory.groups
    assert all(prefix.num_users == 0 and prefix.wide is None for prefix in sampler.memory.store.prefixes)
    assert all(row.group is None for row in rows.values())
    alone = with_adapters()
    for key, row in rows.items():
        if key not in cancelled:
            expected_tokens, expected_scores = result_of(alone, submitted[key])
            assert row.generated == expected_tokens
            assert [score.token_id for score in row.prompt_logprobs] == [s.token_id for s in expected_scores]
            found = torch.tensor([score.logprob for score in row.prompt_logprobs])
            torch.testing.assert_close(
                found, torch.tensor([s.logprob for s in expected_scores]), atol=1e-4, rtol=0
            )


def test_after_a_reset_nothing_is_held_and_new_requests_are_answered():
    sampler = make()
    keys = [sampler.submit(Request(tokens(600, n), 50)) for n in range(3)]
    sampler.step()
    sampler.step()
    assert sampler.reset() == keys
    assert (sampler.busy, sampler.memory.groups) == (False, [])
    assert len(sample(sampler, [Request(tokens(600, 0), 3)])) == 1


def test_in_bfloat16_stored_beginnings_count_with_their_float32_copies():
    model = tiny_llama(dtype=torch.bfloat16, max_position_embeddings=4096)
    prompt = tokens(300, 1)
    sampler = Sampler(model, tiny_tokenizer(), memory_bytes=2000 * TOKEN_BYTES)
    for n in range(4):
        sampler.submit(Request((*prompt, n), 20))
    wide = 0
    while sampler.busy:
        sampler.step()
        wide = max(wide, sum(prefix.wide is not None for prefix in sampler.memory.store.prefixes))
        assert held_bytes(sampler) == sampler.memory.num_bytes
    assert wide == 1
