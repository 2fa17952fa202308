"""What every test stands on: no outside network, a cache and a workspace of its own, no hub."""

import os

# Before any library is imported: nothing may call home or look for a hub.
os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["HF_HUB_DISABLE_TELEMETRY"] = "1"
os.environ["DO_NOT_TRACK"] = "1"
if "PYTEST_XDIST_WORKER" in os.environ:  # a worker a core: their linear algebra must not fight for the cores
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    os.environ.setdefault("OMP_NUM_THREADS", "1")

import signal
import socket
from pathlib import Path

import pytest
from hypothesis import settings

from tunesmith.core.job import Job
from tunesmith.core.workspace import Workspace

# No test may fail because the machine is slow, and every run tries the same examples.
settings.register_profile("tunesmith", deadline=None, derandomize=True)
settings.load_profile("tunesmith")

# A shell without job control starts `make test &` with Ctrl-C ignored, and every child would inherit that.
signal.signal(signal.SIGINT, signal.default_int_handler)

LOOPBACK = {"127.0.0.1", "localhost", "::1"}


@pytest.fixture(autouse=True)
def no_outside_network(monkeypatch, request):
    """A test that connects anywhere but loopback fails, except where it says that it fetches."""
    if request.node.get_closest_marker("fetches"):
        return
    connect = socket.socket.connect

    def loopback_only(self, address):
        if self.family in (socket.AF_INET, socket.AF_INET6) and address[0] not in LOOPBACK:
            raise AssertionError(f"a test connects to {address[0]}")
        return connect(self, address)

    monkeypatch.setattr(socket.socket, "connect", loopback_only)


LONGEST = ("test_journey", "test_decide", "test_train", "test_compare_people", "test_validate")


def pytest_collection_modifyitems(items):
    """Files that take long first: of two processes neither is left with one at the end."""
    items.sort(key=lambda item: item.path.stem not in LONGEST)


@pytest.fixture
def job(tmp_path: Path) -> Job:
    """A silent job in a workspace of its own."""
    return Job(Workspace(tmp_path / "workspace"))
