"""Models of another OpenAI-compatible server: requests are passed on, answers come back as they are made."""

import json
import re
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any

from tunesmith.core.endpoint import check_url
from tunesmith.core.errors import ServerError, nearest
from tunesmith.runtime.sampling.port import Grammar, GrammarKind
from tunesmith.serve.backends.port import (
    AT_ONCE,
    Calling,
    CallPiece,
    Chunk,
    Conversation,
    FinishReason,
    GenerationRequest,
    PassedOn,
    Prompt,
    Score,
    ScoreRequest,
    Text,
    TokenInfo,
    TokenPiece,
    Tokens,
    Unsupported,
    Usage,
    gathered,
)
from tunesmith.serve.backends.remote import Remote, events_of, list_models, understood

SCORED_AT_ONCE = 8
"""Answers of one request that the other server is asked about at the same time."""
UNKNOWN_CONTEXT_TOKENS = 131_072
"""Where the other server does not say; it refuses what is too long by itself."""
ESCAPED = re.compile(r"\\x([0-9a-fA-F]{2})")
UNASKED = vars(GenerationRequest(Text("")))
WHEN_ASKED: Mapping[str, str] = {
    name: name
    for name in (
        "max_tokens", "top_k", "top_p", "min_p", "presence_penalty", "frequency_penalty",
        "repetition_penalty", "logit_bias", "seed", "stop",
    )
} | {"include_stop": "include_stop_str_in_output"}  # fmt: skip
"""Setting → field, sent only when it is not as usual: not every server knows every one."""
STRUCTURED: Mapping[GrammarKind, tuple[str, Callable[[str], Any]]] = {
    "json_object": ("json_object", lambda _: True),
    "json_schema": ("json", json.loads),
    "choice": ("choice", json.loads),
    "regex": ("regex", str),
    "lark": ("grammar", str),
}
"""Kind of grammar → its way among vLLM's `structured_outputs`, and what is written there."""


def open_upstream(
    url: str, key: str | None, names: Sequence[str] | None = None
) -> dict[str, "UpstreamBackend"]:
    """A back-end for each of another server's models: those named, or all.

    Raises ServerError when the server does not answer as such a server does, or lacks one of them.
    """
    check_url(url, where="--upstream", key_option="--upstream-key")
    remote = Remote(url, key)
    listed = list_models(remote)
    if not listed:
        raise ServerError("the server has no models", value=url, where="--upstream")
    backends = {}
    for name in listed if names is None else names:
        if name not in listed:
            step = nearest(name, listed)
            raise ServerError("the server has no such model", value=name, where=url, next_step=step)
        backends[name] = UpstreamBackend(
            remote,
            name,
            context_tokens=context_of(listed[name]) or UNKNOWN_CONTEXT_TOKENS,
            scores=listed[name].get("owned_by") == "tunesmith",
        )
    return backends


def context_of(model: Mapping[str, Any]) -> int | None:
    """The longest prompt plus answer, where the server says it: as tunesmith does, or as vLLM does."""
    said = (model.get("x_tunesmith") or {}).get("context_tokens") or model.get("max_model_len")
    return int(said) if said else None


