"""The next token: each setting against a plain reference over the whole vocabulary, and transformers."""

import math
from collections import Counter

import numpy as np
import pytest
import torch
from scipy.stats import chisquare
from transformers import (
    MinPLogitsWarper,
    RepetitionPenaltyLogitsProcessor,
    TemperatureLogitsWarper,
    TopKLogitsWarper,
    TopPLogitsWarper,
)

from tunesmith.core.errors import ModelError
from tunesmith.runtime.sampling import choose as choose_module
from tunesmith.runtime.sampling.choose import candidates, choose, position_of, uniform_number
from tunesmith.runtime.sampling.logprobs import logprobs_of
from tunesmith.runtime.sampling.port import Request
from tunesmith.runtime.sampling.row import Row
from tunesmith.runtime.sampling.stopping import StopFilter, TokenText

NUM_DRAWS = 2000


class OnlyThese:
    """A grammar that always allows the same tokens."""

    def __init__(self, *allowed, vocab_size):
        self.allowed_V = torch.zeros(vocab_size, dtype=torch.bool)
        self.allowed_V[list(allowed)] = True

    def allowed(self):
        return self.allowed_V


def row_of(*, seed=0, generated=(), prompt=(0, 1), matcher=None, **settings):
    request = Request(prompt, 100, seed=seed, **settings)
    row = Row(0, request, TokenText(lambda _: ""), StopFilter(()), seed, list(generated))
    row.matcher = matcher
    return row


def noise(*shape, seed=0, scale=2.0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed)) * scale


def reference(logits, row):
    """Probability of each token: one setting after the other over the whole vocabulary, in plain Python."""
    request, logits = row.request, [float(value) for value in logits]
    for token, bias in request.logit_bias.items():
        logits[token] += bias
    for token in {*request.token_ids, *row.generated}:
        penalty = request.repetition_penalty
        logits[token] = logits[token] / penalty if logits[token] > 0 else logits[token] * penalty
    for token, count in Counter(row.generated).items():
        logits[token] -= count * request.frequency_penalty + request.presence_penalty
    if row.matcher is not None:
        allowed = row.matcher.allowed().tolist()
        logits = [value if ok else -math.inf for value, ok in zip(logits, allowed, strict=True)]
    weights = [math.exp(value / request.temperature) for value in logits]
    order = sorted(range(len(weights)), key=lambda token: -weights[token])
    if request.top_k:
        order = [token for token in order if weights[token] >= weights[order[request.top_k - 1]]]
    total, before, kept = sum(weights[token] for token in order), 0.0, []
    for token in order:
        if before / total < request.top_p:
            kept.append(token)
        before += weights[token]
    kept = [token for token in kept if weights[token] >= request.min_p * weights[order[0]]]
    total = sum(weights[token] for token in kept)
    return np.array([weights[token] / total if token in kept else 0.0 for token in range(len(weights))])


SETTINGS = {
    "temperature": {"temperature": 1.7},
    "low temperature": {"temperature": 0.4},
    "top-k": {"temperature": 1.0, "top_k": 4},
    "top-p": {"temperature": 1.0, "top_p": 0.7},
    "min-p": {"temperature": 1.5, "min_p": 0.2},
    "bias": {"temperature": 1.0, "logit_bias": {3: 2.0, 5: -100.0, 11: 1.0}},
    "presence": {"temperature": 1.0, "presence_penalty": 1.5, "generated": (3, 3, 7)},
    "frequency": {"temperature": 1.0, "frequency_penalty": 0.8, "generated": (3, 3, 3, 7)},
    "negative frequency": {"temperature": 1.0, "frequency_penalty": -0.5, "generated": (3, 3, 3, 7)},
    "repetition": {"temperature": 1.0, "repetition_penalty": 1.8, "generated": (3, 9), "prompt": (1, 4, 4)},
    "grammar": {"temperature": 1.0, "matcher": OnlyThese(2, 3, 8, 11, vocab_size=12)},
    "all": {
        "temperature": 1.3,
        "top_k": 7,
        "top_p": 0.9,
        "min_p": 0.05,
        "presence_penalty": 0.3,
        "frequency_penalty": 0.2,
        "repetition_penalty": 1.2,
        "logit_bias": {2: 1.5},
        "generated": (3, 3, 7),
        "matcher": OnlyThese(*range(1, 12), vocab_size=12),
    },
}


