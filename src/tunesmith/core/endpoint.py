"""Client of any OpenAI-compatible server: the models it has, and chat completions, many at a time.

It only asks.  A request that fails is an outcome with its reason, never dropped.
"""

import os
import random
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import contextmanager
from dataclasses import dataclass, field
from math import isfinite
from typing import Any, NamedTuple, TypeVar
from urllib.parse import urlsplit

import httpx

from tunesmith.core.conversation import Message
from tunesmith.core.errors import ConfigError, ServerError
from tunesmith.core.progress import SilentTask, Task

RETRIED = frozenset({408, 409, 425, 429, 500, 502, 503, 504})
"""Answers that another try can change."""
ATTEMPTS = 5
FIRST_PAUSE_SECONDS, LONGEST_PAUSE_SECONDS = 0.5, 30.0
CONNECT_SECONDS, ANSWER_SECONDS = 10.0, 600.0
Given = TypeVar("Given")
Done = TypeVar("Done")
LOOPBACK = frozenset({"127.0.0.1", "localhost", "::1"})


def check_url(url: str, *, where: str = "--endpoint", key_option: str = "--api-key-variable") -> None:
    """Raise ServerError for what is no base URL, and for one with a password, which would be recorded."""
    step = "give one like http://127.0.0.1:8000/v1"
    try:
        parts = urlsplit(url)
        known = parts.scheme in ("http", "https") and parts.hostname and (parts.port or True)
    except ValueError:  # a port that is no number, half of a bracket
        known = False
    if not known:
        raise ServerError("not a URL", value=url, where=where, next_step=step)
    if parts.username is not None or parts.password is not None:
        step = f"name the environment variable that holds the key with {key_option}"
        raise ServerError("the URL holds a user or a password", where=where, next_step=step)
    if parts.query or parts.fragment:
        raise ServerError("the URL goes on behind its path", value=url, where=where, next_step=step)


def key_in(variable: str | None, *, where: str = "--api-key-variable") -> str | None:
    """The key that an environment variable holds; None when none is named.

    Raises ConfigError, which does not show the key.
    """
    if variable is None:
        return None
    if not (key := os.environ.get(variable)):
        step = "set it to the server's key"
        raise ConfigError("this environment variable is not set", value=variable, where=where, next_step=step)
    if not (key.isascii() and key.isprintable()):
        step = "set the variable again, without line breaks"
        raise ConfigError("the key is no line of plain letters", value=variable, where=where, next_step=step)
    return key


def client_settings(url: str, key: str | None) -> dict[str, Any]:
    """What every client of a server is told: its key, and that no proxy reaches this machine's loopback."""
    headers = {"Authorization": f"Bearer {key}"} if key else {}
    own = urlsplit(url).hostname in LOOPBACK
    # certificates take 20 ms to load, and plain HTTP to this machine needs none
    needs_certificates = not (own and urlsplit(url).scheme == "http")
    return {"headers": headers, "trust_env": not own, "verify": needs_certificates}


class ServedModel(NamedTuple):
    """A model that a server lists, and who the server says owns it."""

    id: str
    owner: str


@dataclass(frozen=True, slots=True)
class ChatRequest:
    """One chat completion to ask for."""

    messages: tuple[Message, ...]
    max_tokens: int
    tools: tuple[Mapping[str, Any], ...] = ()
    temperature: float = 0.0
    stop: tuple[str, ...] = ()
    keep_stop: bool = False
    """The stop text stays in the answer (`include_stop_str_in_output`, which vLLM's server and ours know)."""
    seed: int | None = None
    logprobs: bool = False
    """Ask how likely the answer's own tokens were."""

    def body(self, model: str) -> dict[str, Any]:
        """The request as the API takes it."""
        body: dict[str, Any] = {
            "model": model,
            "messages": [message.to_json() for message in self.messages],
            "max_tokens": self.max_tokens,
            "temperature": self.temperature,
        }
        if self.tools:
            body["tools"] = [dict(tool) for tool in self.tools]
        if self.stop:
            body["stop"] = list(self.stop)
        if self.keep_stop:
            body["include_stop_str_in_output"] = True
        if self.seed is not None:
            body["seed"] = self.seed
        if self.logprobs:
            body["logprobs"] = True
        return body


