"""`/v1/chat/completions` beyond asking for one."""

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

from fastapi import FastAPI

from tunesmith.api.call import Api, Call, add, validated
from tunesmith.api.completions import service
from tunesmith.api.completions.schema import ListCompletions, ListMessages, UpdateCompletion
from tunesmith.api.query import metadata_of

COMPLETIONS = "/v1/chat/completions"


def add_completions(app: FastAPI, api: Api, record: Path) -> None:
    """Add the routes; `record` is where completions are kept."""

    async def told(work: Callable[..., dict[str, Any]], call: Call, *asked: Any) -> dict[str, Any]:
        """What a service says."""
        return await asyncio.to_thread(work, record, call.caller, *asked)

    async def list_completions(call: Call) -> dict[str, Any]:
        """A page of completions; `metadata[key]=value` chooses."""
        chosen, rest = metadata_of(call.request.query_params)
        asked = validated(ListCompletions, rest)
        return await told(service.list_completions, call, asked, chosen)

    async def retrieve(call: Call) -> dict[str, Any]:
        """One completion."""
        row = await asyncio.to_thread(service.find, record, call.caller, call.path["completion_id"])
        return service.to_json(row)

    async def update(call: Call) -> dict[str, Any]:
        """Say something else about a completion."""
        asked = await call.body(UpdateCompletion)
        return await told(service.update, call, call.path["completion_id"], asked.metadata)

    async def delete(call: Call) -> dict[str, Any]:
        """Forget a completion."""
        return await told(service.delete, call, call.path["completion_id"])

    async def messages(call: Call) -> dict[str, Any]:
        """What was said before a completion."""
        return await told(service.messages, call, call.path["completion_id"], call.query(ListMessages))

    one = COMPLETIONS + "/{completion_id}"
    add(app, api, "GET", COMPLETIONS, list_completions)
    add(app, api, "GET", one, retrieve)
    add(app, api, "POST", one, update)
    add(app, api, "DELETE", one, delete)
    add(app, api, "GET", one + "/messages", messages)
