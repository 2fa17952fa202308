"""Where a server keeps its live things: one folder of the workspace, and one store."""

from pathlib import Path

from tunesmith.core.job import Job
from tunesmith.core.store import Store, open_store

FOLDER = "server"
"""Below the workspace: files, uploads, jobs, and their store."""
STORE = "store.sqlite"


def folder_of(job: Job) -> Path:
    """The folder of files, uploads and jobs."""
    return job.workspace.root / FOLDER


def store_of(job: Job, database: str | None) -> Store:
    """The store of a workspace's server, or that at a URL; raises what `open_store` raises."""
    return open_store(database or folder_of(job) / STORE)
