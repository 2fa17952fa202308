"""Where a run starts: its base model, and what `init_from` puts on top of it or in its place."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from tunesmith.core.errors import ConfigError, FolderError, ModelError
from tunesmith.core.files import hash_folder, hash_json
from tunesmith.core.job import Job
from tunesmith.core.recipe import InitFrom, Recipe
from tunesmith.core.workspace import MANIFEST, STATE, Input, input_from
from tunesmith.runtime.catalogue import Located, locate
from tunesmith.train.checkpoints import PUBLISHED
from tunesmith.train.engines.fake import MODEL_NAME as FAKE_FILE
from tunesmith.train.runs import find_run

ADAPTER_FILE, MODEL_FILE = "adapter_config.json", "config.json"
WHERE = "init_from.path"


@dataclass(frozen=True)
class Base:
    """The model that learns."""

    name: str
    """What the adapter's configuration calls it."""
    serve_as: str
    """What a server locates it by."""
    folder: Path | None
    """Its folder; None for the fake."""
    adapter: Path | None
    """Folder of the adapter that the run begins from."""
    model: Input
    start: Input | None


class Start(NamedTuple):
    """What an earlier run learned."""

    folder: Path
    """An adapter folder, or a model folder."""
    is_model: bool
    entry: Input
    run: Path | None
    """The finished run that it belongs to, if any."""


def base_of(recipe: Recipe, job: Job) -> Base:
    """The base of a recipe, with what `init_from` makes of it.

    A whole model takes the base's place; an adapter is handed to the method.  Raises ModelError, FolderError
    or ConfigError for what cannot be begun from.
    """
    # Rows of text, and a template of the recipe's, need none of the model's; rendering says when one lacks.
    located = locate(recipe.model, job, needs_template=False)
    model = located.as_input()
    if recipe.init_from is None:
        return Base(located.name, recipe.model, folder_of(located), None, model, None)
    start = find_start(recipe.init_from, job)
    check_fake(located, recipe.init_from, start)
    if not start.is_model:
        return Base(located.name, recipe.model, folder_of(located), start.folder, model, start.entry)
    if recipe.init_from.mode == "stack":
        raise ConfigError(
            "a whole model cannot lie under an adapter as one that is stacked",
            where="init_from.mode",
            value="stack",
            next_step="use merge_then_new: the model becomes the base",
        )
    name = (start.run or start.folder).name
    return Base(name, str(start.folder), start.folder, None, model, start.entry)


def check_fake(located: Located, init_from: InitFrom, start: Start) -> None:
    """Refuse what the fake learned for a real model, and the other way round; the fake only learns on."""
    learned_fake = (start.folder / FAKE_FILE).exists()
    if learned_fake != (located.kind == "fake"):
        what = "a fake run is begun from" if learned_fake else "the fake engine begins only from a fake run"
        step = "leave init_from out, or give the model that the earlier run began from"
        raise ConfigError(what, where="init_from", value=init_from.path, next_step=step)
    if learned_fake and init_from.mode != "continue":
        step = "leave it out: the fake goes on learning"
        raise ConfigError(
            "the fake engine has no adapters", where="init_from.mode", value=init_from.mode, next_step=step
        )


def folder_of(located: Located) -> Path | None:
    """The model folder of a base; ModelError for a run, which `init_from` takes."""
    if located.kind == "fake":
        return None
    if located.kind == "run":
        raise ModelError(
            "a run is not a base model",
            value=located.name,
            where="model",
            next_step="give its own base model, and the run as `init_from: {path: …}`",
        )
    return located.path


def find_start(init_from: InitFrom, job: Job) -> Start:
    """What a path, a run's name or an id means: an adapter folder, a checkpoint, or a finished run."""
    here = Path(init_from.path).expanduser()
    if here.is_dir() and not (here / MANIFEST).exists() and not (here / STATE).exists():
        folder = here / PUBLISHED if (here / PUBLISHED).is_dir() else here
        if not learned(folder):
            raise FolderError(
                "neither an adapter, nor a model, nor a checkpoint that a run can begin from",
                where=folder,
                next_step="give a finished run, an adapter folder, or a checkpoint kept by keep_checkpoints",
            )
        content = hash_json(hash_folder(folder))
        entry = Input("init_from", "adapter", content, str(folder.resolve()))
        return Start(folder.resolve(), is_model(folder), entry, None)
    run = find_run(init_from.path, job.workspace, suggest_unfinished=False)
    entry = input_from("init_from", run)  # raises for a run that has not finished
    folder = run / ("weights" if (run / "weights").is_dir() else "adapter")
    if not learned(folder):
        raise FolderError("this run holds nothing to begin from", where=run, value=WHERE)
    return Start(folder, is_model(folder), entry, run)


def learned(folder: Path) -> bool:
    """Whether a folder holds what a run can begin from."""
    return any((folder / name).exists() for name in (ADAPTER_FILE, MODEL_FILE, FAKE_FILE))


def is_model(folder: Path) -> bool:
    """Whether a folder is a whole model, not an adapter."""
    return (folder / MODEL_FILE).exists() and not (folder / ADAPTER_FILE).exists()
