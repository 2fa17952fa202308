"""A model in this process, behind the sampler's thread.  Imports torch when it is loaded."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncGenerator
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from tunesmith.serve.backends.port import Chunk, GenerationRequest, Usage, room_for_answer

if TYPE_CHECKING:
    from tunesmith.runtime.sampling import SampleEvent
    from tunesmith.runtime.sampling_thread import SamplingThread

FALLBACK_CONTEXT_TOKENS = 2048
"""For a model whose configuration does not say what it was made for."""


class GenerationFailed(RuntimeError):
    """The engine failed on this request."""


class LocalBackend:
    """Serves one model with its adapter; all its requests share one batch."""

    def __init__(
        self, thread: SamplingThread, tokenizer: Any, *, context_tokens: int, end_ids: frozenset[int]
    ) -> None:
        self.context_tokens = context_tokens
        self._thread, self._tokenizer, self._end_ids = thread, tokenizer, end_ids

    async def start(self, request: GenerationRequest) -> AsyncGenerator[Chunk, None]:
        """Answer as the tokens come."""
        from tunesmith.runtime.render import render_prompt
        from tunesmith.runtime.sampling import Request

        # Rendering a long conversation takes milliseconds that the other requests need not wait for.
        prompt = await asyncio.to_thread(render_prompt, request.messages, self._tokenizer)
        room = room_for_answer(
            context_tokens=self.context_tokens, prompt_tokens=len(prompt), max_tokens=request.max_tokens
        )
        sampled = Request(
            tuple(prompt),
            room,
            temperature=request.temperature,
            top_p=request.top_p,
            seed=request.seed,
            stop=request.stop,
            stop_token_ids=self._end_ids,
            include_stop=request.include_stop,
        )
        loop = asyncio.get_running_loop()
        events: asyncio.Queue[SampleEvent | Exception] = asyncio.Queue()

        def tell(event: SampleEvent | Exception) -> None:
            if not loop.is_closed():
                loop.call_soon_threadsafe(events.put_nowait, event)

        ticket = self._thread.submit(sampled, tell)
        try:
            while True:
                event = await events.get()
                if isinstance(event, Exception):
                    raise GenerationFailed(f"{type(event).__name__}: {event}") from event
                if event.finish_reason in ("stop", "length"):
                    usage = Usage(len(prompt), event.num_generated, event.num_cached)
                    yield Chunk(event.text, event.finish_reason, usage)
                    return
                yield Chunk(event.text)
        finally:
            self._thread.cancel(ticket)

    def close(self) -> None:
        """End the sampling thread."""
        self._thread.close()


def load_local(
    folder: Path,
    *,
    adapter: Path | None,
    max_batch: int,
    max_wait_seconds: float,
    max_context_tokens: int | None,
    threads: int,
    dtype: Literal["auto", "bfloat16", "float32"] = "auto",
) -> LocalBackend:
    """Load a model folder (and its adapter) and start its thread.  Raises ModelError."""
    from tunesmith.runtime.threads import apply_threads, resolve_threads, worker_environment

    num_threads = resolve_threads(threads)
    # Read when torch is first imported: threads that wait must sleep, a server shares its machine.
    os.environ.update(worker_environment(num_threads))
    from tunesmith.runtime.generate import end_of_turn
    from tunesmith.runtime.models import load_for_inference
    from tunesmith.runtime.sampling import Sampler
    from tunesmith.runtime.sampling_thread import SamplingThread

    apply_threads(num_threads)
    loaded = load_for_inference(folder, adapter=adapter, dtype=dtype)
    sampler = Sampler(loaded.model, loaded.tokenizer, max_batch=max_batch)
    made_for = min(loaded.info.context_tokens or FALLBACK_CONTEXT_TOKENS, sampler.longest)
    return LocalBackend(
        SamplingThread(sampler, max_wait_seconds=max_wait_seconds, num_threads=num_threads),
        loaded.tokenizer,
        context_tokens=min(made_for, max_context_tokens or made_for),
        end_ids=end_of_turn(loaded.model, loaded.tokenizer),
    )
