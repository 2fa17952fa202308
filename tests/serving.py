"""What the tests of the server share: requests, back-ends that misbehave, checks against OpenAI's schemas."""

import asyncio
import json
import time
from pathlib import Path

import jsonschema
from openai import OpenAI

from tunesmith.serve.backends.port import AT_ONCE, Chunk, Score, TokenInfo, Usage

DATA = Path(__file__).parent / "data"
SCHEMAS = {
    name: json.loads((DATA / f"openai_{name}_schemas.json").read_text())
    for name in ("chat", "completion", "server")
}
HELLO = [{"role": "user", "content": "hello good world"}]


def check(value, schema):
    """Raise unless the value fits one of OpenAI's schemas."""
    document = next(known for known in SCHEMAS.values() if schema in known["components"]["schemas"])
    jsonschema.validate(value, {**document, "$ref": f"#/components/schemas/{schema}"})


def strict_client(url):
    """OpenAI's client, which itself checks every answer against its types."""
    return OpenAI(base_url=url, api_key="none", max_retries=0, _strict_response_validation=True)


def recorded(record, number=1):
    """The last entry, once `number` are written (the writer works in the background)."""
    deadline = time.monotonic() + 10
    while len(found := record.entries()) < number:
        assert time.monotonic() < deadline, f"{len(found)} of {number} requests recorded"
    return found[0]


class Endless:
    """A back-end that says "word" until somebody stops it, or fails after some."""

    context_tokens = 100
    at_once = AT_ONCE

    def __init__(self, *, fails_after: int | None = None) -> None:
        self.fails_after = fails_after
        self.running = 0
        self.given_up = asyncio.Event()

    async def start(self, request):
        self.running += 1
        try:
            for number in range(10**9):
                if number == self.fails_after:
                    raise RuntimeError("the engine broke")
                yield Chunk("word ", index=number % request.n)
                await asyncio.sleep(0.001)
            yield Chunk("", "stop", Usage(1, 1))
        finally:
            self.running -= 1
            self.given_up.set()

    async def score(self, requests):
        try:
            await asyncio.sleep(3600)
        finally:
            self.given_up.set()

    def close(self):
        pass


class Scripted:
    """A back-end that plays chunks; `play(request)` gives them, and exceptions in their place."""

    context_tokens = 100
    at_once = AT_ONCE

    def __init__(self, play):
        self.play = play
        self.asked = []

    async def start(self, request):
        self.asked.append(request)
        for chunk in self.play(request):
            if isinstance(chunk, Exception):
                raise chunk
            yield chunk
            await asyncio.sleep(0)

    async def score(self, requests):
        self.asked += requests
        return [Score(tuple(self.play(request))) for request in requests]

    def close(self):
        pass


def token(text, logprob=-0.5, top=()):
    return TokenInfo(text, text.encode(), logprob, top)
