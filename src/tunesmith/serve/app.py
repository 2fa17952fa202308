"""The API over HTTP: routes, streaming, errors, and one row in the record for each chat request."""

import asyncio
import logging
import secrets
import time
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass, field, replace
from typing import Any, Literal, NamedTuple, TypeVar

from fastapi import FastAPI, Request, Response
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.types import Receive, Scope, Send

from tunesmith import __version__
from tunesmith.core.errors import UserError
from tunesmith.core.record import CANCELLED, Entry, RecordWriter
from tunesmith.serve.backends.port import Backend, Chunk, ContextExceeded
from tunesmith.serve.problems import SERVER_ERROR, ApiProblem, model_not_found
from tunesmith.serve.protocol import DONE, ChatRequest, Reply, parse, sse

T = TypeVar("T")
log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Served:
    """A model that this server answers for; `version` is its content id, `refs` other names for it."""

    name: str
    version: str
    created: int
    backend: Backend
    refs: tuple[str, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """The model as OpenAI lists it, with what it is."""
        return {
            "id": self.name,
            "object": "model",
            "created": self.created,
            "owned_by": "tunesmith",
            "x_tunesmith": {"version": self.version, "context_tokens": self.backend.context_tokens},
        }


class Counts:
    """What the server did so far."""

    def __init__(self) -> None:
        self.requests = self.errors = self.running = 0


@dataclass
class State:
    """What every request of one server needs."""

    models: tuple[Served, ...]
    writer: RecordWriter | None
    content: bool
    max_request_bytes: int
    counts: Counts = field(default_factory=Counts)

    def find(self, name: str | None) -> Served:
        """The model of a request; none named is the first.  Raises ApiProblem."""
        if name is None:
            return self.models[0]
        for model in self.models:
            if name in (model.name, model.version, *model.refs):
                return model
        raise model_not_found(name, [model.name for model in self.models])


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


class Outcome(NamedTuple):
    """How a request ended, when it did not end well."""

    status: int
    error_type: str
    message: str


@dataclass
class Ledger:
    """Collects what becomes one row of the record."""

    state: State
    id: str
    started: float = field(default_factory=time.perf_counter)
    time: float = field(default_factory=time.time)
    chat: ChatRequest | None = None
    model: Served | None = None
    pieces: list[str] = field(default_factory=list)
    first_token_seconds: float | None = None
    last: Chunk | None = None
    outcome: Outcome | None = None

    def saw(self, chunk: Chunk) -> None:
        """Note a piece of the answer."""
        if self.first_token_seconds is None:
            self.first_token_seconds = time.perf_counter() - self.started
        self.pieces.append(chunk.text)
        if chunk.finish_reason is not None:
            self.last = chunk

    def failed(self, error: BaseException) -> ApiProblem:
        """Note what went wrong; returns the answer that says so."""
        problem = problem_of(error)
        if isinstance(error, ClientLeft | asyncio.CancelledError):
            self.outcome = Outcome(CANCELLED, "cancelled", "the client left or the server stopped")
        else:
            self.outcome = Outcome(problem.status, problem.code or problem.kind, problem.message)
        return problem

    def close(self) -> None:
        """Hand the row to the writer."""
        counts = self.state.counts
        entry = self.entry()
        counts.requests += 1
        counts.errors += entry.failed
        if self.state.writer is not None:
            self.state.writer.put(entry if self.state.content else entry.without_content("off"))

    def entry(self) -> Entry:
        """The row."""
        outcome = self.outcome or Outcome(200, "", "")
        usage = self.last.usage if self.last is not None else None
        chat = self.chat
        row = Entry(
            id=self.id,
            time=self.time,
            model=self.model.name
            if self.model is not None
            else (chat.model or "")
            if chat is not None
            else "",
            version=self.model.version if self.model is not None else "",
            status=outcome.status,
            total_seconds=time.perf_counter() - self.started,
            error_type=outcome.error_type or None,
            error_message=outcome.message or None,
            first_token_seconds=self.first_token_seconds,
            finish_reason=self.last.finish_reason if self.last is not None else None,
        )
        if usage is not None:
            row = replace(row, **usage._asdict())
        if chat is not None:
            row = replace(
                row,
                streamed=bool(chat.stream),
                parameters=chat.model_dump(exclude_none=True, exclude={"messages", "model", "stream"}),
                messages=[message.model_dump(exclude_none=True) for message in chat.messages],
                answer="".join(self.pieces),
                content="kept",
            )
        return row


def problem_of(error: BaseException) -> ApiProblem:
    """The answer to whatever was raised while a request was worked on."""
    if isinstance(error, ApiProblem):
        return error
    if isinstance(error, ContextExceeded):
        return ApiProblem(str(error), param="messages", code="context_length_exceeded")
    if isinstance(error, UserError):
        return ApiProblem(error.message(), param="messages", code="invalid_value")
    if isinstance(error, asyncio.CancelledError):
        return ApiProblem("The server is stopping.", status=503, kind=SERVER_ERROR)
    if not isinstance(error, ClientLeft):
        log.error("a request failed", exc_info=error)
    message = f"The server had an error while processing your request ({type(error).__name__})."
    return ApiProblem(message, status=500, kind=SERVER_ERROR)


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


async def with_first(chunks: AsyncGenerator[Chunk, None], ledger: Ledger) -> Chunk:
    """The first chunk."""
    chunk = await anext(chunks)
    ledger.saw(chunk)
    return chunk


async def stream_pieces(
    first: Chunk, chunks: AsyncGenerator[Chunk, None], reply: Reply, ledger: Ledger, *, include_usage: bool
) -> AsyncGenerator[bytes, None]:
    """The events of a stream; a failure on the way becomes an error event, which the SDK raises."""
    async with aclosing(chunks):
        yield sse(reply.first())
        last = first
        try:
            if first.text:
                yield sse(reply.piece(first.text))
            if first.finish_reason is None:
                async for last in chunks:
                    ledger.saw(last)
                    if last.text:
                        yield sse(reply.piece(last.text))
        except Exception as error:
            # The status line is out already, so whatever happens can only be told inside the stream.
            yield sse(ledger.failed(error).body())
            return
        assert last.finish_reason is not None
        assert last.usage is not None
        yield sse(reply.last(last.finish_reason))
        if include_usage:
            yield sse(reply.usage(last.usage))
        yield DONE


async def whole_answer(chunks: AsyncGenerator[Chunk, None], reply: Reply, ledger: Ledger) -> dict[str, Any]:
    """The whole answer as one object."""
    async with aclosing(chunks):
        async for chunk in chunks:
            ledger.saw(chunk)
    assert ledger.last is not None
    assert ledger.last.finish_reason is not None
    assert ledger.last.usage is not None
    return reply.whole("".join(ledger.pieces), ledger.last.finish_reason, ledger.last.usage)


async def answer_chat(request: Request, state: State) -> Response:
    """POST /v1/chat/completions."""
    ledger = Ledger(state, id=f"chatcmpl-{secrets.token_hex(12)}")
    headers = {"x-request-id": ledger.id, "openai-version": "2020-10-01"}
    streaming = False
    try:
        ledger.chat = chat = parse(await read_body(request, state.max_request_bytes))
        ledger.model = model = state.find(chat.model)
        usage_asked = bool(chat.stream_options and chat.stream_options.include_usage)
        reply = Reply(ledger.id, int(ledger.time), model.name, include_usage=usage_asked)
        chunks = model.backend.start(chat.to_generation())
        watched = Watched(request.receive)
        if chat.stream:
            first = await watched.wait_for(with_first(chunks, ledger))
            pieces = stream_pieces(first, chunks, reply, ledger, include_usage=usage_asked)
            streaming = True
            return EventStream(pieces, ledger, headers)
        body = await watched.wait_for(whole_answer(chunks, reply, ledger))
        return JSONResponse(body, headers={**headers, "openai-processing-ms": milliseconds(ledger)})
    except asyncio.CancelledError as stopped:
        # uvicorn cancels what still runs when the server was told to stop; the client may be told.
        problem = ledger.failed(stopped)
        return JSONResponse(problem.body(), problem.status, headers)
    except Exception as error:
        # Whatever goes wrong for one request is told to its client in OpenAI's form and noted in the record.
        problem = ledger.failed(error)
        return JSONResponse(problem.body(), problem.status, {**headers, **no_retry(problem)})
    finally:
        if not streaming:
            ledger.close()


def milliseconds(ledger: Ledger) -> str:
    """Time since the request came."""
    return str(round((time.perf_counter() - ledger.started) * 1000))


def no_retry(problem: ApiProblem) -> dict[str, str]:
    """The SDK repeats a request after a 500; one that fails here fails again."""
    return {"x-should-retry": "false"} if problem.status >= 500 else {}


def build_app(state: State, *, on_ready: Callable[[], None] = lambda: None) -> FastAPI:
    """The application; `on_ready` is called once requests are answered, back-ends are closed at the end."""

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        on_ready()
        yield
        for model in state.models:
            await asyncio.to_thread(model.backend.close)

    # No pages of its own: the API is OpenAI's, and its pages would load scripts from elsewhere.
    app = FastAPI(
        title="tunesmith",
        version=__version__,
        lifespan=lifespan,
        openapi_url=None,
        docs_url=None,
        redoc_url=None,
    )
    app.add_exception_handler(HTTPException, answer_http_error)

    @app.post("/v1/chat/completions")
    async def chat_completions(request: Request) -> Response:
        """Answer a conversation."""
        return await answer_chat(request, state)

    @app.get("/v1/models")
    async def models() -> Response:
        """All models."""
        return JSONResponse({"object": "list", "data": [model.to_json() for model in state.models]})

    @app.get("/v1/models/{name:path}")
    async def model(name: str) -> Response:
        """One model."""
        try:
            return JSONResponse(state.find(name).to_json())
        except ApiProblem as problem:
            return JSONResponse(problem.body(), problem.status)

    @app.get("/healthz")
    async def healthz() -> Response:
        """Whether the server works, and what may be wrong."""
        return JSONResponse(health(state))

    return app


def health(state: State) -> dict[str, Any]:
    """What /healthz says."""
    writer = state.writer
    status: Literal["ok", "degraded"] = "degraded" if writer is not None and writer.problem else "ok"
    return {
        "status": status,
        "models": names(state.models),
        "requests": state.counts.requests,
        "errors": state.counts.errors,
        "record": None if writer is None else {"problem": writer.problem, "dropped": writer.loss._asdict()},
    }


def names(models: Sequence[Served]) -> list[str]:
    """Names of the models, the default first."""
    return [model.name for model in models]


async def answer_http_error(request: Request, error: Exception) -> Response:
    """Unknown routes and methods in OpenAI's form."""
    assert isinstance(error, HTTPException)
    message = f"Invalid URL ({request.method} {request.url.path})"
    if error.status_code == 405:
        message = f"Not allowed to {request.method} on {request.url.path}"
    return JSONResponse(ApiProblem(message).body(), error.status_code, error.headers)
