"""Versions in memory: loaded when somebody asks; the one that was not asked for longest makes room."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import AsyncGenerator, Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, NamedTuple

from tunesmith.api.call import Api, Caller
from tunesmith.api.models import service
from tunesmith.serve.backends.port import (
    Backend,
    Chunk,
    GenerationRequest,
    Host,
    Prompt,
    Score,
    ScoreRequest,
    TokenPiece,
    ToolUse,
)
from tunesmith.serve.problems import SERVER_ERROR, ApiProblem, overloaded
from tunesmith.serve.state import Served

Open = Callable[[service.Row, Host | None], Served]
"""Loads a version: onto a served model, or with weights of its own."""


class Counted:
    """A back-end that knows how many requests it works on."""

    GIVING_BACK = "giving a model back"

    def __init__(self, backend: Backend) -> None:
        self.backend, self.busy = backend, 0
        self.context_tokens, self.at_once = backend.context_tokens, backend.at_once
        self.calls_itself = backend.calls_itself
        self.is_closed = False
        # Requests come and go in the loop's thread, and other threads let models go.
        self.lock = threading.Lock()

    async def start(self, request: GenerationRequest) -> AsyncGenerator[Chunk, None]:
        """Answer a request."""
        self.one_more()
        pieces = self.backend.start(request)
        try:
            async for chunk in pieces:
                yield chunk
        finally:
            await pieces.aclose()
            self.one_less()

    async def score(self, requests: Sequence[ScoreRequest]) -> list[Score]:
        """Judge answers."""
        self.one_more()
        try:
            return await self.backend.score(requests)
        finally:
            self.one_less()

    def one_more(self) -> None:
        """A request comes; raises ApiProblem (429) where the model was let go a moment ago."""
        with self.lock:
            if self.is_closed:
                raise overloaded("the model has just made room for another one")
            self.busy += 1

    def one_less(self) -> None:
        """A request is done; the last one of a model that was let go gives it back."""
        with self.lock:
            self.busy -= 1
            is_last = self.is_closed and not self.busy
        if is_last:
            # Giving back waits for a step to end, which the other requests must not.
            threading.Thread(target=self.backend.close, name=self.GIVING_BACK, daemon=True).start()

    def tool_use(self) -> ToolUse | None:
        """How it writes calls of tools."""
        return self.backend.tool_use()

    async def tokenize(self, prompt: Prompt, *, special: bool = True) -> list[TokenPiece]:
        """The tokens of a prompt."""
        return await self.backend.tokenize(prompt, special=special)

    async def detokenize(self, token_ids: Sequence[int]) -> str:
        """The text of tokens."""
        return await self.backend.detokenize(token_ids)

    async def tokenizer_info(self) -> dict[str, Any]:
        """What clients need of the tokenizer."""
        return await self.backend.tokenizer_info()

    def close(self) -> None:
        """Give everything back, once nobody is being answered by it any more."""
        with self.lock:
            is_idle, self.is_closed = not self.busy, True
        if is_idle:
            self.backend.close()


def check_files(row: service.Row) -> None:
    """Raise ApiProblem (503) for a version whose files somebody took away."""
    if not Path(row["folder"]).is_dir():
        message = f"The files of the model {row['id']} are gone from this server. Ask its owner."
        raise ApiProblem(message, status=503, kind=SERVER_ERROR, code="model_files_missing")


class Held(NamedTuple):
    """A version in memory."""

    served: Served
    counted: Counted
    shares: bool
    """Whether it is an adapter on a base that is served; else its weights are its own."""


@dataclass
class Versions:
    """So many versions with weights of their own are in memory at a time, and so many adapters.

    An adapter on a base that is served takes some megabytes; anything else takes what a whole model does.
    """

    api: Api
    open: Open
    host_of: Callable[[service.Row], Host | None]
    """The served model that a version can be an adapter on; None for one that needs weights of its own."""
    at_most: int
    adapters: int
    loaded: OrderedDict[str, Held] = field(default_factory=OrderedDict)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def find(self, name: str, caller: Caller) -> Served | None:
        """The version of a name, loaded if it was not; None when there is none.

        Raises ApiProblem (429) when all that are loaded are at work.
        """
        row = service.find(self.api, caller, name)
        with self.lock:
            if row is None:
                # It may be there, and another project's.
                if service.is_deleted(self.api, name):
                    self.let_go(name)
                return None
            if name not in self.loaded:
                check_files(row)
                self.loaded[name] = self.opened(row)
            self.loaded.move_to_end(name)
            return self.loaded[name].served

    def opened(self, row: service.Row) -> Held:
        """Load a version, when there is room for one of its kind."""
        host = self.host_of(row)
        self.make_room(shares=host is not None)
        served = self.open(row, host)
        counted = Counted(served.backend)
        return Held(replace(served, backend=counted), counted, host is not None)

    def make_room(self, *, shares: bool) -> None:
        """Let versions of a kind go, the least recently asked first, until there is room for one more."""
        at_most = self.adapters if shares else self.at_most
        alike = [(name, held) for name, held in self.loaded.items() if held.shares == shares]
        idle = [name for name, held in alike if not held.counted.busy]
        for _ in range(len(alike) - at_most + 1):
            if not idle:
                raise overloaded(f"all {at_most} loaded models are at work; the model is still being loaded")
            self.let_go(idle.pop(0))

    def let_go(self, name: str) -> None:
        """Give a version's memory back."""
        if name in self.loaded:
            self.loaded.pop(name).counted.close()

    def close(self) -> None:
        """Let all go."""
        with self.lock:
            for name in list(self.loaded):
                self.let_go(name)
