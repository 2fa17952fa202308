"""Generation side by side: tunesmith, transformers' static `generate`, its continuous batching, llama.cpp.

    python benchmarks/sampling [--rounds 3] [--llamacpp PYTHON] [--out FILE.json]

Each contestant lives in a process of its own that waits for jobs; the rounds alternate between them, so what
disturbs the machine disturbs all alike.  Every job says how long each answer is (the end of turn is ignored),
so all contestants make the same number of tokens.  Run it when nothing else runs.

`--llamacpp` names the Python of an environment with `xllamacpp` (`make bench` makes one); its model file
is the embedded one's GGUF, written anew with the same bfloat16 weights that the others load.
"""

import argparse
import json
import random
import statistics
import sys
import tempfile
from collections.abc import Container
from pathlib import Path
from typing import NamedTuple

from contestants import OURS, STATIC, Child
from files import adapters, bfloat16_gguf

from tunesmith.core.job import Job
from tunesmith.core.workspace import Workspace
from tunesmith.runtime.catalogue import locate

HERE = Path(__file__).parent
MODEL = "smollm2-135m-instruct"
SHARED_TOKENS = 600
LLAMACPP, CONTINUOUS = "llama.cpp", "continuous"
JOBS = ("mixed, batch 8", "mixed, batch 16", "mixed, batch 32", "prefix, batch 16", "adapters, batch 16")


class Contest(NamedTuple):
    """A job and who does it; the first is the one that the others are compared with."""

    job: dict
    contestants: list[str]


def text_tokens(folder: Path) -> list[int]:
    """Some thousand tokens of real text: this project's licence."""
    from tokenizers import Tokenizer

    text = (HERE.parent.parent / "LICENSE").read_text()
    return Tokenizer.from_file(str(folder / "tokenizer.json")).encode(text).ids


def mixed(tokens: list[int], batch: int) -> dict:
    """32 prompts of 20 to 200 tokens; answers of 8 to 192, most of them short."""
    chance = random.Random(0)
    prompts, lengths = [], []
    for _ in range(32):
        start, length = chance.randrange(len(tokens) - 200), chance.randint(20, 200)
        prompts.append(tokens[start : start + length])
        lengths.append(round(8 * (192 / 8) ** chance.random()))
    return {"prompts": prompts, "lengths": lengths, "batch": batch, "shared": False}


def shared(tokens: list[int], batch: int) -> dict:
    """Two batches' worth of prompts that begin with the same 600 tokens; answers of 16 to 48 tokens."""
    chance = random.Random(1)
    prompts, lengths = [], []
    for _ in range(2 * batch):
        start = chance.randrange(SHARED_TOKENS, len(tokens) - 60)
        prompts.append(tokens[:SHARED_TOKENS] + tokens[start : start + chance.randint(20, 60)])
        lengths.append(chance.randint(16, 48))
    return {"prompts": prompts, "lengths": lengths, "batch": batch, "shared": True}


def run_rounds(
    children: dict[str, Child], contests: dict[str, Contest], rounds: int
) -> dict[str, dict[str, list]]:
    """Replies by job and contestant; a short warm-up round is not counted."""
    found: dict[str, dict[str, list]] = {
        name: {who: [] for who in contest.contestants} for name, contest in contests.items()
    }
    for number in range(rounds + 1):
        for name, (job, contestants) in contests.items():
            # Every other round the other way about, so that no contestant always follows the same one.
            for who in contestants if number % 2 else reversed(contestants):
                child, adapters_used = ("bank", who[-1]) if "+" in who else (who, 0)
                task = {**job, "adapters": int(adapters_used)}
                reply = children[child].ask(task if number else shortened(task))
                print(f"round {number}  {name:18} {who:12} {reply['seconds']:7.2f} s", file=sys.stderr)
                if number:
                    found[name][who].append(reply)
    return found


def shortened(job: dict) -> dict:
    """One batch with short answers, to warm up."""
    batch = job["batch"]
    return {**job, "prompts": job["prompts"][:batch], "lengths": [min(12, n) for n in job["lengths"][:batch]]}