@dataclass(frozen=True, slots=True)
class Answer:
    """What came back; `error` is the reason when nothing usable did."""

    text: str
    finish_reason: str | None
    prompt_tokens: int
    completion_tokens: int
    latency_seconds: float
    error: str | None = None
    tool_calls: tuple[Mapping[str, Any], ...] = ()
    mean_logprob: float | None = None
    """Mean log-probability (natural) of its tokens; None when the server did not say."""


class Answered(NamedTuple):
    """The answer to the request at `position`."""

    position: int
    answer: Answer


@dataclass(frozen=True, slots=True)
class ScoreRequest:
    """How likely each of some answers is after a conversation; after plain text, as its continuation."""

    messages: tuple[Message, ...]
    answers: tuple[str, ...]

    def body(self, model: str) -> dict[str, Any]:
        """The request as `/v1/x/score` takes it."""
        before: dict[str, Any] = {"messages": [message.to_json() for message in self.messages]}
        if not self.messages or self.messages[0].role == "text":
            before = {"prompt": "".join(message.content or "" for message in self.messages)}
        return {"model": model, "items": [{**before, "answer": answer} for answer in self.answers]}


class AnswerLikelihood(NamedTuple):
    """Log-probability (natural) of an answer, and its tokens."""

    logprob: float
    tokens: int


@dataclass(frozen=True, slots=True)
class Scored:
    """How likely each answer is, in the order asked; `error` is the reason when nothing usable came back."""

    likelihoods: tuple[AnswerLikelihood, ...]
    latency_seconds: float
    error: str | None = None


class Refused(Exception):
    """A try that failed (callers see `Answer.error`); `again` says whether another can succeed."""

    def __init__(self, reason: str, *, again: bool, pause_seconds: float = 0.0) -> None:
        super().__init__(reason)
        self.again, self.pause_seconds = again, pause_seconds