@pytest.mark.parametrize("name", SETTINGS)
def test_seeded_draws_have_the_distribution_of_the_plain_reference(name):
    logits_V = noise(12, seed=3)
    rows = [row_of(seed=seed, **SETTINGS[name]) for seed in range(NUM_DRAWS)]
    tokens = [chosen.token_id for chosen in choose(rows, logits_V.expand(NUM_DRAWS, -1))]
    expected = reference(logits_V, rows[0])
    counts = np.bincount(tokens, minlength=12)
    possible = expected > 0
    assert counts[~possible].sum() == 0
    assert chisquare(counts[possible], expected[possible] * NUM_DRAWS).pvalue > 1e-3


def test_draws_at_successive_places_are_independent_of_each_other():
    logits_V = torch.zeros(4)
    tokens = [
        choose([row_of(seed=5, temperature=1.0, generated=(0,) * n)], logits_V[None]) for n in range(1600)
    ]
    numbers = [chosen[0].token_id for chosen in tokens]
    pairs = Counter(zip(numbers[::2], numbers[1::2], strict=True))
    assert chisquare([pairs[left, right] for left in range(4) for right in range(4)]).pvalue > 1e-3


def kept_by(warpers, logits_V):
    scores = logits_V[None]
    for warper in warpers:
        scores = warper(torch.zeros(1, 1, dtype=torch.long), scores)
    return set(scores[0].isfinite().nonzero().squeeze(-1).tolist())


def kept_by_us(logits_V, **settings):
    return set(candidates(Request((0,), 1, **{"temperature": 1.0, **settings}), logits_V).token_N.tolist())


@pytest.mark.parametrize("scale", [0.05, 1.0, 4.0])
@pytest.mark.parametrize("seed", range(4))
def test_each_filter_keeps_the_tokens_that_transformers_keeps(scale, seed):
    logits_V = noise(1000, seed=seed, scale=scale).double()
    for k in (1, 7, 50, 999, 1000, 5000):
        assert kept_by_us(logits_V, top_k=k) == kept_by([TopKLogitsWarper(k)], logits_V)
    for p in (1e-9, 0.1, 0.5, 0.9, 0.99, 0.9999):
        assert kept_by_us(logits_V, top_p=p) == kept_by([TopPLogitsWarper(p)], logits_V)
    for p in (1e-9, 1e-3, 0.05, 0.5, 1.0):
        assert kept_by_us(logits_V, min_p=p) == kept_by([MinPLogitsWarper(p)], logits_V)


@pytest.mark.parametrize("seed", range(6))
def test_the_filters_together_keep_what_transformers_keeps(seed):
    logits_V = noise(1000, seed=seed, scale=2.0).double()
    warpers = [
        TemperatureLogitsWarper(1.4),
        TopKLogitsWarper(60),
        TopPLogitsWarper(0.8),
        MinPLogitsWarper(0.1),
    ]
    ours = kept_by_us(logits_V, temperature=1.4, top_k=60, top_p=0.8, min_p=0.1)
    assert ours == kept_by(warpers, logits_V)
    assert 1 < len(ours) < 60


def test_top_k_keeps_all_that_tie_with_the_last_as_transformers_does():
    logits_V = noise(500, seed=1).bfloat16().float().mul(2).round() / 2
    for k in (2, 5, 10, 60):
        kept = kept_by_us(logits_V, top_k=k)
        assert kept == kept_by([TopKLogitsWarper(k)], logits_V)
        assert len(kept) > k


