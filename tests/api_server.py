"""A server with files, jobs and versions below a folder, for tests that speak HTTP to it."""

from contextlib import ExitStack, contextmanager
from functools import partial
from typing import NamedTuple

from live_server import live

from tunesmith.api.app import add_api
from tunesmith.api.call import Api, Caller
from tunesmith.api.jobs.recipes import FAKE_RATE
from tunesmith.api.jobs.running import Runner
from tunesmith.api.models.loading import Versions
from tunesmith.api.serving import opener
from tunesmith.core.fake import FakeModel
from tunesmith.core.job import Job
from tunesmith.core.store import open_store
from tunesmith.core.workspace import Workspace
from tunesmith.serve.backends.echo import EchoBackend
from tunesmith.serve.schema import ServeConfig


class Server(NamedTuple):
    url: str
    api: Api
    runner: Runner


BASES = {"fake": "fake", "gpt-4o-mini": "fake"}


@contextmanager
def serving(root, database, *, clock=None, at_most=2, **limits):
    """The address of a server whose only base is the fake model; its state is below `root`."""
    with ExitStack() as stack:
        store = open_store(database)
        stack.callback(store.close)
        more = limits if clock is None else {**limits, "clock": clock}
        api = Api(store, root / "server", base_of=BASES.get, **more)
        runner = Runner(api, root, rate_of=lambda base: FAKE_RATE)
        versions = Versions(api, opener(ServeConfig(), Job(Workspace(root))), at_most=at_most)
        stack.callback(versions.close)
        runner.start()
        stack.callback(runner.close)
        backend = ("fake", EchoBackend(FakeModel()))
        running = stack.enter_context(
            live(backend, extend=lambda state: partial(add_api, api=api, state=state))
        )
        running.state.more = lambda name: versions.find(name, Caller())
        yield Server(running.url, api, runner)
