"""A temporary server for one model, so that what is evaluated is what is served."""

import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from tunesmith.core.errors import EXIT_USER_ERROR, ServerError, StepFailed
from tunesmith.core.files import read_json
from tunesmith.core.job import Job
from tunesmith.launch.process import child_environment, stop, tunesmith_command

START_SECONDS = 300.0
POLL_SECONDS = 0.05


class Served(NamedTuple):
    """Where a model answers: the base URL (with /v1) and the name to ask for."""

    url: str
    model: str


@contextmanager
def temporary_server(model: str, job: Job) -> Iterator[Served]:
    """Serve a model on a free loopback port while the block runs; nothing is recorded.

    Raises ServerError when the server dies or does not answer in time (its own message stands above).
    """
    with tempfile.TemporaryDirectory(prefix="tunesmith-") as folder:
        announce = Path(folder) / "announce.json"
        options = ["--port", "0", "--record", "off", "--announce", str(announce), "--quiet"]
        command = tunesmith_command("serve", model, *options, "--workspace", str(job.workspace.root))
        # A session of its own: Ctrl-C must end the work that asks before the server that answers.
        child = subprocess.Popen(
            command, stdout=subprocess.DEVNULL, text=True, env=child_environment(), start_new_session=True
        )
        try:
            facts = wait_until_ready(child, announce, model)
            yield Served(facts["url"], facts["models"][0])
        finally:
            stop(child)


def wait_until_ready(
    child: "subprocess.Popen[str]", announce: Path, model: str
) -> dict[str, Any]:
    """Wait for the server to write where it listens."""
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline:
        if announce.exists():
            facts: dict[str, Any] = read_json(announce)
            return facts
        if (code := child.poll()) is not None:
            if code == EXIT_USER_ERROR:
                raise StepFailed(f"no server could be started for {model!r}", exit_code=code)
            raise ServerError(f"the server ended with code {code} before it was ready", value=model)
        time.sleep(POLL_SECONDS)
    raise ServerError(f"no answer from the server within {START_SECONDS:.0f} s", value=model)