def test_top_p_takes_the_lower_ids_of_equal_tokens():
    assert kept_by_us(torch.zeros(1000), top_p=0.25) == set(range(250))


def test_a_filter_that_leaves_nothing_out_changes_nothing():
    logits_V = noise(100)
    everything = candidates(Request((0,), 1, temperature=1.0), logits_V)
    assert everything.token_N.tolist() == list(range(100))
    assert everything.probability_N.sum() == pytest.approx(1)


@pytest.mark.parametrize("temperature", [1e-300, 1e-30, 1e30])
def test_extreme_temperatures_are_greedy_or_uniform(temperature):
    logits_V = noise(50, seed=2)
    tokens = {
        choose([row_of(seed=seed, temperature=temperature)], logits_V[None])[0].token_id for seed in range(60)
    }
    assert tokens == {int(logits_V.argmax())} if temperature < 1 else len(tokens) > 20


def test_repetition_penalty_equals_transformers():
    logits_V = noise(40, seed=5)
    prompt, answer = (1, 2, 2, 9), [9, 11, 30, 11]
    row = row_of(prompt=prompt, generated=answer, repetition_penalty=1.7)
    expected = RepetitionPenaltyLogitsProcessor(1.7)(torch.tensor([[*prompt, *answer]]), logits_V[None])[0]
    assert torch.equal(choose_module.adjusted(row, logits_V), expected)


def test_penalties_counted_token_by_token_equal_those_counted_at_once():
    settings = {"repetition_penalty": 1.3, "frequency_penalty": 0.4, "presence_penalty": 0.2}
    growing = row_of(**settings)
    for step in range(30):
        logits_V = noise(12, seed=step)
        fresh = row_of(generated=growing.generated, **settings)
        assert torch.equal(choose_module.adjusted(growing, logits_V), choose_module.adjusted(fresh, logits_V))
        growing.generated.append(choose([growing], logits_V[None])[0].token_id)


def test_frequency_and_presence_penalties_leave_the_prompt_alone():
    logits_V = noise(12)
    row = row_of(prompt=(1, 2, 3), generated=[5], frequency_penalty=1.0, presence_penalty=1.0)
    changed = (choose_module.adjusted(row, logits_V) != logits_V).nonzero().squeeze(-1)
    assert changed.tolist() == [5]


def test_greedy_rows_take_the_first_of_the_highest_after_bias_and_grammar():
    logits_V = torch.tensor([0.0, 3.0, 3.0, 1.0])
    assert choose([row_of()], logits_V[None])[0].token_id == 1
    assert choose([row_of(logit_bias={3: 5.0})], logits_V[None])[0].token_id == 3
    matcher = OnlyThese(0, 3, vocab_size=4)
    assert choose([row_of(matcher=matcher)], logits_V[None])[0].token_id == 3
    assert (
        choose([row_of(matcher=matcher, logit_bias={1: 100.0, 3: -100.0})], logits_V[None])[0].token_id == 0
    )


@pytest.mark.parametrize("temperature", [0.0, 1.0])
def test_a_grammar_holds_even_where_the_model_rules_its_tokens_out(temperature):
    logits_V = torch.tensor([1.0, -math.inf, 2.0, -math.inf])
    matcher = OnlyThese(1, 3, vocab_size=4)
    for seed in range(20):
        row = row_of(seed=seed, temperature=temperature, matcher=matcher)
        assert choose([row], logits_V[None])[0].token_id in (1, 3)


def every_kind_of_row():
    return [row_of(seed=index, logprobs=3, **settings) for index, settings in enumerate(SETTINGS.values())]


def test_a_row_does_not_depend_on_its_neighbours():
    logits_RV = noise(len(SETTINGS), 12, seed=8)
    together = choose(every_kind_of_row(), logits_RV)
    for index, row in enumerate(every_kind_of_row()):
        alone = choose([row], logits_RV[index : index + 1])[0]
        assert alone.token_id == together[index].token_id
        assert alone.logprob.logprob == pytest.approx(together[index].logprob.logprob, abs=1e-6)


