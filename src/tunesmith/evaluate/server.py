"""Which model is asked, and the server that has it."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from tunesmith.core.endpoint import Endpoint, key_in
from tunesmith.core.errors import ModelError, nearest
from tunesmith.core.files import hash_json
from tunesmith.core.job import Job
from tunesmith.core.workspace import Input
from tunesmith.evaluate.schema import EvaluateConfig
from tunesmith.launch.server import temporary_server
from tunesmith.runtime.catalogue import CATALOGUE, FAKE, find_run, locate

KEEPS_STOP = frozenset({"tunesmith", "vllm"})
"""Owners of served models whose servers know `include_stop_str_in_output`."""


class Asked(NamedTuple):
    """A server with the model, and whether it can keep a stop text in its answer."""

    endpoint: Endpoint
    stops: bool


def describe_model(config: EvaluateConfig, job: Job) -> tuple[Input, list[str]]:
    """The model as an input, and the names a server may have for it, most telling first.

    A model that is only behind the URL is known by URL and name; any other by its content.
    """
    if config.endpoint is not None and config.served_as is None and not is_here(config.model, job):
        identity = hash_json({"url": config.endpoint, "model": config.model})
        return Input("model", "remote", identity, config.model), [config.model]
    located = locate(config.model, job)
    names = [config.served_as] if config.served_as is not None else [config.model]
    return located.as_input(), [*names, located.name]


def is_here(ref: str, job: Job) -> bool:
    """Whether a model is on this machine, without looking for it anywhere else."""
    return ref == FAKE or ref in CATALOGUE or Path(ref).exists() or find_run(ref, job) is not None


@contextmanager
def asked_server(config: EvaluateConfig, names: Sequence[str], job: Job) -> Iterator[Asked]:
    """The server to ask: the one that was named, or one that lives as long as it is needed."""
    if config.endpoint is None:
        job.progress.say(f"starting a server for {config.model}")
        serving = temporary_server(config.model, job, at_once=config.at_once)
        with serving as served, Endpoint(served.url, served.model) as endpoint:
            yield Asked(endpoint, stops=True)
        return
    with Endpoint(config.endpoint, names[0], key_in(config.api_key_variable)) as endpoint:
        listed = {model.id: model.owner for model in endpoint.models()}
        found = [name for name in names if name in listed]
        if not found:
            step = nearest(names[0], listed)
            raise ModelError(
                "the server has no model of this name", value=names[0], where=config.endpoint, next_step=step
            )
        endpoint.model = found[0]
        yield Asked(endpoint, listed[found[0]].lower() in KEEPS_STOP)
