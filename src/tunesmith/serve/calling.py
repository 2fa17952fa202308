"""Calls of tools, for engines that write text: the grammar of a request, and its answer read."""

from __future__ import annotations

import secrets
from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import replace

from tunesmith.runtime.sampling.port import Grammar
from tunesmith.runtime.tool_calls import Call, CallReader, calls_grammar
from tunesmith.serve.backends.port import Backend, Calling, CallPiece, Chunk, GenerationRequest, ToolUse
from tunesmith.serve.problems import unsupported

NO_FORM = (
    "are not for this model: its chat template shows none, or writes calls in a form that is not read; "
    "a model trained with `template: chatml` takes them"
)


def prepared(backend: Backend, request: GenerationRequest) -> tuple[GenerationRequest, ToolUse | None]:
    """The request as the engine takes it, and how its answer is read; None: as it comes.

    Raises ApiProblem for a model that cannot call tools.
    """
    calling = request.calling
    if calling is None or backend.calls_itself:
        return request, None
    use = backend.tool_use()
    if use is None:
        raise unsupported("tools", NO_FORM)
    # A mark that is one special token would not stand in the text otherwise.
    if any(token in use.form.before + use.form.after for token in use.special):
        request = replace(request, show_special=True)
    if not calling.required:
        return (request if calling.several else one_call(request, use)), use
    if request.grammar is not None:
        raise unsupported("response_format", "cannot be held to where a call is required")
    tools = [
        tool for tool in calling.tools if calling.only is None or tool["function"]["name"] == calling.only
    ]
    grammar = Grammar("lark", calls_grammar(use.form, tools, use.special, several=calling.several))
    return replace(request, grammar=grammar), use


def one_call(request: GenerationRequest, use: ToolUse) -> GenerationRequest:
    """A request whose answer ends behind its first call.  Raises ApiProblem where that cannot be said."""
    after = use.form.after.strip()
    if use.form.in_list or not use.form.between:
        return request  # this model's answers hold one call, or all in one list: told apart when read
    if request.stop and not request.include_stop:
        raise unsupported("parallel_tool_calls", "cannot be false where 'stop' is given")
    return replace(request, stop=(*request.stop, after), include_stop=True)


async def read_calls(
    pieces: AsyncGenerator[tuple[int, Chunk], None], calling: Calling, use: ToolUse
) -> AsyncGenerator[tuple[int, Chunk], None]:
    """The pieces of answers with their calls told from their text."""
    readers: dict[tuple[int, int], Numbered] = {}
    async with aclosing(pieces):
        async for prompt, chunk in pieces:
            reader = readers.setdefault((prompt, chunk.index), Numbered(calling, use))
            yield prompt, reader.read(chunk)


class Numbered:
    """Reads one answer and numbers its calls."""

    def __init__(self, calling: Calling, use: ToolUse) -> None:
        self.calling, self.reader, self.count = calling, CallReader(use.form), 0

    def read(self, chunk: Chunk) -> Chunk:
        """A piece with what has become certain by it."""
        found = self.reader.push(chunk.text)
        text, calls = found.text, list(found.calls)
        reason = chunk.finish_reason
        if reason is not None:
            text += self.reader.finish().text
        if not self.calling.several:
            calls = calls[: max(0, 1 - self.count)]
        made = tuple(self.numbered(call) for call in calls)
        if reason == "stop" and self.count:
            reason = "tool_calls"
        return chunk._replace(text=text, calls=made, finish_reason=reason)

    def numbered(self, call: Call) -> CallPiece:
        """A call as a client sees it."""
        self.count += 1
        return CallPiece(self.count - 1, f"call_{secrets.token_hex(12)}", call.name, call.arguments)
