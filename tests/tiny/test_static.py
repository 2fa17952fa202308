import pytest
import torch
from sampler_rows import WithOffsets, answers, generate, tokens
from test_score import falcon_h1, gemma2, plain_logprobs
from tiny_models import tiny_llama, tiny_model_folder, tiny_tokenizer
from tiny_sessions import rows
from transformers import (
    Gemma2Config,
    Gemma2ForCausalLM,
    GptOssConfig,
    GptOssForCausalLM,
    MambaConfig,
    MambaForCausalLM,
    RecurrentGemmaConfig,
    RecurrentGemmaForCausalLM,
)

from tunesmith.core.errors import ModelError
from tunesmith.core.recipe import Peft
from tunesmith.runtime.methods.peft import attach
from tunesmith.runtime.methods.port import Begin
from tunesmith.runtime.models import Loaded, describe, load_for_inference, load_model
from tunesmith.runtime.sampling.engine import Sampler, sample
from tunesmith.runtime.sampling.open import open_sampler
from tunesmith.runtime.sampling.port import CannotAdmit, Grammar, Request
from tunesmith.runtime.sampling.static import StaticSampler
from tunesmith.runtime.score import ScoreItem, hidden_states, score


def mamba():
    config = MambaConfig(
        vocab_size=264, hidden_size=32, num_hidden_layers=2, state_size=8, conv_kernel=4, eos_token_id=257,
        pad_token_id=257, initializer_range=0.3, tie_word_embeddings=False,
    )  # fmt: skip
    return MambaForCausalLM(config).eval()


LIVELY = {"tie_word_embeddings": False, "initializer_range": 0.3}
"""Weights under which a tiny model says more than its last token again."""
MAKERS = {"falcon_h1": falcon_h1, "mamba": mamba, "gemma2": gemma2, "llama": lambda: tiny_llama(**LIVELY)}


def made(name):
    torch.manual_seed(0)
    return MAKERS[name]()


def prompts():
    """Two lengths that several prompts have, and one that stands alone."""
    return [tokens(9, 1), tokens(14, 2), tokens(9, 3), tokens(9, 4), tokens(30, 5), tokens(14, 6)]


LENGTHS = (12, 20, 1, 25, 9, 6)


@pytest.mark.parametrize("name", sorted(MAKERS))
@pytest.mark.parametrize("max_batch", [1, 2, 32])
def test_greedy_tokens_equal_those_of_transformers_one_prompt_at_a_time(name, max_batch):
    expected = [generate(made(name), prompt, n) for prompt, n in zip(prompts(), LENGTHS, strict=True)]
    sampler = StaticSampler(made(name), tiny_tokenizer(), max_batch=max_batch)
    found = answers(sampler, [Request(prompt, n) for prompt, n in zip(prompts(), LENGTHS, strict=True)])
    assert [len(row) for row in found] == list(LENGTHS)
    # generate stops at the end token of the model's configuration
    assert [row[: len(other)] for row, other in zip(found, expected, strict=True)] == expected


@pytest.mark.parametrize("name", sorted(MAKERS))
def test_the_answers_compared_here_depend_on_their_prompts_and_say_more_than_one_thing(name):
    found = [tuple(generate(made(name), prompt, 12)) for prompt in prompts()]
    assert len(set(found)) == len(found)
    assert sum(len(set(row)) > 4 for row in found) > 3


def varied_requests():
    """Every setting that a request has."""
    settings = [
        {"temperature": 1.0, "seed": 3},
        {"temperature": 0.8, "top_k": 20, "top_p": 0.9, "min_p": 0.01, "seed": 4, "logprobs": 2},
        {"stop": ("a", "b", "c", "d", "e"), "logprobs": 0, "temperature": 1.5, "seed": 5},
        {"stop_token_ids": frozenset(range(60)), "logprobs": 1, "temperature": 1.5, "seed": 6},
        {"repetition_penalty": 1.3, "presence_penalty": 0.5, "frequency_penalty": 0.2},
        {"logit_bias": {7: 100.0}},
        {"prompt_logprobs": 2, "prompt_logprobs_from": 4},
        {"prompt_logprobs": 0},
        {"grammar": Grammar("json_schema", '{"enum": ["red", "green"]}'), "temperature": 1.0, "seed": 7},
        {"grammar": Grammar("regex", "[a-c]{3}"), "temperature": 1.0, "seed": 8},
    ]
    same = [Request(tokens(9, n), 20, **one) for n, one in enumerate(settings)]
    return [*same, Request(tokens(9, 99), 0, prompt_logprobs=1), Request(tokens(3, 99), 0)]


