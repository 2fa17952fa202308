"""Routes that look something up and generate nothing: tokens of prompts, texts of tokens."""

from collections.abc import Awaitable, Callable
from typing import Any

from fastapi import FastAPI, Request, Response
from fastapi.responses import JSONResponse

from tunesmith.serve.answering import problem_response
from tunesmith.serve.connection import read_body
from tunesmith.serve.ledger import problem_of
from tunesmith.serve.protocol import tokens
from tunesmith.serve.state import State


def add_lookups(app: FastAPI, state: State) -> None:
    """Add the routes, which stand where vLLM has them."""

    @app.post("/tokenize")
    async def tokenize(request: Request) -> Response:
        """The tokens of a prompt."""
        return await looked_up(request, state, tokens_of)

    @app.post("/detokenize")
    async def detokenize(request: Request) -> Response:
        """The text of tokens."""
        return await looked_up(request, state, text_of)

    @app.get("/tokenizer_info")
    async def tokenizer_info(request: Request) -> Response:
        """What writes prompts for the first model, or for that of `?model=`."""
        return await looked_up(request, state, tokenizer_of)


async def tokens_of(request: Request, state: State) -> dict[str, Any]:
    """The tokens of a prompt."""
    asked = tokens.ask(await read_body(request, state.max_request_bytes))
    backend = (await state.reach(asked.model)).backend
    pieces = await backend.tokenize(asked.prompt, special=asked.special)
    return tokens.write(pieces, context_tokens=backend.context_tokens, strings=asked.strings)


async def text_of(request: Request, state: State) -> dict[str, Any]:
    """The text of tokens."""
    asked = tokens.ask_text(await read_body(request, state.max_request_bytes))
    return {"prompt": await (await state.reach(asked.model)).backend.detokenize(asked.tokens)}


async def tokenizer_of(request: Request, state: State) -> dict[str, Any]:
    """What writes prompts for a model."""
    return await (await state.reach(request.query_params.get("model"))).backend.tokenizer_info()


async def looked_up(
    request: Request, state: State, find: Callable[[Request, State], Awaitable[dict[str, Any]]]
) -> Response:
    """What was found, or OpenAI's words for what went wrong; nothing is generated, so nothing is recorded."""
    try:
        return JSONResponse(await find(request, state))
    except Exception as error:
        # Whatever goes wrong for one request is told to its client in OpenAI's form.
        return problem_response(problem_of(error, None), {})
