"""Taking a version home: its weights as they were published, with a file that says what made them."""

import io
import json
import subprocess
import sys
import tarfile
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from tempfile import NamedTemporaryFile, TemporaryDirectory
from typing import IO, Any, Literal

import sqlalchemy as sa

from tunesmith import __version__
from tunesmith.api.call import TRIALS, Api, Caller
from tunesmith.api.files.service import FILE
from tunesmith.api.jobs.starting import WHOLE_MODEL
from tunesmith.api.jobs.tables import JOB
from tunesmith.api.models import service
from tunesmith.api.query import Query
from tunesmith.core.errors import EXIT_USER_ERROR, FolderError, StepFailed
from tunesmith.core.files import explain_disk_errors, hash_folder
from tunesmith.core.store import now_row
from tunesmith.launch.process import child_environment
from tunesmith.serve.problems import ApiProblem, overloaded

LINEAGE = "lineage.json"
TURN = threading.Lock()
"""Merging takes as much memory as the base: one at a time."""
OF_JOB = (
    "id",
    "created_at",
    "finished_at",
    "model",
    "seed",
    "suffix",
    "hyperparameters",
    "recipe",
    "resolved",
)


def lineage(api: Api, caller: Caller, name: str) -> dict[str, Any]:
    """What a version is and what it was made from, by content.  Raises ApiProblem (404)."""
    row = found(api, caller, name)
    with api.store.reading() as connection:
        job = now_row(connection, sa.select(JOB).where(JOB.c.id == row["job"]))
        assert job is not None, "every version has its job"
        named = {param: job[param] for param in ("training_file", "validation_file") if job[param]}
        query = sa.select(FILE.c.id, FILE.c.filename, FILE.c.bytes, FILE.c.sha256)
        known = {
            one["id"]: dict(one)
            for one in connection.execute(query.where(FILE.c.id.in_(named.values()))).mappings()
        }
    return {
        "object": "x.model.lineage",
        "model": name,
        "base": row["base"],
        "parent": row["parent"],
        "step": row["step"],
        "files": hash_folder(folder_of(row)),
        # A file that was deleted since is known by its id alone.
        "trained_on": {param: known.get(file, {"id": file}) for param, file in named.items()},
        "job": {key: job[key] for key in OF_JOB},
        "tunesmith": __version__,
    }


class TakeWeights(Query):
    """Which weights to pack."""

    form: Literal["published", "merged"] = "published"
    """As the job published them (an adapter, or all weights), or an adapter merged into its base."""


def packed(api: Api, caller: Caller, name: str, asked: TakeWeights) -> Path:
    """A tar file with the weights and the lineage, which whoever asked removes.

    Raises ApiProblem (404), 400 for weights that cannot be merged and 429 while others are.
    """
    facts = lineage(api, caller, name)
    row = found(api, caller, name)
    place = api.folder / TRIALS
    with explain_disk_errors(place):
        place.mkdir(parents=True, exist_ok=True)
    with ExitStack() as stack:
        folder = folder_of(row)
        if asked.form == "merged" and not (folder / WHOLE_MODEL).exists():
            folder, facts["merged"] = stack.enter_context(merged(api, row))
        stack.enter_context(explain_disk_errors(place))
        file = stack.enter_context(NamedTemporaryFile(dir=place, suffix=".tar", delete=False))
        try:
            write_tar(file, folder, json.dumps(facts, indent=1, ensure_ascii=False).encode())
        except BaseException:
            Path(file.name).unlink()
            raise
    return Path(file.name)


def write_tar(file: IO[bytes], folder: Path, facts: bytes) -> None:
    """Everything in a folder, and the lineage."""
    with tarfile.open(fileobj=file, mode="w") as tar:
        for path in sorted(folder.rglob("*")):
            tar.add(path, path.relative_to(folder).as_posix(), recursive=False)
        entry = tarfile.TarInfo(LINEAGE)
        entry.size = len(facts)
        tar.addfile(entry, io.BytesIO(facts))


@contextmanager
def merged(api: Api, row: service.Row) -> Iterator[tuple[Path, dict[str, Any]]]:
    """A model folder with a version's adapter in its weights, and what rounding cost; gone afterwards.

    A process of its own does it, so that this one does not keep the memory.
    """
    base = api.weights_of(row["base"])
    if base is None:
        message = f"The model '{row['id']}' has no weights to merge."
        raise ApiProblem(message, param="form", code="unsupported_value")
    if not TURN.acquire(blocking=False):
        raise overloaded("other weights are being merged", retry_after="5")
    try:
        with TemporaryDirectory(dir=api.folder / TRIALS) as scratch:
            folder = Path(scratch) / "model"
            places = map(str, (base, folder_of(row), folder))
            done = subprocess.run(
                [sys.executable, "-m", "tunesmith.runtime.merge", *places],
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                env=child_environment(),
                check=False,
            )
            if done.returncode == EXIT_USER_ERROR:
                raise ApiProblem(done.stderr.strip(), param="form", code="unsupported_value")
            if done.returncode:
                raise StepFailed(f"merging {row['id']} failed: {done.stderr.strip()[-500:]}")
            yield folder, json.loads(done.stdout)
    finally:
        TURN.release()


def found(api: Api, caller: Caller, name: str) -> service.Row:
    """The row of a version; raises ApiProblem (404)."""
    row = service.find(api, caller, name)
    if row is None:
        message = f"The model '{name}' does not exist or was not fine-tuned here."
        raise ApiProblem(message, status=404, param="model", code="model_not_found")
    return row


def folder_of(row: service.Row) -> Path:
    """Where a version's weights stand; raises FolderError for one whose files somebody took away."""
    folder = Path(row["folder"])
    if not folder.is_dir():
        step = "bring the folder back, or delete the model"
        raise FolderError("the files of this model are gone", where=folder, value=row["id"], next_step=step)
    return folder