class UpstreamBackend:
    """One model of another server.

    Each request has a connection of its own, so that closing its generator ends the work on the other side.
    """

    at_once = AT_ONCE
    calls_itself = True

    def __init__(self, remote: Remote, model: str, *, context_tokens: int, scores: bool) -> None:
        self.context_tokens = context_tokens
        self._remote, self._model, self._scores = remote, model, scores

    async def start(self, request: GenerationRequest) -> AsyncGenerator[Chunk, None]:
        """Answer as the other server does."""
        if isinstance(request.prompt, Conversation):
            pieces = self._stream("chat/completions", self._chat_body(request), request.stop)
        elif request.echo:
            # Servers differ in how they stream an echoed prompt; whole, all have one form.
            pieces = self._echoed(request)
        else:
            pieces = self._stream("completions", self._completion_body(request), request.stop)
        async with aclosing(pieces):
            async for chunk in pieces:
                yield chunk

    async def score(self, requests: Sequence[ScoreRequest]) -> list[Score]:
        """What the other server says: a tunesmith scores all, others text behind text, by an echo."""
        if self._scores:
            items = [{**scored_prompt_of(request), "answer": request.answer} for request in requests]
            body = {"model": self._model, "items": items, "per_token": True}
            reply = await self._remote.ask("x/score", body)
            with understood():
                found = sorted(reply["data"], key=lambda entry: int(entry["index"]))
                scores = [Score(tuple(map(chat_token, entry["tokens"]))) for entry in found]
                if len(scores) != len(requests):
                    raise ValueError(f"{len(scores)} scores for {len(requests)} items")
            return scores
        return await gathered(self._score_by_echo, requests, at_once=SCORED_AT_ONCE)

    def tool_use(self) -> None:
        """The other server tells calls from text."""

    async def tokenize(self, prompt: Prompt, *, special: bool = True) -> list[TokenPiece]:
        """As the other server cuts it, where it has vLLM's endpoint."""
        if isinstance(prompt, Tokens):
            raise Unsupported("tokens are what tokens are", where="prompt")
        body = {"model": self._model, "add_special_tokens": special, "return_token_strs": True}
        reply = await self._remote.ask("../tokenize", {**body, **prompt_of(prompt)})
        with understood():
            texts = reply.get("token_strs") or [""] * len(reply["tokens"])
            return [TokenPiece(int(one), str(text)) for one, text in zip(reply["tokens"], texts, strict=True)]

    async def detokenize(self, token_ids: Sequence[int]) -> str:
        """As the other server reads them."""
        reply = await self._remote.ask("../detokenize", {"model": self._model, "tokens": list(token_ids)})
        with understood():
            return str(reply["prompt"])

    async def tokenizer_info(self) -> dict[str, Any]:
        """Refused: which of the other server's models it would be about cannot be said."""
        raise Unsupported("the server behind this one describes one tokenizer only: ask it")

    def close(self) -> None:
        """Nothing is held between requests."""

    def _chat_body(self, request: GenerationRequest) -> dict[str, Any]:
        body = {**self._settings(request), **prompt_of(request.prompt)}
        if request.calling is not None:
            body |= tools_of(request.calling)
        if request.logprobs is not None:
            body |= {"logprobs": True, "top_logprobs": request.logprobs}
        if request.grammar is not None:
            body |= chat_grammar(request.grammar)
        return body

    def _completion_body(self, request: GenerationRequest) -> dict[str, Any]:
        if request.max_tokens is None:
            raise Unsupported("the server behind this one has to be told how many tokens", where="max_tokens")
        body = {**self._settings(request), **prompt_of(request.prompt)}
        if request.logprobs is not None:
            body["logprobs"] = request.logprobs
        if request.grammar is not None:
            body |= completion_grammar(request.grammar)
        return body

    def _settings(self, request: GenerationRequest) -> dict[str, Any]:
        """Fields of both endpoints."""
        body: dict[str, Any] = {"model": self._model, "temperature": request.temperature, "n": request.n}
        asked = vars(request)
        # JSON makes the token ids of a bias strings, as the API has them.
        return body | {
            field: asked[name] for name, field in WHEN_ASKED.items() if asked[name] != UNASKED[name]
        }

    async def _stream(
        self, path: str, body: dict[str, Any], stop: Sequence[str]
    ) -> AsyncGenerator[Chunk, None]:
        """The answers' pieces as they come; the last end waits for the usage, which comes behind it."""
        body |= {"stream": True, "stream_options": {"include_usage": True}}
        choices = [Choice(index, stop) for index in range(body["n"])]
        held: Chunk | None = None
        usage: Usage | None = None
        async with self._remote.sent(path, body) as response:
            async for event in events_of(response):
                with understood():
                    usage = usage_of(event) or usage
                    pieces = [choices[part["index"]].chunk(part) for part in event.get("choices") or ()]
                for chunk in pieces:
                    if chunk.finish_reason is None:
                        yield chunk
                        continue
                    if held is not None:
                        yield held
                    held = chunk
        if held is None or not all(choice.ended for choice in choices):
            raise PassedOn("the server behind this one ended before the answer was whole", status=502)
        # A server that counts no tokens leaves nothing to tell.
        yield held._replace(usage=usage or Usage(0, 0))

    async def _echoed(self, request: GenerationRequest) -> AsyncGenerator[Chunk, None]:
        """Prompt and answers in one piece each."""
        body = {**self._completion_body(request), "echo": True, "logprobs": request.logprobs or 0}
        reply = await self._remote.ask("completions", body)
        with understood():
            usage = usage_of(reply)
        if usage is None:
            raise Unsupported(
                "the server behind this one does not count tokens, so no prompt is echoed", where="echo"
            )
        with understood():
            chunks = [echoed_chunk(request, usage, part) for part in reply["choices"]]
            if sorted(chunk.index for chunk in chunks) != list(range(request.n)):
                raise ValueError(f"{len(chunks)} answers, where {request.n} were asked for")
        for place, chunk in enumerate(chunks):
            last = place == request.n - 1
            yield chunk._replace(prompt=() if place else chunk.prompt, usage=usage if last else None)

    async def _score_by_echo(self, request: ScoreRequest) -> Score:
        if not isinstance(request.prompt, Text):
            raise Unsupported(
                "the server behind this one scores text behind text only; another tunesmith scores all",
                next_step="give the prompt as text",
            )
        text = request.prompt.text + request.answer
        body = {
            "model": self._model,
            "prompt": text,
            "max_tokens": 1,
            "temperature": 0.0,
            "echo": True,
            "logprobs": 0,
        }
        reply = await self._remote.ask("completions", body)
        begin, end = len(request.prompt.text), len(text)
        with understood():
            found = reply["choices"][0].get("logprobs") or {}
            places = list(found.get("text_offset") or ())
            pairs = zip(places, legacy_tokens(found), strict=True)
            tokens = tuple(token for place, token in pairs if begin <= place < end)
        if not tokens or any(token.logprob is None for token in tokens):
            raise Unsupported("the server behind this one gives no log-probabilities of this prompt")
        if begin not in places:
            raise Unsupported(
                "prompt and answer melt into one token on the server behind this one",
                next_step="let the answer begin with the space between them, or at another word",
            )
        return Score(tokens)


