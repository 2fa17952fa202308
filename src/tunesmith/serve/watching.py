"""Routes for whoever watches the server."""

import asyncio

from fastapi import FastAPI, Response
from fastapi.responses import JSONResponse

from tunesmith.serve.metrics import CONTENT_TYPE
from tunesmith.serve.state import State, faults, health


def add_watching(app: FastAPI, state: State) -> None:
    """Add the routes."""

    @app.get("/healthz")
    async def healthz() -> Response:
        """Whether the server works, and what may be wrong."""
        return JSONResponse(health(state))

    @app.get("/readyz")
    async def readyz() -> Response:
        """Whether new work is taken, and what is wrong when it is not."""
        found = await asyncio.to_thread(faults, state)
        return JSONResponse({"ready": not found, "problems": found}, 503 if found else 200)

    @app.get("/metrics")
    async def metrics() -> Response:
        """Counts and times for Prometheus."""
        return Response(await asyncio.to_thread(state.metrics.text), media_type=CONTENT_TYPE)
