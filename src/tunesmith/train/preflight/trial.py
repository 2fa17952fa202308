"""The memory trial's own process: `python -m tunesmith.train.preflight.trial ORDER.json`.

It does once what a run does over and over, in the order in which most is held: the optimiser's state and a
whole gradient exist when the longest micro-batch goes forward and backward.  Before each phase it writes its
name, so that whoever kills it knows where it stood.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from tunesmith.core.errors import OutOfSpace, TunesmithError
from tunesmith.core.files import append_jsonl, read_json, read_jsonl, write_json
from tunesmith.runtime.step import Encoded
from tunesmith.train import loop
from tunesmith.train.engines.port import EngineSetup, Item
from tunesmith.train.trouble import naming_memory

PHASES = ("load", "optimiser", "forward and backward", "evaluation", "save")


@dataclass(frozen=True)
class TrialOrder:
    """What the child tries."""

    setup: EngineSetup
    examples: Sequence[Encoded]
    """The longest micro-batch."""
    progress: Path
    """Where phases are written, a line each."""
    scratch: Path
    """Where the trial saves; whoever ordered it removes the folder."""

    def write(self, path: Path) -> None:
        """Leave the order in a file."""
        row = {
            **self.setup.to_json(),
            "examples": [[list(example.token_ids), list(example.weights)] for example in self.examples],
            "progress": str(self.progress),
            "scratch": str(self.scratch),
        }
        write_json(path, row)

    @classmethod
    def read(cls, path: Path) -> TrialOrder:
        """Read what `write` wrote."""
        row = read_json(path)
        setup = EngineSetup.from_json(row, source=path)
        examples = [Encoded(tuple(tokens), tuple(weights)) for tokens, weights in row["examples"]]
        return cls(setup, examples, Path(row["progress"]), Path(row["scratch"]))


class Phases:
    """Writes what each phase held at most."""

    def __init__(self, progress: Path) -> None:
        self.progress, self.parent = progress, os.getppid()

    @contextmanager
    def phase(self, name: str) -> Iterator[None]:
        """One phase; its peak is written when it is over.  Without its parent the trial serves no one."""
        if os.getppid() != self.parent:
            raise SystemExit(f"nobody waits for this trial any more: stopped before {name}")
        append_jsonl(self.progress, {"phase": name})
        forget_peak()
        started = time.monotonic()
        yield
        seconds = time.monotonic() - started
        append_jsonl(self.progress, {"phase": name, "peak_bytes": phase_peak_bytes(), "seconds": seconds})


def forget_peak() -> None:
    """Begin a new peak, where the kernel can (Linux); elsewhere it only grows."""
    with suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")


def phase_peak_bytes() -> int:
    """Most memory held since `forget_peak`."""
    with suppress(OSError):
        for line in Path("/proc/self/status").read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    return loop.peak_bytes()


def try_out(order: TrialOrder) -> None:
    """Do every phase once."""
    phases = Phases(order.progress)
    with phases.phase("load"):
        from tunesmith.runtime.proofs.state import fill_gradient
        from tunesmith.train.engines.ragged import RaggedEngine

        engine = RaggedEngine(order.setup)
        items = [Item("", "", example) for example in order.examples]
        engine.set_microbatch_tokens(sum(len(example.token_ids) for example in order.examples))
    with phases.phase("optimiser"):
        fill_gradient(engine.session)
        engine.optim_step(learning_rate=1e-6, max_norm=1.0)
    with phases.phase("forward and backward"):
        fill_gradient(engine.session)
        engine.forward_backward(items)
    engine.session.clear_gradient()
    with phases.phase("evaluation"):
        engine.losses(items)
    with phases.phase("save"):
        for name, save in (("state", engine.save_state), ("published", engine.publish)):
            folder = order.scratch / name
            folder.mkdir(parents=True, exist_ok=True)
            save(folder)


def prefer_me_to_others() -> None:
    """If the kernel has to kill someone for memory, let it be this process and no one else's."""
    with suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text("1000")


def main(arguments: Sequence[str]) -> int:
    """Try out one order; returns the exit code."""
    prefer_me_to_others()
    order = TrialOrder.read(Path(arguments[0]))
    try:
        with naming_memory("the trial", order.setup.recipe):
            try_out(order)
    except TunesmithError as error:
        append_jsonl(order.progress, {"error": str(error), "disk_full": isinstance(error, OutOfSpace)})
        return error.exit_code
    return 0


class Progress(NamedTuple):
    """How far a trial came."""

    peaks: Mapping[str, int]
    """The most that each finished phase held, bytes."""
    seconds: Mapping[str, float]
    """How long each took."""
    phase: str
    """The phase that was begun last."""
    error: str
    """Why it gave up, if it could say."""
    disk_full: bool
    """Whether it was for want of room on the disk."""


def read_progress(path: Path) -> Progress:
    """What a trial has written, whole or not."""
    rows: list[Mapping[str, Any]] = [line.value for line in read_jsonl(path)] if path.exists() else []
    phases = [row["phase"] for row in rows if "phase" in row]
    return Progress(
        {row["phase"]: row["peak_bytes"] for row in rows if "peak_bytes" in row},
        {row["phase"]: row["seconds"] for row in rows if "seconds" in row},
        phases[-1] if phases else PHASES[0],
        next((row["error"] for row in rows if "error" in row), ""),
        any(row.get("disk_full") for row in rows),
    )


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
