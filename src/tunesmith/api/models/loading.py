"""Versions in memory: loaded when somebody asks; the one that was not asked for longest makes room."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import AsyncGenerator, Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from tunesmith.api.call import Api, Caller
from tunesmith.api.models import service
from tunesmith.serve.backends.port import (
    Backend,
    Chunk,
    GenerationRequest,
    Prompt,
    Score,
    ScoreRequest,
    TokenPiece,
    ToolUse,
)
from tunesmith.serve.problems import SERVER_ERROR, ApiProblem, overloaded
from tunesmith.serve.state import Served

Open = Callable[[service.Row], Served]
"""Loads a version."""


class Counted:
    """A back-end that knows how many requests it works on."""

    def __init__(self, backend: Backend) -> None:
        self.backend, self.busy = backend, 0
        self.context_tokens, self.at_once = backend.context_tokens, backend.at_once
        self.calls_itself = backend.calls_itself

    async def start(self, request: GenerationRequest) -> AsyncGenerator[Chunk, None]:
        """Answer a request."""
        self.busy += 1
        pieces = self.backend.start(request)
        try:
            async for chunk in pieces:
                yield chunk
        finally:
            await pieces.aclose()
            self.busy -= 1

    async def score(self, requests: Sequence[ScoreRequest]) -> list[Score]:
        """Judge answers."""
        self.busy += 1
        try:
            return await self.backend.score(requests)
        finally:
            self.busy -= 1

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
        """Give everything back."""
        self.backend.close()


def check_files(row: service.Row) -> None:
    """Raise ApiProblem (503) for a version whose files somebody took away."""
    if not Path(row["folder"]).is_dir():
        message = f"The files of the model {row['id']} are gone from this server. Ask its owner."
        raise ApiProblem(message, status=503, kind=SERVER_ERROR, code="model_files_missing")


@dataclass
class Versions:
    """At most so many versions are loaded at a time."""

    api: Api
    open: Open
    at_most: int
    loaded: OrderedDict[str, tuple[Served, Counted]] = field(default_factory=OrderedDict)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def find(self, name: str, caller: Caller) -> Served | None:
        """The version of a name, loaded if it was not; None when there is none.

        Raises ApiProblem (429) when all that are loaded are at work.
        """
        row = service.find(self.api, caller, name)
        with self.lock:
            if row is None:
                self.let_go(name)
                return None
            if name not in self.loaded:
                check_files(row)
                self.make_room()
                served = self.open(row)
                counted = Counted(served.backend)
                self.loaded[name] = (replace(served, backend=counted), counted)
            self.loaded.move_to_end(name)
            return self.loaded[name][0]

    def make_room(self) -> None:
        """Let versions go, the least recently asked first, until there is room for one more."""
        idle = [name for name, (_, counted) in self.loaded.items() if not counted.busy]
        while len(self.loaded) >= self.at_most:
            if not idle:
                raise overloaded(
                    f"all {self.at_most} loaded models are at work; the model is still being loaded"
                )
            self.let_go(idle.pop(0))

    def let_go(self, name: str) -> None:
        """Give a version's memory back."""
        if name in self.loaded:
            self.loaded.pop(name)[1].close()

    def close(self) -> None:
        """Let all go."""
        with self.lock:
            for name in list(self.loaded):
                self.let_go(name)
