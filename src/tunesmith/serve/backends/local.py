"""A model in this process, behind the sampler's thread.  Imports torch when it is loaded."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping, Sequence
from concurrent.futures import CancelledError
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from tunesmith.core.conversation import Example, Message
from tunesmith.core.errors import UserError
from tunesmith.runtime.blocks import find_frame
from tunesmith.runtime.encoding import inner_ids, token_parts
from tunesmith.runtime.sampling.port import MAX_SEED, Busy, CannotAdmit, TokenLogprob
from tunesmith.runtime.sampling.token_bytes import TokenBytes, readable
from tunesmith.runtime.tool_calls import find_call_format
from tunesmith.serve.backends.port import (
    AT_ONCE,
    Chunk,
    Conversation,
    GenerationRequest,
    Prompt,
    Score,
    ScoreRequest,
    Text,
    TokenInfo,
    TokenPiece,
    Tokens,
    ToolUse,
    Usage,
    gathered,
    room_for_answer,
)

if TYPE_CHECKING:
    from tunesmith.runtime.lora.bank import AdapterBank
    from tunesmith.runtime.sampling.port import Request, SampleEvent
    from tunesmith.runtime.sampling.thread import SamplingThread
    from tunesmith.runtime.score import ScoreItem
    from tunesmith.runtime.threads import Dtype, FewBits

FALLBACK_CONTEXT_TOKENS = 2048
"""For a model whose configuration does not say what it was made for."""
SCORED_AT_ONCE = 32
"""Answers of one request that are scored side by side; the others wait here, not in the sampler's queue."""


class GenerationFailed(RuntimeError):
    """The engine failed on this request."""


class News(NamedTuple):
    """What the sampler says of one of a request's answers."""

    answer: int
    event: SampleEvent | Exception


