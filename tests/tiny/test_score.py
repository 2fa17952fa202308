import math

import numpy as np
import pytest
import torch
from sampler_rows import WithOffsets, tokens
from tiny_models import tiny_llama, tiny_tokenizer
from tiny_sessions import rows, tiny_session
from transformers import FalconH1Config, FalconH1ForCausalLM, Gemma2Config, Gemma2ForCausalLM

from tunesmith.core.errors import DataError
from tunesmith.runtime import score as scoring
from tunesmith.runtime.models import Loaded, describe
from tunesmith.runtime.packed import pack_linears
from tunesmith.runtime.sampling.engine import Sampler
from tunesmith.runtime.sampling.port import CannotAdmit, Request
from tunesmith.runtime.score import Scored, ScoreItem, hidden_states, losses, score
from tunesmith.runtime.step import Encoded
from tunesmith.train.objectives import SupervisedFineTuning


def plain_logprobs(model, token_ids):
    with torch.inference_mode():
        logits = model(input_ids=torch.tensor([token_ids])).logits[0].float().log_softmax(-1)
    return [float(logits[index - 1, token]) for index, token in enumerate(token_ids)]


def assert_scores(found, model, items, *, tolerance=1e-5):
    for item, one in zip(items, found, strict=True):
        expected = plain_logprobs(model, item.token_ids)[item.start :]
        assert [token.token_id for token in one.tokens] == list(item.token_ids[item.start :])
        np.testing.assert_allclose(one.logprobs, expected, atol=tolerance)


def test_logprobs_equal_a_direct_forward_for_shared_beginnings_long_rows_and_single_tokens():
    beginning = tokens(90, 1)
    items = [
        ScoreItem(beginning + tokens(7, 2), 90),
        ScoreItem(beginning + tokens(20, 3), 90),
        ScoreItem(beginning + tokens(20, 3), 95),
        ScoreItem(tokens(2, 4)),
        ScoreItem(tokens(900, 5), 100),
        ScoreItem(tokens(33, 6), 32),
    ]
    model = tiny_llama(max_position_embeddings=1024)
    found = score(Sampler(tiny_llama(max_position_embeddings=1024), tiny_tokenizer()), items)
    assert_scores(found, model, items)


def test_rows_of_one_pass_get_as_many_likeliest_tokens_as_each_asks_for():
    sampler = Sampler(tiny_llama(), tiny_tokenizer())
    asked = {2: tokens(9, 1), 0: tokens(14, 2), 5: tokens(11, 3)}
    for top, row in asked.items():
        sampler.submit(Request(row, 0, prompt_logprobs=top))
    speaking = sampler.submit(Request(tokens(6, 4), 2))
    events = {event.key: event.prompt_logprobs for event in sampler.step()}
    assert events.pop(speaking) is None
    for (top, row), found in zip(asked.items(), events.values(), strict=True):
        assert [len(token.top) for token in found] == [top] * (len(row) - 1)
        expected = plain_logprobs(tiny_llama(), row)[1:]
        np.testing.assert_allclose([token.logprob for token in found], expected, atol=1e-5)


def test_a_shared_beginning_is_computed_once():
    beginning = tokens(100, 1)
    sampler = Sampler(tiny_llama(), tiny_tokenizer())
    lengths = []
    forward = sampler._stepper.model.forward

    def counting(*args, **settings):
        lengths.append(settings["input_ids"].shape[1])
        return forward(*args, **settings)

    sampler._stepper.model.forward = counting
    score(sampler, [ScoreItem(beginning + tokens(5, n), 100) for n in range(8)])
    assert sum(lengths) < 100 + 8 * 7


