"""The API over HTTP: routes, and the way of a request through them.  Each request becomes one row."""

import asyncio
import secrets
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

from fastapi import FastAPI, Request, Response
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException

from tunesmith import __version__
from tunesmith.core.record import CHAT, COMPLETIONS, SCORE
from tunesmith.serve.answering import problem_response
from tunesmith.serve.calling import prepared, read_calls
from tunesmith.serve.connection import Watched, read_body
from tunesmith.serve.ledger import Ledger
from tunesmith.serve.lookups import add_lookups
from tunesmith.serve.problems import SERVER_ERROR, ApiProblem
from tunesmith.serve.protocol import chat, completions, score
from tunesmith.serve.protocol.answers import Answers, Asked, Head, Writer
from tunesmith.serve.state import State
from tunesmith.serve.streams import EventStream, events, first_of, pieces_of, whole_answer
from tunesmith.serve.watching import add_watching

OK = 200
KEPT_SECONDS = 10.0
"""How long an answer that is to be kept waits for the disk."""
Work = Callable[[Request, Ledger, dict[str, str]], Awaitable[Response]]
"""Answers a request: the request, its row, and the headers of every answer."""


async def answered(request: Request, state: State, id_prefix: str, work: Work) -> Response:
    """What the work answers, or the words for what went wrong; either is noted in the record."""
    ledger = Ledger(state, id=f"{id_prefix}-{secrets.token_hex(12)}")
    headers = {"x-request-id": ledger.id, "openai-version": "2020-10-01"}
    response: Response | None = None
    try:
        response = await work(request, ledger, headers)
    except asyncio.CancelledError as stopped:
        # uvicorn cancels what still runs when the server was told to stop; the client may be told.
        response = problem_response(ledger.failed(stopped), headers)
    except Exception as error:
        # Whatever goes wrong for one request is told to its client in OpenAI's form and noted in the record.
        response = problem_response(ledger.failed(error), headers)
    finally:
        # A stream goes on after this and closes its row itself.
        number = None if isinstance(response, EventStream) else ledger.close()
    promised = ledger.noted is not None and ledger.noted.stored and response.status_code == OK
    if promised and not isinstance(response, EventStream) and not await is_kept(state, number):
        problem = ApiProblem("The answer could not be stored.", status=503, kind=SERVER_ERROR)
        return problem_response(problem, {**headers, "retry-after": "5"})
    return response


async def is_kept(state: State, number: int | None) -> bool:
    """Whether a row is on the disk, after a moment's wait: what a client was promised is there to list."""
    if number is None or state.writer is None:
        return False
    return await asyncio.to_thread(state.writer.wait_for, number, KEPT_SECONDS)


async def generate_chat(request: Request, ledger: Ledger, headers: dict[str, str]) -> Response:
    """Answer a conversation."""
    asked = chat.ask(await body_of(request, ledger))
    return await generate(request, ledger, headers, asked, chat.ChatWriter)


async def generate_text(request: Request, ledger: Ledger, headers: dict[str, str]) -> Response:
    """Go on from prompts."""
    asked = completions.ask(await body_of(request, ledger))
    return await generate(request, ledger, headers, asked, completions.CompletionWriter)


async def generate(
    request: Request,
    ledger: Ledger,
    headers: dict[str, str],
    asked: Asked,
    new_writer: Callable[[Head, Asked], Writer],
) -> Response:
    """Draw the answers and write them, whole or piece by piece."""
    ledger.noted = asked.noted
    ledger.check_stored()
    ledger.model = model = await ledger.state.reach(asked.noted.model)
    headers["x-tunesmith-version"] = model.version
    if deviations := ledger.deviates(asked.generations[0].prompt):
        headers["x-tunesmith-deviation"] = ", ".join(deviations)
    ledger.answers = Answers(len(asked.generations), asked.drawn)
    writer = new_writer(ledger.head(), asked)
    generations, use = [], None
    for request_for in asked.generations:
        generation, use = await asyncio.to_thread(prepared, model.backend, request_for)
        generations.append(generation)
    pieces = pieces_of(model.backend, generations)
    calling = asked.generations[0].calling
    if use is not None and calling is not None:
        pieces = read_calls(pieces, calling, use)
    watched = Watched(request.receive)
    if asked.noted.streamed:
        first = await watched.wait_for(first_of(pieces, ledger))
        return EventStream(events(first, pieces, asked, writer, ledger), ledger, headers)
    body = await watched.wait_for(whole_answer(pieces, asked, writer, ledger))
    return JSONResponse(body, headers={**headers, "openai-processing-ms": milliseconds(ledger)})


async def judge(request: Request, ledger: Ledger, headers: dict[str, str]) -> Response:
    """Log-probabilities of given answers."""
    asked = score.ask(await body_of(request, ledger))
    ledger.noted = asked.noted
    ledger.model = model = await ledger.state.reach(asked.noted.model)
    headers["x-tunesmith-version"] = model.version
    ledger.scores = await Watched(request.receive).wait_for(model.backend.score(asked.requests))
    body = score.write(ledger.head(), ledger.scores, per_token=asked.per_token)
    return JSONResponse(body, headers={**headers, "openai-processing-ms": milliseconds(ledger)})


async def body_of(request: Request, ledger: Ledger) -> bytes:
    """The request's body; raises ApiProblem."""
    return await read_body(request, ledger.state.max_request_bytes)


def milliseconds(ledger: Ledger) -> str:
    """Time since the request came."""
    return str(round((time.perf_counter() - ledger.started) * 1000))


def build_app(
    state: State,
    *,
    on_ready: Callable[[], None] = lambda: None,
    extend: Callable[[FastAPI], None] = lambda app: None,
) -> FastAPI:
    """The application; `on_ready` is called once requests are answered, back-ends are closed at the end.

    `extend` adds routes that are not about inference; they come before those here.
    """

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
    extend(app)

    @app.post(CHAT)
    async def chat_completions(request: Request) -> Response:
        """Answer a conversation."""
        return await answered(request, state, "chatcmpl", generate_chat)

    @app.post(COMPLETIONS)
    async def text_completions(request: Request) -> Response:
        """Go on from prompts."""
        return await answered(request, state, "cmpl", generate_text)

    @app.post(SCORE)
    async def scores(request: Request) -> Response:
        """Judge answers."""
        return await answered(request, state, "score", judge)

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

    add_lookups(app, state)
    add_watching(app, state)
    return app


async def answer_http_error(request: Request, error: Exception) -> Response:
    """Unknown routes and methods in OpenAI's form."""
    assert isinstance(error, HTTPException)
    message = f"Invalid URL ({request.method} {request.url.path})"
    if error.status_code == 405:
        message = f"Not allowed to {request.method} on {request.url.path}"
    return JSONResponse(ApiProblem(message).body(), error.status_code, error.headers)
