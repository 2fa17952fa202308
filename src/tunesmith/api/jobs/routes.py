"""`/v1/fine_tuning/jobs`."""

import asyncio
from typing import Any

from fastapi import FastAPI

from tunesmith.api.call import Api, Call, add, validated
from tunesmith.api.jobs import service, trying
from tunesmith.api.jobs.examples import ListExamples, examples
from tunesmith.api.jobs.schema import CreateJob, ListCheckpoints, ListEvents, ListJobs
from tunesmith.api.query import metadata_of

JOBS = "/v1/fine_tuning/jobs"
BEYOND = "/v1/x/fine_tuning"


def add_jobs(app: FastAPI, api: Api) -> None:
    """Add the routes."""
    add(app, api, "POST", JOBS, create)
    add(app, api, "GET", JOBS, list_jobs)
    add(app, api, "GET", JOBS + "/{job_id}", retrieve)
    add(app, api, "POST", JOBS + "/{job_id}/cancel", cancel)
    add(app, api, "POST", JOBS + "/{job_id}/pause", pause)
    add(app, api, "POST", JOBS + "/{job_id}/resume", resume)
    add(app, api, "GET", JOBS + "/{job_id}/events", events)
    add(app, api, "GET", JOBS + "/{job_id}/checkpoints", checkpoints)
    add(app, api, "GET", BEYOND + "/jobs/{job_id}/examples", losses)
    for work in (validate, preview, estimate):
        add(app, api, "POST", f"{BEYOND}/{work.__name__}", work)


async def validate(call: Call) -> dict[str, Any]:
    """What is wrong with the files of a job that is not asked for yet."""
    asked = await call.body(CreateJob)
    return await asyncio.to_thread(trying.validate, call.api, call.caller, asked)


async def preview(call: Call) -> dict[str, Any]:
    """What a model would learn of a job that is not asked for yet, token by token."""
    asked = await call.body(trying.PreviewJob)
    return await asyncio.to_thread(trying.preview, call.api, call.caller, asked)


async def estimate(call: Call) -> dict[str, Any]:
    """Time and memory of a job that is not asked for yet."""
    asked = await call.body(CreateJob)
    return await asyncio.to_thread(trying.estimate, call.api, call.caller, asked)


async def create(call: Call) -> dict[str, Any]:
    """Create a job."""
    asked = await call.body(CreateJob)
    return await asyncio.to_thread(service.create, call.api, call.caller, asked)


async def list_jobs(call: Call) -> dict[str, Any]:
    """A page of jobs; `metadata[key]=value` chooses, `metadata=null` means jobs without any."""
    chosen, rest = metadata_of(call.request.query_params)
    asked = validated(ListJobs, rest)
    return await asyncio.to_thread(service.list_jobs, call.api, call.caller, asked, chosen)


async def retrieve(call: Call) -> dict[str, Any]:
    """One job."""
    return await asyncio.to_thread(service.retrieve, call.api, call.caller, call.path["job_id"])


async def cancel(call: Call) -> dict[str, Any]:
    """Stop a job."""
    return await asyncio.to_thread(service.cancel, call.api, call.caller, call.path["job_id"])


async def pause(call: Call) -> dict[str, Any]:
    """Let a job stand still."""
    return await asyncio.to_thread(service.pause, call.api, call.caller, call.path["job_id"])


async def resume(call: Call) -> dict[str, Any]:
    """Let a job go on."""
    return await asyncio.to_thread(service.resume, call.api, call.caller, call.path["job_id"])


async def events(call: Call) -> dict[str, Any]:
    """What happened to a job."""
    asked = call.query(ListEvents)
    return await asyncio.to_thread(service.events, call.api, call.caller, call.path["job_id"], asked)


async def losses(call: Call) -> dict[str, Any]:
    """How well the examples of a job are predicted."""
    asked = call.query(ListExamples)
    return await asyncio.to_thread(examples, call.api, call.caller, call.path["job_id"], asked)


async def checkpoints(call: Call) -> dict[str, Any]:
    """The states of a job that can be asked."""
    asked = call.query(ListCheckpoints)
    return await asyncio.to_thread(service.checkpoints, call.api, call.caller, call.path["job_id"], asked)
