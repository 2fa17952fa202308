"""What every back-end has to do, whichever it is; run over each by `test_backend_*.py`."""

import asyncio
from contextlib import aclosing

import pytest

from tunesmith.core.conversation import Message
from tunesmith.serve.backends.port import Backend, Chunk, ContextExceeded, GenerationRequest


def ask(text: str, **settings: object) -> GenerationRequest:
    return GenerationRequest((Message("user", text),), temperature=0.0, **settings)


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
    chunks = backend.start(ask("a long one that nobody reads to its end", max_tokens=40))
    await anext(chunks)
    await chunks.aclose()
    assert text_of(await collect(backend, ask("next", max_tokens=5))) is not None


CONTRACT = (
    the_last_chunk_and_no_other_says_why_it_ended_and_what_it_took,
    the_same_request_gives_the_same_answer_alone_and_in_company,
    a_stop_string_ends_the_answer_before_it_or_after_it,
    what_does_not_fit_the_context_is_refused_with_the_numbers,
    a_request_that_is_given_up_does_not_disturb_the_next,
)
