"""Running the command line as a user does, with every socket but loopback blocked."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

BLOCKED = Path(__file__).parent / "blocked"


def environment(folder: Path) -> dict[str, str]:
    """This environment with sockets blocked; `calls` tells who tried to reach out."""
    path = os.pathsep.join([str(BLOCKED), *filter(None, [os.environ.get("PYTHONPATH")])])
    return {**os.environ, "PYTHONPATH": path, "TUNESMITH_TEST_CALLS": str(folder / "calls.txt")}


def calls(folder: Path) -> str:
    """Attempts to reach anything but loopback."""
    log = folder / "calls.txt"
    return log.read_text() if log.exists() else ""


def command(*words: str | Path) -> list[str]:
    """The command line that runs tunesmith."""
    return [sys.executable, "-m", "tunesmith", *(str(word) for word in words)]


def run(folder: Path, *words: str | Path, **more: Any) -> subprocess.CompletedProcess:
    """Run a command in a folder to its end."""
    return subprocess.run(
        command(*words),
        cwd=folder,
        env=environment(folder),
        capture_output=True,
        text=True,
        check=False,
        **more,
    )


def run_json(folder: Path, *words: str | Path) -> dict[str, Any]:
    """Run a command with --json and return its result; its failure fails the test with what it said."""
    done = run(folder, *words, "--json")
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def signalled_at(folder: Path, text: str, signum: int, *words: str) -> tuple[int, str]:
    """Start the journey and signal it and its children when it says `text`; its exit code and words."""
    process = subprocess.Popen(
        command(*words),
        cwd=folder,
        env=environment(folder),
        stderr=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        text=True,
        start_new_session=True,
    )
    assert process.stderr is not None
    said = []
    with process.stderr:
        for line in process.stderr:
            said.append(line)
            if text in line:
                os.killpg(process.pid, signum)
    return process.wait(), "".join(said)
