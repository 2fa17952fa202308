"""A request on its way: who asks, for what, and what the answer's headers are."""

import asyncio
import logging
import threading
import time
from collections.abc import Awaitable, Callable, Mapping
from contextvars import ContextVar
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from fastapi import FastAPI, Request, Response
from fastapi.responses import JSONResponse
from pydantic import BaseModel, ValidationError

from tunesmith.api.ids import new_id
from tunesmith.api.query import Query
from tunesmith.core.errors import OutOfSpace, UserError
from tunesmith.core.store import Store
from tunesmith.serve.answering import problem_response
from tunesmith.serve.connection import ClientLeft, read_body
from tunesmith.serve.problems import SERVER_ERROR, ApiProblem, invalid_field
from tunesmith.serve.protocol.body import Strict, read_object

log = logging.getLogger(__name__)

TRIALS = "trials"
"""Below the server's folder: what is gone when its request is answered, and when a server starts."""
CLIENT_LEFT = 499
"""nginx's number for a client that closed the connection first."""
M = TypeVar("M", bound=BaseModel)
Q = TypeVar("Q", bound=Query)
S = TypeVar("S", bound=Strict)
T = TypeVar("T")


@dataclass(frozen=True)
class Caller:
    """Who asks; one project never sees another's things."""

    organization: str = "org-local"
    project: str = "proj_default"
    role: str = "admin"
    key: str | None = None
    """Id of the key that was shown; None on a server that asks for none."""
    requests_per_minute: int | None = None
    storage_bytes: int | None = None
    """What the project's files may take before this caller can upload no more."""


CALLER: ContextVar[Caller] = ContextVar("caller", default=Caller())  # noqa: B039  it is frozen
"""Whose request is being answered: set where a request comes in, and read where routes of the serve room,
which knows of no callers, ask for a model by its name."""


@dataclass(frozen=True)
class Api:
    """What every request of this skin needs."""

    store: Store
    folder: Path
    """Where the contents of files stand."""
    max_request_bytes: int = 8_000_000
    max_file_bytes: int = 512_000_000
    clock: Callable[[], float] = time.time
    base_of: Callable[[str], str | None] = lambda name: None
    """What a name that clients fine-tune means to `tunesmith train`; None for one that means nothing."""
    rate_of: Callable[[str], float] = lambda base: 0.0
    """Base → the learning rate that `auto` means for it."""
    weights_of: Callable[[str], Path | None] = lambda base: None
    """Folder of a base's weights; None for the fake, which has none."""
    jobs_at_once: int = 1
    """So many workers train side by side."""
    woken: threading.Event = field(default_factory=threading.Event)
    """Set when there is something new to do for whoever runs jobs."""

    def now(self) -> int:
        """Seconds since 1970."""
        return int(self.clock())


@dataclass
class Call:
    """One request."""

    api: Api
    request: Request
    caller: Caller
    headers: dict[str, str] = field(default_factory=dict)

    @property
    def path(self) -> Mapping[str, Any]:
        """The parts of the path by name."""
        return self.request.path_params

    def query(self, schema: type[Q]) -> Q:
        """The URL's parameters; raises ApiProblem."""
        return validated(schema, printable(dict(self.request.query_params)))

    async def body(self, schema: type[S]) -> S:
        """The body's JSON object; raises ApiProblem."""
        body = await read_body(self.request, self.api.max_request_bytes)
        return validated(schema, printable(read_object(body)))


def printable(value: T) -> T:
    """What a client sent, which databases can hold: raises ApiProblem for a null character anywhere in it."""
    if isinstance(value, str) and "\x00" in value:
        raise ApiProblem("A null character ('\\u0000') is not allowed.", code="invalid_value")
    for inner in [*value.keys(), *value.values()] if isinstance(value, Mapping) else ():
        printable(inner)
    for inner in value if isinstance(value, list) else ():
        printable(inner)
    return value


def validated(schema: type[M], value: Mapping[str, Any]) -> M:
    """What a client sent; raises ApiProblem with OpenAI's wording for the first thing wrong."""
    try:
        return schema.model_validate(value)
    except ValidationError as error:
        raise invalid_field(error.errors(include_url=False)[0], schema.model_fields) from None


Work = Callable[[Call], Awaitable[Any]]
"""Answers a call: with a JSON value, or with a response that is sent as it is."""


def add(app: FastAPI, api: Api, method: str, path: str, work: Work) -> None:
    """Route a method and a path to what answers it."""

    async def answer(request: Request) -> Response:
        return await answered(Call(api, request, CALLER.get()), work)

    app.add_api_route(path, answer, methods=[method], name=f"{method} {path}")


async def answered(call: Call, work: Work) -> Response:
    """What the work answers, or OpenAI's words for what went wrong."""
    started = time.perf_counter()
    call.headers |= {
        "x-request-id": new_id("req_"),
        "openai-version": "2020-10-01",
        "openai-organization": call.caller.organization,
    }
    try:
        printable(call.path)
        result = await work(call)
        response = result if isinstance(result, Response) else JSONResponse(result)
    except asyncio.CancelledError:
        raise
    except Exception as error:
        # Whatever goes wrong for one request is told to its client in OpenAI's form.
        response = problem_response(problem_of(error), {})
    response.headers.update(call.headers)
    response.headers["openai-processing-ms"] = str(round((time.perf_counter() - started) * 1000))
    return response


def problem_of(error: Exception) -> ApiProblem:
    """What a client is told about an error."""
    if isinstance(error, ApiProblem):
        return error
    if isinstance(error, ClientLeft):
        return ApiProblem("the client closed the connection", status=CLIENT_LEFT)
    if isinstance(error, OutOfSpace):
        return ApiProblem(str(error), status=507, kind=SERVER_ERROR, code="out_of_space")
    if isinstance(error, UserError):
        # What a user mends in a file of his own, the operator mends here: the store or a folder fails.
        log.error("%s", error)
        return ApiProblem(
            f"The server cannot work at the moment: {error}",
            status=503,
            kind=SERVER_ERROR,
            headers={"retry-after": "5"},
        )
    log.exception("a request failed", exc_info=error)
    return ApiProblem("The server had an error while processing your request.", status=500, kind=SERVER_ERROR)
