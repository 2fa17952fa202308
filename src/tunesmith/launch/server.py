"""A temporary server for one model, so that what is evaluated is what is served."""

import subprocess
import sys
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
def temporary_server(model: str, job: Job, *, at_once: int | None = None) -> Iterator[Served]:
    """Serve a model on a free loopback port while the block runs; nothing is recorded.

    `at_once` requests are answered in one batch, where the model is one that is batched at all.

    Raises StepFailed with the server's own message when it refuses the model, ServerError when it dies or
    does not answer in time.
    """
    with tempfile.TemporaryDirectory(prefix="tunesmith-") as folder:
        announce = Path(folder) / "announce.json"
        options = ["--port", "0", "--record", "off", "--announce", str(announce), "--quiet", "--stop-at-eof"]
        options.append("--no-training")  # what is evaluated is not trained meanwhile
        options += [] if at_once is None else ["--max-batch", str(at_once)]
        command = tunesmith_command("serve", model, *options, "--workspace", str(job.workspace.root))
        complaints = Path(folder) / "complaints.txt"
        with complaints.open("w", encoding="utf-8") as log:
            # A session of its own: Ctrl-C must end the work that asks before the server that answers.
            child = subprocess.Popen(
                command,
                stdin=subprocess.PIPE,  # ends with us, however we end: no server is left behind
                stdout=subprocess.DEVNULL,
                stderr=log,
                text=True,
                env=child_environment(),
                start_new_session=True,
            )
        try:
            facts = wait_until_ready(child, announce, complaints, model)
            yield Served(facts["url"], facts["models"][0])
            sys.stderr.write(said(complaints))
        except Exception:
            # Whatever ended the work, what the server said may be why; after Ctrl-C it is of no interest.
            if child.poll() is None or announce.exists():
                sys.stderr.write(said(complaints))
            raise
        finally:
            stop(child)


def said(complaints: Path) -> str:
    """What the server wrote to its standard error (nothing but problems: it runs with --quiet)."""
    return complaints.read_text(encoding="utf-8", errors="replace")


def wait_until_ready(
    child: "subprocess.Popen[str]", announce: Path, complaints: Path, model: str
) -> dict[str, Any]:
    """Wait for the server to write where it listens; one that ends before that said why in `complaints`."""
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline:
        if announce.exists():
            facts: dict[str, Any] = read_json(announce)
            return facts
        if (code := child.poll()) is not None:
            why = said(complaints).strip().removeprefix("tunesmith: ")
            if code == EXIT_USER_ERROR and why:
                raise StepFailed(why, exit_code=code)
            what = f"the server ended with code {code} before it was ready"
            raise ServerError(f"{what}:\n{why}" if why else what, where=model)
        time.sleep(POLL_SECONDS)
    raise ServerError(f"no answer from the server within {START_SECONDS:.0f} s", value=model)
