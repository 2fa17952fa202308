"""A server in a thread, for tests that speak HTTP to it."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import NamedTuple

import uvicorn
from fastapi import FastAPI

from tunesmith.core.record import RecordWriter
from tunesmith.serve.app import build_app
from tunesmith.serve.backends.port import Backend
from tunesmith.serve.server import listen, url_of
from tunesmith.serve.state import Served, State


class Live(NamedTuple):
    url: str
    state: State
    server: uvicorn.Server


@contextmanager
def live(
    *backends: tuple[str, Backend],
    writer: RecordWriter | None = None,
    content: bool = True,
    extend: Callable[[State], Callable[[FastAPI], None]] = lambda state: lambda app: None,
) -> Iterator[Live]:
    """Serve back-ends on a free loopback port while the block runs."""
    models = tuple(Served(name, f"version-{name}", 1, backend) for name, backend in backends)
    state = State(models, writer, content, max_request_bytes=100_000)
    ready = threading.Event()
    app = build_app(state, on_ready=ready.set, extend=extend(state))
    server = uvicorn.Server(
        uvicorn.Config(app, log_config=None, access_log=False, ws="none", timeout_graceful_shutdown=2)
    )
    with listen("127.0.0.1", 0) as listener:
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
        thread.start()
        assert ready.wait(30)
        try:
            yield Live(url_of(listener, "127.0.0.1"), state, server)
        finally:
            server.should_exit = True
            thread.join()