class LocalBackend:
    """Serves one model, or one adapter on a model that others share; all requests share one batch."""

    calls_itself = False

    def __init__(
        self,
        thread: SamplingThread,
        tokenizer: Any,
        *,
        context_tokens: int,
        end_ids: frozenset[int],
        adapter: str | None = None,
        give_back: Callable[[], None] | None = None,
    ) -> None:
        self.context_tokens = context_tokens
        self._give_back = give_back or thread.close
        # Prompts of one request that find no place to wait in would be refused on an idle server, too.
        self.at_once = min(AT_ONCE, thread.max_waiting or AT_ONCE)
        self._thread, self._tokenizer, self._end_ids = thread, tokenizer, end_ids
        self._adapter = adapter
        self._bytes = TokenBytes(tokenizer)
        self._tool_use: tuple[ToolUse | None] | None = None
        frame = find_frame(tokenizer)
        self._begin = list(frame.begin)
        """What the tokenizer puts before a text by itself, as training on plain text does."""
        self._end = [] if frame.end is None else [frame.end]
        """What the text before ended with, where documents stand one behind the other."""

    async def start(self, request: GenerationRequest) -> AsyncGenerator[Chunk, None]:
        """Answer as the tokens come."""
        self._check_waiting(request.n)
        # Rendering a long conversation takes milliseconds that the other requests need not wait for.
        prompt = await asyncio.to_thread(self._token_ids, request.prompt)
        room = room_for_answer(
            context_tokens=self.context_tokens, prompt_tokens=len(prompt), max_tokens=request.max_tokens
        )
        sampled = [self._request(request, prompt, room, index) for index in range(request.n)]
        async with self._listening(sampled) as queue:
            answers = Answers(request.n, len(prompt), self._info)
            # The echoed prompt is known with answer 0's first event, and comes before anything else.
            early: list[News] = []
            while not answers.ended:
                news = await queue.get()
                event = checked(news.event)
                if request.echo and not answers.echoed and news.answer:
                    early.append(news)
                    continue
                echoed = self._echo(prompt, event) if request.echo and not answers.echoed else ()
                yield answers.chunk(news.answer, event, echoed)
                while early:
                    held = early.pop(0)
                    yield answers.chunk(held.answer, checked(held.event))

    async def score(self, requests: Sequence[ScoreRequest]) -> list[Score]:
        """Log-probabilities of given answers; prompts that begin alike are computed once."""
        items = [await asyncio.to_thread(self._item, request) for request in requests]
        return await gathered(self._score, items, at_once=min(SCORED_AT_ONCE, self.at_once))

    def tool_use(self) -> ToolUse | None:
        """As its chat template writes calls; found once."""
        if self._tool_use is None:
            form = None if self._tokenizer.chat_template is None else find_call_format(self._tokenizer)
            special = {
                str(token.content): number for number, token in self._tokenizer.added_tokens_decoder.items()
            }
            self._tool_use = (None if form is None else ToolUse(form, special),)
        return self._tool_use[0]

    async def tokenize(self, prompt: Prompt, *, special: bool = True) -> list[TokenPiece]:
        """The tokens that answering would begin from."""
        if isinstance(prompt, Text) and not special:
            found = await asyncio.to_thread(inner_ids, prompt.text, self._tokenizer)
        else:
            found = await asyncio.to_thread(self._token_ids, prompt)
        return [TokenPiece(token, readable(self._bytes.of(token))) for token in found]

    async def detokenize(self, token_ids: Sequence[int]) -> str:
        """The text of tokens."""
        for token in token_ids:
            if token >= len(self._tokenizer):
                raise CannotAdmit("no token has this id", where="tokens", value=token)
        return str(self._tokenizer.decode(list(token_ids), skip_special_tokens=False))

    async def tokenizer_info(self) -> dict[str, Any]:
        """Special tokens and the chat template, as a tokenizer's configuration file has them."""
        named = ("bos_token", "eos_token", "pad_token", "unk_token")
        return {
            "tokenizer_class": type(self._tokenizer).__name__,
            "model_max_length": self.context_tokens,
            **{name: self._tokenizer.special_tokens_map.get(name) for name in named},
            "chat_template": self._tokenizer.chat_template,
        }

    def close(self) -> None:
        """Give back what is its own: an adapter that came later, or the model with its thread."""
        self._give_back()

    def _check_waiting(self, num_answers: int) -> None:
        """Refuse what would find no room even where nobody else waits."""
        most = self._thread.max_waiting
        if most is not None and num_answers > most:
            raise CannotAdmit(
                f"at most {most} answers may wait on this server",
                where="n",
                value=num_answers,
                next_step="ask for fewer at a time, or start the server with a larger --max-waiting",
            )

    @asynccontextmanager
    async def _listening(self, requests: Sequence[Request]) -> AsyncIterator[asyncio.Queue[News]]:
        """Submit requests and hear of them in one queue; what still runs at the end is cancelled."""
        loop = asyncio.get_running_loop()
        queue: asyncio.Queue[News] = asyncio.Queue()

        def tell(index: int, event: SampleEvent | Exception) -> None:
            if not loop.is_closed():
                loop.call_soon_threadsafe(queue.put_nowait, News(index, event))

        tickets: list[int] = []
        try:
            for index, request in enumerate(requests):
                tickets.append(self._thread.submit(request, partial(tell, index)))
            yield queue
        finally:
            for ticket in tickets:
                self._thread.cancel(ticket)

    def _request(self, request: GenerationRequest, prompt: Sequence[int], room: int, index: int) -> Request:
        """What the sampler is asked for one of the answers."""
        from tunesmith.runtime.sampling.port import Request

        return Request(
            tuple(prompt),
            room,
            temperature=request.temperature,
            top_k=request.top_k,
            top_p=request.top_p,
            min_p=request.min_p,
            presence_penalty=request.presence_penalty,
            frequency_penalty=request.frequency_penalty,
            repetition_penalty=request.repetition_penalty,
            logit_bias=request.logit_bias,
            # A client's seed may be negative; the sampler's never is.
            seed=None if request.seed is None else (request.seed + index) % (MAX_SEED + 1),
            stop=request.stop,
            stop_token_ids=self._end_ids,
            include_stop=request.include_stop,
            show_special=request.show_special,
            grammar=request.grammar,
            adapter=self._adapter,
            logprobs=request.logprobs,
            prompt_logprobs=request.logprobs if request.echo and index == 0 and len(prompt) > 1 else None,
        )

    def _token_ids(self, prompt: Prompt) -> list[int]:
        """Tokens of a prompt, as training makes them.  Raises CannotAdmit and what rendering raises."""
        from tunesmith.runtime.render import render_prompt

        if isinstance(prompt, Conversation):
            return render_prompt(prompt.messages, self._tokenizer, tools=prompt.tools)
        return self._parts(prompt)[0]

    def _parts(self, prompt: Text | Tokens, *answer: str) -> list[list[int]]:
        """Tokens of a prompt without template, and of an answer behind it.

        The answer has the tokens that it has in the whole text, as lm-eval cuts it; where it would melt into
        the prompt's last token it has tokens of its own.  An empty text stands for the beginning of a
        document.  Raises CannotAdmit for no tokens.
        """
        if isinstance(prompt, Text):
            first, *rest = token_parts((prompt.text, *answer), self._tokenizer)
            begins = first[: len(self._begin)] == self._begin
            found = (first if begins else [*self._begin, *first]) or self._end
        else:
            found, rest = list(prompt.token_ids), [inner_ids(text, self._tokenizer) for text in answer]
        if not found:
            raise CannotAdmit("the prompt is empty", where="prompt", next_step="give at least a token")
        return [found, *rest]

    def _item(self, request: ScoreRequest) -> ScoreItem:
        """The tokens of prompt and answer; of a conversation those that training would learn."""
        from tunesmith.runtime.render import render
        from tunesmith.runtime.score import ScoreItem

        if isinstance(request.prompt, Conversation):
            turns = (*request.prompt.messages, Message("assistant", request.answer))
            encoded = render(Example(turns, tools=request.prompt.tools), self._tokenizer, learn="last")
            learned = [index for index, weight in enumerate(encoded.weights) if weight]
            item = ScoreItem(tuple(encoded.token_ids[: learned[-1] + 1]), learned[0], self._adapter)
        else:
            prompt, answer = self._parts(request.prompt, request.answer)
            item = ScoreItem((*prompt, *answer), len(prompt), self._adapter)
        room_for_answer(
            context_tokens=self.context_tokens,
            prompt_tokens=item.start,
            max_tokens=len(item.token_ids) - item.start,
        )
        return item

    async def _score(self, item: ScoreItem) -> Score:
        from tunesmith.runtime.score import request_of, scored_of

        async with self._listening([request_of(item)]) as queue:
            scored = scored_of(checked((await queue.get()).event))
        return Score(tuple(map(self._info, scored.tokens)))

    def _echo(self, prompt: Sequence[int], event: SampleEvent) -> tuple[TokenInfo, ...]:
        """The prompt's tokens, with what the first event says of them."""
        if event.prompt_logprobs is None:
            return tuple(self._plain(token) for token in prompt)
        return (self._plain(prompt[0]), *map(self._info, event.prompt_logprobs))

    def _info(self, token: TokenLogprob) -> TokenInfo:
        top = tuple(self._plain(other)._replace(logprob=logprob) for other, logprob in token.top)
        return self._plain(token.token_id)._replace(logprob=token.logprob, top=top)

    def _plain(self, token_id: int) -> TokenInfo:
        raw = self._bytes.of(token_id)
        return TokenInfo(readable(raw), raw, None)


