"""How another OpenAI-compatible server is reached, and the words for what goes wrong there."""

import json
import re
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from typing import Any

import httpx

from tunesmith.core.endpoint import client_settings
from tunesmith.core.errors import ServerError
from tunesmith.runtime.sampling.port import Busy
from tunesmith.serve.backends.port import ContextExceeded, PassedOn

CONNECT_SECONDS, LIST_SECONDS, ANSWER_SECONDS = 10.0, 30.0, 600.0
TOO_LONG = re.compile(
    r"maximum context length is (\d+) tokens.*?(\d+) in the messages, (\d+) in the", re.DOTALL
)


@dataclass(frozen=True)
class Remote:
    """How the other server is reached."""

    url: str
    key: str | None = None

    @property
    def settings(self) -> dict[str, Any]:
        """Of a client."""
        timeout = httpx.Timeout(ANSWER_SECONDS, connect=CONNECT_SECONDS)
        return {**client_settings(self.url, self.key), "timeout": timeout}

    def at(self, path: str) -> str:
        """The address of an endpoint; '../' leaves /v1, as vLLM's own endpoints do."""
        base = self.url.rstrip("/")
        return f"{base.removesuffix('/v1')}/{path[3:]}" if path.startswith("../") else f"{base}/{path}"

    async def ask(self, path: str, body: Mapping[str, Any]) -> dict[str, Any]:
        """One whole reply."""
        async with self.sent(path, body) as response:
            return as_object(json.loads(await response.aread()))

    @asynccontextmanager
    async def sent(self, path: str, body: Mapping[str, Any]) -> AsyncIterator[httpx.Response]:
        """The answer to a request, as it comes; what goes wrong is passed on."""
        try:
            async with (
                httpx.AsyncClient(**self.settings) as client,
                client.stream("POST", self.at(path), json=body) as response,
            ):
                if response.status_code != httpx.codes.OK:
                    await response.aread()
                    raise problem_of(response)
                yield response
        except httpx.ConnectError as error:
            raise PassedOn(f"the server behind this one cannot be reached ({error})", status=502) from error
        except httpx.TimeoutException as error:
            raise PassedOn("the server behind this one does not answer in time", status=504) from error
        except httpx.TransportError as error:
            raise PassedOn(
                f"the connection to the server behind this one broke ({error})", status=502
            ) from error
        except json.JSONDecodeError as error:
            raise PassedOn("the server behind this one does not answer in JSON", status=502) from error


def list_models(remote: Remote) -> dict[str, dict[str, Any]]:
    """The server's models by name.  Raises ServerError."""
    step = "check the URL (it usually ends in /v1) and that the server runs"
    try:
        response = httpx.get(remote.at("models"), **{**remote.settings, "timeout": LIST_SECONDS})
    except httpx.TransportError as error:
        raise ServerError(
            f"the server does not answer ({error})", value=remote.url, where="--upstream", next_step=step
        ) from error
    try:
        return {str(entry["id"]): entry for entry in response.raise_for_status().json()["data"]}
    except httpx.HTTPStatusError as error:
        code = error.response.status_code
        step = "name the variable that holds its key with --upstream-key" if code in (401, 403) else step
        what = f"the server refuses to list its models (HTTP {code})"
        raise ServerError(what, value=remote.url, where="--upstream", next_step=step) from None
    except (ValueError, KeyError, TypeError):
        what = "the server does not list models as OpenAI's API does"
        raise ServerError(what, value=remote.url, where="--upstream", next_step=step) from None


async def events_of(response: httpx.Response) -> AsyncIterator[dict[str, Any]]:
    """Server-sent events until [DONE].  Raises PassedOn for an event that tells a failure."""
    async for line in response.aiter_lines():
        if not line.startswith("data:"):
            continue
        data = line.removeprefix("data:").strip()
        if data == "[DONE]":
            return
        event = as_object(json.loads(data))
        if event.get("error") is not None:
            raise error_of(event["error"], 500)
        yield event


@contextmanager
def understood() -> Iterator[None]:
    """Turn what reading a reply of another form raises into PassedOn."""
    try:
        yield
    except (KeyError, IndexError, TypeError, ValueError, AttributeError) as error:
        # A field that is missing, or something else in its place.
        raise not_openais(f"{type(error).__name__}: {error}") from error


def not_openais(what: str) -> PassedOn:
    """A reply that cannot be read."""
    return PassedOn(f"the server behind this one does not answer as OpenAI's API does ({what})", status=502)


def as_object(reply: object) -> dict[str, Any]:
    """A reply that has to be a JSON object.  Raises PassedOn."""
    if not isinstance(reply, dict):
        raise not_openais("no JSON object")
    return reply


def problem_of(response: httpx.Response) -> Exception:
    """What another server refused, in its own words."""
    try:
        said = response.json()["error"]
    except (ValueError, KeyError, TypeError):
        said = {"message": " ".join(response.text.split())[:300] or response.reason_phrase}
    problem = error_of(said, response.status_code)
    if found := TOO_LONG.search(problem.message):
        most, prompt, answer = map(int, found.groups())
        return ContextExceeded(context_tokens=most, prompt_tokens=prompt, max_tokens=answer)
    if response.status_code == httpx.codes.TOO_MANY_REQUESTS:
        busy = Busy(problem.message)
        busy.retry_after = response.headers.get("retry-after")
        return busy
    return problem


def error_of(said: object, status: int) -> PassedOn:
    """An error as another server worded it; vLLM's code is a number."""
    fields = said if isinstance(said, dict) else {"message": said}
    kind, param, code = (
        None if value is None else str(value) for value in map(fields.get, ("type", "param", "code"))
    )
    message = str(fields.get("message"))
    if status < httpx.codes.BAD_REQUEST:
        # A redirect, or an answer without content: nothing that a client of ours could act on.
        message, status = f"the server behind this one answers with status {status}: {message}", 502
    return PassedOn(message, status=status, kind=kind, param=param, code=code)
