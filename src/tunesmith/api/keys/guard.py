"""Lets a request in when its key may do what it asks for, and says whose it is."""

import asyncio
import math
from contextlib import suppress
from typing import TYPE_CHECKING

from starlette.datastructures import Headers, MutableHeaders

from tunesmith.api.call import CALLER, Api, Caller, problem_of
from tunesmith.api.ids import new_id
from tunesmith.api.keys import service
from tunesmith.api.keys.rates import Admission, Buckets
from tunesmith.core.errors import TunesmithError
from tunesmith.serve.answering import problem_response
from tunesmith.serve.problems import INVALID_REQUEST, RATE_LIMIT, ApiProblem

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

OPEN = ("/healthz", "/readyz")
"""Whoever watches the server asks these; they tell nothing of what is in it."""
LOOKING = ("GET", "HEAD")
READ_ONLY, ADMIN = "read-only", "admin"
BEARER = "bearer "


class Guard:
    """Stands before every route.

    `open_to_all` is for a server that only its own machine reaches: until a key is made, nobody has to show
    one, and a client that sends one anyway is let in as well.
    """

    def __init__(self, app: "ASGIApp", *, api: Api, open_to_all: bool) -> None:
        self.app, self.api, self.open_to_all = app, api, open_to_all
        self.buckets = Buckets(api.clock)

    async def __call__(self, scope: "Scope", receive: "Receive", send: "Send") -> None:
        """Let a request in, or answer it."""
        if scope["type"] != "http" or scope["path"] in OPEN:
            await self.app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        try:
            caller = await asyncio.to_thread(self.caller_of, headers)
            check_role(caller, scope["method"], scope["path"])
            admission = self.admitted(caller)
        except Exception as error:
            # A store that fails must not let anybody in, nor leave him without an answer in OpenAI's form.
            response = problem_response(problem_of(error), {"x-request-id": new_id("req_")})
            await response(scope, receive, send)
            return
        CALLER.set(caller)
        await self.app(scope, receive, send if admission is None else telling(send, admission))

    def caller_of(self, headers: Headers) -> Caller:
        """Whose request this is; raises ApiProblem (401)."""
        given = headers.get("authorization", "")
        key = given[len(BEARER) :].strip() if given.lower().startswith(BEARER) else ""
        row = service.find(self.api.store, key) if key else None
        if row is None:
            if self.open_to_all and not service.any_made(self.api.store):
                return Caller()
            raise unknown_key(key)
        for what, header in (("organization", "openai-organization"), ("project", "openai-project")):
            if headers.get(header, row[what]) != row[what]:
                raise ApiProblem(
                    f"The {header} header names another {what} than the API key is of.",
                    status=401,
                    code=f"mismatched_{what}",
                )
        with suppress(TunesmithError):  # when a key was used last is worth no refused request
            service.note_use(self.api.store, row, self.api.now())
        return Caller(
            row["organization"],
            row["project"],
            row["role"],
            key=row["id"],
            requests_per_minute=row["requests_per_minute"],
            storage_bytes=row["storage_bytes"],
        )

    def admitted(self, caller: Caller) -> Admission | None:
        """Count a request; None for a key without a limit.  Raises ApiProblem (429)."""
        if caller.key is None or caller.requests_per_minute is None:
            return None
        found = self.buckets.take(caller.key, caller.requests_per_minute)
        if found.passed:
            return found
        message = (
            f"Rate limit reached: this key may make {found.limit} requests in a minute. "
            f"Please try again in {math.ceil(found.wait_seconds)}s."
        )
        headers = {**found.headers(), "retry-after": str(math.ceil(found.wait_seconds))}
        raise ApiProblem(message, status=429, kind=RATE_LIMIT, code="rate_limit_exceeded", headers=headers)


def unknown_key(key: str) -> ApiProblem:
    """401 for no key, and for one that does not work."""
    headers = {"www-authenticate": "Bearer"}
    if not key:
        message = (
            "You didn't provide an API key. Send one in an Authorization header (Authorization: Bearer "
            "YOUR_KEY); this server's owner makes them with `tunesmith keys create`."
        )
        return ApiProblem(message, status=401, kind=INVALID_REQUEST, headers=headers)
    message = f"Incorrect API key provided: {service.hint_of(key)}. Ask this server's owner for one."
    return ApiProblem(message, status=401, kind=INVALID_REQUEST, code="invalid_api_key", headers=headers)


def check_role(caller: Caller, method: str, path: str) -> None:
    """Refuse what a key's role does not allow; raises ApiProblem (403)."""
    needed = None
    if caller.role == READ_ONLY and method not in LOOKING:
        needed = "member"
    if caller.role != ADMIN and (
        path.startswith("/metrics") or (method == "DELETE" and path.startswith("/v1/models"))
    ):
        needed = ADMIN
    if needed is not None:
        message = (
            f"You have insufficient permissions for this operation: {method} {path} needs a key with the "
            f"role '{needed}', and this one has '{caller.role}'."
        )
        raise ApiProblem(message, status=403, code="insufficient_permissions")


def telling(send: "Send", admission: Admission) -> "Send":
    """Adds what is left of a key's limit to the answer's headers."""

    async def sent(message: "Message") -> None:
        if message["type"] == "http.response.start":
            MutableHeaders(scope=message).update(admission.headers())
        await send(message)

    return sent
