"""A server with files, jobs and versions below a folder, for tests that speak HTTP to it."""

from contextlib import ExitStack, closing, contextmanager
from functools import partial
from typing import NamedTuple

from live_server import live

from tunesmith.api.app import add_api, add_guard
from tunesmith.api.call import CALLER, Api
from tunesmith.api.jobs.recipes import FAKE_RATE
from tunesmith.api.jobs.running import Runner
from tunesmith.api.models.loading import Versions
from tunesmith.api.serving import host_of, opener
from tunesmith.core.fake import FakeModel
from tunesmith.core.job import Job
from tunesmith.core.record import RecordWriter
from tunesmith.core.store import open_store
from tunesmith.core.workspace import Workspace
from tunesmith.serve.backends.echo import EchoBackend
from tunesmith.serve.schema import ServeConfig
from tunesmith.serve.state import State


class Server(NamedTuple):
    url: str
    api: Api
    runner: Runner
    state: State


BASES = {"fake": "fake", "gpt-4o-mini": "fake"}


@contextmanager
def serving(root, database, *, clock=None, at_most=2, open_to_all=True, **limits):
    """The address of a server whose only base is the fake model; its state is below `root`."""
    with ExitStack() as stack:
        store = open_store(database)
        stack.callback(store.close)
        more = limits if clock is None else {**limits, "clock": clock}
        api = Api(store, root / "server", base_of=BASES.get, rate_of=lambda base: FAKE_RATE, **more)
        runner = Runner(api, root)
        runner.start()
        stack.callback(runner.close)
        backend = ("fake", EchoBackend(FakeModel()))

        def extend(app, state):
            add_guard(app, api, open_to_all=open_to_all)
            add_api(app, api, state, root / "server" / "record.sqlite")

        writer = stack.enter_context(closing(RecordWriter(root / "server" / "record.sqlite")))
        routes = lambda state: partial(extend, state=state)  # noqa: E731  it is one
        running = stack.enter_context(live(backend, writer=writer, extend=routes))
        job = Job(Workspace(root))
        on = partial(host_of, state=running.state)
        versions = Versions(api, opener(ServeConfig(), job), on, at_most=at_most, adapters=at_most)
        stack.callback(versions.close)
        running.state.more = lambda name: versions.find(name, CALLER.get())
        yield Server(running.url, api, runner, running.state)
