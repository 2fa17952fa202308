"""Child processes: their environment, and waiting for them without leaving any behind."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

from tunesmith.core.errors import EXIT_INTERRUPTED

TELEMETRY_OFF = {
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "DISABLE_TELEMETRY": "1",
    "DO_NOT_TRACK": "1",
    "HF_HUB_DISABLE_UPDATE_CHECK": "1",
    "WANDB_DISABLED": "true",
    "MLFLOW_DISABLE_TELEMETRY": "true",
}
"""Switches the telemetry of the libraries we use off in every process we start."""

PATIENCE_SECONDS = 60.0
"""How long an interrupted child may take to save its work."""


def child_environment(extra: Mapping[str, str] | None = None) -> dict[str, str]:
    """This process's environment with telemetry off, and `extra` on top."""
    return {**os.environ, **TELEMETRY_OFF, **(extra or {})}


def tunesmith_command(*arguments: str) -> list[str]:
    """The command line that runs tunesmith in this very Python."""
    return [sys.executable, "-m", "tunesmith", *arguments]


@contextmanager
def forwarding_termination(child: "subprocess.Popen[str]") -> Iterator[list[int]]:
    """While waiting, SIGTERM to us becomes SIGTERM to the child; then we wait for it to save.

    Yields the signals that came.
    """
    came: list[int] = []

    def forward(signum: int, frame: FrameType | None) -> None:
        came.append(signum)
        child.send_signal(signum)

    previous = signal.signal(signal.SIGTERM, forward)
    try:
        yield came
    finally:
        signal.signal(signal.SIGTERM, previous)


def run_child(command: Sequence[str], *, environment: Mapping[str, str] | None = None) -> tuple[int, str]:
    """Run a command to its end; returns its exit code and standard output (standard error passes through).

    Ctrl-C reaches the child by itself (same terminal): we wait for it to save.  The code is then 130 whatever
    the child's is: one that had just finished, or had not yet started, was stopped all the same.
    """
    child = subprocess.Popen(
        list(command), stdout=subprocess.PIPE, text=True, env=child_environment(environment), encoding="utf-8"
    )
    with forwarding_termination(child) as came:
        try:
            output, _ = child.communicate()
        except KeyboardInterrupt:
            came.append(signal.SIGINT)
            output = stop(child, interrupted=True)
    return EXIT_INTERRUPTED if came else child.returncode, output


def run_logged(command: Sequence[str], log: Path, *, environment: Mapping[str, str] | None = None) -> int:
    """Run a command to its end, with all that it says in a file; returns its exit code."""
    with log.open("wb") as file:
        child = subprocess.Popen(
            list(command),
            stdin=subprocess.DEVNULL,
            stdout=file,
            stderr=subprocess.STDOUT,
            text=True,
            env=child_environment(environment),
        )
    with forwarding_termination(child) as came:
        try:
            child.wait()
        except KeyboardInterrupt:
            stop(child, interrupted=True)
            raise
    return EXIT_INTERRUPTED if came else child.returncode


def stop(child: "subprocess.Popen[str]", *, interrupted: bool = False) -> str:
    """End a child: ask (unless Ctrl-C already did), wait while it saves, then kill; returns its output."""
    if not interrupted:
        child.terminate()
    try:
        output, _ = child.communicate(timeout=PATIENCE_SECONDS)
    except (subprocess.TimeoutExpired, KeyboardInterrupt):
        child.kill()
        output, _ = child.communicate()
    return output or ""