def spread(values: list[float]) -> str:
    """Median and range."""
    return f"{statistics.median(values):.2f} ({min(values):.2f}–{max(values):.2f})"


def ratios(base: list[dict], replies: list[dict]) -> list[float]:
    """Time of the base over the other's time, round by round."""
    return [one["seconds"] / other["seconds"] for one, other in zip(base, replies, strict=True)]


def table(found: dict[str, dict[str, list]]) -> list[str]:
    """Markdown rows: speed, ratio to the job's first contestant, memory."""
    lines = [
        "| job | who | tokens/s | time of the base ÷ its time | peak memory |",
        "|---|---|---|---|---|",
    ]
    for name, by_who in found.items():
        base = next(iter(by_who.values()))
        for who, replies in by_who.items():
            speed = spread([reply["tokens"] / reply["seconds"] for reply in replies])
            against = spread(ratios(base, replies))
            memory = max(reply["peak_gb"] for reply in replies)
            lines.append(f"| {name} | {who} | {speed} | {against} | {memory:.2f} GB |")
    return lines


def agreement(found: dict[str, dict[str, list]]) -> list[str]:
    """How many answers of each other contestant equal those of static generate, token for token."""
    lines = []
    for name, by_who in found.items():
        if STATIC not in by_who:
            continue
        expected = by_who[STATIC][0]["answers"]
        for who, replies in by_who.items():
            if who in (STATIC, LLAMACPP):  # llama.cpp gives text, no tokens
                continue
            same = sum(one == other for one, other in zip(expected, replies[0]["answers"], strict=True))
            lines.append(f"{name}: {who} gives {same} of {len(expected)} answers as {STATIC} does")
    return lines


def main() -> None:
    """Start the contestants, let them take turns, print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--llamacpp", type=Path, help="Python with xllamacpp")
    parser.add_argument("--out", type=Path)
    parser.add_argument("--only", nargs="*", choices=JOBS, default=JOBS, help="names of jobs")
    parser.add_argument("--without", nargs="*", choices=(STATIC, CONTINUOUS), default=(), help="left out")
    options = parser.parse_args()
    folder = locate(MODEL, Job(Workspace.find(None))).model_folder
    assert folder is not None
    tokens = text_tokens(folder)
    with tempfile.TemporaryDirectory() as scratch:
        without = {*options.without, *([LLAMACPP] if options.llamacpp is None else [])}
        contests = {name: contest_of(name, tokens, without) for name in options.only}
        wanted = {
            "bank" if "+" in who else who for contest in contests.values() for who in contest.contestants
        }
        made = adapters(folder, Path(scratch), count=3) if "bank" in wanted else []
        commands = {
            OURS: [sys.executable, "ours.py", folder],
            "bank": [sys.executable, "ours.py", folder, *made],
            STATIC: [sys.executable, "static.py", folder],
            CONTINUOUS: [sys.executable, "continuous.py", folder],
        }
        if LLAMACPP in wanted:
            commands[LLAMACPP] = [options.llamacpp, "llamacpp.py", bfloat16_gguf(Path(scratch))]
        children = {who: Child(command) for who, command in commands.items() if who in wanted}
        try:
            found = run_rounds(children, contests, options.rounds)
        finally:
            for child in children.values():
                child.close()
    print("\n".join([*table(found), "", *agreement(found)]))
    if options.out is not None:
        options.out.write_text(json.dumps(found))


def contest_of(name: str, tokens: list[int], without: Container[str]) -> Contest:
    """A job by its name, with its contestants."""
    kind, batch = name.split(", batch ")
    make = shared if kind == "prefix" else mixed
    everyone = [STATIC, OURS, LLAMACPP]
    if kind == "adapters":
        everyone = [f"{OURS}+1", f"{OURS}+3", OURS]
    elif name == "mixed, batch 8":
        everyone.append(CONTINUOUS)
    return Contest(make(tokens, int(batch)), [who for who in everyone if who not in without])


if __name__ == "__main__":
    main()
