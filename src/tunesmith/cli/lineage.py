"""`tunesmith lineage THING` and `tunesmith reindex`."""

from pathlib import Path

from rich.console import Console
from rich.markup import escape
from rich.tree import Tree

from tunesmith.core.config import Schema, argument
from tunesmith.core.job import Job
from tunesmith.core.lineage import Node, ancestors, descendants, folder_node
from tunesmith.core.progress import counted


class LineageConfig(Schema):
    """Walks the content hashes in the manifests, both ways."""

    thing: str = argument()
    """A folder, its name, or the start of its id."""


class LineageResult(Schema):
    """The thing, what it was made from, and what was made from it."""

    thing: Node
    """The folder asked about."""
    made_from: tuple[Node, ...]
    """Its inputs, and theirs."""
    made_into: tuple[Node, ...]
    """What used it, and what used that."""


def lineage(config: LineageConfig, job: Job) -> LineageResult:
    """Look up a folder and walk its lineage."""
    folder = job.workspace.resolve(config.thing)
    return LineageResult(
        thing=folder_node(folder, role="", children=()),
        made_from=tuple(ancestors(job.workspace, folder)),
        made_into=tuple(descendants(job.workspace, folder)),
    )


def show_lineage(result: LineageResult, console: Console) -> None:
    """Two trees."""
    console.print(f"[bold]{label(result.thing)}[/bold]")
    console.print(result.thing.path, style="dim", markup=False)
    for title, nodes in (("made from", result.made_from), ("made into", result.made_into)):
        tree = Tree(title if nodes else f"{title}: nothing", guide_style="dim")
        grow(tree, nodes)
        console.print(tree)


def grow(tree: Tree, nodes: tuple[Node, ...]) -> None:
    """Hang nodes below a tree; a package is fetched again when it is needed, and is never missed."""
    for node in nodes:
        gone = "" if node.found or node.kind == "package" else "  [red]no longer there[/red]"
        grow(tree.add(f"[dim]{node.role}[/dim]  {label(node)}{gone}"), node.children)


def label(node: Node) -> str:
    """Kind, name and the start of the id."""
    return f"{node.kind}  {escape(node.name)}  [cyan]{node.id[:8]}[/cyan]"


class ReindexConfig(Schema):
    """The index is only a memory of where folders are: it can always be rebuilt."""


class ReindexResult(Schema):
    """What was found."""

    folders: tuple[Path, ...]
    """Complete folders below the workspace, and indexed ones elsewhere."""


def reindex(config: ReindexConfig, job: Job) -> ReindexResult:
    """Rebuild the index."""
    return ReindexResult(folders=tuple(job.workspace.reindex()))


def show_reindex(result: ReindexResult, console: Console) -> None:
    """The folders."""
    for folder in result.folders:
        console.print(str(folder), markup=False, soft_wrap=True)
    console.print(f"{counted(len(result.folders), 'folder')} indexed")
