"""Folders of rows: our own, those that `datasets` saves, and files in splits as the hub has them."""

import json
import re
from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, NamedTuple, NoReturn

from tunesmith.core.errors import DataError, nearest
from tunesmith.core.formats.containers.compressed import SUFFIXES

Layout = Literal["data set", "rows", "saved", "files"]

DATA_SUFFIXES = frozenset(
    {".jsonl", ".ndjson", ".jl", ".json", ".csv", ".tsv", ".xlsx", ".parquet", ".arrow", ".feather"}
)
NOT_ROWS = frozenset(
    {"dataset_info.json", "dataset_infos.json", "dataset_dict.json", "state.json", "manifest.json"}
    | {"accounting.json", "leak_proof.json", "config.json", "croissant.json", "metadata.json"}
)
"""JSON files that speak about a data set."""

SPLIT_WORDS = {
    "train": "train", "training": "train",
    "validation": "validation", "valid": "validation", "val": "validation", "dev": "validation",
    "test": "test", "testing": "test", "eval": "test", "evaluation": "test",
}  # fmt: skip
"""Words in the names of files and folders that the hub takes for splits (its "data files configuration")."""

SHARD = re.compile(r"-\d{5}-of-\d{5}$")


class Shards(NamedTuple):
    """The files of one split of a folder, in order."""

    layout: Layout
    files: list[Path]


def shards(folder: Path, part: str | None) -> Shards:
    """The files that hold the rows of a folder.

    Raises DataError when the folder has none, or has several splits and none was asked for.
    """
    if (folder / "manifest.json").is_file():
        return own_folder(folder, part)
    if (folder / "dataset_dict.json").is_file():
        names = read_object(folder / "dataset_dict.json").get("splits")
        if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
            raise DataError("the file lists no splits", where=folder / "dataset_dict.json")
        wanted = one_of(folder, {str(name): [] for name in names}, part)
        return Shards("saved", saved_files(inside(folder, wanted)))
    state = folder / "state.json"
    if state.is_file() and "_data_files" in read_object(state):
        refuse_needless(folder, part)
        return Shards("saved", saved_files(folder))
    groups = split_groups(folder)
    return Shards("files", groups[one_of(folder, groups, part)])


def own_folder(folder: Path, part: str | None) -> Shards:
    """A folder that tunesmith made."""
    kind = read_object(folder / "manifest.json").get("kind")
    if kind == "data-set":
        files = {path.stem: [path] for path in sorted(folder.glob("*.parquet"))}
        return Shards("data set", files[one_of(folder, files, part)])
    if kind == "source" and (folder / "rows.jsonl").is_file():
        refuse_needless(folder, part)
        return Shards("rows", [folder / "rows.jsonl"])
    step = "give a data set folder, or one that `tunesmith data fetch` or `data documents` made"
    raise DataError(f"this is a {kind} folder: it holds no rows", where=folder, next_step=step)


def one_of(folder: Path, groups: Mapping[str, list[Path]], part: str | None) -> str:
    """The split that is meant."""
    if not groups:
        step = "for documents: tunesmith data documents FOLDER"
        raise DataError("the folder has no file of rows", where=folder, next_step=step)
    if part is None and len(groups) > 1:
        first = "train" if "train" in groups else next(iter(groups))
        value, step = ", ".join(groups), f"say which: {folder}#{first}"
        raise DataError("the folder has several splits", where=folder, value=value, next_step=step)
    if part is not None and part not in groups:
        raise DataError("no split of this name", where=folder, value=part, next_step=nearest(part, groups))
    return part or next(iter(groups))


def refuse_needless(folder: Path, part: str | None) -> None:
    """A folder without splits has no part to ask for."""
    if part is not None:
        raise DataError("this folder has no splits", where=folder, value=part, next_step=f"give {folder}")


def inside(folder: Path, name: str) -> Path:
    """A path below a folder; a name out of a file must not lead elsewhere."""
    path = folder / name
    if Path(name).is_absolute() or ".." in Path(name).parts:
        raise DataError("a name that leads out of the folder", where=folder, value=name)
    return path


def saved_files(folder: Path) -> list[Path]:
    """The Arrow files that `datasets.save_to_disk` lists in state.json."""
    if not (folder / "state.json").is_file():
        step = "copy the whole folder again"
        raise DataError("the split has no state.json", where=folder, next_step=step)
    listed = read_object(folder / "state.json").get("_data_files")
    entries = listed if isinstance(listed, list) else []
    names = [entry.get("filename") for entry in entries if isinstance(entry, dict)]
    files = [inside(folder, name) for name in names if isinstance(name, str)]
    absent = [file.name for file in files if not file.is_file()]
    if absent or not files:
        value, step = ", ".join(absent) or "no file is listed", "copy the whole folder again"
        raise DataError("files of the data set are missing", where=folder, value=value, next_step=step)
    return files


def is_data_file(path: Path) -> bool:
    """Whether a file holds rows, by its name."""
    suffix = inner_suffix(path)
    return suffix in DATA_SUFFIXES and path.name not in NOT_ROWS


def inner_suffix(path: Path) -> str:
    """The ending of a name, lower case, without that of a compression."""
    suffix = path.suffix.lower()
    return Path(path.stem).suffix.lower() if suffix in SUFFIXES else suffix


def split_groups(folder: Path) -> dict[str, list[Path]]:
    """Data files below a folder by split, or by folder and split where several folders have one."""
    groups: dict[str, list[Path]] = defaultdict(list)
    for path in sorted(folder.rglob("*")):
        below = path.relative_to(folder)
        if is_data_file(path) and path.is_file() and not any(part.startswith(".") for part in below.parts):
            groups[group_of(below)].append(path)
    for name, files in groups.items():
        kinds = sorted({inner_suffix(path) for path in files})
        if len(kinds) > 1:
            refuse_mixed(folder, name, kinds, files)
    return dict(groups)


def group_of(below: Path) -> str:
    """The split that a file's name and folders speak of; without such a word, the name itself."""
    stem = below.name.split(".")[0]
    words = re.split(r"[-_. ]", SHARD.sub("", stem).lower())
    split = next((SPLIT_WORDS[word] for word in words if word in SPLIT_WORDS), None)
    folders = [part for part in below.parent.parts if part != "data"]
    if split is None and folders and folders[-1].lower() in SPLIT_WORDS:
        split = SPLIT_WORDS[folders.pop().lower()]
    if split is None:
        split = SHARD.sub("", stem)
    return "/".join([*folders, split])


def refuse_mixed(folder: Path, name: str, kinds: list[str], files: list[Path]) -> NoReturn:
    """Two kinds of files in one split may be the same rows twice."""
    step = f"give one file, such as {files[0]}, or keep one kind in the folder"
    what = f"the split {name!r} has files of several kinds"
    raise DataError(what, where=folder, value=", ".join(kinds), next_step=step)


def read_object(path: Path) -> dict[str, Any]:
    """A small JSON file that holds an object."""
    step = "copy the whole folder again"
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (UnicodeDecodeError, json.JSONDecodeError, RecursionError) as error:
        raise DataError("not valid JSON", where=path, value=str(error), next_step=step) from None
    if not isinstance(value, dict):
        raise DataError("this should be a JSON object", where=path, next_step=step)
    return value
