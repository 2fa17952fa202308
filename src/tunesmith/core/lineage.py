"""Lineage: what a folder was made from and what was made from it, by content hash."""

from collections.abc import Sequence
from pathlib import Path

from tunesmith.core.config import Schema
from tunesmith.core.workspace import MANIFEST, Input, Manifest, Workspace


class Node(Schema):
    """A thing in a lineage: a folder, or a file or model that a folder was made from."""

    kind: str
    """Kind of the folder, `file` or `model`."""
    name: str
    """Folder name, or the file's or model's last path part."""
    id: str
    """Content hash."""
    role: str
    """As what it entered the thing below it; empty for the thing asked about."""
    path: str
    """Where it stands, or stood when it was used."""
    found: bool
    """Whether something of this content still stands there."""
    children: tuple["Node", ...] = ()
    """Further away from the thing asked about."""


def folder_node(folder: Path, *, role: str, children: Sequence[Node]) -> Node:
    """A node for a folder that stands there."""
    manifest = Manifest.read(folder)
    return Node(
        kind=manifest.kind,
        name=folder.name,
        id=manifest.id,
        role=role,
        path=str(folder),
        found=True,
        children=tuple(children),
    )


def ancestors(workspace: Workspace, folder: Path) -> list[Node]:
    """What a folder was made from, recursively."""
    nodes = []
    for entry in Manifest.read(folder).inputs:
        place = standing(workspace, entry.id, Path(entry.path))
        if place is not None:
            nodes.append(folder_node(place, role=entry.role, children=ancestors(workspace, place)))
            continue
        path = Path(entry.path)
        nodes.append(
            Node(
                kind=entry.kind,
                name=path.name,
                id=entry.id,
                role=entry.role,
                path=entry.path,
                found=is_there(entry, path),
            )
        )
    return nodes


def is_there(entry: Input, path: Path) -> bool:
    """Whether a file or model still stands where it was; a mere name (the fake, say) has no place."""
    if entry.kind in ("model", "remote") and not path.is_absolute():
        return True
    return path.exists() and not (path / MANIFEST).exists()


def descendants(workspace: Workspace, folder: Path) -> list[Node]:
    """What was made from a folder, recursively, among the indexed folders."""
    manifest = Manifest.read(folder)
    wanted = {manifest.id, *manifest.files.values()}
    nodes = []
    for other in workspace.folders():
        roles = [entry.role for entry in Manifest.read(other).inputs if entry.id in wanted]
        if roles:
            nodes.append(folder_node(other, role=", ".join(roles), children=descendants(workspace, other)))
    return nodes


def standing(workspace: Workspace, content: str, path: Path) -> Path | None:
    """The folder with this content, or that made a file with it: where it was, or where the index knows."""
    if (path / MANIFEST).exists() and Manifest.read(path).id == content:
        return path
    if (path.parent / MANIFEST).exists() and content in Manifest.read(path.parent).files.values():
        return path.parent
    return next(iter(workspace.by_id(content)), None)
