"""Taking a version home: its weights as they were published, with a file that says what made them."""

import io
import json
import tarfile
from pathlib import Path
from tempfile import NamedTemporaryFile
from typing import Any

import sqlalchemy as sa

from tunesmith import __version__
from tunesmith.api.call import TRIALS, Api, Caller
from tunesmith.api.files.service import FILE
from tunesmith.api.jobs.tables import JOB
from tunesmith.api.models import service
from tunesmith.core.errors import FolderError
from tunesmith.core.files import explain_disk_errors, hash_folder
from tunesmith.core.store import now_row
from tunesmith.serve.problems import ApiProblem

LINEAGE = "lineage.json"
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


def packed(api: Api, caller: Caller, name: str) -> Path:
    """A tar file with the weights and the lineage, which whoever asked removes.  Raises ApiProblem (404)."""
    facts = json.dumps(lineage(api, caller, name), indent=1, ensure_ascii=False).encode()
    folder = folder_of(found(api, caller, name))
    place = api.folder / TRIALS
    with explain_disk_errors(place):
        place.mkdir(parents=True, exist_ok=True)
    with explain_disk_errors(place), NamedTemporaryFile(dir=place, suffix=".tar", delete=False) as file:
        try:
            with tarfile.open(fileobj=file, mode="w") as tar:
                for path in sorted(folder.rglob("*")):
                    tar.add(path, path.relative_to(folder).as_posix(), recursive=False)
                entry = tarfile.TarInfo(LINEAGE)
                entry.size = len(facts)
                tar.addfile(entry, io.BytesIO(facts))
        except BaseException:
            Path(file.name).unlink()
            raise
    return Path(file.name)


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
