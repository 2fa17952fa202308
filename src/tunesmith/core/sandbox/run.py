"""One program in the sandbox, from outside."""

import json
import os
import secrets
import selectors
import signal
import subprocess
import sys
import tempfile
import time
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Literal, NamedTuple

from tunesmith.core.errors import UserError

DRIVER = Path(__file__).with_name("driver.py")
NOBODY = 65534
TOKEN_BYTES = 32
MAX_ANSWER_BYTES = 1 << 16
SHOWN_CHARACTERS = 400
ENVIRONMENT = {"PATH": "/usr/local/bin:/usr/bin:/bin", "LANG": "C.UTF-8"}

Reason = Literal[
    "passed",
    "failed",
    "error",
    "syntax",
    "out of time",
    "out of memory",
    "too much output",
    "no code",
    "killed",
]
SAID: dict[str, Reason] = {
    "failed": "failed",
    "error": "error",
    "syntax": "syntax",
    "out of memory": "out of memory",
    "too much output": "too much output",
}
"""What the inside may say by itself; that it passed is known by the token alone."""


@dataclass(frozen=True, slots=True)
class Limits:
    """What a program may use."""

    seconds: float = 5.0
    """Of the clock, the interpreter's start included."""
    cpu_seconds: int = 5
    """Of each process."""
    memory_bytes: int = 512 << 20
    """Of address space for each process, and of memory for all together."""
    output_bytes: int = 64 << 10
    """Of standard output and standard error together."""
    file_bytes: int = 1 << 20
    """Of any file."""
    folder_bytes: int = 16 << 20
    """Of all its files together."""
    processes: int = 32
    """Threads included."""
    open_files: int = 64
    allow_network: bool = False
    """Go on where it can be cut off neither from the network nor from the user's files."""

    def as_resources(self) -> dict[str, int]:
        """The limits by the names of Python's `resource`."""
        return {
            "RLIMIT_AS": self.memory_bytes,
            "RLIMIT_CPU": self.cpu_seconds,
            "RLIMIT_FSIZE": self.file_bytes,
            "RLIMIT_NPROC": self.processes,
            "RLIMIT_NOFILE": self.open_files,
            "RLIMIT_CORE": 0,
        }


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of a program."""

    reason: Reason
    detail: str = ""
    """The line that failed, or the error's own words, short."""
    seconds: float = 0.0

    @property
    def passed(self) -> bool:
        """Whether the tests came to their end."""
        return self.reason == "passed"


class Heard(NamedTuple):
    """What came out of one run."""

    status: str
    """`started` or `refused`, then `memory` or `exit` and a code; the code under test cannot write here."""
    answer: bytes
    output: bytes
    """The first `output_bytes` + 1 of it."""
    in_time: bool


def run_python(code: str, tests: str, limits: Limits = Limits()) -> Outcome:
    """Run code, then tests (assertions or a unittest), in one interpreter; passes when the tests have ended.

    A skipped test is no pass: the code itself could skip it.  Raises UserError where the program cannot be
    cut off and that is not allowed.
    """
    if not code.strip():
        return Outcome("no code")
    started, token = time.perf_counter(), secrets.token_bytes(TOKEN_BYTES)
    with tempfile.TemporaryDirectory(prefix="tunesmith-code-", ignore_cleanup_errors=True) as name:
        if os.geteuid() == 0:  # the program becomes nobody, and works there where there is no cell
            os.chown(name, NOBODY, NOBODY)
        heard = start(Path(name), task(code, tests, name, limits), token, limits)
    seconds = time.perf_counter() - started
    if heard.status.startswith("refused"):
        step = "run it on a Linux (5.12 or later) that permits namespaces, or accept it with allow_network"
        raise UserError("code of a model would reach the network: it cannot be cut off here", next_step=step)
    reason, detail = judged(heard, token, limits)
    return Outcome(reason, without_places(detail, name), seconds)


def task(code: str, tests: str, folder: str, limits: Limits) -> bytes:
    """What the driver reads; lone surrogates, which no interpreter takes, are replaced."""
    texts = {
        name: text.encode("utf-8", "replace").decode() for name, text in (("code", code), ("tests", tests))
    }
    sizes = {"memory_bytes": limits.memory_bytes, "folder_bytes": limits.folder_bytes}
    needs = {"needs_cell": not limits.allow_network, "limits": limits.as_resources()}
    return json.dumps({**texts, **sizes, **needs, "folder": folder}).encode()


