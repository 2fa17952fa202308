"""The door of `tunesmith serve`: the serve room's models, and this skin's routes and jobs beside them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, closing, contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tunesmith.api.place import folder_of, store_of
from tunesmith.core.errors import FolderError, ServerError, UserError
from tunesmith.core.files import folder_lock
from tunesmith.core.job import Job
from tunesmith.runtime.catalogue import locate
from tunesmith.serve.loading import load_published
from tunesmith.serve.schema import ServeConfig, ServeResult
from tunesmith.serve.server import LOOPBACK, alone
from tunesmith.serve.server import serve as serve_models

if TYPE_CHECKING:
    from fastapi import FastAPI

    from tunesmith.api.call import Api
    from tunesmith.api.jobs.running import Runner
    from tunesmith.api.models.loading import Open
    from tunesmith.serve.backends.port import Host
    from tunesmith.serve.state import Served, State

    Routes = Callable[[FastAPI], None]


def serve(config: ServeConfig, job: Job) -> ServeResult:
    """Serve models until Ctrl-C, take files and fine-tuning jobs, and run these.

    Raises what the serve room's door raises, and UserError for a store that cannot be used, and for an
    address that other machines reach when nobody would have to show a key.
    """
    is_own = config.training and config.upstream is None
    if not is_own and config.host in LOOPBACK:
        return serve_models(config, job, beside=alone)
    return serve_models(config, job, beside=training if is_own else guarded)


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
def opened(config: ServeConfig, job: Job) -> Iterator[tuple[Api, bool]]:
    """The store, and whether nobody has to show a key: only on loopback, and until one is made."""
    from tunesmith.api.call import Api
    from tunesmith.api.jobs.recipes import rate_of
    from tunesmith.api.keys.service import any_made

    with closing(store_of(job, config.database)) as store:
        has_keys, is_near = any_made(store), config.host in LOOPBACK
        if not has_keys and not is_near:
            raise UserError(
                "other machines reach this address, and no key was made yet",
                value=config.host,
                where="--host",
                next_step="tunesmith keys create NAME, or listen on 127.0.0.1",
            )
        who = "each request has to show a key" if has_keys else "open: nobody has to show a key"
        job.progress.say(f"{who} (tunesmith keys)")
        bases = tunable(config, job)
        api = Api(
            store,
            folder_of(job),
            max_request_bytes=int(config.max_request_mb * 1e6),
            max_file_bytes=int(config.max_file_mb * 1e6),
            base_of=bases.get,
            weights_of=lambda base: locate(base, job, needs_template=False).model_folder,
            jobs_at_once=config.jobs,
            rate_of=partial(rate_of, job=job),
        )
        yield api, is_near


@contextmanager
def guarded(config: ServeConfig, state: State, job: Job) -> Iterator[Routes]:
    """Models alone, for those who show a key."""
    from tunesmith.api.app import add_guard

    with opened(config, job) as (api, open_to_all):
        yield partial(add_guard, api=api, open_to_all=open_to_all)


@contextmanager
def training(config: ServeConfig, state: State, job: Job) -> Iterator[Routes]:
    """The store and the runner of jobs while the server runs."""
    from tunesmith.api.app import add_api, add_guard
    from tunesmith.api.call import CALLER
    from tunesmith.api.jobs.running import Runner
    from tunesmith.api.models.loading import Versions

    with ExitStack() as stack:
        stack.enter_context(held(folder_of(job)))
        api, open_to_all = stack.enter_context(opened(config, job))
        runner = Runner(api, job.workspace.root)
        versions = Versions(
            api,
            opener(config, job),
            partial(host_of, state=state),
            at_most=config.loaded_versions,
            adapters=config.loaded_adapters,
        )
        stack.callback(versions.close)
        state.more = lambda name: versions.find(name, CALLER.get())
        watch(state, api, runner)
        runner.start()
        stack.callback(runner.close)
        names = ", ".join(tunable(config, job)) or "none of these models"
        job.progress.say(f"fine-tuning jobs are taken at /v1/fine_tuning (for {names})")

        def extend(app: FastAPI) -> None:
            add_guard(app, api, open_to_all=open_to_all)
            add_api(app, api, state, job.workspace.record)

        yield extend


def watch(state: State, api: Api, runner: Runner) -> None:
    """Let the server say how its store, its disk and its jobs are doing."""
    from tunesmith.api.health import disk_fault, jobs_by_state, store_fault

    state.checks += [partial(store_fault, api), partial(disk_fault, api.folder), runner.fault]
    state.metrics.gauge("tunesmith_jobs", "Fine-tuning jobs.", "state", partial(jobs_by_state, api))


def tunable(config: ServeConfig, job: Job) -> dict[str, str]:
    """Names that clients may fine-tune → what `tunesmith train` calls the model.

    The base models that are served, and their aliases: a client cannot name what lies elsewhere on this disk.
    """
    if config.upstream is not None:
        return {}
    found = {ref: locate(ref, job) for ref in config.models}
    bases = {ref: model for ref, model in found.items() if model.adapter is None and model.kind != "run"}
    named = {model.name: ref for ref, model in bases.items()} | {ref: ref for ref in bases}
    return named | {alias: named[model] for alias, model in config.aliases.items() if model in named}


def host_of(row: Mapping[str, Any], *, state: State) -> Host | None:
    """The served base that a version's adapter can be put on."""
    folder = Path(row["folder"])
    if not (folder / "adapter_config.json").exists():
        return None
    hosts = (model.host for model in state.models if row["base"] in (model.name, *model.refs))
    host = next(hosts, None)
    return host if host is not None and host.why_alone(folder) is None else None


def opener(config: ServeConfig, job: Job) -> Open:
    """Loads a version."""

    def load(row: Mapping[str, Any], host: Host | None) -> Served:
        base = locate(row["base"], job, needs_template=False)
        return load_published(row["id"], Path(row["folder"]), base, row["created_at"], config, host)

    return load
