"""`/v1/uploads`."""

import asyncio
from typing import Any

from fastapi import FastAPI

from tunesmith.api.call import Api, Call, add
from tunesmith.api.forms import read_form, spool
from tunesmith.api.uploads import service
from tunesmith.api.uploads.schema import MOST_PART_BYTES, CompleteUpload, CreateUpload
from tunesmith.serve.problems import unknown


def add_uploads(app: FastAPI, api: Api) -> None:
    """Add the routes."""
    add(app, api, "POST", "/v1/uploads", create)
    add(app, api, "POST", "/v1/uploads/{upload_id}/parts", add_part)
    add(app, api, "POST", "/v1/uploads/{upload_id}/complete", complete)
    add(app, api, "POST", "/v1/uploads/{upload_id}/cancel", cancel)


async def create(call: Call) -> dict[str, Any]:
    """Begin an upload."""
    asked = await call.body(CreateUpload)
    return await asyncio.to_thread(service.create, call.api, call.caller, asked)


async def add_part(call: Call) -> dict[str, Any]:
    """Add a part."""
    upload_id = call.path["upload_id"]
    await asyncio.to_thread(service.pending, call.api, call.caller, upload_id)
    with spool(service.parts_of(call.api, upload_id)) as into:
        fields, sent = await read_form(call.request, "data", into, MOST_PART_BYTES)
        for name in fields:
            raise unknown(name, ["data"])
        return await asyncio.to_thread(service.add_part, call.api, call.caller, upload_id, sent)


async def complete(call: Call) -> dict[str, Any]:
    """Make a file of the parts."""
    asked = await call.body(CompleteUpload)
    return await asyncio.to_thread(service.complete, call.api, call.caller, call.path["upload_id"], asked)


async def cancel(call: Call) -> dict[str, Any]:
    """Give an upload up."""
    return await asyncio.to_thread(service.cancel, call.api, call.caller, call.path["upload_id"])