def start(folder: Path, given: bytes, token: bytes, limits: Limits) -> Heard:
    """Start the driver, listen until it has ended or may no longer go on, and end all that it started."""
    with ExitStack() as stack:
        pipes = [os.pipe() for _ in range(4)]
        for reading, _ in pipes:
            stack.callback(os.close, reading)
        (status, _), (answer, _), (output, _), (secret, _) = pipes
        writings = [writing for _, writing in pipes]
        try:
            os.write(writings[3], token)
            child = launch(folder, given, writings[2], (writings[0], writings[1], secret))
        finally:
            for writing in writings:
                os.close(writing)
        try:
            said, written, in_time = listen(status, output, limits)
        finally:
            stop(child)
        os.set_blocking(answer, False)
        return Heard(said.decode(), available(answer, MAX_ANSWER_BYTES), written, in_time)


def launch(
    folder: Path, given: bytes, output: int, descriptors: tuple[int, int, int]
) -> "subprocess.Popen[bytes]":
    """Start the driver; what it is given stands in a file without a name, so that no write can block."""
    with tempfile.TemporaryFile() as file:
        file.write(given)
        file.seek(0)
        return subprocess.Popen(
            [sys.executable, "-I", "-S", "-B", str(DRIVER), *map(str, descriptors)],
            stdin=file,
            stdout=output,
            stderr=output,
            cwd=folder,
            env={**ENVIRONMENT, "HOME": "/tmp"},  # noqa: S108 (the cell's own)
            pass_fds=descriptors,
            start_new_session=True,
        )


def listen(status: int, output: int, limits: Limits) -> tuple[bytes, bytes, bool]:
    """Status and output, to the end of the driver, of its time or of the room for output; whether in time."""
    heard, deadline = {status: b"", output: b""}, time.monotonic() + limits.seconds
    with selectors.DefaultSelector() as selector:
        selector.register(status, selectors.EVENT_READ)
        selector.register(output, selectors.EVENT_READ)
        while (left := deadline - time.monotonic()) > 0 and len(heard[output]) <= limits.output_bytes:
            for key, _ in selector.select(left):
                part = os.read(key.fd, limits.output_bytes + 1 - len(heard[output]))
                heard[key.fd] += part
                if not part:
                    selector.unregister(key.fd)
            if status not in selector.get_map():
                break
    os.set_blocking(output, False)
    heard[output] += available(output, limits.output_bytes + 1 - len(heard[output]))
    return heard[status], heard[output], left > 0


def available(descriptor: int, most: int) -> bytes:
    """What stands in a pipe now: a process that got away may hold the other end open for ever."""
    found = b""
    with suppress(BlockingIOError):
        while len(found) < most and (part := os.read(descriptor, most - len(found))):
            found += part
    return found


def stop(child: "subprocess.Popen[bytes]") -> None:
    """End the driver and all that it started and that stayed in its group."""
    with suppress(ProcessLookupError, PermissionError):  # macOS: not permitted where all have ended
        os.killpg(child.pid, signal.SIGKILL)
    child.wait()


def judged(heard: Heard, token: bytes, limits: Limits) -> tuple[Reason, str]:
    """What became of the program, by what can be trusted first."""
    end = heard.status.split()[1:]
    if len(heard.output) > limits.output_bytes:
        return "too much output", f"over {limits.output_bytes} bytes"
    if not heard.in_time:
        return "out of time", ""
    if end == ["memory"]:
        return "out of memory", ""
    if heard.answer == token and end == ["exit", "0"]:
        return "passed", ""
    if end == ["exit", str(128 + signal.SIGXCPU)]:
        return "out of time", "of the processor"
    said = spoken(heard.answer)
    if (reason := SAID.get(said.get("reason", ""))) is not None:
        return reason, said.get("detail", "")
    last = heard.output.decode("utf-8", "replace").strip().splitlines()[-1:]
    return "killed", ": ".join([f"the program ended without a word ({' '.join(end) or 'killed'})", *last])


def spoken(answer: bytes) -> dict[str, str]:
    """What the inside wrote; nothing when something else was written there."""
    try:
        said = json.loads(answer)
    except (ValueError, RecursionError):
        return {}
    return {str(key): str(value) for key, value in said.items()} if isinstance(said, dict) else {}


def without_places(text: str, folder: str) -> str:
    """Short, and without the folders of this machine."""
    for place in sorted(
        {folder, sys.prefix, sys.base_prefix, str(Path.home())} - {"/"}, key=len, reverse=True
    ):
        text = text.replace(place, "…")
    return text[:SHOWN_CHARACTERS]


@cache
def network_can_be_cut() -> bool:
    """Whether this machine lets a program leave the network and the user's files behind."""
    try:
        return run_python("x = 1", "assert x == 1", Limits(seconds=20.0)).passed
    except UserError:
        return False