def test_the_given_logits_stay_as_they_are():
    logits_RV = noise(len(SETTINGS), 12)
    before = logits_RV.clone()
    choose(every_kind_of_row(), logits_RV)
    assert torch.equal(logits_RV, before)


def test_the_log_probability_is_the_models_own():
    logits_V = noise(12, seed=4)
    row = row_of(logprobs=4, matcher=OnlyThese(6, vocab_size=12), temperature=0.2, logit_bias={6: 9.0})
    chosen = choose([row], logits_V[None])[0]
    expected_V = logits_V.log_softmax(-1)
    values, tokens = expected_V.topk(4)
    assert (chosen.token_id, chosen.logprob.token_id) == (6, 6)
    assert chosen.logprob.logprob == pytest.approx(float(expected_V[6]), abs=1e-6)
    assert [token for token, _ in chosen.logprob.top] == tokens.tolist()
    assert [value for _, value in chosen.logprob.top] == pytest.approx(values.tolist(), abs=1e-6)


def test_rows_get_the_log_probabilities_that_they_ask_for():
    rows = [row_of(), row_of(logprobs=0), row_of(logprobs=2), row_of(logprobs=5)]
    found = [chosen.logprob for chosen in choose(rows, noise(4, 12))]
    assert found[0] is None
    assert [len(logprob.top) for logprob in found[1:]] == [0, 2, 5]


def test_log_probabilities_of_many_places_equal_one_at_a_time():
    logits_NV, token_ids = noise(50, 300, seed=6), torch.arange(50).tolist()
    many = logprobs_of(logits_NV, token_ids, [20] * 50)
    for index, token_id in enumerate(token_ids):
        (one,) = logprobs_of(logits_NV[index : index + 1], [token_id], [20])
        assert one.logprob == pytest.approx(many[index].logprob, abs=1e-6)
        assert [token for token, _ in one.top] == [token for token, _ in many[index].top]
        assert one.logprob == pytest.approx(float(logits_NV[index].log_softmax(-1)[token_id]), abs=1e-6)


@pytest.mark.parametrize("k", [1, 3, 5, 9, 20])
def test_the_likeliest_of_equal_tokens_are_those_with_the_lower_ids(k):
    logits_NV = noise(20, 15, seed=7).round()
    for logits_V, found in zip(logits_NV.tolist(), logprobs_of(logits_NV, [0] * 20, [k] * 20), strict=True):
        expected = sorted(range(15), key=lambda token: (-logits_V[token], token))[:k]
        assert [token for token, _ in found.top] == expected


def test_a_model_that_gives_no_numbers_is_an_error():
    for bad in (math.nan, math.inf):
        logits_RV = noise(2, 12)
        logits_RV[1, 5] = bad
        with pytest.raises(ModelError, match="not a number"):
            choose([row_of(), row_of(temperature=1.0)], logits_RV)


def test_a_token_of_no_probability_is_never_drawn():
    highest = (2**53 - 1) / 2**53
    for total in (1.0, 1.0 + 2**-52, 0.3, 7.7, 1e-300):
        cumulative_N = np.array([0.0, 0.0, 0.5, 1.0, 1.0]) * total
        assert position_of(0.0, cumulative_N) == 2
        assert position_of(highest, cumulative_N) == 3


def test_random_numbers_lie_below_one(monkeypatch):
    class Highest:
        def digest(self):
            return b"\xff" * 32

    monkeypatch.setattr(choose_module.hashlib, "sha256", lambda _: Highest())
    assert uniform_number(1, 2) == (2**53 - 1) / 2**53 < 1


def test_random_numbers_depend_on_seed_and_position():
    assert uniform_number(1, 2) == uniform_number(1, 2)
    assert len({uniform_number(seed, position) for seed in range(30) for position in range(30)}) == 900
