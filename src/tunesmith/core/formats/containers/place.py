"""What a path names: `FILE`, `FOLDER`, `owner/name` on the hub, each with `#part` where there are several."""

import stat
from pathlib import Path
from typing import NamedTuple

from tunesmith.core.errors import DataError
from tunesmith.core.files import hash_file, hash_json, read_json
from tunesmith.core.formats.containers.folders import is_data_file, shards
from tunesmith.core.formats.containers.json_lines import ROW_SHAPE
from tunesmith.core.hub import HUB_ID, fetch_snapshot
from tunesmith.core.workspace import MANIFEST, STATE, Input, input_from

HUB_PATTERNS = ("*.parquet", "*.jsonl*", "*.json*", "*.csv*", "*.tsv*", "*.arrow")
"""Data files of a data set on the hub; scripts are never fetched."""


class Place(NamedTuple):
    """A file or folder that is there, and which part of it is meant."""

    path: Path
    part: str | None = None


class Stamp(NamedTuple):
    """Size and time of what is read: another stamp means that it was written meanwhile."""

    num_bytes: int
    modified_ns: int


def locate(path: Path) -> Place:
    """What a path names, fetched from the hub when it is an id.

    Raises DataError when there is no such thing.
    """
    if exists(path):
        check_finished(path)
        return Place(path)
    name, mark, part = str(path).rpartition("#")
    if mark and part and exists(Path(name)):
        return Place(Path(name), part)
    ref = name if mark else str(path)
    if is_hub_id(ref):
        return Place(fetch_snapshot(ref, "dataset", HUB_PATTERNS), part if mark else None)
    raise DataError("no such file", where=path, next_step="check the path")


def check_finished(path: Path) -> None:
    """Refuse a folder of ours that a stopped command left: some of its rows are missing.

    Others have a state.json, too, such as the folders of `datasets`: theirs says other things.
    """
    if not (path / STATE).is_file() or (path / MANIFEST).is_file():
        return
    state = read_json(path / STATE)
    if isinstance(state, dict) and {"key", "verb"} <= state.keys():
        step = "run the command that makes it again, to its end"
        raise DataError("unfinished work: this folder was not made to its end", where=path, next_step=step)


def exists(path: Path) -> bool:
    """Whether something is there; a file where a folder should be is not."""
    try:
        path.stat()
    except (FileNotFoundError, NotADirectoryError):
        return False
    except PermissionError:
        raise DataError("this file cannot be read", where=path, next_step="check its permissions") from None
    except (OSError, ValueError) as error:  # a name that is too long, or has a null in it
        raise DataError("no such file", where=path, value=str(error), next_step="check the path") from None
    return True


def is_hub_id(ref: str) -> bool:
    """Whether a name that is no path here can be the id of a data set: a slip in a path is none."""
    return bool(HUB_ID.fullmatch(ref)) and not is_data_file(Path(ref)) and not Path(ref).parent.exists()


def files_of(path: Path) -> list[Path]:
    """Every file that reading a path reads, for stamps and hashes.  Raises DataError as `locate` does."""
    place = locate(path)
    if not place.path.is_dir():
        return [place.path]
    return shards(place.path, place.part).files


def input_of(role: str, path: Path) -> Input:
    """Rows as an input of a piece of work: a file by its hash, a folder by the hashes of what is read of it.

    A part, such as `#train`, belongs to the content.  Raises DataError as `locate` does.
    """
    place = locate(path)
    if place.part is None and (place.path.is_file() or (place.path / MANIFEST).is_file()):
        return input_from(role, place.path)
    hashes = [[file.name, hash_file(file)] for file in files_of(path)]
    identity = hash_json([place.part if place.path.is_file() else None, hashes])
    return Input(role, "rows", identity, f"{place.path.resolve()}{f'#{place.part}' if place.part else ''}")


def check_source(path: Path) -> Stamp:
    """Refuse what cannot be rows, before anything is opened or made.

    Raises DataError when it is missing, a pipe or a device, unreadable, empty, or a folder without rows.
    """
    status = [checked(file) for file in files_of(path)]
    return Stamp(sum(num_bytes for num_bytes, _ in status), max(time for _, time in status))


def checked(path: Path) -> Stamp:
    """The stamp of one file."""
    status = path.stat()
    if not stat.S_ISREG(status.st_mode):
        step = "write the rows to a file first"
        raise DataError("this is a pipe or a device, not a file", where=path, next_step=step)
    if status.st_size == 0:
        raise DataError("the file is empty", where=path, next_step=ROW_SHAPE)
    return Stamp(status.st_size, status.st_mtime_ns)
