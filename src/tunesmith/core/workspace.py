"""Folders flow between rooms: workspace root, work folders, manifests, state, the index.

A work folder (data set, plan, run, report, …) holds

* `state.json` while it grows: the key of the work and where it stands;
* `manifest.json`, written last: its existence means the folder is complete.

The key of a piece of work is the hash of its verb, configuration and the content ids of its inputs.
A folder whose manifest has the same key is that work already done.
"""

import os
import platform
import re
import shutil
import sqlite3
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager, suppress
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import Any

from tunesmith import __version__
from tunesmith.core.errors import DataError, FolderError, OutOfSpace, UserError, nearest
from tunesmith.core.files import (
    explain_disk_errors,
    folder_lock,
    hash_file,
    hash_folder,
    hash_json,
    read_json,
    write_json,
)

SHOWN_NAMES = 5
MANIFEST, STATE, LOCK = "manifest.json", "state.json", ".lock"
UNHASHED = frozenset({MANIFEST, STATE, LOCK, "checkpoints", "logs"})
"""Top-level names that are not content: bookkeeping, and what only a resume needs."""

KINDS = {
    "source": "sources",
    "data-set": "data",
    "card": "cards",
    "check": "checks",
    "selftest": "selftests",
    "plan": "plans",
    "run": "runs",
    "report": "reports",
    "comparison": "comparisons",
    "gate": "gates",
    "ranking": "rankings",
    "validation": "validations",
    "summary": "summaries",
    "ablation": "ablations",
    "export": "exports",
    "import": "imports",
}
"""What a folder can be, and the folder below the workspace root where such folders go."""

LONGEST_NAME = 80
"""Longer names are cut in paths (file systems allow 255 bytes); the key still tells folders apart."""

PACKAGES = ("torch", "transformers", "peft", "tokenizers", "safetensors", "numpy", "pyarrow")


MADE_FROM_FILE = "give a folder that tunesmith made; `tunesmith data prepare FILE` makes a data set of rows"


def now_iso() -> str:
    """The time in UTC, ISO 8601, whole seconds."""
    return datetime.now(UTC).isoformat(timespec="seconds")


def versions() -> dict[str, str]:
    """Versions of tunesmith, Python and the packages that can change a result; absent ones left out."""
    found = {name: version for name in PACKAGES if (version := version_of(name)) is not None}
    return {"tunesmith": __version__, "python": platform.python_version(), **found}


@cache
def version_of(package: str) -> str | None:
    """The installed version; looked up once, for that takes milliseconds and no package changes meanwhile."""
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


@dataclass(frozen=True, slots=True)
class Input:
    """What a folder was made from: a role, the content id, and where it stood at the time."""

    role: str
    kind: str
    id: str
    path: str

    def to_json(self) -> dict[str, str]:
        """The input as the manifest holds it."""
        return {"role": self.role, "kind": self.kind, "id": self.id, "path": self.path}


@dataclass(frozen=True, slots=True)
class Manifest:
    """What a complete folder says about itself.

    `id` is the content hash of kind, configuration, input ids and files; `key` says which work it was.
    """

    kind: str
    name: str
    id: str
    key: str
    verb: str
    created: str
    inputs: tuple[Input, ...]
    config: Mapping[str, Any]
    seed: int | None
    versions: Mapping[str, str]
    files: Mapping[str, str]
    summary: Mapping[str, Any]

    def to_json(self) -> dict[str, Any]:
        """The manifest as the file holds it."""
        row = asdict(self)
        for name in ("config", "versions", "files", "summary"):
            row[name] = dict(row[name])
        row["inputs"] = [entry.to_json() for entry in self.inputs]
        return row

    @classmethod
    def read(cls, folder: Path) -> "Manifest":
        """Read a folder's manifest; a folder without one is a FolderError that says what to do."""
        path = folder / MANIFEST
        if folder.is_file():
            raise FolderError("this is a file, not a folder", where=folder, next_step=MADE_FROM_FILE)
        if not folder.is_dir():
            raise FolderError(
                "no such folder", where=folder, next_step="check the path (tunesmith reindex lists all)"
            )
        if not path.exists():
            grown = (folder / STATE).exists()
            what = "the work in this folder is not finished" if grown else "not a folder that tunesmith made"
            step = (
                "run the command that made it again: it goes on"
                if grown
                else "give a folder with a manifest.json"
            )
            raise FolderError(what, where=folder, next_step=step)
        try:
            row = read_json(path)
            row["inputs"] = tuple(Input(**entry) for entry in row["inputs"])
            return cls(**row)
        except (DataError, KeyError, TypeError) as error:
            fault = error.what if isinstance(error, DataError) else "a key is missing or unknown"
            step = "give another folder; one that tunesmith made is damaged: move it away and make it again"
            raise FolderError(
                f"this manifest is none of tunesmith's, or damaged ({fault})", where=path, next_step=step
            ) from None


