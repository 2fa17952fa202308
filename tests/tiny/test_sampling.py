import pytest
import torch
from sampler_rows import END, answers, generate, tokens
from scipy.stats import chisquare
from tiny_models import tiny_llama, tiny_tokenizer
from transformers import FalconH1Config, FalconH1ForCausalLM, Gemma2Config, Gemma2ForCausalLM

from tunesmith.core.errors import ModelError
from tunesmith.runtime.sampling.choose import draw, uniform_number
from tunesmith.runtime.sampling.engine import Sampler, sample
from tunesmith.runtime.sampling.port import Request
from tunesmith.runtime.sampling.prefixes import MIN_SHARED


def mixed_prompts():
    """Lengths that differ, and two families with a beginning in common."""
    first, second = tokens(70, 1), tokens(45, 2)
    alone = [tokens(length, 10 + length) for length in (1, 3, 17, 90)]
    families = [
        first + tokens(1, 3),
        first + tokens(5, 4),
        first + tokens(40, 5),
        (*second, 1),
        (*second, 2, 3),
    ]
    return [*alone, *families]


@pytest.mark.parametrize("max_batch", [1, 3, 32])
def test_greedy_tokens_equal_those_of_transformers_whatever_shares_the_batch(max_batch):
    prompts = mixed_prompts()
    lengths = [30, 1, 12, 25, 40, 7, 33, 20, 50]
    expected = [generate(tiny_llama(), prompt, n) for prompt, n in zip(prompts, lengths, strict=True)]
    sampler = Sampler(tiny_llama(), tiny_tokenizer(), max_batch=max_batch)
    requests = [Request(prompt, n, stop_token_ids=END) for prompt, n in zip(prompts, lengths, strict=True)]
    assert answers(sampler, requests) == expected
    known_prefixes = answers(sampler, list(reversed(requests)))
    assert known_prefixes == list(reversed(expected))


def test_sliding_windows_and_capped_scores_equal_those_of_transformers():
    def model():
        torch.manual_seed(0)
        config = Gemma2Config(
            vocab_size=264, hidden_size=32, intermediate_size=48, num_hidden_layers=2, head_dim=8,
            num_attention_heads=4, num_key_value_heads=2, sliding_window=20, max_position_embeddings=512,
            attn_logit_softcapping=2.0, final_logit_softcapping=5.0, query_pre_attn_scalar=4,
            eos_token_id=257, pad_token_id=257, initializer_range=0.3, attn_implementation="eager",
        )  # fmt: skip
        return Gemma2ForCausalLM(config).eval()

    prompts = mixed_prompts()
    expected = [generate(model(), prompt, 24) for prompt in prompts]
    sampler = Sampler(model(), tiny_tokenizer())
    assert answers(sampler, [Request(prompt, 24, stop_token_ids=END) for prompt in prompts]) == expected


def test_a_recurrent_model_is_refused_by_name():
    config = FalconH1Config(
        vocab_size=264, hidden_size=32, intermediate_size=48, num_hidden_layers=2, num_attention_heads=4,
        num_key_value_heads=2, mamba_d_ssm=32, mamba_n_heads=4, mamba_d_head=8, mamba_d_state=8,
    )  # fmt: skip
    with pytest.raises(ModelError, match="recurrent"):
        Sampler(FalconH1ForCausalLM(config), tiny_tokenizer())


def test_a_prompt_longer_than_one_pass_equals_transformers():
    model = tiny_llama(max_position_embeddings=2048)
    prompt = tokens(1200, 5)
    expected = generate(model, prompt, 10)
    assert answers(Sampler(model, tiny_tokenizer()), [Request(prompt, 10, stop_token_ids=END)]) == [expected]


def test_when_memory_runs_short_rows_wait_and_every_answer_stays_the_same():
    prompts = mixed_prompts()
    requests = [Request(prompt, 200, stop_token_ids=END) for prompt in prompts]
    roomy = Sampler(tiny_llama(), tiny_tokenizer())
    expected = answers(roomy, requests)
    tight = Sampler(tiny_llama(), tiny_tokenizer(), memory_bytes=roomy.memory.token_bytes * 8 * 256)
    assert answers(tight, requests) == expected


def test_late_requests_join_the_running_batch():
    prompts = mixed_prompts()
    expected = [generate(tiny_llama(), prompt, 30) for prompt in prompts]
    sampler = Sampler(tiny_llama(), tiny_tokenizer(), max_batch=4)
    rows = []
    for prompt in prompts:
        sampler.submit(Request(prompt, 30, stop_token_ids=END))
        rows.append(sampler.waiting[-1])
        sampler.step()
        sampler.step()
    while sampler.busy:
        sampler.step()
    assert [row.generated for row in rows] == expected


