"""Files that are never half-written: atomic writes, JSON, JSONL, hashes, locks."""

import errno
import fcntl
import hashlib
import json
import os
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from tunesmith.core.errors import DataError, FolderError, OutOfSpace, UserError

CHUNK_BYTES = 1 << 20
CANONICAL = json.JSONEncoder(sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
"""Made once: making it takes as long as writing a short row."""


def canonical_json(value: object) -> str:
    """The one text of a JSON value: sorted keys, no spaces, no NaN.  Equal values have equal text."""
    return CANONICAL.encode(value)


def hash_text(text: str) -> str:
    """SHA-256 of the UTF-8 text, hexadecimal."""
    return hashlib.sha256(text.encode("utf-8", errors="surrogatepass")).hexdigest()


def hash_json(value: object) -> str:
    """SHA-256 of the canonical JSON of a value."""
    return hash_text(canonical_json(value))


def hash_file(path: Path) -> str:
    """SHA-256 of a file's bytes, read in chunks."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(CHUNK_BYTES):
            digest.update(chunk)
    return digest.hexdigest()


def hash_folder(folder: Path, *, skip: frozenset[str] = frozenset()) -> dict[str, str]:
    """Relative path → SHA-256 of every file below `folder`, except top-level names in `skip`."""
    hashes = {}
    for path in sorted(folder.rglob("*")):
        relative = path.relative_to(folder)
        if path.is_file() and relative.parts[0] not in skip:
            hashes[relative.as_posix()] = hash_file(path)
    return hashes


FULL = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
UNUSABLE = frozenset(
    {
        errno.EACCES,
        errno.EPERM,
        errno.EROFS,
        errno.ENOTDIR,
        errno.EISDIR,
        errno.EEXIST,
        errno.ENOENT,
        errno.ENAMETOOLONG,
        errno.ELOOP,
    }
)
"""What a place answers where nothing can be written: rights, a file in the way, or no place at all."""


@contextmanager
def explain_disk_errors(path: Path, *, instead: str = "--out or --workspace") -> Iterator[None]:
    """Turn 'no space left' and 'permission denied' into messages with the next step.

    `instead` names the setting that gives another place.
    """
    try:
        yield
    except OSError as error:
        if error.errno in FULL:
            advice = f"free some space, or give another folder with {instead}; finished work is kept"
            large = error.errno == errno.EFBIG
            what = "this place takes no file so large" if large else "no space left on the disk"
            raise OutOfSpace(what, where=path, next_step=advice) from error
        if error.errno in UNUSABLE:
            what = f"this place cannot be written ({error.strerror})"
            raise UserError(what, where=path, next_step=f"give another folder with {instead}") from error
        raise


def write_bytes(path: Path, content: bytes) -> None:
    """Write a whole file or nothing: a temporary file beside it, synced, then renamed over it.

    Raises OutOfSpace when the disk is full; the old content then still stands.
    """
    with explain_disk_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            Path(name).chmod(0o644)
            Path(name).replace(path)
        except BaseException:
            Path(name).unlink(missing_ok=True)
            raise


def write_text(path: Path, text: str) -> None:
    """Write a whole UTF-8 file or nothing."""
    write_bytes(path, text.encode("utf-8"))


def write_json(path: Path, value: object) -> None:
    """Write a value as indented JSON, whole or not at all."""
    write_text(path, json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + "\n")


def write_jsonl(path: Path, rows: Iterable[object]) -> None:
    """Write rows as JSON lines, whole or not at all."""
    write_text(path, "".join(json.dumps(row, ensure_ascii=False, allow_nan=False) + "\n" for row in rows))


def append_jsonl(path: Path, row: Mapping[str, object]) -> None:
    """Append one line; a reader never sees half of it (one write call on an append-mode file)."""
    line = json.dumps(row, ensure_ascii=False, allow_nan=False) + "\n"
    with explain_disk_errors(path), path.open("ab", buffering=0) as file:
        file.write(line.encode("utf-8"))


def read_json(path: Path) -> Any:
    """Parse a JSON file that tunesmith wrote; a broken one is a DataError naming line and column."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise DataError("no such file", where=path, next_step="check the path") from None
    except UnicodeDecodeError as error:
        raise DataError("the file is not UTF-8", where=path, value=str(error)) from None
    except json.JSONDecodeError as error:
        raise DataError("not valid JSON", where=f"{path}:{error.lineno}", value=error.msg) from None


class Line(NamedTuple):
    """One line of a JSONL file that tunesmith wrote."""

    number: int
    value: Any


def read_jsonl(path: Path) -> list[Line]:
    """Parse JSON lines that tunesmith wrote; a torn last line (a kill while appending) is left out."""
    # not splitlines: a text inside a row may hold U+2028 and the other ends of lines that it knows
    *whole, _torn = path.read_bytes().split(b"\n")
    return [Line(number, json.loads(line)) for number, line in enumerate(whole, start=1)]


def keep_rows(path: Path, is_kept: Callable[[Any], bool]) -> list[Any]:
    """The rows of a file that grows, after leaving only those that are kept in it.

    A torn last line goes too: the next row would be appended to it.  No file has no rows.
    """
    if not path.exists():
        return []
    kept = [line.value for line in read_jsonl(path) if is_kept(line.value)]
    write_jsonl(path, kept)
    return kept


@contextmanager
def folder_lock(folder: Path) -> Iterator[None]:
    """Hold a folder for one process; a second one is refused at once.

    The kernel drops the lock when the holder dies, so a killed run never blocks the next.
    """
    with explain_disk_errors(folder):
        folder.mkdir(parents=True, exist_ok=True)
        lock = (folder / ".lock").open("a+")
    with lock as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise FolderError(
                "another process is working in this folder",
                where=folder,
                next_step="wait for it, or give another folder with --out",
            ) from None
        yield
