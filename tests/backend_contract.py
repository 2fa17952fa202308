"""What every back-end has to do, whichever it is; run over each by `test_backend_*.py`."""

import asyncio
import json
from contextlib import aclosing
from dataclasses import replace

import pytest

from tunesmith.core.conversation import Message
from tunesmith.runtime.sampling.port import CannotAdmit, Grammar
from tunesmith.serve.backends.port import (
    Backend,
    Chunk,
    ContextExceeded,
    Conversation,
    GenerationRequest,
    PassedOn,
    ScoreRequest,
    Text,
    Tokens,
)


def ask(text: str, **settings: object) -> GenerationRequest:
    return GenerationRequest(Conversation((Message("user", text),)), temperature=0.0, **settings)


def go_on(text: str, **settings: object) -> GenerationRequest:
    return GenerationRequest(Text(text), temperature=0.0, **settings)


def total(tokens) -> float:
    return sum(token.logprob for token in tokens)


async def collect(backend: Backend, request: GenerationRequest) -> list[Chunk]:
    async with aclosing(backend.start(request)) as chunks:
        return [chunk async for chunk in chunks]


def text_of(chunks: list[Chunk]) -> str:
    return "".join(chunk.text for chunk in chunks)


async def the_last_chunk_and_no_other_says_why_it_ended_and_what_it_took(backend: Backend) -> None:
    chunks = await collect(backend, ask("one two three four five", max_tokens=3))
    assert [chunk.finish_reason for chunk in chunks[:-1]] == [None] * (len(chunks) - 1)
    assert chunks[-1].finish_reason == "length"
    assert chunks[-1].usage.completion_tokens == 3
    assert chunks[-1].usage.prompt_tokens > 0


async def the_same_request_gives_the_same_answer_alone_and_in_company(backend: Backend) -> None:
    alone = text_of(await collect(backend, ask("the same again", max_tokens=12)))
    company = [ask(f"another {number}", max_tokens=12) for number in range(5)]
    answers = await asyncio.gather(
        *(collect(backend, request) for request in [ask("the same again", max_tokens=12), *company])
    )
    assert text_of(answers[0]) == alone


async def a_stop_string_ends_the_answer_before_it_or_after_it(backend: Backend) -> None:
    whole = text_of(await collect(backend, ask("tell me about stop strings please", max_tokens=40)))
    stop = whole[7:10]
    assert stop
    cut = await collect(backend, ask("tell me about stop strings please", max_tokens=40, stop=(stop,)))
    assert text_of(cut) == whole[: whole.index(stop)]
    assert cut[-1].finish_reason == "stop"
    kept = ask("tell me about stop strings please", max_tokens=40, stop=(stop,), include_stop=True)
    assert text_of(await collect(backend, kept)) == whole[: whole.index(stop)] + stop


async def what_does_not_fit_the_context_is_refused_with_the_numbers(backend: Backend) -> None:
    with pytest.raises(ContextExceeded) as caught:
        await collect(backend, ask("word", max_tokens=backend.context_tokens))
    assert caught.value.context_tokens == backend.context_tokens
    with pytest.raises(ContextExceeded, match=r"maximum context length"):
        await collect(backend, ask("word " * backend.context_tokens))


async def a_request_that_is_given_up_does_not_disturb_the_next(backend: Backend) -> None:
    alone = text_of(await collect(backend, ask("next", max_tokens=5)))
    chunks = backend.start(ask("a long one that nobody reads to its end", max_tokens=40))
    await anext(chunks)
    await chunks.aclose()
    assert text_of(await collect(backend, ask("next", max_tokens=5))) == alone


async def each_of_n_answers_ends_once_and_usage_comes_with_the_very_last_chunk(backend: Backend) -> None:
    chunks = await collect(backend, ask("one two three four five", max_tokens=3, n=3))
    ended = [chunk.index for chunk in chunks if chunk.finish_reason is not None]
    assert sorted(ended) == [0, 1, 2]
    assert [chunk.usage is not None for chunk in chunks] == [False] * (len(chunks) - 1) + [True]
    assert chunks[-1].usage.completion_tokens == 9
    alone = await collect(backend, ask("one two three four five", max_tokens=3))
    assert chunks[-1].usage.prompt_tokens == alone[-1].usage.prompt_tokens, "the prompt counts once"
    for index in range(3):
        assert text_of([chunk for chunk in chunks if chunk.index == index]) == text_of(alone)


