"""`/v1/models`: what is served, and what jobs made."""

import asyncio
from typing import Any

from fastapi import FastAPI, Response
from fastapi.responses import FileResponse
from starlette.background import BackgroundTask

from tunesmith.api.call import Api, Call, add
from tunesmith.api.models import service
from tunesmith.api.models.taking import TakeWeights, lineage, packed
from tunesmith.serve.problems import ApiProblem
from tunesmith.serve.state import State


def add_models(app: FastAPI, api: Api, state: State) -> None:
    """Add the routes."""

    async def list_models(call: Call) -> dict[str, Any]:
        """Every model that can be asked."""
        made = await asyncio.to_thread(service.versions, api, call.caller)
        served = [model.to_json() for model in state.models]
        return {"object": "list", "data": [*served, *map(service.to_json, made)]}

    async def retrieve(call: Call) -> dict[str, Any]:
        """One model."""
        name = call.path["name"]
        row = await asyncio.to_thread(service.find, api, call.caller, name)
        if row is None:
            return state.find(name).to_json()
        return await asyncio.to_thread(service.one_json, row)

    async def delete(call: Call) -> dict[str, Any]:
        """Take a version away."""
        name = call.path["name"]
        if any(name in (model.name, model.version, *model.refs) for model in state.models):
            message = (
                f"The model '{name}' is served by this machine's owner and cannot be deleted by a request."
            )
            raise ApiProblem(message, status=403, param="model", code="model_not_deletable")
        return await asyncio.to_thread(service.delete, api, call.caller, name)

    async def weights(call: Call) -> Response:
        """What a version learned, to take home."""
        asked = call.query(TakeWeights)
        path = await asyncio.to_thread(packed, api, call.caller, call.path["name"], asked)
        name = f"{call.path['name'].replace(':', '-')}.tar"
        gone = BackgroundTask(path.unlink, missing_ok=True)
        return FileResponse(path, media_type="application/x-tar", filename=name, background=gone)

    async def origin(call: Call) -> dict[str, Any]:
        """What a version was made from."""
        return await asyncio.to_thread(lineage, api, call.caller, call.path["name"])

    add(app, api, "GET", "/v1/x/models/{name:path}/weights", weights)
    add(app, api, "GET", "/v1/x/models/{name:path}/lineage", origin)
    add(app, api, "GET", "/v1/models", list_models)
    add(app, api, "GET", "/v1/models/{name:path}", retrieve)
    add(app, api, "DELETE", "/v1/models/{name:path}", delete)