@dataclass
class Choice:
    """One answer as its pieces come."""

    index: int
    stop: Sequence[str]
    text: str = ""
    raw: bytes = b""
    ended: bool = False

    def chunk(self, part: Mapping[str, Any]) -> Chunk:
        """A streamed piece, of either endpoint."""
        logprobs = part.get("logprobs")
        if "delta" in part:
            text = part["delta"].get("content") or ""
            calls = tuple(map(call_piece, part["delta"].get("tool_calls") or ()))
            tokens = tuple(map(chat_token, (logprobs or {}).get("content") or ()))
        else:
            text, tokens, calls = part.get("text") or "", legacy_tokens(logprobs), ()
        return self.piece(text, tokens, finish_reason(part.get("finish_reason")))._replace(calls=calls)

    def piece(self, text: str, tokens: Sequence[TokenInfo], reason: FinishReason | None) -> Chunk:
        """A piece with these tokens; one that ended the answer is told apart from its text."""
        self.text += text
        self.raw += b"".join(token.raw for token in tokens)
        if reason is None:
            return Chunk(text, index=self.index, logprobs=tuple(tokens))
        self.ended = True
        read = self.raw.decode("utf-8", errors="replace")
        by_token = reason == "stop" and bool(tokens) and read != self.text
        if by_token and not any(stop in read for stop in self.stop):
            return Chunk(text, reason, index=self.index, logprobs=tuple(tokens[:-1]), end=tokens[-1])
        return Chunk(text, reason, index=self.index, logprobs=tuple(tokens))


def scored_prompt_of(request: ScoreRequest) -> dict[str, Any]:
    """The prompt's field of an item to score.  Raises Unsupported."""
    if isinstance(request.prompt, Conversation) and request.prompt.tools:
        raise Unsupported("the server behind this one scores no conversation with tools", where="tools")
    return prompt_of(request.prompt)


def prompt_of(prompt: Prompt) -> dict[str, Any]:
    """The prompt's field."""
    if isinstance(prompt, Conversation):
        return {"messages": [turn.to_json() for turn in prompt.messages]}
    if isinstance(prompt, Tokens):
        return {"prompt": list(prompt.token_ids)}
    return {"prompt": prompt.text}