async def an_echoed_prompt_comes_first_with_a_token_for_each_it_was_counted_by(backend: Backend) -> None:
    chunks = await collect(backend, go_on("one two three four", max_tokens=2, echo=True, logprobs=0, n=2))
    prompt = chunks[0].prompt
    assert [chunk.prompt for chunk in chunks[1:]] == [()] * (len(chunks) - 1)
    assert b"".join(token.raw for token in prompt).decode().endswith("one two three four")
    assert len(prompt) == chunks[-1].usage.prompt_tokens
    assert prompt[0].logprob is None
    assert all(token.logprob <= 0 for token in prompt[1:])


async def a_prompt_can_be_computed_without_an_answer(backend: Backend) -> None:
    chunks = await collect(backend, go_on("one two three four", max_tokens=0, echo=True, logprobs=1))
    assert text_of(chunks) == ""
    assert chunks[-1].finish_reason == "length"
    assert chunks[-1].usage.completion_tokens == 0
    assert len(chunks[0].prompt) == chunks[-1].usage.prompt_tokens
    longer = await collect(backend, go_on("one two three four", max_tokens=1, echo=True, logprobs=1))
    assert total(longer[0].prompt[1:]) == pytest.approx(total(chunks[0].prompt[1:]), abs=0.05)


async def token_ids_are_gone_on_from(backend: Backend) -> None:
    request = GenerationRequest(Tokens((5, 6, 7)), max_tokens=2, temperature=0.0, echo=True)
    chunks = await collect(backend, request)
    assert chunks[-1].usage.prompt_tokens == len(chunks[0].prompt) == 3


async def each_token_has_a_log_probability_with_the_likeliest_in_its_place(backend: Backend) -> None:
    chunks = await collect(backend, ask("tell me about log-probabilities", max_tokens=2, logprobs=3))
    assert sum(len(chunk.logprobs) for chunk in chunks) == 2
    # OpenAI's chat does not tell the token that ends a turn; completions do.
    chunks = await collect(backend, go_on("tell me about log-probabilities", max_tokens=6, logprobs=3))
    tokens = [token for chunk in chunks for token in chunk.logprobs]
    ended = [chunk.end for chunk in chunks if chunk.end is not None]
    assert len(tokens) + len(ended) == chunks[-1].usage.completion_tokens
    for token in [*tokens, *ended]:
        found = [other.logprob for other in token.top]
        assert len(found) == 3
        assert found == sorted(found, reverse=True)
        # Greedy: the token itself is the likeliest.
        assert token.logprob == found[0] <= 0
    assert b"".join(token.raw for token in tokens).decode(errors="ignore") in text_of(chunks)
    none = await collect(backend, ask("tell me about log-probabilities", max_tokens=6))
    assert all(chunk.logprobs == () and chunk.end is None for chunk in none)


async def no_log_probability_is_missing_where_an_answer_ends_at_once(backend: Backend) -> None:
    """lm-eval asks for one token behind the prompt and drops the last entry: one must be there to drop."""
    for text in ("one two three four", "the end.", "a"):
        chunks = await collect(backend, go_on(text, max_tokens=1, echo=True, logprobs=1))
        entries = sum(len(chunk.prompt) + len(chunk.logprobs) + (chunk.end is not None) for chunk in chunks)
        assert entries == chunks[-1].usage.prompt_tokens + 1


async def scores_come_in_order_and_are_those_of_an_echoed_prompt(backend: Backend) -> None:
    answers = [" four", " three four five", " six seven"]
    scores = await backend.score([ScoreRequest(Text("one two three"), answer) for answer in answers])
    assert [b"".join(token.raw for token in score.tokens).decode() for score in scores] == answers
    for answer, score in zip(answers, scores, strict=True):
        echoed = await collect(backend, go_on("one two three" + answer, max_tokens=0, echo=True, logprobs=0))
        assert total(score.tokens) == pytest.approx(total(echoed[0].prompt[-len(score.tokens) :]), abs=0.05)


async def a_scored_turn_includes_its_end(backend: Backend) -> None:
    conversation = Conversation((Message("user", "say one two"),))
    turn, text = await backend.score(
        [ScoreRequest(conversation, "one two"), ScoreRequest(Text("say one two\n"), "one two")]
    )
    assert len(turn.tokens) == len(text.tokens) + 1
    assert all(token.logprob <= 0 for token in turn.tokens)


async def what_does_not_fit_the_context_is_not_scored(backend: Backend) -> None:
    with pytest.raises(ContextExceeded):
        await backend.score([ScoreRequest(Text("one"), " word" * backend.context_tokens)])