def input_from(role: str, path: Path) -> Input:
    """Describe an input by content: a folder by its manifest's id, a file by its hash.

    The path is kept whole, so that it can be found from anywhere.

    Raises FolderError for a folder without manifest and UserError for a missing file.
    """
    if path.is_dir():
        manifest = Manifest.read(path)
        return Input(role, manifest.kind, manifest.id, str(path.resolve()))
    if not path.is_file():
        raise UserError(
            "no such file or folder", where=f"--{role}", value=str(path), next_step="check the path"
        )
    return Input(role, "file", hash_file(path), str(path.resolve()))


def work_key(verb: str, config: Mapping[str, Any], inputs: Mapping[str, str]) -> str:
    """The key of a piece of work: hash of verb, configuration, and input ids by role."""
    return hash_json({"verb": verb, "config": config, "inputs": inputs})


@dataclass
class WorkFolder:
    """A folder while a door fills it."""

    path: Path
    kind: str
    name: str
    key: str
    verb: str
    inputs: tuple[Input, ...]
    config: Mapping[str, Any]
    seed: int | None = None
    summary: dict[str, Any] = field(default_factory=dict)

    def __truediv__(self, name: str) -> Path:
        return self.path / name

    def write_state(self, **facts: object) -> None:
        """Say where the work stands (`state.json`)."""
        write_json(
            self.path / STATE,
            {"key": self.key, "kind": self.kind, "verb": self.verb, "updated": now_iso(), **facts},
        )

    def seal(self) -> Manifest:
        """Write the manifest, last: from now on the folder is complete."""
        files = hash_folder(self.path, skip=UNHASHED)
        identity = {
            "kind": self.kind,
            "config": dict(self.config),
            "inputs": {entry.role: entry.id for entry in self.inputs},
            "files": files,
        }
        manifest = Manifest(
            kind=self.kind,
            name=self.name,
            id=hash_json(identity),
            key=self.key,
            verb=self.verb,
            created=now_iso(),
            inputs=self.inputs,
            config=self.config,
            seed=self.seed,
            versions=versions(),
            files=files,
            summary=self.summary,
        )
        state = read_json(self.path / STATE) if (self.path / STATE).is_file() else {}
        write_json(self.path / STATE, {**state, "updated": manifest.created, "status": "finished"})
        write_json(self.path / MANIFEST, manifest.to_json())
        return manifest


