"""Log-probabilities of generated and of prompt tokens, and grammars, through the sampler."""

import json

import pytest
import torch
from sampler_rows import END, tokens
from tiny_models import tiny_llama, tiny_tokenizer

from tunesmith.runtime.sampling import engine
from tunesmith.runtime.sampling.engine import Sampler, sample
from tunesmith.runtime.sampling.port import CannotAdmit, Grammar, Request


def make(**settings):
    return Sampler(tiny_llama(), tiny_tokenizer(), **settings)


def events_of(sampler, *requests):
    """All events of each request."""
    found = {sampler.submit(request): [] for request in requests}
    while sampler.busy:
        for event in sampler.step():
            found[event.key].append(event)
    return list(found.values())


def direct(token_ids):
    """Log-probabilities (T, V) of each place, from one forward pass."""
    with torch.inference_mode():
        return tiny_llama()(torch.tensor([token_ids])).logits[0].log_softmax(-1)


def test_log_probabilities_of_generated_tokens_equal_a_direct_forward():
    prompt = tokens(30, 1)
    asked = Request(prompt, 12, logprobs=3, temperature=1.0, seed=4, logit_bias={7: 5.0})
    events, _ = events_of(make(), asked, Request(tokens(40, 2), 15))
    scores = [score for event in events for score in event.logprobs]
    whole = (*prompt, *(score.token_id for score in scores))
    assert len(scores) == 12
    logprob_TV = direct(whole)
    for place, score in enumerate(scores, start=len(prompt) - 1):
        assert score.logprob == pytest.approx(float(logprob_TV[place, score.token_id]), abs=1e-3)
        assert [token for token, _ in score.top] == logprob_TV[place].topk(3).indices.tolist()


def test_the_token_that_ends_an_answer_is_told_apart():
    prompt = tokens(30, 1)
    ((first, *_),) = events_of(make(), Request(prompt, 1, logprobs=0))
    end = first.logprobs[0]
    ((event,),) = events_of(make(), Request(prompt, 5, logprobs=0, stop_token_ids=frozenset({end.token_id})))
    assert (event.logprobs, event.ended_by, event.finish_reason) == ((), end, "stop")


@pytest.mark.parametrize("max_tokens", [0, 4])
@pytest.mark.parametrize("first", [1, 40, 250, 299, 300])
def test_prompt_log_probabilities_equal_a_direct_forward_whatever_the_chunks(first, max_tokens, monkeypatch):
    monkeypatch.setattr(engine, "CHUNK_TOKENS", 64)
    monkeypatch.setattr(engine, "CHUNK_READS", 24)
    prompt = tokens(300, 1)
    sampler = make()
    sample(sampler, [Request(prompt[:200], 1)])  # leaves a stored beginning
    asked = Request(prompt, max_tokens, prompt_logprobs=2, prompt_logprobs_from=first)
    events, others = events_of(sampler, asked, Request(prompt[:50], 10))
    scores = events[0].prompt_logprobs
    assert [score.token_id for score in scores] == list(prompt[first:])
    logprob_TV = direct(prompt)
    wanted = torch.tensor([float(logprob_TV[at - 1, prompt[at]]) for at in range(first, 300)])
    torch.testing.assert_close(torch.tensor([s.logprob for s in scores]), wanted, atol=1e-3, rtol=0)
    assert all(len(score.top) == 2 for score in scores)
    assert all(event.prompt_logprobs is None for event in (*events[1:], *others))
    assert (len(events), events[-1].finish_reason) == (max(1, max_tokens), "length")
    assert events[0].num_cached == (min(first - 1, 200) if first > 32 else 0)


def test_few_prompt_places_reach_the_output_layer_at_once(monkeypatch):
    monkeypatch.setattr(engine, "CHUNK_READS", 24)
    sampler = make()
    sizes = []
    logits = sampler._stepper.logits
    sampler._stepper.logits = lambda line: sizes.append(len(line.reads)) or logits(line)
    requests = [Request(tokens(300, n), 0, prompt_logprobs=0) for n in range(3)]
    assert [len(events) for events in events_of(sampler, *requests, Request((1, 2), 30))] == [1, 1, 1, 30]
    assert max(sizes) == 24 + 1
    assert not sampler.memory.groups


def test_a_scored_prompt_of_one_token_has_nothing_to_score():
    ((event,),) = events_of(make(), Request((5,), 0, prompt_logprobs=1))
    assert (event.prompt_logprobs, event.finish_reason) == ((), "length")


def test_scored_prompts_with_a_common_beginning_compute_it_once():
    question = tokens(200, 1)
    sampler = make()
    requests = [
        Request(question + tokens(5, n), 0, prompt_logprobs=0, prompt_logprobs_from=200) for n in range(2, 6)
    ]
    events = events_of(sampler, *requests)
    assert [event.num_cached for (event,) in events] == [0, 199, 199, 199]


def test_an_answer_keeps_to_its_grammar_among_others_without_one():
    # Random weights would write blanks, or other properties, until the end.
    close = {"additionalProperties": False, "x-guidance": {"whitespace_flexible": False}}
    schema = json.dumps(
        {"type": "object", "properties": {"n": {"enum": [1, 22]}}, "required": ["n"], **close}
    )
    requests = [
        Request(tokens(20, 1), 60, grammar=Grammar("choice", '["yes", "no"]'), stop_token_ids=END),
        Request(tokens(20, 2), 400, grammar=Grammar("regex", "[ab]{3}"), temperature=1.0, seed=1),
        Request(tokens(20, 3), 20, stop_token_ids=END),
        Request(
            tokens(20, 4),
            90,
            grammar=Grammar("json_schema", schema),
            temperature=1.0,
            seed=2,
            stop_token_ids=END,
        ),
    ]
    (yes, regex, free, whole) = events_of(make(), *requests)
    texts = ["".join(event.text for event in events) for events in (yes, regex, free, whole)]
    assert texts[0] in ("yes", "no")
    assert len(texts[1]) == 3
    assert set(texts[1]) <= {"a", "b"}
    assert json.loads(texts[3])["n"] in (1, 22)
    assert [events[-1].finish_reason for events in (yes, regex, whole)] == ["stop"] * 3


def test_a_grammar_that_cannot_be_read_is_refused_and_the_others_go_on():
    sampler = make()
    sampler.submit(Request(tokens(20, 1), 3))
    with pytest.raises(CannotAdmit):
        sampler.submit(Request(tokens(20, 2), 3, grammar=Grammar("json_schema", "{")))
    assert len(sampler.waiting) == 1
