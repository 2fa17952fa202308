"""One program in the sandbox, from outside."""

import json
import os
import re
import secrets
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Literal, get_args

from tunesmith.core.errors import UserError

DRIVER = Path(__file__).with_name("driver.py")
NO_NETWORK = 97
NOBODY = 65534
MAX_ANSWER_BYTES = 1 << 16
FENCE = re.compile(r"```(?:python|py|python3)?[ \t]*\n(.*?)(?:\n?```|\Z)", re.DOTALL | re.IGNORECASE)
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


@dataclass(frozen=True, slots=True)
class Limits:
    """What a program may use."""

    seconds: float = 5.0
    """Of the clock."""
    cpu_seconds: int = 5
    memory_bytes: int = 512 << 20
    """Of address space."""
    file_bytes: int = 1 << 20
    """Of any file, its own output included."""
    processes: int = 32
    open_files: int = 64
    allow_network: bool = False
    """Go on where the network cannot be cut."""

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


def code_in(answer: str) -> str:
    """The code in a model's answer: its first block in a code fence, closed or not; else all of it."""
    found = FENCE.search(answer)
    return found.group(1) if found else answer


def run_python(code: str, tests: str, limits: Limits = Limits()) -> Outcome:
    """Run code, then tests (assertions), in one interpreter; it passes when the tests reach their end.

    Raises UserError where the network cannot be cut and that is not allowed.
    """
    if not code.strip():
        return Outcome("no code")
    started = time.perf_counter()
    with tempfile.TemporaryDirectory(prefix="tunesmith-code-", ignore_cleanup_errors=True) as name:
        folder = Path(name)
        if os.geteuid() == 0:  # the program becomes nobody, and works there
            os.chown(folder, NOBODY, NOBODY)
        said, status = start(folder, code, tests, limits)
    seconds = time.perf_counter() - started
    if status == NO_NETWORK:
        step = "run it on Linux, or accept it with allow_network"
        raise UserError("code of a model would reach the network: it cannot be cut off here", next_step=step)
    return outcome(said, status, seconds)


def start(folder: Path, code: str, tests: str, limits: Limits) -> tuple[dict[str, str], int | None]:
    """What the driver said, and its exit code; None when it was stopped at the time limit."""
    token = secrets.token_hex(16)
    given = {
        "code": clean(code),
        "tests": clean(tests),
        "token": token,
        "needs_cut": not limits.allow_network,
    }
    task = json.dumps({**given, "limits": limits.as_resources()}).encode()
    reading, writing = os.pipe()
    with os.fdopen(reading, "rb") as answer, (folder / "output").open("wb") as output:
        child = subprocess.Popen(
            [sys.executable, "-I", "-S", "-B", str(DRIVER), str(writing)],
            stdin=subprocess.PIPE,
            stdout=output,
            stderr=output,
            cwd=folder,
            env={**ENVIRONMENT, "HOME": str(folder)},
            pass_fds=(writing,),
            start_new_session=True,
        )
        os.close(writing)
        try:
            child.communicate(task, timeout=limits.seconds)
            status: int | None = child.returncode
        except subprocess.TimeoutExpired:
            status = None
        finally:
            stop(child)
        said = spoken(answer.read(MAX_ANSWER_BYTES)) if status is not None else {}
    if said.get("token") == token:
        return {"reason": "passed"}, status
    return {key: value for key, value in said.items() if key != "token"}, status


def spoken(answer: bytes) -> dict[str, str]:
    """What the driver wrote; nothing when something else was written there."""
    try:
        said = json.loads(answer)
    except ValueError:
        return {}
    return {str(key): str(value) for key, value in said.items()} if isinstance(said, dict) else {}


def stop(child: "subprocess.Popen[bytes]") -> None:
    """End the driver and all that it started and that stayed in its group."""
    with suppress(ProcessLookupError):
        os.killpg(child.pid, signal.SIGKILL)
    child.wait()


def clean(text: str) -> str:
    """Text that an interpreter takes: lone surrogates replaced."""
    return text.encode("utf-8", "replace").decode("utf-8")


def outcome(said: dict[str, str], status: int | None, seconds: float) -> Outcome:
    """The driver's words, or what its end says where it could not speak."""
    if status is None or status == signal.SIGXCPU:
        return Outcome("out of time", "", seconds)
    reason = said.get("reason")
    if reason in get_args(Reason):
        return Outcome(reason, said.get("detail", ""), seconds)  # type: ignore[arg-type]
    return Outcome("killed", f"the program ended without a word (code {status})", seconds)


@cache
def network_can_be_cut() -> bool:
    """Whether this machine lets a program leave the network."""
    if not sys.platform.startswith("linux") or shutil.which("sh") is None:
        return False
    try:
        return run_python("x = 1", "assert x == 1", Limits(seconds=20.0)).passed
    except UserError:
        return False
