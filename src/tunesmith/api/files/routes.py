"""`/v1/files`."""

import asyncio
import base64
from typing import Any

from fastapi import FastAPI, Response
from fastapi.responses import FileResponse

from tunesmith.api.call import Api, Call, add, validated
from tunesmith.api.files import service
from tunesmith.api.files.schema import CreateFile, FileContent, ListFiles
from tunesmith.api.forms import nested, read_form, spool


def add_files(app: FastAPI, api: Api) -> None:
    """Add the routes."""
    add(app, api, "POST", "/v1/files", create)
    add(app, api, "GET", "/v1/files", list_files)
    add(app, api, "GET", "/v1/files/{file_id}", retrieve)
    add(app, api, "DELETE", "/v1/files/{file_id}", delete)
    add(app, api, "GET", "/v1/files/{file_id}/content", content)


async def create(call: Call) -> dict[str, Any]:
    """Upload a file."""
    with spool(call.api.folder / "files") as into:
        fields, sent = await read_form(call.request, "file", into, call.api.max_file_bytes)
        asked = validated(CreateFile, nested(fields))
        return await asyncio.to_thread(service.create, call.api, call.caller, sent, asked)


async def list_files(call: Call) -> dict[str, Any]:
    """A page of files."""
    return await asyncio.to_thread(service.list_files, call.api, call.caller, call.query(ListFiles))


async def retrieve(call: Call) -> dict[str, Any]:
    """One file."""
    return service.to_json(await asyncio.to_thread(service.find, call.api, call.caller, call.path["file_id"]))


async def delete(call: Call) -> dict[str, Any]:
    """Remove a file."""
    return await asyncio.to_thread(service.delete, call.api, call.caller, call.path["file_id"])


async def content(call: Call) -> Response:
    """The bytes of a file."""
    asked = call.query(FileContent)
    row = await asyncio.to_thread(service.find, call.api, call.caller, call.path["file_id"])
    place = service.content_of(call.api, row["id"])
    if row["purpose"] != service.RESULTS:
        return FileResponse(place, media_type="application/octet-stream")
    plain = asked.format == "csv" or "text/csv" in call.request.headers.get("accept", "")
    if plain:
        return FileResponse(place, media_type="text/csv")
    return Response(base64.b64encode(await asyncio.to_thread(place.read_bytes)), media_type="text/plain")
