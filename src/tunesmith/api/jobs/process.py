"""A job's worker as a process of its own, which can be asked to save, and killed with all that it started."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Protocol

from tunesmith.api.jobs.worker import LOG
from tunesmith.launch.process import child_environment

PATIENCE_SECONDS = 8.0
"""How long a worker may take to save before it is killed: it is gone within ten."""
LOOK_EVERY_SECONDS = 0.05


class Process(Protocol):
    """A worker at work."""

    def poll(self) -> int | None:
        """Its exit code; None while it works."""

    def stop(self) -> None:
        """Let it save, then end it with all that it started; returns when it is gone."""


Launch = Callable[[Path], Process]
"""Starts the worker of a job's folder."""


class OwnProcess:
    """`python -m tunesmith.api.jobs.worker FOLDER` in a session of its own."""

    def __init__(self, folder: Path) -> None:
        with (folder / LOG).open("ab") as log:
            # It reads nothing: the pipe ends when this process does, however it ends.
            self.child = subprocess.Popen(
                [sys.executable, "-m", "tunesmith.api.jobs.worker", str(folder)],
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=subprocess.STDOUT,
                env=child_environment(),
                start_new_session=True,
            )

    def poll(self) -> int | None:
        """Its exit code; None while it works."""
        if (code := self.child.poll()) is not None:
            self.hang_up()
        return code

    def stop(self) -> None:
        """Ask, wait, then kill the whole session."""
        self.child.terminate()
        deadline = time.monotonic() + PATIENCE_SECONDS
        while self.child.poll() is None and time.monotonic() < deadline:
            time.sleep(LOOK_EVERY_SECONDS)
        with suppress(ProcessLookupError):
            os.killpg(self.child.pid, signal.SIGKILL)
        self.child.wait()
        self.hang_up()

    def hang_up(self) -> None:
        """Close our end of the pipe."""
        assert self.child.stdin is not None
        self.child.stdin.close()
