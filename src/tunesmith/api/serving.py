"""The door of `tunesmith serve`: the serve room's models, and this skin's routes and jobs beside them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, closing, contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tunesmith.core.errors import FolderError, ServerError, UserError
from tunesmith.core.files import folder_lock
from tunesmith.core.job import Job
from tunesmith.runtime.catalogue import FAKE, Located, locate
from tunesmith.serve.loading import load_published
from tunesmith.serve.schema import ServeConfig, ServeResult
from tunesmith.serve.server import LOOPBACK, alone
from tunesmith.serve.server import serve as serve_models

if TYPE_CHECKING:
    from fastapi import FastAPI

    from tunesmith.api.models.loading import Open
    from tunesmith.serve.state import Served, State

FOLDER = "server"
"""Below the workspace: files, uploads, jobs, and their store."""
STORE = "store.sqlite"


def serve(config: ServeConfig, job: Job) -> ServeResult:
    """Serve models until Ctrl-C, take files and fine-tuning jobs, and run these.

    Raises what the serve room's door raises, and UserError for a store that cannot be used.
    """
    return serve_models(config, job, beside=training if takes_jobs(config, job) else alone)


def takes_jobs(config: ServeConfig, job: Job) -> bool:
    """Whether files and jobs are taken: not for another server's models, and not from other machines.

    Nobody has to say who he is yet, and a stranger's files would fill this disk.
    """
    if not config.training or config.upstream is not None:
        return False
    if config.host in LOOPBACK:
        return True
    if "training" in config.model_fields_set:
        step = "leave --training out, or listen on 127.0.0.1"
        raise UserError(
            "jobs are taken on a loopback address only", value=config.host, where="--host", next_step=step
        )
    job.progress.say(f"no files and jobs are taken: {config.host} is no loopback address")
    return False


@contextmanager
def held(folder: Path) -> Iterator[None]:
    """The folder of files and jobs, for one server; a second one can only answer."""
    with ExitStack() as stack:
        try:
            stack.enter_context(folder_lock(folder))
        except FolderError as error:
            step = "give --no-training to this one, or another --workspace"
            raise ServerError(
                "another server takes files and jobs in this workspace", where=folder, next_step=step
            ) from error
        yield


@contextmanager
def training(config: ServeConfig, state: State, job: Job) -> Iterator[Callable[[FastAPI], None]]:
    """The store and the runner of jobs while the server runs."""
    from tunesmith.api.app import add_api
    from tunesmith.api.call import Api, Caller
    from tunesmith.api.jobs.running import Runner
    from tunesmith.api.models.loading import Versions
    from tunesmith.core.store import open_store

    folder = job.workspace.root / FOLDER
    bases = tunable(config, job)
    with ExitStack() as stack:
        stack.enter_context(held(folder))
        store = stack.enter_context(closing(open_store(config.database or folder / STORE)))
        api = Api(
            store,
            folder,
            max_request_bytes=int(config.max_request_mb * 1e6),
            max_file_bytes=int(config.max_file_mb * 1e6),
            base_of=bases.get,
        )
        runner = Runner(api, job.workspace.root, rate_of=partial(rate_of, job=job), at_once=config.jobs)
        versions = Versions(api, opener(config, job), at_most=config.loaded_versions)
        stack.callback(versions.close)
        state.more = lambda name: versions.find(name, Caller())
        runner.start()
        stack.callback(runner.close)
        names = ", ".join(bases) or "none of these models"
        job.progress.say(f"fine-tuning jobs are taken at /v1/fine_tuning (for {names})")
        yield partial(add_api, api=api, state=state)


def tunable(config: ServeConfig, job: Job) -> dict[str, str]:
    """Names that clients may fine-tune → what `tunesmith train` calls the model.

    The base models that are served, and their aliases: a client cannot name what lies elsewhere on this disk.
    """
    found = {ref: locate(ref, job) for ref in config.models}
    bases = {ref: model for ref, model in found.items() if model.adapter is None and model.kind != "run"}
    named = {model.name: ref for ref, model in bases.items()} | {ref: ref for ref in bases}
    return named | {alias: named[model] for alias, model in config.aliases.items() if model in named}


def opener(config: ServeConfig, job: Job) -> Open:
    """Loads a version on its base."""

    def load(row: Mapping[str, Any]) -> Served:
        base = locate(row["base"], job, needs_template=False)
        return load_published(row["id"], Path(row["folder"]), base, row["created_at"], config)

    return load


def rate_of(base: str, *, job: Job) -> float:
    """What `learning_rate: auto` means for LoRA on a base, by the published rule."""
    from tunesmith.api.jobs.recipes import FAKE_RATE
    from tunesmith.core.recipe import Recipe
    from tunesmith.train.choices import shape_of
    from tunesmith.train.rates import auto_learning_rate

    located: Located = locate(base, job)
    if base == FAKE or located.model_folder is None:
        return FAKE_RATE
    width, family = shape_of(located.model_folder)
    recipe = Recipe.model_validate({"data": "file", "model": base})
    return auto_learning_rate(recipe, hidden_size=width, model_type=family).value
