"""A server whose state is put back before each request of POST /reseed: `python seeded_server.py PORT`.

It answers for the names and ids that the tests of OpenAI's client have written into them.  No job is run.  It
listens until its standard input ends.
"""

import hashlib
import sys
import tempfile
import time
from contextlib import closing
from functools import partial
from pathlib import Path

import sqlalchemy as sa
import uvicorn
from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse

from tunesmith.api.app import add_api, add_guard
from tunesmith.api.call import CALLER, Api, Caller
from tunesmith.api.files import service as files
from tunesmith.api.jobs.recipes import FAKE_RATE
from tunesmith.api.jobs.tables import CHECKPOINT, EVENT, JOB, PAUSED, RUNNING
from tunesmith.api.models.loading import Versions
from tunesmith.api.models.service import VERSION
from tunesmith.api.serving import opener
from tunesmith.api.uploads.service import PART, PENDING, UPLOAD, parts_of
from tunesmith.core.fake import FakeModel
from tunesmith.core.files import write_json
from tunesmith.core.job import Job
from tunesmith.core.record import REQUEST, Entry, RecordWriter, opened
from tunesmith.core.store import open_store
from tunesmith.core.workspace import Workspace
from tunesmith.serve.app import build_app
from tunesmith.serve.backends.echo import EchoBackend
from tunesmith.serve.schema import ServeConfig
from tunesmith.serve.state import Served, State

BASES = ("gpt-6-astra", "gpt-4o-mini", "gpt-3.5-turbo-instruct")
FILES = ("file-abc123", "file_id")
JOB_ID = "ft-AF1WoRqd3aJAHsqc9NY7iL8F"
VERSION_ID = "ft:gpt-4o-mini:acemeco:suffix:abc123"
UPLOAD_ID, PART_ID = "upload_abc123", "string"
PART_CONTENT = b"abc" * 100
COMPLETION_ID = "completion_id"
ROW = b'{"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]}\n'
NOW = int(time.time())
WHOSE = {"project": Caller().project, "created_at": NOW}


def clear(api: Api, record: Path) -> None:
    """Remove everything."""
    with api.store.writing() as connection:
        for table in (VERSION, CHECKPOINT, EVENT, JOB, PART, UPLOAD, files.FILE):
            connection.execute(sa.delete(table))
    with opened(record) as engine, engine.begin() as connection:
        connection.execute(sa.delete(REQUEST))


def fill(api: Api, record: Path, *, state: str) -> None:
    """Put everything there that a test asks for; the job in one state."""
    with api.store.writing() as connection:
        for file_id in FILES:
            place = files.content_of(api, file_id)
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_bytes(ROW)
            facts = {"filename": "a.jsonl", "purpose": "fine-tune", "bytes": len(ROW)}
            digest = hashlib.sha256(ROW).hexdigest()
            connection.execute(sa.insert(files.FILE).values(id=file_id, sha256=digest, **facts, **WHOSE))
        size = {"bytes": len(PART_CONTENT)}
        upload = {"filename": "a", "purpose": "assistants", "mime_type": "text/plain", **size}
        until = {"expires_at": NOW + 36_000, "status": PENDING}
        connection.execute(sa.insert(UPLOAD).values(id=UPLOAD_ID, **upload, **until, **WHOSE))
        part = parts_of(api, UPLOAD_ID) / PART_ID
        part.parent.mkdir(parents=True, exist_ok=True)
        part.write_bytes(PART_CONTENT)
        connection.execute(sa.insert(PART).values(id=PART_ID, upload=UPLOAD_ID, created_at=NOW, **size))
        fill_job(connection, state)
        version = {"job": JOB_ID, "step": 1, "base": "fake", "folder": str(api.folder), "deleted": False}
        connection.execute(sa.insert(VERSION).values(id=VERSION_ID, **version, **WHOSE))
    answer = Entry(
        id=COMPLETION_ID, time=float(NOW), model=BASES[0], version="v", status=200, total_seconds=0.1,
        finish_reason="stop", messages=[{"role": "assistant", "content": "hello"}], answer="hello",
        content="kept", project=Caller().project, stored=True, metadata={"foo": "string"},
    )  # fmt: skip
    with opened(record) as engine, engine.begin() as connection:
        connection.execute(sa.insert(REQUEST), [vars(answer)])


def fill_job(connection: sa.Connection, state: str) -> None:
    """A job with an event and a checkpoint."""
    numbers = {"batch_size": 1, "learning_rate_multiplier": 1.0, "n_epochs": 3}
    connection.execute(
        sa.insert(JOB).values(
            id=JOB_ID, organization="org-local", model=BASES[1], training_file=FILES[0], seed=1,
            hyperparameters=numbers, recipe={}, state=state, steps_seen=1, deaths=0,
            metadata={"foo": "string"},
            resolved={"examples": 1, "layout": None, "hyperparameters": numbers}, **WHOSE,
        )
    )  # fmt: skip
    event = {"level": "info", "message": "Step 1/3", "type": "metrics", "data": {"step": 1}}
    connection.execute(sa.insert(EVENT).values(id="ftevent-1", job=JOB_ID, created_at=NOW, **event))
    made = {"model": VERSION_ID, "step": 1, "metrics": {"step": 1.0, "train_loss": 0.5}}
    connection.execute(sa.insert(CHECKPOINT).values(id="ftckpt_1", job=JOB_ID, created_at=NOW, **made))


def serve(port: int, root: Path) -> None:
    """Answer until told to stop."""
    record = root / "record.sqlite"
    write_json(root / "server" / "fake_model.json", FakeModel().to_json())
    with (
        closing(open_store(root / "server" / "store.sqlite")) as store,
        closing(RecordWriter(record)) as writer,
    ):
        api = Api(
            store,
            root / "server",
            base_of=dict.fromkeys(BASES, "fake").get,
            rate_of=lambda base: FAKE_RATE,
        )
        served = tuple(Served(name, f"v-{name}", NOW, EchoBackend(FakeModel())) for name in BASES)
        state = State(served, writer, content=True, max_request_bytes=1_000_000)
        versions = Versions(
            api, opener(ServeConfig(), Job(Workspace(root))), lambda row: None, at_most=2, adapters=2
        )
        state.more = lambda name: versions.find(name, CALLER.get())

        async def reseed(request: Request) -> JSONResponse:
            """Put everything back."""
            asked = await request.json()
            clear(api, record)
            fill(api, record, state=PAUSED if "resume" in asked["test"] else RUNNING)
            return JSONResponse({})

        def extend(app: FastAPI) -> None:
            add_guard(app, api, open_to_all=True)
            add_api(app, api, state, record)
            app.add_api_route("/reseed", reseed, methods=["POST"])

        ready = partial(print, "ready", flush=True)
        app = build_app(state, on_ready=ready, extend=extend)
        uvicorn.Server(uvicorn.Config(app, port=port, log_config=None, access_log=False)).run()


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        serve(int(sys.argv[1]), Path(folder))
