"""`tunesmith models`: what is there, and where."""

from pathlib import Path

from rich.console import Console
from rich.markup import escape

from tunesmith.core.config import Schema
from tunesmith.core.files import read_json
from tunesmith.core.job import Job
from tunesmith.core.workspace import Manifest, cache_root
from tunesmith.runtime.catalogue import CARD, CATALOGUE, FAKE, cached_models


class ModelsConfig(Schema):
    """Lists the catalogue, converted models in the cache, and the runs of this workspace."""


class ModelRow(Schema):
    """One model."""

    name: str
    """What to give as MODEL."""
    kind: str
    """catalogue, cached, run or fake."""
    ready: bool
    """Whether it can be used without fetching anything."""
    id: str
    """Content hash; empty while it is not there."""
    path: str
    """Where it is, or will be."""
    about: str
    """Where it comes from."""


class ModelsResult(Schema):
    """The models."""

    models: tuple[ModelRow, ...]
    """Catalogue first, then the cache, then runs (newest first)."""
    cache: Path
    """Where fetched and converted models are kept (TUNESMITH_HOME changes it)."""


def models(config: ModelsConfig, job: Job) -> ModelsResult:
    """List the models; loads none."""
    root = cache_root() / "models"
    rows = []
    for packaged in CATALOGUE.values():
        folder = root / packaged.name
        about = f"{packaged.about}, {packaged.package.licence}; {packaged.notes}"
        rows.append(model_row(packaged.name, "catalogue", folder, about))
    rows += [
        model_row(str(folder), "cached", folder, read_json(folder / CARD)["origin"])
        for folder in cached_models()
        if folder.name not in CATALOGUE
    ]
    rows += [run_row(folder) for folder in job.workspace.folders("run")]
    about = "learns without a neural network; for trying the journey out"
    rows.append(ModelRow(name=FAKE, kind="fake", ready=True, id="", path="", about=about))
    return ModelsResult(models=tuple(rows), cache=cache_root())


def model_row(name: str, kind: str, folder: Path, about: str) -> ModelRow:
    """A row for a model folder of the cache."""
    ready = (folder / CARD).exists()
    content = read_json(folder / CARD)["id"] if ready else ""
    return ModelRow(name=name, kind=kind, ready=ready, id=content, path=str(folder), about=about)


def run_row(folder: Path) -> ModelRow:
    """A row for a finished run."""
    manifest = Manifest.read(folder)
    about = f"{manifest.config['model']}, trained {manifest.created}"
    return ModelRow(name=folder.name, kind="run", ready=True, id=manifest.id, path=str(folder), about=about)


def show_models(result: ModelsResult, console: Console) -> None:
    """Name and state, then where it comes from and where it is."""
    for row in result.models:
        state = (
            f"[cyan]{row.id[:8]}[/cyan]"
            if row.ready and row.id
            else ""
            if row.ready
            else "fetched on first use"
        )
        console.print(f"[bold]{escape(row.name)}[/bold]  {state}")
        console.print(f"  {row.about}", markup=False, style="dim", soft_wrap=True)
        if row.path:
            console.print(f"  {row.path}", markup=False, style="dim", soft_wrap=True)
    console.print(f"\ncache: {result.cache}", markup=False, soft_wrap=True)