def test_a_shared_beginning_is_computed_once():
    beginning = tokens(100, 1)
    sampler = Sampler(tiny_llama(), tiny_tokenizer())
    events = []
    sample(sampler, [Request(beginning + tokens(5, n), 2) for n in range(4)], on_event=events.append)
    assert [event.num_cached for event in events if event.num_generated == 1] == [0, 100, 100, 100]
    sample(sampler, [Request(beginning + tokens(9, 77), 2)], on_event=events.append)
    assert events[-1].num_cached == 100


def test_kept_beginnings_give_way_to_new_ones_and_to_rows():
    num_tokens = 2 * MIN_SHARED
    token_bytes = Sampler(tiny_llama(), tiny_tokenizer()).memory.token_bytes
    sampler = Sampler(tiny_llama(), tiny_tokenizer(), memory_bytes=token_bytes * 5 * num_tokens)
    for seed in range(8):
        sample(sampler, [Request(tokens(num_tokens, seed), 1)])
        assert sampler.memory.num_bytes <= sampler.memory.max_bytes
    stored = [prefix.token_ids for prefix in sampler.memory.store.prefixes]
    assert stored[-1] == tokens(num_tokens, 7)
    sample(sampler, [Request(tokens(4 * num_tokens, 9), 1)])
    assert tokens(num_tokens, 6) not in [prefix.token_ids for prefix in sampler.memory.store.prefixes]


def test_a_cancelled_request_leaves_and_the_others_do_not_notice():
    prompts = mixed_prompts()
    expected = generate(tiny_llama(), prompts[4], 30)
    sampler = Sampler(tiny_llama(), tiny_tokenizer())
    keys = [sampler.submit(Request(prompt, 30, stop_token_ids=END)) for prompt in prompts]
    kept = sampler.waiting[4]
    for key in keys:
        sampler.step()
        if key != kept.key:
            reasons = [event.finish_reason for event in sampler.cancel(key)]
            assert reasons in ([], ["cancelled"])
    while sampler.busy:
        sampler.step()
    assert kept.generated == expected
    assert sampler.cancel(kept.key) == []


def test_a_seed_gives_the_same_answer_alone_and_in_company():
    request = Request(tokens(20, 1), 40, temperature=1.0, top_p=0.9, seed=7, stop_token_ids=END)
    alone = answers(Sampler(tiny_llama(), tiny_tokenizer()), [request])[0]
    company = [Request(prompt, 40, temperature=1.5, seed=1) for prompt in mixed_prompts()]
    assert answers(Sampler(tiny_llama(), tiny_tokenizer()), [*company, request])[-1] == alone
    other = Request(tokens(20, 1), 40, temperature=1.0, top_p=0.9, seed=8, stop_token_ids=END)
    assert answers(Sampler(tiny_llama(), tiny_tokenizer()), [other])[0] != alone


def row_for(**settings):
    sampler = Sampler(tiny_llama(), tiny_tokenizer())
    sampler.submit(Request((1,), 1, **settings))
    return sampler.waiting[0]


def test_drawn_tokens_follow_temperature_and_top_p():
    logits = torch.tensor([2.0, 1.0, 0.0, -1.0])
    draws = 4000
    for temperature, top_p in ((1.0, 1.0), (0.7, 1.0), (1.0, 0.8), (1.3, 0.95)):
        row = row_for(temperature=temperature, top_p=top_p, seed=0)
        counts = [0] * 4
        for seed in range(draws):
            row.seed = seed
            counts[draw(row, logits)] += 1
        wanted = (logits.double() / temperature).softmax(-1)
        before = wanted.cumsum(-1) - wanted
        wanted = torch.where(before < top_p, wanted, 0)
        kept = int((wanted > 0).sum())
        assert sum(counts[kept:]) == 0
        assert chisquare(counts[:kept], (wanted[:kept] / wanted.sum() * draws).tolist()).pvalue > 0.001


def test_top_p_of_zero_takes_the_likeliest_token():
    row = row_for(temperature=2.0, top_p=0.0, seed=3)
    assert {draw(row, torch.tensor([0.0, 0.1, 0.0])) for row.seed in range(50)} == {1}


def test_random_numbers_lie_in_the_unit_interval_and_depend_on_seed_and_position():
    numbers = {uniform_number(seed, position) for seed in range(20) for position in range(20)}
    assert len(numbers) == 400
    assert all(0 <= number < 1 for number in numbers)


def test_text_stops_at_a_stop_string_that_spans_tokens():
    tokenizer = tiny_tokenizer()
    request = Request(tokens(12, 3), 60)
    whole = sample(Sampler(tiny_llama(), tokenizer), [request])[0]
    stop = whole[10:13]
    assert len(stop) == 3
    events = []
    cut = Request(request.token_ids, 60, stop=(stop,))
    text = sample(Sampler(tiny_llama(), tokenizer), [cut], on_event=events.append)[0]
    assert text == whole[: whole.index(stop)]
    assert events[-1].finish_reason == "stop"
    kept = Request(request.token_ids, 60, stop=(stop,), include_stop=True)
    assert sample(Sampler(tiny_llama(), tokenizer), [kept])[0] == text + stop