NO_TOKEN = 1_000_000
CANNOT_BE_ANSWERED = (
    GenerationRequest(Tokens((5, NO_TOKEN)), max_tokens=2),
    go_on("a", max_tokens=2, logit_bias={NO_TOKEN: 1.0}),
    ask("a", max_tokens=2, grammar=Grammar("json_schema", '{"type": "nonsense"}')),
)


async def an_empty_prompt_begins_a_document(backend: Backend) -> None:
    chunks = await collect(backend, go_on("", max_tokens=2))
    assert chunks[-1].usage.prompt_tokens == 1
    (score,) = await backend.score([ScoreRequest(Text(""), "a")])
    assert score.tokens


async def what_cannot_be_answered_is_refused_before_its_first_chunk_and_the_others_go_on(
    backend: Backend,
) -> None:
    alone = text_of(await collect(backend, ask("a good one", max_tokens=6)))
    good = [collect(backend, ask("a good one", max_tokens=6)) for _ in CANNOT_BE_ANSWERED]
    bad = [anext(backend.start(request)) for request in CANNOT_BE_ANSWERED]
    found = await asyncio.gather(*good, *bad, return_exceptions=True)
    assert [text_of(chunks) for chunks in found[: len(good)]] == [alone] * len(good)
    for refusal in found[len(good) :]:
        # A server behind this one has its own words, under the status of a client's fault.
        assert isinstance(refusal, CannotAdmit) or (isinstance(refusal, PassedOn) and refusal.status == 400)
    with pytest.raises((CannotAdmit, PassedOn)):
        await backend.score([ScoreRequest(Text("fine"), " one"), ScoreRequest(Tokens((NO_TOKEN,)), " one")])


async def an_answer_has_the_form_that_was_asked_for(backend: Backend) -> None:
    choice = Grammar("choice", '["yes", "no"]')
    assert text_of(await collect(backend, ask("well?", max_tokens=20, grammar=choice))) in ("yes", "no")
    # No object: a model that knows nothing puts spaces into one for ever.
    colour = Grammar("json_schema", '{"enum": ["red", "green", 5]}')
    for request in (ask("colour?", max_tokens=20), go_on("colour?", max_tokens=20)):
        chunks = await collect(backend, replace(request, grammar=colour))
        assert chunks[-1].finish_reason == "stop"
        assert json.loads(text_of(chunks)) in ("red", "green", 5)


async def a_seed_brings_the_same_answers_again_and_answer_i_is_drawn_with_the_ith_after_it(
    backend: Backend,
) -> None:
    async def drawn(seed: int, n: int) -> list[str]:
        chunks = await collect(
            backend, replace(ask("draw some", max_tokens=8, n=n, seed=seed), temperature=1.0)
        )
        return [text_of([chunk for chunk in chunks if chunk.index == index]) for index in range(n)]

    for seed in (5, -1):  # OpenAI's seeds may be negative
        assert await drawn(seed, 2) == await drawn(seed, 2)
    assert await drawn(5, 2) == [*await drawn(5, 1), *await drawn(6, 1)]
    assert (await drawn(-1, 2))[1:] == await drawn(0, 1)


CONTRACT = (
    the_last_chunk_and_no_other_says_why_it_ended_and_what_it_took,
    the_same_request_gives_the_same_answer_alone_and_in_company,
    a_stop_string_ends_the_answer_before_it_or_after_it,
    what_does_not_fit_the_context_is_refused_with_the_numbers,
    a_request_that_is_given_up_does_not_disturb_the_next,
    an_empty_prompt_begins_a_document,
    what_cannot_be_answered_is_refused_before_its_first_chunk_and_the_others_go_on,
    an_answer_has_the_form_that_was_asked_for,
    a_seed_brings_the_same_answers_again_and_answer_i_is_drawn_with_the_ith_after_it,
    each_of_n_answers_ends_once_and_usage_comes_with_the_very_last_chunk,
    an_echoed_prompt_comes_first_with_a_token_for_each_it_was_counted_by,
    a_prompt_can_be_computed_without_an_answer,
    token_ids_are_gone_on_from,
    each_token_has_a_log_probability_with_the_likeliest_in_its_place,
    no_log_probability_is_missing_where_an_answer_ends_at_once,
    scores_come_in_order_and_are_those_of_an_echoed_prompt,
    a_scored_turn_includes_its_end,
    what_does_not_fit_the_context_is_not_scored,
)
