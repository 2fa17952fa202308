"""The door `chat`: a conversation in the terminal with a server, its own or one that runs already.

At a terminal answers stream to standard error, which belongs to people; standard output stays free for
`--json`, and for the answers when the messages come through a pipe.
"""

import json
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TextIO

import httpx

from tunesmith.core.endpoint import check_url, client_settings, key_in
from tunesmith.core.errors import ServerError
from tunesmith.core.job import Job
from tunesmith.core.progress import counted
from tunesmith.launch.server import Served, temporary_server
from tunesmith.serve.schema import ChatConfig, ChatResult, ChatTurn

HELP = "/clear forgets the conversation, /exit leaves, Ctrl-C stops an answer"
CONNECT_SECONDS = 10.0


def chat(config: ChatConfig, job: Job) -> ChatResult:
    """Talk to a model until /exit or the end of input, or say one `message`.

    Raises ServerError when there is no server or it answers with an error.
    """
    with server(config, job) as served:
        settings = client_settings(served.url, key_in(config.api_key_variable))
        timeout = httpx.Timeout(None, connect=CONNECT_SECONDS)
        with httpx.Client(base_url=served.url, timeout=timeout, **settings) as client:
            talk = Conversation(client, served.model, config)
            if config.message is not None:
                turn = talk.say(config.message, show=ignore)
                result = ChatResult(model=served.model, turns=(turn,))
            else:
                result = converse(talk, sys.stdin, sys.stderr if sys.stdin.isatty() else None)
    if not result.shown:
        for turn in result.turns:
            if turn.finish_reason == "length":
                job.progress.say(f"the answer to {turn.message[:40]!r} {cut_off(config)}")
    return result


@contextmanager
def server(config: ChatConfig, job: Job) -> Iterator[Served]:
    """The server to talk to."""
    if config.endpoint is not None:
        check_url(config.endpoint)
        yield Served(config.endpoint.rstrip("/"), config.model)
        return
    job.progress.say(f"loading {config.model}")
    with temporary_server(config.model, job) as served:
        yield served


def ignore(_: str) -> None:
    """Show nothing."""


def cut_off(config: ChatConfig) -> str:
    """Why an answer ends before its end."""
    if config.max_tokens is None:
        return "was cut off: it is as long as the server lets it be"
    return f"was cut off at {counted(config.max_tokens, 'token')} (--max-tokens)"


class Conversation:
    """The messages so far, and one more at a time."""

    def __init__(self, client: httpx.Client, model: str, config: ChatConfig) -> None:
        self.model = model
        self.turns: list[ChatTurn] = []
        self._client, self._config = client, config
        self._messages: list[dict[str, str]] = []
        self.clear()

    def clear(self) -> None:
        """Forget all but the system turn."""
        system = self._config.system
        self._messages = [{"role": "system", "content": system}] if system is not None else []

    def say(self, text: str, *, show: Callable[[str], None]) -> ChatTurn:
        """Say something and hand the answer to `show` as it comes; Ctrl-C ends the answer, not the talk."""
        self._messages.append({"role": "user", "content": text})
        pieces: list[str] = []
        reason: str | None = None
        try:
            for piece, ended in self._stream():
                pieces.append(piece)
                show(piece)
                reason = reason or ended
        except KeyboardInterrupt:
            if self._config.message is not None:
                raise
            show(" … stopped")
        except BaseException:
            self._messages.pop()
            raise
        if reason == "length":
            show(f" … {cut_off(self._config)}")
        answer = "".join(pieces)
        self._messages.append({"role": "assistant", "content": answer})
        self.turns.append(ChatTurn(message=text, answer=answer, finish_reason=reason))
        return self.turns[-1]

    def _stream(self) -> Iterator[tuple[str, str | None]]:
        """Pieces of text, each with why the answer ended once it has."""
        try:
            with self._client.stream("POST", "/chat/completions", json=self._body()) as response:
                if response.status_code != 200:
                    response.read()
                    raise refused(response.text, self.model)
                for line in response.iter_lines():
                    if line.startswith("data: ") and line != "data: [DONE]":
                        yield piece_of(json.loads(line.removeprefix("data: ")))
        except httpx.HTTPError as error:
            step = "check --endpoint, or leave it out to start a server"
            raise ServerError(
                f"the server cannot be reached ({error})", value=str(self._client.base_url), next_step=step
            ) from error

    def _body(self) -> dict[str, Any]:
        config = self._config
        body = {
            "model": self.model,
            "messages": self._messages,
            "stream": True,
            "temperature": config.temperature,
            "top_p": config.top_p,
            "max_tokens": config.max_tokens,
            "seed": config.seed,
        }
        return {name: value for name, value in body.items() if value is not None}


def piece_of(chunk: dict[str, Any]) -> tuple[str, str | None]:
    """Text and finish reason of one chunk; raises ServerError for an error inside the stream."""
    if "error" in chunk:
        raise ServerError(f"the server failed while answering: {chunk['error']['message']}")
    if not chunk["choices"]:
        return "", None
    choice = chunk["choices"][0]
    return choice["delta"].get("content") or "", choice.get("finish_reason")


def refused(body: str, model: str) -> ServerError:
    """The server's own words for why it did not answer."""
    try:
        message = json.loads(body)["error"]["message"]
    except (json.JSONDecodeError, KeyError, TypeError):
        message = body[:300]
    return ServerError(f"the server refused: {message}", where=model)


def converse(talk: Conversation, source: TextIO, screen: TextIO | None) -> ChatResult:
    """Read lines and answer them until /exit or the end of input; without a screen in silence."""

    def show(text: str) -> None:
        if screen is not None:
            screen.write(text)
            screen.flush()

    show(f"{talk.model} · {HELP}\n")
    while (line := ask(source, show)) is not None:
        if line == "/clear":
            talk.clear()
            show("forgotten\n")
        elif line.startswith("/"):
            show(f"{HELP}\n")
        elif line:
            try:
                talk.say(line, show=show)
            except ServerError as error:
                # A refused turn (too long, say) ends that turn only, where somebody can say another.
                if screen is None:
                    raise
                show(str(error))
            show("\n")
    return ChatResult(model=talk.model, turns=tuple(talk.turns), shown=screen is not None)


def ask(source: TextIO, show: Callable[[str], None]) -> str | None:
    """One line from the person; None to leave."""
    show("› ")
    try:
        line = source.readline()
    except KeyboardInterrupt:
        line = ""
    if not line or line.strip() in ("/exit", "/quit"):
        show("\n" if not line else "")
        return None
    return line.strip()
