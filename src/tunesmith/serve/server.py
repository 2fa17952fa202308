"""The door `serve`: load the models, listen, answer until stopped."""

import errno
import os
import signal
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, closing, contextmanager
from typing import TYPE_CHECKING

from tunesmith.core.errors import ServerError
from tunesmith.core.files import write_json
from tunesmith.core.job import Job
from tunesmith.core.record import RecordWriter
from tunesmith.serve.loading import load_models
from tunesmith.serve.schema import ServeConfig, ServeResult

if TYPE_CHECKING:
    from fastapi import FastAPI

    from tunesmith.serve.state import State

    Extend = Callable[[FastAPI], None]
    """Adds routes to the application."""
    Beside = Callable[[ServeConfig, State, Job], AbstractContextManager[Extend]]
    """What a skin does while the server runs, and the routes that it adds."""

LOOPBACK = ("127.0.0.1", "localhost", "::1")
GRACE_SECONDS = 3
"""How long answers on their way may take after the server was told to stop."""


@contextmanager
def alone(config: ServeConfig, state: "State", job: Job) -> "Iterator[Extend]":
    """Nothing beside the models."""
    yield lambda app: None


def serve(config: ServeConfig, job: Job, *, beside: "Beside" = alone) -> ServeResult:
    """Serve models until Ctrl-C, and what a skin adds beside them.

    Raises ServerError when the address cannot be used and ModelError when a model cannot.
    """
    if config.stop_at_eof:
        threading.Thread(target=stop_at_eof, name="stop_at_eof", daemon=True).start()
    with closing(listen(config.host, config.port)) as listener, recording(config, job) as writer:
        url = url_of(listener, config.host)
        models = load_models(config, job)
        from tunesmith.serve.state import State, names

        state = State(
            tuple(models),
            writer,
            content=config.record == "content",
            max_request_bytes=int(config.max_request_mb * 1e6),
        )
        with beside(config, state, job) as extend:
            run(state, listener, config, job, url, extend)
    loss = writer.loss if writer is not None else (0, 0)
    return ServeResult(
        url=url,
        models=tuple(names(models)),
        requests=state.counts.requests,
        errors=state.counts.errors,
        dropped_contents=loss[0],
        dropped_requests=loss[1],
        record=writer.path if writer is not None else None,
        record_problem=writer.problem if writer is not None else None,
    )


def stop_at_eof() -> None:
    """Wait for the end of standard input, then stop this process as SIGTERM does.

    Reads the descriptor itself: a thread that waits inside `sys.stdin` would disturb the interpreter's end.
    """
    while os.read(0, 1024):
        pass
    os.kill(os.getpid(), signal.SIGTERM)


def listen(host: str, port: int) -> socket.socket:
    """A socket that listens; taken before the models are loaded, so that a taken port costs no time."""
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
    except socket.gaierror as error:
        raise ServerError(
            "this host is unknown", value=host, where="--host", next_step="check --host"
        ) from error
    listener = socket.socket(family, kind, protocol)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
        listener.listen(512)
    except OSError as error:
        listener.close()
        raise cannot_listen(error, host, port) from error
    return listener


def cannot_listen(error: OSError, host: str, port: int) -> ServerError:
    """What to do when an address cannot be listened on."""
    if error.errno == errno.EADDRINUSE:
        step = "stop the program that has it, give another --port, or --port 0 for any free one"
        return ServerError("this port is taken", value=f"{host}:{port}", where="--port", next_step=step)
    if error.errno == errno.EACCES:
        return ServerError(
            "this port needs more rights", value=port, where="--port", next_step="give a --port over 1023"
        )
    step = "give an address of this machine, such as 127.0.0.1"
    return ServerError(f"cannot listen here ({error.strerror})", value=host, where="--host", next_step=step)


def url_of(listener: socket.socket, host: str) -> str:
    """Base URL of a listening socket."""
    shown = f"[{host}]" if ":" in host else host
    return f"http://{shown}:{listener.getsockname()[1]}/v1"


@contextmanager
def recording(config: ServeConfig, job: Job) -> Iterator[RecordWriter | None]:
    """The record's writer while the server runs, or None."""
    if config.record == "off":
        job.progress.say("requests are not recorded (--record off)")
        yield None
        return
    path = job.workspace.record
    with closing(RecordWriter(path)) as writer:
        what = "with messages and answers" if config.record == "content" else "without messages and answers"
        job.progress.say(f"each request is recorded {what} in {path} (--record content|metadata|off)")
        yield writer


def run(
    state: "State", listener: socket.socket, config: ServeConfig, job: Job, url: str, extend: "Extend"
) -> None:
    """Answer requests until SIGINT or SIGTERM; both end the server cleanly."""
    import uvicorn

    from tunesmith.serve.app import build_app
    from tunesmith.serve.state import names

    def ready() -> None:
        job.progress.say(f"serving {', '.join(names(state.models))} at {url}  (Ctrl-C stops)")
        if config.announce is not None:
            facts = {"url": url, "pid": os.getpid(), "models": names(state.models)}
            write_json(config.announce, facts)

    settings = uvicorn.Config(
        build_app(state, on_ready=ready, extend=extend),
        log_config=None,
        access_log=False,
        server_header=False,
        timeout_graceful_shutdown=GRACE_SECONDS,
    )
    try:
        uvicorn.Server(settings).run(sockets=[listener])
    except KeyboardInterrupt:
        # uvicorn has ended cleanly and raises the signal again; being stopped is how a server ends.
        job.progress.say("stopped")