@dataclass(frozen=True)
class Workspace:
    """The root below which folders, the index and the record live."""

    root: Path

    @classmethod
    def find(cls, given: Path | None = None) -> "Workspace":
        """The given root, or the nearest `.tunesmith` in this folder or above it, or a new one here.

        Raises FolderError for a root inside which nothing may be put: a file, or finished work.
        """
        if given is not None:
            if given.exists() and (not given.is_dir() or (given / MANIFEST).exists()):
                what = "this is finished work" if given.is_dir() else "this is a file"
                step = "give another --workspace"
                raise FolderError(f"{what}, not a workspace", where=given, next_step=step)
            return cls(given.resolve())
        here = Path.cwd()
        for folder in (here, *here.parents):
            if (folder / ".tunesmith").is_dir():
                return cls(folder / ".tunesmith")
        return cls(here / ".tunesmith")

    @property
    def record(self) -> Path:
        """The SQLite file that holds the record of requests."""
        return self.root / "record.sqlite"

    def place(self, kind: str, name: str, key: str) -> Path:
        """Where work of this kind goes when no --out is given: a name plus the start of its key."""
        return self.root / KINDS[kind] / f"{name[:LONGEST_NAME]}-{key[:8]}"

    @contextmanager
    def open(
        self,
        *,
        verb: str,
        kind: str,
        name: str,
        config: Mapping[str, Any],
        inputs: Mapping[str, Path | Input],
        out: Path | None = None,
        seed: int | None = None,
        resume: bool = False,
    ) -> Iterator[WorkFolder]:
        """Open a folder for a piece of work, locked; sealed when the block ends without an error.

        Work that fails leaves no folder behind, unless `resume` says that it can go on from what is
        there.  Raises AlreadyDone when the folder holds this very work complete, FolderError when it
        holds anything else.
        """
        described = tuple(
            entry if isinstance(entry, Input) else input_from(role, entry) for role, entry in inputs.items()
        )
        key = work_key(verb, config, {entry.role: entry.id for entry in described})
        path = (out or self.place(kind, name, key)).resolve()
        try:
            check_place(path, key)
        except AlreadyDone:
            # A full disk may have kept it out of the index; the answer does not depend on that.
            with suppress(UserError):
                if path not in self.folders():
                    self.index(path)
            raise
        folder = WorkFolder(path, kind, name, key, verb, described, config, seed)
        with folder_lock(path):
            check_done(path, key)
            if not resume:
                clear(path)
            try:
                folder.write_state(status="running")
                yield folder
                folder.seal()
            except BaseException:
                if not resume or not (path / STATE).exists():
                    clear(path, locked=False)
                raise
        self.index(path)

    def index(self, folder: Path) -> None:
        """Remember where a complete folder stands, so that `lineage` and `runs` find it by id."""
        manifest = Manifest.read(folder)
        with self._index(write=True) as db:
            row = (str(folder), manifest.id, manifest.kind, manifest.name, manifest.created)
            db.execute("INSERT OR REPLACE INTO folder VALUES (?, ?, ?, ?, ?)", row)

    def reindex(self) -> list[Path]:
        """Rebuild the index from the manifests below the root; returns the folders found.

        An index that cannot be read any more is made anew, without the folders outside the root.
        """
        found = sorted(path.parent for path in self.root.glob(f"*/*/{MANIFEST}"))
        if self._index_file.exists():
            try:
                found += [folder for folder in self.folders() if self.root not in folder.parents]
            except DataError:
                self._index_file.unlink()
            else:
                with self._index(write=True) as db:
                    db.execute("DELETE FROM folder")
        for folder in found:
            self.index(folder)
        return found

    def folders(self, kind: str | None = None) -> list[Path]:
        """Indexed complete folders, newest first; those that vanished are left out."""
        if not self._index_file.exists():
            return []
        query = "SELECT path FROM folder WHERE ?1 IS NULL OR kind = ?1 ORDER BY created DESC, path"
        with self._index() as db:
            paths = [Path(row[0]) for row in db.execute(query, (kind,))]
        return [path for path in paths if (path / MANIFEST).exists()]

    def by_id(self, start: str) -> list[Path]:
        """Indexed folders whose id begins with `start`."""
        return [path for path in self.folders() if Manifest.read(path).id.startswith(start)]

    def resolve(self, thing: str, kind: str | None = None) -> Path:
        """A folder from a path, a folder name with or without its hash, or the start of an id.

        Where several match, `kind` decides.  Raises FolderError when nothing or more than one thing matches.
        """
        if (Path(thing) / MANIFEST).exists():
            return Path(thing).resolve()
        everything = self.folders()
        named = [path for path in everything if path.name == thing]
        hashed = re.compile(re.escape(thing) + "-[0-9a-f]{8}")
        found = named or (self.by_id(thing) if len(thing) >= 4 else [])
        found = found or [path for path in everything if hashed.fullmatch(path.name)]
        if len(found) > 1 and kind is not None:
            found = [path for path in found if Manifest.read(path).kind == kind] or found
        if len(found) == 1:
            return found[0]
        if found:
            names = ", ".join(name_for_commands(path) for path in found[:SHOWN_NAMES])
            step = f"give one of them, or its path: {names}{' …' * (len(found) > SHOWN_NAMES)}"
            raise FolderError(f"{len(found)} folders match", value=thing, next_step=step)
        if thing and Path(thing).exists():
            Manifest.read(Path(thing))  # raises: a file, unfinished work, or not ours
        close = nearest(thing, [path.name for path in everything])
        step = close if close.startswith("did you mean") else "`tunesmith reindex` lists every folder"
        raise FolderError("no folder of this name or id", value=thing, next_step=step)

    @property
    def _index_file(self) -> Path:
        return self.root / "index.sqlite"

    @contextmanager
    def _index(self, *, write: bool = False) -> Iterator[sqlite3.Connection]:
        """The open index; to read it no place has to be writable.  Changes are kept when the block ends well.

        Raises OutOfSpace, DataError when the file is no index, UserError when it cannot be opened.
        """
        try:
            if write:
                with explain_disk_errors(self.root):
                    self.root.mkdir(parents=True, exist_ok=True)
            mode = "rwc" if write else "rw"  # which reads a write-protected file, too
            with closing(
                sqlite3.connect(f"{self._index_file.as_uri()}?mode={mode}", uri=True, timeout=30)
            ) as db:
                if write:
                    db.execute(f"CREATE TABLE IF NOT EXISTS folder ({INDEX_COLUMNS})")
                with db:
                    yield db
        except sqlite3.Error as error:
            raise index_error(error, self._index_file) from error


