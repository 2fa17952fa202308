"""The client's side of a request: its body, and whether it is still there."""

import asyncio
from collections.abc import Awaitable
from typing import TypeVar

from fastapi import Request
from starlette.requests import ClientDisconnect
from starlette.types import Receive

from tunesmith.serve.problems import ApiProblem

T = TypeVar("T")


class ClientLeft(Exception):
    """The client closed the connection before the answer was whole."""


class Watched:
    """The other side of a connection, watched while we work for it."""

    def __init__(self, receive: Receive) -> None:
        self._receive = receive

    async def wait_for(self, work: Awaitable[T]) -> T:
        """The result of the work; when the client leaves first, it is cancelled and ClientLeft raised."""
        task, left = asyncio.ensure_future(work), asyncio.ensure_future(self._left())
        try:
            await asyncio.wait({task, left}, return_when=asyncio.FIRST_COMPLETED)
            if not task.done():
                raise ClientLeft
            return task.result()
        finally:
            left.cancel()
            task.cancel()
            await asyncio.gather(task, left, return_exceptions=True)

    async def _left(self) -> None:
        while (await self._receive())["type"] != "http.disconnect":
            pass


async def read_body(request: Request, limit: int) -> bytes:
    """The request's body; raises ApiProblem for more than `limit` bytes, ClientLeft when it breaks off."""
    body = bytearray()
    try:
        async for piece in request.stream():
            body += piece
            if len(body) > limit:
                message = f"The body of your request is larger than {limit} bytes."
                raise ApiProblem(message, status=413, code="request_too_large")
    except ClientDisconnect:
        raise ClientLeft from None
    return bytes(body)