@dataclass
class Endpoint:
    """A model behind an OpenAI-compatible URL (with /v1).  Use as a context manager, or `close()` it."""

    url: str
    model: str
    api_key: str | None = None
    attempts: int = ATTEMPTS
    sleep: Callable[[float], None] = time.sleep
    transport: httpx.BaseTransport | None = None
    _client: httpx.Client = field(init=False, repr=False)
    _jitter: random.Random = field(init=False, repr=False)
    _lock: threading.Lock = field(init=False, repr=False, default_factory=threading.Lock)
    _under_way: int = field(init=False, repr=False, default=0)
    _closed: bool = field(init=False, repr=False, default=False)

    def __post_init__(self) -> None:
        check_url(self.url)
        self._jitter = random.Random(0)
        self._client = httpx.Client(
            base_url=self.url.rstrip("/") + "/",
            timeout=httpx.Timeout(ANSWER_SECONDS, connect=CONNECT_SECONDS),
            # The pool of threads is the limit.
            limits=httpx.Limits(max_connections=None),
            transport=self.transport,
            **client_settings(self.url, self.api_key),
        )

    def __enter__(self) -> "Endpoint":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Ask nothing more; the last request under way drops the connections behind it.

        A connection that is opened while the client closes would be nobody's to close.
        """
        with self._lock:
            self._closed = True
            idle = not self._under_way
        if idle:
            self._client.close()

    @contextmanager
    def _using_client(self) -> Iterator[httpx.Client]:
        """The client for one request; Refused once the endpoint is closed."""
        with self._lock:
            if self._closed:
                raise Refused("the endpoint is closed", again=False)
            self._under_way += 1
        try:
            yield self._client
        finally:
            with self._lock:
                self._under_way -= 1
                last = self._closed and not self._under_way
            if last:
                self._client.close()

    def models(self) -> list[ServedModel]:
        """The models the server lists.  Raises ServerError when it does not answer as such a server does."""
        listed, _ = self._patiently(lambda: self._ask("GET", "models"))
        if isinstance(listed, str):
            raise ServerError(
                f"the server does not answer ({listed})", value=self.url, next_step="check the URL"
            )
        try:
            return [
                ServedModel(str(entry["id"]), str(entry.get("owned_by") or "")) for entry in listed["data"]
            ]
        except (KeyError, TypeError, AttributeError):
            raise ServerError(
                "the server does not list models as OpenAI's API does",
                value=self.url,
                next_step="the URL usually ends in /v1",
            ) from None

    def chat(self, messages: Sequence[Message], *, max_tokens: int, **settings: Any) -> Answer:
        """One completion; `settings` are the other fields of `ChatRequest`."""
        return self.ask(ChatRequest(tuple(messages), max_tokens, **settings))

    def ask(self, request: ChatRequest) -> Answer:
        """One completion, tried again with growing pauses while that can help; a failure is an answer too."""
        body = request.body(self.model)
        reply, seconds = self._patiently(lambda: self._ask("POST", "chat/completions", body))
        if isinstance(reply, str):
            return Answer("", None, 0, 0, seconds, error=reply)
        return read_answer(reply, seconds)

    def score(self, request: ScoreRequest) -> Scored:
        """How likely answers are; a failure is an outcome too."""
        body = request.body(self.model)
        reply, seconds = self._patiently(lambda: self._ask("POST", "x/score", body))
        if isinstance(reply, str):
            return Scored((), seconds, error=reply)
        return read_scores(reply, len(request.answers), seconds)

    def chat_many(
        self, requests: Sequence[ChatRequest], *, concurrency: int, task: Task | None = None
    ) -> Iterator[Answered]:
        """Ask all, `concurrency` at a time; yields each answer when it is there, in the order of arrival.

        Leaving the loop early drops what was not yet sent.
        """
        shown, errors = task or SilentTask(), 0
        for position, answer in in_parallel(self.ask, requests, concurrency=concurrency):
            errors += answer.error is not None
            shown.advance(1, note=f"{errors} errors" if errors else "")
            yield Answered(position, answer)

    def _patiently(self, ask: Callable[[], dict[str, Any]]) -> tuple[dict[str, Any] | str, float]:
        """Try until there is an answer or no use in trying: (reply or reason, seconds of the last try)."""
        for attempt in range(1, self.attempts + 1):
            started = time.perf_counter()
            try:
                return ask(), time.perf_counter() - started
            except Refused as refused:
                seconds = time.perf_counter() - started
                if not refused.again or attempt == self.attempts:
                    tries = f" (tried {attempt} times)" if attempt > 1 else ""
                    return f"{refused}{tries}", seconds
                self.sleep(max(refused.pause_seconds, self._pause(attempt)))
        raise AssertionError("at least one attempt is made")

    def _pause(self, attempt: int) -> float:
        """Doubling pauses, spread by up to a half so that waiting clients do not return together."""
        longest = min(LONGEST_PAUSE_SECONDS, FIRST_PAUSE_SECONDS * 2.0 ** (attempt - 1))
        return longest * (0.5 + self._jitter.random() / 2)

    def _ask(self, method: str, path: str, body: dict[str, Any] | None = None) -> dict[str, Any]:
        """One try; Refused says why it failed."""
        try:
            with self._using_client() as client:
                response = client.request(method, path, json=body)
        except httpx.ConnectError as error:
            raise Refused(f"no connection: {error}", again=True) from None
        except httpx.TimeoutException:
            # Asking again what took this long would take as long again.
            raise Refused("no answer in time", again=False) from None
        except httpx.TransportError as error:
            raise Refused(f"connection lost: {error}", again=True) from None
        if response.status_code != httpx.codes.OK:
            raise Refused(
                reason_of(response),
                again=response.status_code in RETRIED,
                pause_seconds=retry_after(response),
            )
        try:
            reply = response.json()
        except ValueError:
            raise Refused("the answer is not JSON", again=False) from None
        if not isinstance(reply, dict):
            raise Refused("the answer is not a JSON object", again=False)
        return reply


def in_parallel(
    work: Callable[[Given], Done], given: Sequence[Given], *, concurrency: int
) -> Iterator[tuple[int, Done]]:
    """Each piece of work done by a thread, `concurrency` at a time: (position, result) as they come.

    Leaving the loop early drops what was not begun.
    """
    waiting: dict[Future[Done], int] = {}
    left = iter(enumerate(given))
    pool = ThreadPoolExecutor(max_workers=max(1, concurrency), thread_name_prefix="endpoint")
    try:
        while True:
            while len(waiting) < concurrency and (following := next(left, None)) is not None:
                waiting[pool.submit(work, following[1])] = following[0]
            if not waiting:
                return
            done, _ = wait(waiting, return_when=FIRST_COMPLETED)
            for future in done:
                yield waiting.pop(future), future.result()
    finally:
        pool.shutdown(wait=False, cancel_futures=True)


def reason_of(response: httpx.Response) -> str:
    """Status and the server's own message, shortened."""
    try:
        said = response.json()["error"]
        said = said["message"] if isinstance(said, dict) else said
    except (ValueError, KeyError, TypeError):
        said = response.text
    return f"HTTP {response.status_code}: {' '.join(str(said).split())[:300]}"


