"""The proof that the longest batch fits, tried in a child process.

A process that the kernel kills for memory says nothing, so it has to be another process than the run's.  The
limit is kept by a watchdog: it reads what the child holds every few milliseconds and kills it above.  The
kernel's own limits do not serve: RLIMIT_AS counts addresses that are reserved and never used (torch reserves
many times what it touches), RLIMIT_DATA leaves file pages out and fails inside an allocation with errors of
every kind, and a control group of its own needs rights that few processes have.  Memory cannot grow faster
than pages are cleared, so between two looks a child gains some tens of megabytes; the reserve covers that.

The child loads the model beside the run's own, which is loaded already: where two copies do not fit and one
does, the proof refuses what would just run.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from tunesmith.runtime.step import Encoded
from tunesmith.train.preflight.context import PreflightContext
from tunesmith.train.preflight.room import resident_bytes, room_bytes
from tunesmith.train.preflight.schema import Finding, ProofResult
from tunesmith.train.preflight.steps import engine_of
from tunesmith.train.preflight.trial import TrialOrder, read_progress
from tunesmith.train.trouble import disk_is_full, lacks_memory, no_space, what_would_fit

LOOK_EVERY_SECONDS: Final = 0.01
KILLED: Final = -9
TRIES: Final[Mapping[str, tuple[str, ...]]] = {"auto": ("off", "on"), "on": ("on",), "off": ("off",)}
"""`activation_checkpointing` of the recipe → what is tried, in order."""


@dataclass(frozen=True)
class Trial:
    """What one trial found."""

    fits: bool
    peaks: Mapping[str, int]
    """Bytes by finished phase."""
    stopped_in: str
    """The phase that was begun last."""
    most_bytes: int
    """The most that the watchdog saw."""
    seconds: Mapping[str, float]
    """Seconds by finished phase."""
    complaint: str = ""
    """What the child said, when it failed for another reason than memory."""


def check_memory(context: PreflightContext) -> Finding:
    """Load, optimiser, forward and backward of the longest micro-batch, evaluation and save fit."""
    return judge(context, limit=room_bytes())


def covers(context: PreflightContext, earlier: ProofResult) -> bool:
    """Whether an earlier trial was of a batch at least as long as this run's, and still fits."""
    examples, longest = largest_microbatch(context)
    num_tokens = sum(len(example.token_ids) for example in examples)
    details = earlier.details
    as_long = num_tokens <= details["tokens"] and longest <= details["longest"]
    return bool(as_long and details["most_bytes"] <= room_bytes())


def judge(context: PreflightContext, *, limit: int) -> Finding:
    """Try with activations kept, then without where the recipe leaves that open."""
    examples, longest = largest_microbatch(context)
    num_tokens = sum(len(example.token_ids) for example in examples)
    said = []
    details: dict[str, object] = {"limit_bytes": limit, "tokens": num_tokens, "longest": longest}
    tries = TRIES[context.recipe.activation_checkpointing]
    for checkpointing in tries:
        found = try_in_child(context, examples, checkpointing, limit=limit)
        if found.complaint:
            evidence = f"the trial failed in {found.stopped_in}: {found.complaint}"
            return Finding("failed", evidence, details, "mend what the message says")
        said.append(f"activation_checkpointing {checkpointing}: {describe(found, limit)}")
        details |= {
            "peak_bytes": dict(found.peaks),
            "most_bytes": found.most_bytes,
            "seconds": dict(found.seconds),
            "activation_checkpointing": checkpointing == "on",
        }
        if found.fits:
            return Finding("passed", f"{num_tokens:,} tokens at once: {said[-1]}", details)
    tried = context.recipe.model_copy(update={"activation_checkpointing": tries[-1]})
    mend = f"try {what_would_fit(tried, longest=longest)}"
    return Finding("failed", f"{num_tokens:,} tokens at once: {'; '.join(said)}", details, mend)


def largest_microbatch(context: PreflightContext) -> tuple[list[Encoded], int]:
    """The longest example, with copies of it up to what a micro-batch may hold; and its length.

    A step with few and short examples never fills a micro-batch; then a step's worth is tried.
    """
    whole = context.train[context.train.longest].encoded
    longest = len(whole.token_ids)
    recipe = context.recipe
    most_in_step = recipe.step_tokens or recipe.step_examples * longest
    budget = max(longest, min(engine_of(context).session.microbatch_tokens, most_in_step))
    examples = [whole] * (budget // longest)
    if rest := budget % longest:
        examples.append(Encoded(whole.token_ids[:rest], whole.weights[:rest]))
    return examples, longest


def try_in_child(
    context: PreflightContext, examples: Sequence[Encoded], checkpointing: str, *, limit: int
) -> Trial:
    """One trial in a process of its own; what it wrote is removed.  Raises OutOfSpace on a full disk."""
    folder = context.folder / "logs" / "trial"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    recipe = context.recipe.model_copy(update={"activation_checkpointing": checkpointing})
    setup = replace(context.setup, recipe=recipe)
    order = TrialOrder(setup, examples, folder / "phases.jsonl", folder / "scratch")
    order.write(folder / "order.json")
    try:
        code, most = watch(folder, limit, context.stop_here)
        done = read_progress(order.progress)
        said = (folder / "said.log").read_text(encoding="utf-8", errors="replace").strip()
        disk_full = done.disk_full or (code not in (0, KILLED) and disk_is_full(folder))
    finally:
        shutil.rmtree(folder)
    if code == 0:
        most = max(most, *done.peaks.values())
        return Trial(most <= limit, done.peaks, done.phase, most, done.seconds)
    if disk_full:
        raise no_space(context.folder, f"the memory trial found none in {done.phase}; nothing is learned yet")
    words = done.error or (said.splitlines() or [f"exit code {code}"])[-1]
    for_memory = code == KILLED or lacks_memory(done.error or said)
    return Trial(False, done.peaks, done.phase, most, done.seconds, "" if for_memory else words)


def watch(folder: Path, limit: int, stop_here: Callable[[], None]) -> tuple[int, int]:
    """Run a trial and kill it above the limit; its exit code, and the most that it was seen to hold.

    `stop_here` raises when someone asks to stop.
    """
    command = [sys.executable, "-m", "tunesmith.train.preflight.trial", str(folder / "order.json")]
    most = 0
    with (folder / "said.log").open("wb") as said:
        # A session of its own: Ctrl-C is the run's affair, and the trial is over in seconds.
        child = subprocess.Popen(command, stdout=said, stderr=said, start_new_session=True)
        try:
            while child.poll() is None:
                stop_here()
                most = max(most, resident_bytes(child.pid))
                if most > limit:
                    child.kill()
                time.sleep(LOOK_EVERY_SECONDS)
        finally:
            child.kill()
            child.wait()
    return child.returncode, most


def describe(found: Trial, limit: int) -> str:
    """'load 0.9 GB, optimiser 1.0 GB …; 17.3 GB may be taken'."""
    parts = [f"{phase} {gigabytes(peak)}" for phase, peak in found.peaks.items()]
    if not found.fits:
        parts.append(f"stopped in {found.stopped_in} at {gigabytes(found.most_bytes)}")
    return f"{', '.join(parts)}; {gigabytes(limit)} may be taken"


def gigabytes(count: int) -> str:
    """'0.9 GB'."""
    return f"{count / 1e9:.2f} GB"