def news_of(sampler, requests):
    """What a listener is told of each request: tokens one by one, with the log-probabilities rounded."""
    keys = [sampler.submit(request) for request in requests]
    found = {key: [] for key in keys}

    def rounded(logprobs):
        return [
            (one.token_id, round(one.logprob, 3), [(token, round(value, 3)) for token, value in one.top])
            for one in logprobs or ()
        ]

    while sampler.busy:
        for event in sampler.step():
            ended_by = rounded([event.ended_by]) if event.ended_by else None
            scores = (rounded(event.logprobs), rounded(event.prompt_logprobs), ended_by)
            found[event.key].append((event.text, event.num_generated, event.finish_reason, *scores))
    return [found[key] for key in keys]


@pytest.mark.parametrize("max_batch", [1, 32])
def test_every_setting_means_what_it_means_to_the_stepping_sampler(max_batch):
    expected = news_of(Sampler(tiny_llama(), tiny_tokenizer()), varied_requests())
    sampler = StaticSampler(tiny_llama(), tiny_tokenizer(), max_batch=max_batch)
    assert news_of(sampler, varied_requests()) == expected
    assert {news[-1][2] for news in expected} == {"stop", "length"}


def test_logprobs_of_given_text_equal_a_direct_forward():
    items = [ScoreItem(tokens(20, n), 5 + n) for n in range(4)] + [ScoreItem(tokens(33, 9))]
    for item, found in zip(
        items, score(StaticSampler(made("falcon_h1"), tiny_tokenizer()), items), strict=True
    ):
        expected = plain_logprobs(made("falcon_h1"), item.token_ids)[item.start :]
        assert found.logprobs == pytest.approx(expected, abs=1e-4)


def test_adapters_start_in_batches_of_their_own():
    names = [None, "a", "b", "a", None, "b"]
    requests = [Request(tokens(9, n), 10, adapter=name) for n, name in enumerate(names)]

    def found(chosen):
        model = tiny_llama()
        bank = WithOffsets(model, ("a", "b"))
        bank.route = lambda runs, reads=None: setattr(bank.embedding, "runs", list(runs))
        model.model.embed_tokens.forward = lambda ids: flat(bank.embedding, ids)
        return answers(StaticSampler(model, tiny_tokenizer(), bank=bank), chosen)

    def flat(embedding, ids):
        rows = torch.cat([embedding.offsets[name].expand(length, -1) for name, length in embedding.runs])
        return embedding.inner(ids) + rows.view(*ids.shape, -1)

    assert found(requests) == [found([request])[0] for request in requests]
    assert len({tuple(found([Request(tokens(9, 0), 10, adapter=name)])[0]) for name in (None, "a", "b")}) == 3


def test_a_cancelled_request_leaves_and_the_others_do_not_notice():
    requests = [Request(tokens(9, n), 15) for n in range(5)]
    expected = answers(StaticSampler(made("falcon_h1"), tiny_tokenizer()), requests)
    sampler = StaticSampler(made("falcon_h1"), tiny_tokenizer())
    keys = [sampler.submit(request) for request in requests]
    rows = list(sampler.waiting)
    sampler.step()
    for key in (keys[0], keys[3]):
        sampler.step()
        assert [event.finish_reason for event in sampler.cancel(key)] == ["cancelled"]
        assert sampler.cancel(key) == []
    while sampler.busy:
        sampler.step()
    for index in (1, 2, 4):
        assert rows[index].generated == expected[index]
    for key in [sampler.submit(request) for request in requests]:
        sampler.cancel(key)
    assert not sampler.busy
    assert sampler.step() == []


def test_requests_that_come_later_wait_for_the_next_batch():
    sampler = StaticSampler(made("falcon_h1"), tiny_tokenizer())
    sampler.submit(Request(tokens(9, 1), 4))
    sampler.step()
    late = sampler.submit(Request(tokens(9, 2), 4))
    assert [event.key for _ in range(3) for event in sampler.step()] == [1, 1, 1]
    assert {event.key for event in sampler.step()} == {late}


def test_after_a_failure_nothing_is_left():
    sampler = StaticSampler(made("falcon_h1"), tiny_tokenizer(), max_batch=1)
    keys = [sampler.submit(Request(tokens(9, n), 4)) for n in range(2)]
    sampler.step()
    assert sampler.reset() == keys
    assert not sampler.busy
    assert len(sample(sampler, [Request(tokens(9, 1), 2)])) == 1


def test_memory_is_never_more_than_was_given(monkeypatch):
    from tunesmith.runtime.sampling import static

    roomy = StaticSampler(made("falcon_h1"), tiny_tokenizer())
    row = roomy.shape.row_bytes + 40 * roomy.shape.token_bytes
    sampler = StaticSampler(made("falcon_h1"), tiny_tokenizer(), memory_bytes=int(2.5 * row))
    used = []
    go_on = sampler._model.go_on

    def watched(*args):
        found = go_on(*args)
        used.append(static.num_bytes(found.held.cache))
        return found

    monkeypatch.setattr(sampler._model, "go_on", watched)
    requests = [Request(tokens(9, n), 31) for n in range(5)]
    assert answers(sampler, requests) == answers(roomy, requests)
    assert row < max(used) <= 2 * row
    with pytest.raises(CannotAdmit, match="memory"):
        sampler.submit(Request(tokens(9, 1), 200))
    assert sampler.longest >= 40