def tools_of(calling: Calling) -> dict[str, Any]:
    """The fields that offer tools."""
    body: dict[str, Any] = {"tools": [dict(tool) for tool in calling.tools]}
    if calling.only is not None:
        body["tool_choice"] = {"type": "function", "function": {"name": calling.only}}
    elif calling.required:
        body["tool_choice"] = "required"
    return body if calling.several else {**body, "parallel_tool_calls": False}


def call_piece(said: Mapping[str, Any]) -> CallPiece:
    """A piece of a call as it is streamed."""
    function = said.get("function") or {}
    name, arguments = (str(function.get(key) or "") for key in ("name", "arguments"))
    return CallPiece(int(said.get("index") or 0), str(said.get("id") or ""), name, arguments)


def echoed_chunk(request: GenerationRequest, usage: Usage, part: Mapping[str, Any]) -> Chunk:
    """An answer with its prompt, told apart by the number of the prompt's tokens."""
    tokens = legacy_tokens(part.get("logprobs"))
    prompt, made = tokens[: usage.prompt_tokens], tokens[usage.prompt_tokens :]
    if request.logprobs is None:
        prompt, made = tuple(token._replace(logprob=None, top=()) for token in prompt), ()
    echoed = b"".join(token.raw for token in prompt).decode("utf-8", errors="replace")
    written = request.prompt.text if isinstance(request.prompt, Text) else echoed
    text = part["text"].removeprefix(written)
    choice = Choice(int(part["index"]), request.stop)
    return choice.piece(text, made, finish_reason(part["finish_reason"]))._replace(prompt=prompt)


def chat_grammar(grammar: Grammar) -> dict[str, Any]:
    """How a chat is held to a grammar: OpenAI's field where it has one, else vLLM's."""
    if grammar.kind == "json_object":
        return {"response_format": {"type": "json_object"}}
    if grammar.kind == "json_schema":
        schema = {"name": "answer", "schema": json.loads(grammar.text)}
        return {"response_format": {"type": "json_schema", "json_schema": schema}}
    return completion_grammar(grammar)


def completion_grammar(grammar: Grammar) -> dict[str, Any]:
    """The field that vLLM's clients know."""
    way, written = STRUCTURED[grammar.kind]
    return {"structured_outputs": {way: written(grammar.text)}}


def finish_reason(said: str | None) -> FinishReason | None:
    """Why an answer ended; whatever is not its length (a filter, a call) stopped it."""
    if said is None:
        return None
    return said if said in ("length", "tool_calls") else "stop"  # type: ignore[return-value]  # one of them


def usage_of(reply: Mapping[str, Any]) -> Usage | None:
    """Tokens of a request, where the server counts them."""
    said = reply.get("usage")
    if not said:
        return None
    cached = (said.get("prompt_tokens_details") or {}).get("cached_tokens") or 0
    return Usage(said["prompt_tokens"], said.get("completion_tokens") or 0, cached)


def chat_token(said: Mapping[str, Any]) -> TokenInfo:
    """A token as the chat endpoint writes it."""
    raw = said.get("bytes")
    text = said["token"]
    top = tuple(map(chat_token, said.get("top_logprobs") or ()))
    return TokenInfo(text, raw_of(text) if raw is None else bytes(raw), said.get("logprob"), top)


def legacy_tokens(said: Mapping[str, Any] | None) -> tuple[TokenInfo, ...]:
    """Tokens of the completions endpoint's four lists."""
    if not said:
        return ()
    tops = said.get("top_logprobs") or [None] * len(said["tokens"])
    rows = zip(said["tokens"], said["token_logprobs"], tops, strict=True)
    return tuple(TokenInfo(text, raw_of(text), logprob, top_of(top)) for text, logprob, top in rows)


def top_of(said: Mapping[str, float] | None) -> tuple[TokenInfo, ...]:
    """The likeliest tokens, the likeliest first."""
    ordered = sorted((said or {}).items(), key=lambda entry: -entry[1])
    return tuple(TokenInfo(text, raw_of(text), logprob) for text, logprob in ordered)


def raw_of(text: str) -> bytes:
    """The bytes of a token that is written as text, or as `bytes:` and escapes."""
    if text.startswith("bytes:"):
        return bytes.fromhex("".join(ESCAPED.findall(text)))
    return text.encode()
