"""Pieces of answers as they come: from one prompt or many, to one object or a stream of events."""

import asyncio
import json
from collections.abc import AsyncGenerator, Iterator, Mapping, Sequence
from contextlib import aclosing
from typing import Any

from fastapi import Response
from starlette.types import Receive, Scope, Send

from tunesmith.serve.backends.port import Backend, Chunk, GenerationRequest
from tunesmith.serve.connection import ClientLeft, Watched
from tunesmith.serve.ledger import Ledger
from tunesmith.serve.protocol.answers import Asked, Writer

Piece = tuple[int, Chunk]
"""Which prompt, and a piece of an answer to it."""
Pieces = AsyncGenerator[Piece, None]

DONE = b"data: [DONE]\n\n"


async def pieces_of(backend: Backend, generations: Sequence[GenerationRequest]) -> Pieces:
    """The answers to all prompts, interleaved; one that fails cancels the others, and so does closing."""
    news: asyncio.Queue[Piece | Exception | None] = asyncio.Queue(maxsize=backend.at_once)
    waiting = iter(enumerate(generations))
    at_once = min(len(generations), max(1, backend.at_once // generations[0].n))
    tasks = [asyncio.create_task(answer_some(backend, waiting, news)) for _ in range(at_once)]
    try:
        while at_once:
            piece = await news.get()
            if isinstance(piece, Exception):
                raise piece
            if piece is None:
                at_once -= 1
            else:
                yield piece
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def answer_some(
    backend: Backend,
    waiting: Iterator[tuple[int, GenerationRequest]],
    news: "asyncio.Queue[Piece | Exception | None]",
) -> None:
    """Take prompts until none waits and tell what is answered, then None; a failure is told instead."""
    try:
        for prompt, generation in waiting:
            async with aclosing(backend.start(generation)) as chunks:
                async for chunk in chunks:
                    await news.put((prompt, chunk))
        await news.put(None)
    except Exception as error:
        # Raised again by whoever reads the news: a task's own exception would be seen only at its end.
        await news.put(error)


async def first_of(pieces: Pieces, ledger: Ledger) -> Piece:
    """The first piece."""
    piece = await anext(pieces)
    ledger.saw(*piece)
    return piece


async def whole_answer(pieces: Pieces, asked: Asked, writer: Writer, ledger: Ledger) -> dict[str, Any]:
    """All answers as one object."""
    async with aclosing(pieces):
        async for piece in pieces:
            ledger.saw(*piece)
    ledger.answers = ledger.answers.best(asked.returned)
    return writer.whole(ledger.answers)


async def events(
    first: Piece, pieces: Pieces, asked: Asked, writer: Writer, ledger: Ledger
) -> AsyncGenerator[bytes, None]:
    """The events of a stream; a failure on the way becomes an error event, which the SDK raises."""
    async with aclosing(pieces):
        for event in (*writer.begin(), *writer.events(*first)):
            yield sse(event)
        try:
            async for piece in pieces:
                ledger.saw(*piece)
                for event in writer.events(*piece):
                    yield sse(event)
        except Exception as error:
            # The status line is out already, so whatever happens can only be told inside the stream.
            yield sse(ledger.failed(error).body())
            return
        assert ledger.answers.usage is not None
        if asked.include_usage:
            yield sse(writer.usage(ledger.answers.usage))
        yield DONE


class EventStream(Response):
    """A stream of events; the first chunk was made before, so that its failures have their own status."""

    media_type = "text/event-stream"

    def __init__(
        self, pieces: AsyncGenerator[bytes, None], ledger: Ledger, headers: Mapping[str, str]
    ) -> None:
        super().__init__(headers={**headers, "cache-control": "no-cache"})
        del self.headers["content-length"]
        self._pieces, self._ledger = pieces, ledger

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send the pieces while the client is there, and close the row when all is over."""
        try:
            await Watched(receive).wait_for(self._send(send))
        except (ClientLeft, asyncio.CancelledError) as left:
            self._ledger.failed(left)
        finally:
            await self._pieces.aclose()
            self._ledger.close()

    async def _send(self, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": self.raw_headers})
        async for piece in self._pieces:
            await send({"type": "http.response.body", "body": piece, "more_body": True})
        await send({"type": "http.response.body", "body": b"", "more_body": False})


def sse(value: Mapping[str, Any]) -> bytes:
    """One server-sent event."""
    return b"data: " + json.dumps(value, ensure_ascii=False).encode("utf-8", errors="replace") + b"\n\n"