INDEX_COLUMNS = "path TEXT PRIMARY KEY, id TEXT, kind TEXT, name TEXT, created TEXT"


def name_for_commands(folder: Path) -> str:
    """What a pasted command calls a folder: its name, or its path where it stands in another workspace."""
    return folder.name if folder.is_relative_to(Workspace.find().root) else str(folder)


def index_error(error: sqlite3.Error, path: Path) -> UserError:
    """What SQLite says about the index, with the next step; no finished folder depends on it."""
    code = error.sqlite_errorcode & 0xFF  # without the extension that says more
    if code == sqlite3.SQLITE_FULL:
        step = "free some space, then run `tunesmith reindex`; finished work is kept"
        return OutOfSpace("no space left on the disk", where=path, next_step=step)
    if code in (sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_READONLY):
        step = "give another --workspace; finished work is kept"
        return UserError("the index of folders cannot be written here", where=path, next_step=step)
    step = "run `tunesmith reindex`: it is made anew from the folders"
    return DataError("the index of folders cannot be read", where=path, value=str(error), next_step=step)


class AlreadyDone(Exception):
    """Not an error: the folder holds this very work, complete."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        super().__init__(str(folder))


def check_done(path: Path, key: str) -> None:
    """Raise AlreadyDone when the folder is complete with this key."""
    if (path / MANIFEST).exists() and Manifest.read(path).key == key:
        raise AlreadyDone(path)


def check_place(path: Path, key: str) -> None:
    """Refuse a folder that holds anything but this work."""
    check_done(path, key)
    if path.exists() and not path.is_dir():
        raise FolderError("this is a file, not a folder", where=path, next_step="give another --out")
    contents = [entry.name for entry in path.iterdir() if entry.name != LOCK] if path.exists() else []
    if not contents:
        return
    other = "give another --out, or move this folder away; nothing in it was touched"
    if (path / MANIFEST).exists():
        raise FolderError("this folder holds other finished work", where=path, next_step=other)
    if not (path / STATE).exists():
        raise FolderError("this folder holds files that tunesmith did not make", where=path, next_step=other)
    if read_json(path / STATE)["key"] != key:
        raise FolderError(
            "this folder holds unfinished work with other settings or inputs", where=path, next_step=other
        )


def clear(path: Path, *, locked: bool = True) -> None:
    """Empty a folder of this work's unfinished leftovers (checked by `check_place` before).

    With `locked` false the folder itself goes too.
    """
    if not locked:
        shutil.rmtree(path, ignore_errors=True)
        return
    for entry in path.iterdir():
        if entry.is_dir():
            shutil.rmtree(entry)
        elif entry.name != LOCK:
            entry.unlink()


def cache_root() -> Path:
    """Where downloads and converted models are kept: TUNESMITH_HOME, or the user's cache folder."""
    if home := os.environ.get("TUNESMITH_HOME"):
        return Path(home)
    return Path(os.environ.get("XDG_CACHE_HOME", "~/.cache")).expanduser() / "tunesmith"
