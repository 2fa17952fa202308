"""Contestants as processes: one line of JSON in, one line out."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
OURS, STATIC = "tunesmith", "static"
THREADS = len(os.sched_getaffinity(0))


class Child:
    """A contestant's process; idle while others work."""

    def __init__(self, command: list) -> None:
        # The same for all: threads that sleep while they wait, as many as there are cores.
        settings = {
            "OMP_NUM_THREADS": str(THREADS), "OMP_WAIT_POLICY": "PASSIVE", "GOMP_SPINCOUNT": "0",
            "ONEDNN_PRIMITIVE_CACHE_CAPACITY": "64", "TOKENIZERS_PARALLELISM": "false",
        }  # fmt: skip
        program = [str(command[0]), str(HERE / command[1]), *map(str, command[2:])]
        self._process = subprocess.Popen(
            program, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env={**os.environ, **settings}, text=True
        )

    def ask(self, job: dict) -> dict:
        """Have a job done."""
        self._process.stdin.write(json.dumps(job) + "\n")
        self._process.stdin.flush()
        line = self._process.stdout.readline()
        if not line:
            raise SystemExit(f"{self._process.args[1]} ended with {self._process.wait()}")
        return json.loads(line)

    def close(self) -> None:
        """End the process."""
        self._process.stdin.close()
        self._process.stdout.close()
        self._process.wait()


def serve(
    do: Callable[[dict, Any], list[list[int]]], prepare: Callable[[dict], Any] = lambda job: None
) -> None:
    """In a contestant: answer jobs until the input ends; `do` gives the tokens of each answer.

    What `prepare` makes of a job is given to `do`, and is not timed.
    """
    # Libraries write to standard output; only replies may.
    replies = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    for line in sys.stdin:
        job = json.loads(line)
        prepared = prepare(job)
        Path("/proc/self/clear_refs").write_text("5")  # begins a new peak of the memory
        started = time.perf_counter()
        answers = do(job, prepared)
        seconds = time.perf_counter() - started
        made = [len(answer) for answer in answers]
        if made != job["lengths"]:
            raise SystemExit(f"wrong lengths: {made} for {job['lengths']}")
        reply = {"seconds": seconds, "tokens": sum(made), "peak_gb": peak_gb(), "answers": answers}
        print(json.dumps(reply), file=replies, flush=True)


def peak_gb() -> float:
    """Highest resident memory of this process since the job began."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM")) / 1e6