def test_the_logits_of_scored_prompts_count_for_every_row_that_starts_with_them():
    tight = StaticSampler(tiny_llama(), tiny_tokenizer(), memory_bytes=128 * 1024)
    sizes = []
    begin = tight._model.begin

    def watched(token_BT, adapter, keep):
        sizes.append(token_BT.numel() * tight.shape.token_bytes + len(token_BT) * keep * 264 * 4)
        return begin(token_BT, adapter, keep)

    tight._model.begin = watched
    with pytest.raises(CannotAdmit, match="prompt_logprobs_from"):
        tight.submit(Request(tokens(200, 1), 0, prompt_logprobs=0))
    few = [Request(tokens(30, n), 1, prompt_logprobs=0, prompt_logprobs_from=26) for n in range(9)]
    many = [Request(tokens(30, n), 1, prompt_logprobs=0) for n in range(9)]
    sample(tight, [request for pair in zip(few, many, strict=True) for request in pair])
    assert len(sizes) < 18
    assert max(sizes) <= 128 * 1024


def test_a_state_that_does_not_grow_holds_any_length():
    sampler = StaticSampler(made("mamba"), tiny_tokenizer(), memory_bytes=1 << 20)
    assert sampler.shape.token_bytes == 0
    assert sampler.longest > 1 << 30


def test_what_cannot_be_admitted_is_refused_with_the_reason():
    sampler = StaticSampler(made("falcon_h1"), tiny_tokenizer())
    for request, reason in (
        (Request((), 1), "at least one prompt token"),
        (Request((999,), 1), "^prompt: a token id is outside the vocabulary"),
        (Request((1,), 1, logit_bias={999: 1.0}), "^logit_bias: a token id is outside the vocabulary"),
        (Request((1,), 1, logit_bias={-1: 1.0}), "^logit_bias: a token id is outside the vocabulary"),
        (Request((1,), 1, adapter="x"), "no adapter"),
        (Request((1,), 10**6), "context"),
        (Request((1,), 1, grammar=Grammar("regex", "(")), "regex"),
    ):
        with pytest.raises(CannotAdmit, match=reason):
            sampler.submit(request)
    assert not sampler.busy


def test_a_model_that_keeps_its_state_to_itself_is_refused():
    torch.manual_seed(0)
    config = RecurrentGemmaConfig(
        vocab_size=264, hidden_size=32, intermediate_size=48, num_hidden_layers=3, num_attention_heads=4,
        lru_width=32, attention_window_size=16,
    )  # fmt: skip
    with pytest.raises(ModelError):
        StaticSampler(RecurrentGemmaForCausalLM(config), tiny_tokenizer())


def test_the_sampler_of_a_hybrid_model_says_how_it_answers(tmp_path):
    made("falcon_h1").save_pretrained(tmp_path)
    tiny_tokenizer().save_pretrained(tmp_path)
    sampler = open_sampler(load_model(tmp_path, dtype="float32"))
    assert isinstance(sampler, StaticSampler)
    assert "do not join a running batch" in sampler.note
    assert "recurrent and hybrid" in sampler.note


def test_attention_with_a_term_that_we_do_not_know_is_left_to_transformers():
    torch.manual_seed(0)
    config = GptOssConfig(
        vocab_size=264, hidden_size=32, intermediate_size=48, num_hidden_layers=2, head_dim=8,
        num_attention_heads=4, num_key_value_heads=2, num_local_experts=2, num_experts_per_tok=1,
        sliding_window=8, initializer_range=0.3,
    )  # fmt: skip
    model = GptOssForCausalLM(config).eval()
    expected = [greedy(model, prompt, 6) for prompt in prompts()]
    sampler = open_sampler(Loaded(model, tiny_tokenizer(), describe(model, "tiny", "float32")))
    assert isinstance(sampler, StaticSampler)
    assert "s_aux" in sampler.note
    assert answers(sampler, [Request(prompt, 6) for prompt in prompts()]) == expected


@pytest.mark.parametrize("fault", [ModelError("damaged"), RuntimeError("not enough memory"), MemoryError()])
def test_a_fault_does_not_make_a_model_answer_the_slow_way(fault, tmp_path, monkeypatch):
    loaded = load_model(tiny_model_folder(tmp_path), dtype="float32")

    def failing(*_args, **_settings):
        raise fault

    monkeypatch.setattr(loaded.model, "forward", failing)
    with pytest.raises(type(fault)):
        open_sampler(loaded)
    monkeypatch.undo()
    monkeypatch.setattr("tunesmith.runtime.sampling.forward.measure", failing)
    with pytest.raises(type(fault)):
        open_sampler(loaded)