class Answers:
    """Turns the sampler's events about a request's answers into its chunks."""

    def __init__(self, num_answers: int, prompt_tokens: int, info: Any) -> None:
        self._left, self._prompt_tokens, self._info = num_answers, prompt_tokens, info
        self._made, self._cached = 0, 0
        self.echoed = False

    @property
    def ended(self) -> bool:
        """Whether every answer has come to its end."""
        return self._left == 0

    def chunk(self, index: int, event: SampleEvent, echoed: tuple[TokenInfo, ...] = ()) -> Chunk:
        """The piece that an event makes; the last one of all carries the usage."""
        if event.finish_reason == "cancelled":
            raise GenerationFailed("the sampler dropped this request")
        self.echoed = True
        chunk = Chunk(
            event.text,
            index=index,
            logprobs=tuple(map(self._info, event.logprobs)),
            prompt=echoed,
            end=None if event.ended_by is None else self._info(event.ended_by),
        )
        if event.finish_reason is None:
            return chunk
        self._left -= 1
        self._made += event.num_generated
        # The prompt counts once: with n answers, as much of it as the first one found ready.
        self._cached = event.num_cached if index == 0 else self._cached
        usage = Usage(self._prompt_tokens, self._made, self._cached) if self.ended else None
        return chunk._replace(finish_reason=event.finish_reason, usage=usage)


def checked(event: SampleEvent | Exception) -> SampleEvent:
    """An event; what went wrong instead is raised."""
    if isinstance(event, UserError):
        raise event
    if isinstance(event, Exception):
        raise GenerationFailed(f"{type(event).__name__}: {event}") from event
    return event


@dataclass(frozen=True)
class Settings:
    """How models are loaded and stepped."""

    max_batch: int = 32
    max_waiting: int = 512
    max_wait_seconds: float = 0.005
    max_context_tokens: int | None = None
    memory_bytes: int = 2 << 30
    """For the keys and values of one model's requests, stored beginnings included."""
    threads: int = 0
    dtype: Dtype = "auto"
    quantise: FewBits | None = None


