"""The fake engine: a `FakeModel` that answers word by word, without torch."""

import asyncio
import re
from collections.abc import AsyncGenerator

from tunesmith.core.fake import FakeModel
from tunesmith.runtime.stopping import StopFilter
from tunesmith.serve.backends.port import Chunk, GenerationRequest, Usage, room_for_answer

CONTEXT_TOKENS = 8192
TOKEN = re.compile(r"\s*\S+|\s+$")
"""A token of the fake: a word with the space before it."""


class EchoBackend:
    """Serves a fake model; a token is a word."""

    def __init__(self, model: FakeModel, *, context_tokens: int | None = None) -> None:
        self.context_tokens = context_tokens or CONTEXT_TOKENS
        self._model = model

    async def start(self, request: GenerationRequest) -> AsyncGenerator[Chunk, None]:
        """Answer word by word; temperature and seed change nothing, because the fake is certain."""
        prompt_tokens = sum(len(TOKEN.findall(message.content or "")) + 1 for message in request.messages)
        room = room_for_answer(
            context_tokens=self.context_tokens, prompt_tokens=prompt_tokens, max_tokens=request.max_tokens
        )
        words = TOKEN.findall(self._model.answer(request.messages))
        stop = StopFilter(request.stop, include_stop=request.include_stop)
        taken = 0
        for word in words[:room]:
            taken += 1
            text = stop.push(word)
            if stop.stopped:
                yield Chunk(text, "stop", Usage(prompt_tokens, taken))
                return
            yield Chunk(text)
            await asyncio.sleep(0)
        # The word that ends an answer takes a token too, as a model's end-of-turn token does.
        ended = len(words) < room
        usage = Usage(prompt_tokens, taken + ended)
        yield Chunk(stop.finish(), "stop" if ended else "length", usage)

    def close(self) -> None:
        """Nothing is held."""