LEARNED_PROMPTS = {
    "PROMPT_TUNING": {"num_virtual_tokens": 4},
    "P_TUNING": {"num_virtual_tokens": 4},
    "PREFIX_TUNING": {"num_virtual_tokens": 4},
    "MULTITASK_PROMPT_TUNING": {"num_virtual_tokens": 4},
    "CARTRIDGE": {"num_virtual_tokens": 4},
    "CPT": {"cpt_token_ids": [5, 6, 7], "cpt_mask": [1, 1, 1], "cpt_tokens_type_mask": [1, 2, 4]},
}


def published(peft_type, base, folder):
    """An adapter with large random numbers, so that it matters; the logits that training sees."""
    attached = attach(
        load_model(base, dtype="float32"), Peft(peft_type=peft_type, config=LEARNED_PROMPTS[peft_type]),
        Begin(seed=0, base_name="base"),
    )  # fmt: skip
    with torch.no_grad():
        for entry in attached.trainable:
            entry.parameter.copy_(torch.randn(entry.parameter.shape))
    attached.publish(folder)
    return attached


def greedy(called, prompt, num_tokens):
    """Computed anew for each token, as training calls it."""
    found = []
    for _ in range(num_tokens):
        token_1T = torch.tensor([[*prompt, *found]])
        with torch.inference_mode():
            output = called(input_ids=token_1T, attention_mask=torch.ones_like(token_1T), use_cache=False)
        found.append(int(output.logits[0, -1].argmax()))
    return found


@pytest.mark.parametrize("peft_type", sorted(LEARNED_PROMPTS))
def test_a_learned_prompt_answers_as_training_computed_it(peft_type, tmp_path):
    # Weights so wide that what is attended to changes what is said.
    base = tiny_model_folder(tmp_path / "base", initializer_range=0.3)
    attached = published(peft_type, base, tmp_path / "adapter")
    attached.forward.eval()
    expected = [greedy(attached.forward, prompt, 6) for prompt in prompts()]
    loaded = load_for_inference(base, adapter=tmp_path / "adapter", dtype="float32")
    sampler = open_sampler(loaded)
    assert isinstance(sampler, StaticSampler)
    assert answers(sampler, [Request(prompt, 6) for prompt in prompts()]) == expected
    assert expected != [generate(tiny_llama(initializer_range=0.3), prompt, 6) for prompt in prompts()]
    num_learned = LEARNED_PROMPTS[peft_type].get("num_virtual_tokens", 3)
    assert sampler.limits.context_tokens == 512 - num_learned


@pytest.mark.parametrize("peft_type", sorted(LEARNED_PROMPTS))
def test_hidden_states_are_those_that_a_learned_prompt_makes(peft_type, tmp_path):
    base = tiny_model_folder(tmp_path / "base", initializer_range=0.3)
    attached = published(peft_type, base, tmp_path / "adapter")
    attached.forward.eval()
    examples = rows(9, 14)
    expected = []
    for example in examples:
        token_1T = torch.tensor([list(example.token_ids)])
        with torch.inference_mode():
            states = attached.forward(
                input_ids=token_1T, attention_mask=torch.ones_like(token_1T), use_cache=False,
                output_hidden_states=True,
            ).hidden_states[-1]  # fmt: skip
        expected.append(states[0, -len(example.token_ids) :].mean(0))
    loaded = load_for_inference(base, adapter=tmp_path / "adapter", dtype="float32")
    found = torch.from_numpy(hidden_states(loaded, examples))
    torch.testing.assert_close(found, torch.stack(expected), atol=1e-5, rtol=1e-5)
    without = hidden_states(load_model(base, dtype="float32"), examples)
    assert float((found - torch.from_numpy(without)).abs().max()) > 0.01


def test_a_model_whose_class_has_no_fused_attention_is_loaded(tmp_path):
    """transformers refuses "sdpa" for it by name, and chooses its own way when none is asked for."""
    config = Gemma2Config(
        vocab_size=264, hidden_size=32, intermediate_size=48, num_hidden_layers=2, head_dim=8,
        num_attention_heads=4, num_key_value_heads=2, sliding_window=20, max_position_embeddings=512,
    )  # fmt: skip
    torch.manual_seed(0)
    Gemma2ForCausalLM(config).save_pretrained(tmp_path)
    tiny_tokenizer().save_pretrained(tmp_path)
    loaded = load_model(tmp_path, dtype="float32")
    assert loaded.model.config._attn_implementation == "eager"
    assert len(answers(open_sampler(loaded), [Request((5, 9), 3)])[0]) == 3
