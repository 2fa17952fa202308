"""The fake engine: a `FakeModel` that answers word by word, without torch.

Its log-probabilities are made up: they depend on the word alone, so that what a word gets is the same in an
answer, in an echoed prompt and in a score.
"""

import asyncio
import json
import math
import re
import zlib
from collections.abc import AsyncGenerator, Mapping, Sequence
from typing import Any, NamedTuple

from tunesmith.core.conversation import Message
from tunesmith.core.fake import FakeModel
from tunesmith.runtime.sampling.port import CannotAdmit, Grammar
from tunesmith.runtime.sampling.stopping import StopFilter
from tunesmith.runtime.tool_calls import HERMES
from tunesmith.serve.backends.port import (
    AT_ONCE,
    Chunk,
    Conversation,
    FinishReason,
    GenerationRequest,
    Prompt,
    Score,
    ScoreRequest,
    Text,
    TokenInfo,
    TokenPiece,
    ToolUse,
    Unsupported,
    Usage,
    room_for_answer,
)

CONTEXT_TOKENS = 8192
VOCABULARY = 50_000
"""A token id is the word that writes it: 17 reads " 17"."""
TOKEN = re.compile(r"\s*\S+|\s+$")
"""A token of the fake: a word with the space before it."""
NO_IDS = "the fake model has no tokenizer: its tokens are words"
END = "<end>"
START_OF_TURN = "<turn>"


class Step(NamedTuple):
    """A word of an answer, the part of it that may be shown, and why the answer ends here."""

    word: str | None
    text: str
    finish_reason: FinishReason | None


class EchoBackend:
    """Serves a fake model; a token is a word."""

    at_once = AT_ONCE
    calls_itself = False

    def __init__(self, model: FakeModel, *, context_tokens: int | None = None) -> None:
        self.context_tokens = context_tokens or CONTEXT_TOKENS
        self._model = model

    async def start(self, request: GenerationRequest) -> AsyncGenerator[Chunk, None]:
        """Answer word by word; how tokens are drawn changes nothing, because the fake is certain.

        All n answers are the same.  Raises CannotAdmit and Unsupported.
        """
        prompt = words_of(request.prompt)
        check_tokens(request.logit_bias, "logit_bias")
        room = room_for_answer(
            context_tokens=self.context_tokens, prompt_tokens=len(prompt), max_tokens=request.max_tokens
        )
        steps = steps_of(words(self._answer(request.prompt, request.grammar)), room, request)
        echoed = tokens_of(prompt, request.logprobs, first=True) if request.echo else ()
        computed = sum(step.word is not None for step in steps)
        usage = Usage(len(prompt), computed * request.n)
        for number, step in enumerate(steps):
            for index in range(request.n):
                last = number == len(steps) - 1 and index == request.n - 1
                chunk = chunk_of(step, index, request.logprobs)
                yield chunk._replace(
                    prompt=echoed if number == index == 0 else (), usage=usage if last else None
                )
            await asyncio.sleep(0)

    async def score(self, requests: Sequence[ScoreRequest]) -> list[Score]:
        """Made-up log-probabilities of given answers."""
        return [self._score(request) for request in requests]

    def tool_use(self) -> ToolUse:
        """As most models write calls."""
        return ToolUse(HERMES)

    async def tokenize(self, prompt: Prompt, *, special: bool = True) -> list[TokenPiece]:
        """Refused: words have no ids."""
        raise Unsupported(NO_IDS)

    async def detokenize(self, token_ids: Sequence[int]) -> str:
        """Refused: words have no ids."""
        raise Unsupported(NO_IDS)

    async def tokenizer_info(self) -> dict[str, Any]:
        """Refused: words have no ids."""
        raise Unsupported(NO_IDS)

    def close(self) -> None:
        """Nothing is held."""

    def _answer(self, prompt: Prompt, grammar: Grammar | None) -> str:
        if isinstance(prompt, Conversation):
            answer = self._model.answer(prompt.messages)
        else:
            answer = self._model.answer((Message("user", "".join(words_of(prompt))),))
        return answer if grammar is None else shaped(answer, grammar)

    def _score(self, request: ScoreRequest) -> Score:
        answer = words(request.answer)
        if isinstance(request.prompt, Conversation):
            answer.append(END)
        prompt = words_of(request.prompt)
        room_for_answer(context_tokens=self.context_tokens, prompt_tokens=len(prompt), max_tokens=len(answer))
        return Score(tokens_of(answer, 0))


