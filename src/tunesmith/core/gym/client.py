"""The worker from outside: one for this process, started when it is first asked."""

import atexit
import json
import os
import signal
import subprocess
import sys
from dataclasses import asdict, dataclass
from pathlib import Path
from threading import Lock
from typing import Any, NamedTuple

from tunesmith.core.errors import ConfigError, MissingPackage, UserError, nearest

WORKER = Path(__file__).with_name("worker.py")
START_SECONDS, MAKE_SECONDS, SCORE_SECONDS = 120, 60, 20
INSTALL = "pip install 'tunesmith[suites]'"


class Unscored(ValueError):
    """A question could not be made, or an answer not be scored."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where a question stands; some families make other questions for another size."""

    family: str
    size: int
    seed: int
    index: int


class Question(NamedTuple):
    """A question; `answer` is None in families that only check answers."""

    text: str
    answer: str | None


class About(NamedTuple):
    """The installed release and its families."""

    version: str
    families: tuple[str, ...]


class Worker:
    """The running process; it ends with this one, because its input does."""

    def __init__(self) -> None:
        self._child: subprocess.Popen[str] | None = None
        self._lock = Lock()

    def ask(self, do: str, seconds: float, **request: Any) -> dict[str, Any]:
        """The reply to one request.

        Raises Unscored when it takes longer than it may or ends the process, MissingPackage without the
        package.
        """
        with self._lock:
            child = self._child = self._child or started()
            assert child.stdin is not None
            assert child.stdout is not None
            try:
                child.stdin.write(json.dumps({"do": do, "seconds": seconds, **request}) + "\n")
                child.stdin.flush()
                line = child.stdout.readline()
            except BrokenPipeError:
                line = ""
            if not line:
                code = self._end()
                late = f"it took longer than {seconds} s" if code == -signal.SIGALRM else f"code {code}"
                raise Unscored(f"the process of reasoning-gym ended: {late}")
        reply: dict[str, Any] = json.loads(line)
        if "missing" in reply:
            raise MissingPackage("reasoning-gym is not installed", next_step=INSTALL)
        return reply

    def close(self) -> None:
        """End it."""
        with self._lock:
            self._end()

    def _end(self) -> int:
        child, self._child = self._child, None
        if child is None:
            return 0
        for stream in (child.stdin, child.stdout):
            if stream is not None:
                stream.close()
        return child.wait()


def started() -> "subprocess.Popen[str]":
    """A worker with a fixed hash seed."""
    environment = {**os.environ, "PYTHONHASHSEED": "0"}
    return subprocess.Popen(
        [sys.executable, "-P", str(WORKER)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        encoding="utf-8",
        env=environment,
    )


WORKER_OF_THIS_PROCESS = Worker()
close = WORKER_OF_THIS_PROCESS.close
"""End the worker; the next request starts another."""
atexit.register(close)


def about() -> About:
    """What is installed.  Raises MissingPackage where nothing is, UserError where it does not start."""
    try:
        reply = WORKER_OF_THIS_PROCESS.ask("about", START_SECONDS)
    except Unscored as error:
        reply = {"error": str(error)}
    if "error" in reply:
        raise UserError("reasoning-gym does not start", value=reply["error"], next_step=INSTALL)
    return About(reply["version"], tuple(reply["families"]))


def question(place: Place) -> Question:
    """One question.  Raises ConfigError for a family that is not there or cannot be made as it is."""
    try:
        reply = WORKER_OF_THIS_PROCESS.ask("question", MAKE_SECONDS, **asdict(place))
    except Unscored as error:
        reply = {"error": str(error)}
    if "error" in reply:
        known = about().families
        what = f"this family of reasoning-gym makes no questions of its own ({reply['error']})"
        step = "leave it out"
        if place.family not in known:
            what, step = "unknown family of reasoning-gym", nearest(place.family, known)
        raise ConfigError(what, value=place.family, where="reasoning_gym.families", next_step=step)
    return Question(reply["question"], reply["answer"])


def score(place: Place, asked: str, answer: str) -> float:
    """What the family says of an answer to the question that was asked, from 0 to 1.

    Raises Unscored when it cannot say, MissingPackage without the package.
    """
    reply = WORKER_OF_THIS_PROCESS.ask("score", SCORE_SECONDS, **asdict(place), question=asked, answer=answer)
    if "error" in reply:
        raise Unscored(reply["error"])
    given = float(reply["score"])
    if not 0 <= given <= 1:
        raise Unscored(f"the family gave {given}, which is not from 0 to 1")
    return given
