"""tunesmith's server with plain adapter folders: `ours.py [--alone] PORT MODEL [ADAPTER …]`.

With `--alone` HTTP is as thin as it can be: a bare asyncio loop that hands each request to the sampler and
writes its pieces, without routes, checks, record or metrics.
"""

import asyncio
import json
import sys
from contextlib import aclosing
from pathlib import Path

import uvicorn

from tunesmith.core.conversation import Message
from tunesmith.serve.app import build_app
from tunesmith.serve.backends.local import LocalBackend, Settings, open_model
from tunesmith.serve.backends.port import Conversation, GenerationRequest
from tunesmith.serve.state import Served, State

TOKENS = 32
HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\nconnection: close\r\n\r\n"


def serve(port: int, folder: Path, paths: list[Path]) -> None:
    """The product's own application."""
    adapters = {path.name: path for path in paths}
    opened = open_model(folder, Settings(max_batch=64), shared=adapters)
    served = [Served(name or "base", name or "base", 0, made) for name, made in opened.backends.items()]
    state = State(tuple(served), None, content=False, max_request_bytes=1_000_000)
    uvicorn.run(build_app(state), port=port, log_config=None, access_log=False)


async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, backend: LocalBackend) -> None:
    """One request: the sampler's pieces as they come."""
    length = 0
    while (line := await reader.readline()) not in (b"\r\n", b""):
        name, _, value = line.partition(b":")
        if name.lower() == b"content-length":
            length = int(value)
    asked = json.loads(await reader.readexactly(length))
    turns = tuple(Message(turn["role"], turn["content"]) for turn in asked["messages"])
    request = GenerationRequest(Conversation(turns), temperature=0.0, max_tokens=TOKENS)
    writer.write(HEAD)
    async with aclosing(backend.start(request)) as chunks:
        async for chunk in chunks:
            body = json.dumps({"choices": [{"delta": {"content": chunk.text}}]})
            writer.write(f"data: {body}\n\n".encode())
            await writer.drain()
    writer.close()
    await writer.wait_closed()


async def listen(port: int, folder: Path) -> None:
    """Until killed."""
    backend = open_model(folder, Settings(max_batch=64)).backends[None]
    server = await asyncio.start_server(
        lambda reader, writer: answer(reader, writer, backend), "127.0.0.1", port
    )
    async with server:
        await server.serve_forever()


if __name__ == "__main__":
    words = sys.argv[1:]
    if words[0] == "--alone":
        asyncio.run(listen(int(words[1]), Path(words[2])))
    else:
        serve(int(words[0]), Path(words[1]), list(map(Path, words[2:])))