def words(text: str) -> list[str]:
    """The tokens of a text."""
    return TOKEN.findall(text)


def words_of(prompt: Prompt) -> list[str]:
    """The tokens of a prompt; each turn of a conversation begins with one, a document behind an end."""
    if isinstance(prompt, Conversation):
        return [word for turn in prompt.messages for word in (START_OF_TURN, *words(turn.content or ""))]
    if isinstance(prompt, Text):
        return words(prompt.text) or [END]
    check_tokens(dict.fromkeys(prompt.token_ids, 0.0), "prompt")
    return [f" {token}" for token in prompt.token_ids]


def check_tokens(token_ids: Mapping[int, float], where: str) -> None:
    """Raise CannotAdmit for a token that the fake does not have."""
    for token in token_ids:
        if token >= VOCABULARY:
            raise CannotAdmit(f"the vocabulary has {VOCABULARY} tokens", where=where, value=token)


def steps_of(answer: Sequence[str], room: int, request: GenerationRequest) -> list[Step]:
    """How an answer comes out word by word, in at most `room` tokens.

    The word that ends an answer takes a token too, as a model's end-of-turn token does.
    """
    stop = StopFilter(request.stop, include_stop=request.include_stop)
    steps: list[Step] = []
    for word in answer[:room]:
        steps.append(Step(word, stop.push(word), "stop" if stop.stopped else None))
        if stop.stopped:
            return steps
    ended = len(answer) < room
    return [*steps, Step(END if ended else None, stop.finish(), "stop" if ended else "length")]


def chunk_of(step: Step, index: int, logprobs: int | None) -> Chunk:
    """A step as a piece of answer `index`."""
    tokens = tokens_of([step.word], logprobs) if step.word is not None and logprobs is not None else ()
    if step.word == END:
        return Chunk(step.text, step.finish_reason, index=index, end=tokens[0] if tokens else None)
    return Chunk(step.text, step.finish_reason, index=index, logprobs=tokens)


def tokens_of(words: Sequence[str], top: int | None, *, first: bool = False) -> tuple[TokenInfo, ...]:
    """Words as clients see them; the first of a prompt has nothing to be likely behind."""
    unknown = TokenInfo(words[0], words[0].encode(), None)
    known = [token_of(word, top) for word in words[1 if first else 0 :]]
    return (unknown, *known) if first else tuple(known)


def token_of(word: str, top: int | None) -> TokenInfo:
    """A word with the log-probability made up for it: more than a half, the rest for words that are not."""
    if top is None:
        return TokenInfo(word, word.encode(), None)
    share = 0.55 + 0.4 * (zlib.crc32(word.encode()) % 1000) / 1000
    own = TokenInfo(word, word.encode(), math.log(share))
    others = [
        TokenInfo(other, other.encode(), math.log((1 - share) * 0.5**place))
        for place in range(1, top)
        for other in [f"{word}~{place}"]
    ]
    return own._replace(top=(own, *others)[:top])


def shaped(answer: str, grammar: Grammar) -> str:
    """The answer, made to fit; raises Unsupported for a grammar that the fake does not know."""
    if grammar.kind == "choice":
        choices: list[str] = json.loads(grammar.text)
        return answer if answer in choices else choices[0]
    if grammar.kind not in ("json_object", "json_schema"):
        raise Unsupported(f"the fake model knows no grammar of the kind {grammar.kind}")
    try:
        found = json.loads(answer)
    except json.JSONDecodeError:
        found = None
    if isinstance(found, dict):
        return answer
    return json.dumps(filled(json.loads(grammar.text), answer) if grammar.text else {"answer": answer})


def filled(schema: Mapping[str, Any], answer: str) -> Any:
    """The least that fits a plain schema: objects, arrays, numbers, constants, and the answer as each text.

    Raises CannotAdmit for anything else.
    """
    for key in ("const", "default"):
        if key in schema:
            return schema[key]
    if "enum" in schema:
        return answer if answer in schema["enum"] else schema["enum"][0]
    least: dict[str, Any] = {"string": answer, "integer": 0, "number": 0, "boolean": False, "array": []}
    kind = schema.get("type")
    if kind == "object":
        return {name: filled(part, answer) for name, part in schema.get("properties", {}).items()}
    if kind in least:
        return least[kind]
    raise CannotAdmit("the fake model cannot fill this schema", where="response_format", value=dict(schema))