def test_each_item_is_judged_by_its_own_adapter():
    model = tiny_llama()
    bank = WithOffsets(model, ("a", "b"))
    names = [None, "a", "b", "a"]
    items = [ScoreItem(tokens(40, 1) + tokens(9, n), 40, name) for n, name in enumerate(names)]
    found = score(Sampler(model, tiny_tokenizer(), bank=bank), items)
    for item, one in zip(items, found, strict=True):
        alone = tiny_llama()
        adapters = WithOffsets(alone, ("a", "b"))
        adapters.route([(item.adapter, len(item.token_ids))])
        assert_scores([one], alone, [item])
    assert found[1].total != pytest.approx(found[0].total, abs=1e-2)


def test_the_likeliest_tokens_come_along_when_asked_for():
    item = ScoreItem(tokens(12, 1), 8)
    found = score(Sampler(tiny_llama(), tiny_tokenizer()), [item], top=3)[0]
    with torch.inference_mode():
        logits = tiny_llama()(input_ids=torch.tensor([item.token_ids])).logits[0].log_softmax(-1)
    for index, token in enumerate(found.tokens, start=8):
        assert [number for number, _ in token.top] == logits[index - 1].topk(3).indices.tolist()


def test_in_bfloat16_logprobs_are_within_rounding():
    items = [ScoreItem(tokens(60, n), 30) for n in range(3)]
    found = score(Sampler(tiny_llama(dtype=torch.bfloat16), tiny_tokenizer()), items)
    assert_scores(found, tiny_llama(dtype=torch.bfloat16), items, tolerance=0.1)


def test_mean_total_and_perplexity():
    values = [-0.5, -1.0, -3.0]
    item = ScoreItem((1, 2, 3, 4))
    found = score(Sampler(tiny_llama(), tiny_tokenizer()), [item])[0]
    known = Scored(tuple(token._replace(logprob=v) for token, v in zip(found.tokens, values, strict=True)))
    assert (known.total, known.mean) == (-4.5, -1.5)
    assert known.perplexity == pytest.approx(math.exp(1.5))
    hopeless = Scored((found.tokens[0]._replace(logprob=-1e6),))
    assert hopeless.perplexity == math.inf


@pytest.mark.parametrize("start", [0, 4, 9])
def test_a_row_without_a_token_to_judge_is_refused(start):
    with pytest.raises(DataError, match="none to judge"):
        score(Sampler(tiny_llama(), tiny_tokenizer()), [ScoreItem((1, 2, 3, 4), start)])


def test_an_item_that_does_not_fit_is_named_and_the_others_leave():
    sampler = Sampler(tiny_llama(), tiny_tokenizer())
    with pytest.raises(CannotAdmit, match="item 1"):
        score(sampler, [ScoreItem(tokens(5, 1)), ScoreItem(tokens(600, 1))])
    assert not sampler.busy


def test_losses_equal_what_a_training_session_counts():
    generator = torch.Generator().manual_seed(3)
    examples = rows(20, 37, 5, 80)
    weights = tuple((torch.rand(25, generator=generator) * (torch.arange(25) % 3 == 0)).tolist())
    examples.append(Encoded(tokens(25, 9), weights))
    examples.append(Encoded(tokens(8, 10), (1.0, *[0.0] * 7)))
    session = tiny_session()
    objective = SupervisedFineTuning()
    expected = session.losses(examples, objective.readouts)
    loss = session.forward_backward(examples, objective).loss
    found = losses(Sampler(tiny_llama(), tiny_tokenizer()), examples)
    np.testing.assert_allclose([one.nll for one in found], [one.nll for one in expected], rtol=1e-5)
    total = sum(one.total_weight for one in found)
    assert sum(one.weighted for one in found) / total == pytest.approx(loss, rel=1e-5)
    assert found[-1] == (0, 0, 0, 0)
    assert [one.num_supervised for one in found] == [example.num_supervised for example in examples]


def states_of(model, examples, **settings):
    return hidden_states(Loaded(model, tiny_tokenizer(), describe(model, "tiny", "")), examples, **settings)


