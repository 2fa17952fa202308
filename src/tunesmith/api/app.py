"""Adds this skin's routes to the application that answers for models."""

from pathlib import Path

from fastapi import FastAPI

from tunesmith.api.call import CALLER, Api
from tunesmith.api.completions.routes import add_completions
from tunesmith.api.files.routes import add_files
from tunesmith.api.jobs.routes import add_jobs
from tunesmith.api.keys.guard import Guard
from tunesmith.api.models.routes import add_models
from tunesmith.api.uploads.routes import add_uploads
from tunesmith.serve.state import State


def add_api(app: FastAPI, api: Api, state: State, record: Path) -> None:
    """Everything under `/v1` beyond inference; `state` is what is served, `record` keeps requests."""
    state.project = lambda: CALLER.get().project
    add_completions(app, api, record)
    add_models(app, api, state)
    add_files(app, api)
    add_uploads(app, api)
    add_jobs(app, api)


def add_guard(app: FastAPI, api: Api, *, open_to_all: bool) -> None:
    """Ask for a key before every route, also those that other rooms add (see `Guard`)."""
    app.add_middleware(Guard, api=api, open_to_all=open_to_all)