@dataclass(frozen=True)
class AdapterHost:
    """A model that adapters join and leave while it answers."""

    tokenizer: Any
    bank: AdapterBank
    thread: SamplingThread
    new_backend: Callable[..., LocalBackend]
    """tokenizer, `adapter` and `give_back` → a back-end on this model."""

    def why_alone(self, adapter: Path) -> str | None:
        """Why an adapter cannot share this model, in words; None when it can."""
        from tunesmith.runtime.lora.bank import why_alone

        return why_alone(adapter, held=self.bank.held, tokenizer=self.tokenizer)

    def join(self, name: str, adapter: Path) -> LocalBackend:
        """A back-end for an adapter, put beside the others between two steps; closing it takes it out again.

        Raises ModelError for one that cannot share the batch.
        """
        self.thread.call(partial(self.bank.add, name, adapter)).result()
        return self.new_backend(
            own_tokenizer(self.tokenizer, adapter), adapter=name, give_back=partial(self.leave, name)
        )

    def leave(self, name: str) -> None:
        """Take an adapter out; nobody is answered by it any more."""
        with suppress(Busy, CancelledError):  # the thread was closed, and the memory went with it
            self.thread.call(partial(self.bank.remove, name)).result()


def own_tokenizer(base: Any, adapter: Path) -> Any:
    """An adapter's tokenizer, where it brings one (another chat template), or the base's."""
    from tunesmith.runtime.models import read_tokenizer
    from tunesmith.runtime.vocabulary import has_tokenizer

    return read_tokenizer(adapter) if has_tokenizer(adapter) else base


class Opened(NamedTuple):
    """A loaded model: a back-end for each name (None: the base), and what a user should know."""

    backends: Mapping[str | None, LocalBackend]
    host: AdapterHost | None
    """Takes adapters later; None for a model that has one of its own."""
    note: str | None
    weight_bytes: int
    """Memory that its weights take, adapters included."""


def reason_alone(folder: Path, adapter: Path, quantise: FewBits | None) -> str | None:
    """Why an adapter cannot share a base with others, in words; None when it can.

    One with another chat template can: prompts are rendered by its own tokenizer.
    """
    from tunesmith.runtime.lora.bank import why_alone
    from tunesmith.runtime.models import read_tokenizer
    from tunesmith.runtime.quantise import FORMATS

    held = None if quantise is None else FORMATS[quantise]
    return why_alone(adapter, held=held, tokenizer=read_tokenizer(folder))


def open_model(
    folder: Path, settings: Settings, *, adapter: Path | None = None, shared: Mapping[str, Path] | None = None
) -> Opened:
    """Load a model folder and start its thread: alone, with an adapter on it, or with several beside it.

    Raises ModelError.
    """
    from tunesmith.runtime.threads import apply_threads, resolve_threads, worker_environment

    num_threads = resolve_threads(settings.threads)
    # Read when torch is first imported: threads that wait must sleep, a server shares its machine.
    os.environ.update(worker_environment(num_threads))
    from tunesmith.runtime.generate import end_of_turn
    from tunesmith.runtime.lora.bank import AdapterBank
    from tunesmith.runtime.models import load_for_inference
    from tunesmith.runtime.packed import held_bytes
    from tunesmith.runtime.sampling.open import open_sampler
    from tunesmith.runtime.sampling.thread import SamplingThread

    apply_threads(num_threads)
    loaded = load_for_inference(folder, adapter=adapter, dtype=settings.dtype, quantise=settings.quantise)
    bank = AdapterBank(loaded.model, info=loaded.info) if adapter is None else None
    for name, place in (shared or {}).items():
        assert bank is not None, "adapters share a model that has none of its own"
        bank.add(name, place)
    sampler = open_sampler(
        loaded, bank=bank, max_batch=settings.max_batch, memory_bytes=settings.memory_bytes
    )
    weight_bytes = held_bytes(loaded.model)
    made_for = min(loaded.info.context_tokens or FALLBACK_CONTEXT_TOKENS, sampler.longest)
    thread = SamplingThread(
        sampler,
        max_wait_seconds=settings.max_wait_seconds,
        num_threads=num_threads,
        max_waiting=settings.max_waiting,
    )

    def new_backend(tokenizer: Any, **more: Any) -> LocalBackend:
        return LocalBackend(
            thread,
            tokenizer,
            context_tokens=min(made_for, settings.max_context_tokens or made_for),
            end_ids=end_of_turn(loaded.model, tokenizer),
            **more,
        )

    backends: dict[str | None, LocalBackend] = {None: new_backend(loaded.tokenizer)}
    for name, place in (shared or {}).items():
        backends[name] = new_backend(own_tokenizer(loaded.tokenizer, place), adapter=name)
    host = None if bank is None else AdapterHost(loaded.tokenizer, bank, thread, new_backend)
    return Opened(backends, host, sampler.note, weight_bytes)