def plain_means(model, examples, over="row"):
    found = []
    for example in examples:
        with torch.inference_mode():
            output = model(input_ids=torch.tensor([list(example.token_ids)]), output_hidden_states=True)
        keep = torch.tensor([over == "row" or weight != 0 for weight in example.weights])
        found.append(output.hidden_states[-1][0][keep].float().mean(0))
    return torch.stack(found).numpy()


@pytest.mark.parametrize("over", ["row", "supervised"])
@pytest.mark.parametrize("pass_tokens", [1, 60, 4096])
def test_hidden_states_equal_those_of_a_plain_forward(over, pass_tokens):
    examples = rows(20, 37, 1, 80, 300)
    found = states_of(tiny_llama(), examples, over=over, pass_tokens=pass_tokens)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, plain_means(tiny_llama(), examples, over), atol=1e-5)


def test_in_bfloat16_hidden_states_are_within_rounding():
    examples = rows(20, 300)
    found = states_of(tiny_llama(dtype=torch.bfloat16), examples)
    np.testing.assert_allclose(found, plain_means(tiny_llama(dtype=torch.bfloat16), examples), atol=0.03)


def test_hidden_states_of_weights_that_were_rearranged_for_the_processor():
    examples = rows(20, 37)
    model = tiny_llama(dtype=torch.bfloat16)
    pack_linears(model)
    np.testing.assert_allclose(
        states_of(model, examples), plain_means(tiny_llama(dtype=torch.bfloat16), examples), atol=0.03
    )


def test_the_model_is_left_as_it_was_even_where_it_was_being_sampled_from():
    sampler = Sampler(tiny_llama(), tiny_tokenizer())
    item = ScoreItem(tokens(30, 1), 10)
    before = score(sampler, [item])
    states_of(sampler._stepper.model, rows(10, 12))
    assert score(sampler, [item]) == before


def test_hidden_states_of_an_adapter():
    model = tiny_llama()
    bank = WithOffsets(model, ("a", "b"))
    examples = rows(20, 37)
    found = states_of(model, examples, adapter="b", bank=bank)
    for example, vector in zip(examples, found, strict=True):
        bank.route([("b", len(example.token_ids))])
        np.testing.assert_allclose(vector, plain_means(model, [example])[0], atol=1e-5)


def falcon_h1():
    config = FalconH1Config(
        vocab_size=264, hidden_size=32, intermediate_size=48, num_hidden_layers=2, num_attention_heads=4,
        num_key_value_heads=2, mamba_d_ssm=32, mamba_n_heads=4, mamba_d_head=8, mamba_d_state=8,
        initializer_range=0.3, tie_word_embeddings=False,
    )  # fmt: skip
    return FalconH1ForCausalLM(config).eval()


def gemma2():
    config = Gemma2Config(
        vocab_size=264, hidden_size=32, intermediate_size=48, num_hidden_layers=2, head_dim=8,
        num_attention_heads=4, num_key_value_heads=2, sliding_window=20, max_position_embeddings=512,
        attn_logit_softcapping=2.0, query_pre_attn_scalar=4, initializer_range=0.3,
        attn_implementation="eager", tie_word_embeddings=False,
    )  # fmt: skip
    return Gemma2ForCausalLM(config).eval()


@pytest.mark.parametrize("make", [falcon_h1, gemma2])
def test_models_that_cannot_be_packed_go_through_row_by_row(make):
    torch.manual_seed(0)
    model = make()
    examples = rows(20, 37, 5)
    expected = plain_means(model, examples)
    assert not scoring.can_pack(scoring.Reader(model, None, None, None))
    np.testing.assert_allclose(states_of(model, examples), expected, atol=1e-5)


def test_a_row_with_nothing_to_average_is_refused():
    with pytest.raises(DataError, match="row 1"):
        states_of(tiny_llama(), [*rows(4), Encoded((1, 2), (0.0, 0.0))], over="supervised")
    assert states_of(tiny_llama(), []).shape == (0, 32)
