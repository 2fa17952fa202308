"""Reading other rooms' folders: manifests and documented files, nothing else of those rooms."""

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml

from tunesmith.core.errors import DataError, FolderError
from tunesmith.core.files import read_json, read_jsonl
from tunesmith.core.workspace import Manifest
from tunesmith.evaluate.report.facts import Origin

PRIVATE = re.compile(r"host|user|home|path|cwd|argv|pid|command|folder|endpoint", re.IGNORECASE)
"""Facts with such names can say who and where somebody is; a page that is passed on must not."""
ABSOLUTE = re.compile(r"^(/|~/|[A-Za-z]:\\)")


def opened(folder: Path, kind: str, where: str) -> Manifest:
    """A folder's manifest; a folder of another kind is refused."""
    manifest = Manifest.read(folder)
    if manifest.kind != kind:
        what = f"expected a folder of kind {kind!r}, this is {manifest.kind!r}"
        raise FolderError(what, where=f"{where} {folder}", next_step=f"give a {kind} folder with {where}")
    return manifest


def maybe_json(path: Path) -> Any:
    """A JSON file's value, or an empty mapping when there is no such file."""
    return read_json(path) if path.exists() else {}


def maybe_rows(path: Path) -> list[Any]:
    """A JSONL file's values, or none when there is no such file."""
    return [line.value for line in read_jsonl(path)] if path.exists() else []


def maybe_yaml(path: Path) -> dict[str, Any]:
    """A YAML file's mapping, or an empty one when there is no such file."""
    if not path.exists():
        return {}
    try:
        value = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise DataError("not valid YAML", where=path, value=str(error)) from None
    return value if isinstance(value, dict) else {}


def public(name: str) -> str:
    """A path as its last part; other texts as they are."""
    return Path(name).name if ABSOLUTE.match(name) else name


def leaves(value: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Dotted name → scalar or list of every leaf, without facts that could be private."""
    for name, part in value.items():
        if PRIVATE.search(str(name)):
            continue
        if isinstance(part, Mapping):
            yield from leaves(part, f"{prefix}{name}.")
        elif isinstance(part, str):
            yield f"{prefix}{name}", public(part)
        elif not (isinstance(part, list) and any(isinstance(entry, dict | list) for entry in part)):
            yield f"{prefix}{name}", part


def number(values: Mapping[str, Any], name: str) -> float | None:
    """A measurement that not every kind of folder has."""
    value = values.get(name)
    return float(value) if isinstance(value, int | float) else None


def origin(role: str, stage: str, folder: Path, manifest: Manifest) -> Origin:
    """What the page says about a folder that went in."""
    return Origin(
        role=role,
        stage=stage,
        kind=manifest.kind,
        folder=folder.name,
        id=manifest.id,
        created=manifest.created,
        verb=manifest.verb,
        seed=manifest.seed,
        versions=dict(manifest.versions),
        seconds=number(manifest.summary, "seconds"),
        memory_bytes=number(manifest.summary, "peak_memory_bytes"),
    )