def retry_after(response: httpx.Response) -> float:
    """Seconds that the server asks to wait, at most the longest pause; 0 when it asks for none."""
    try:
        return min(LONGEST_PAUSE_SECONDS, max(0.0, float(response.headers.get("retry-after", "0"))))
    except ValueError:  # the header's other form is a date: our own pauses serve
        return 0.0


def read_answer(reply: dict[str, Any], seconds: float) -> Answer:
    """The first choice of a completion; a reply of another form becomes an error."""
    try:
        choice = reply["choices"][0]
        text = choice["message"].get("content") or ""
        calls = tuple(dict(call) for call in choice["message"].get("tool_calls") or ())
        usage = reply.get("usage") or {}
        counts = int(usage.get("prompt_tokens") or 0), int(usage.get("completion_tokens") or 0)
    except (KeyError, IndexError, TypeError, AttributeError, ValueError):
        return Answer("", None, 0, 0, seconds, error="the answer is not a chat completion")
    # A lone surrogate cannot be written as UTF-8.
    readable = str(text).encode("utf-8", errors="replace").decode("utf-8")
    finish = choice.get("finish_reason")
    return Answer(readable, finish, *counts, seconds, tool_calls=calls, mean_logprob=mean_logprob_of(choice))


def mean_logprob_of(choice: Mapping[str, Any]) -> float | None:
    """The mean of a choice's token log-probabilities; None when it has none that can be read."""
    try:
        tokens = choice["logprobs"]["content"]
        return sum(float(token["logprob"]) for token in tokens) / len(tokens) if tokens else None
    except (KeyError, TypeError, ValueError):
        return None


def read_scores(reply: dict[str, Any], number: int, seconds: float) -> Scored:
    """The likelihoods of a reply; one of another form, or with too few, becomes an error."""
    try:
        found = tuple(
            AnswerLikelihood(float(entry["logprob"]), int(entry["num_tokens"])) for entry in reply["data"]
        )
    except (KeyError, TypeError, ValueError):
        return Scored((), seconds, error="the answer holds no scores")
    if len(found) != number:
        return Scored((), seconds, error=f"{len(found)} scores for {number} answers")
    if not all(isfinite(one.logprob) for one in found):
        return Scored((), seconds, error="a score that is no number")
    return Scored(found, seconds)
