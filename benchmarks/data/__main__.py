"""`data prepare` beside other near-duplicate removers, on the same rows and machine, one after the other.

    python benchmarks/data --sizes 10000 100000 --rounds 3 [--peers datasketch semhash …] [--out table.md]

Ours reads, validates, removes exact and near-duplicates, splits and writes Parquet; the others only read the
texts and remove.  Each runs as a process of its own; peak memory is the largest of its processes.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

from rows import make

HERE = Path(__file__).parent
PEERS = ("datatrove", "textdedup", "datasketch", "semhash")


def measured(command, cwd):
    """(seconds, processor seconds, peak MiB) of a command and its children; memory of the largest process."""
    code = (
        "import resource, subprocess, sys; done = subprocess.run(sys.argv[1:], stdout=subprocess.DEVNULL);"
        "used = resource.getrusage(resource.RUSAGE_CHILDREN);"
        "print(used.ru_utime + used.ru_stime, used.ru_maxrss / 1024); sys.exit(done.returncode)"
    )
    began = time.perf_counter()
    done = subprocess.run(
        [sys.executable, "-c", code, *command], cwd=cwd, capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise RuntimeError(done.stderr.strip().splitlines()[-1] if done.stderr else "failed")
    processor, peak = map(float, done.stdout.split()[-2:])
    return time.perf_counter() - began, processor, peak


def ours(rows, folder):
    """Rows kept, and what it took."""
    out = folder / "out"
    command = [sys.executable, "-m", "tunesmith", "data", "prepare", str(rows), "--drop-near-duplicates"]
    took = measured([*command, "--quiet", "--out", str(out), "--workspace", str(folder / "ws")], folder)
    dropped = {json.loads(line)["line"] - 1 for line in (out / "dropped.jsonl").open()}
    with rows.open() as file:
        return [number for number, _ in enumerate(file) if number not in dropped], took


def peer(name, rows, folder):
    """The same of a peer, in its own environment."""
    python = Path(".venvs", f"bench-{name}", "bin", "python").absolute()
    if not python.exists():
        raise RuntimeError("not installed (make .venvs/bench)")
    out = folder / "kept.json"
    took = measured([str(python), str(HERE / "peers.py"), name, str(rows), str(out)], folder)
    return json.loads(out.read_text()), took


def judged(kept, clusters):
    """(precision, recall): removed rows with a twin that stays; twins beyond the first that are removed."""
    stays = set(kept)
    left = Counter(clusters[number] for number in kept)
    removed = [number for number in range(len(clusters)) if number not in stays]
    right = sum(left[clusters[number]] > 0 for number in removed)
    surplus = len(clusters) - len(set(clusters))
    return right / max(1, len(removed)), right / max(1, surplus)


def run_round(names, rows, clusters, results):
    for name in names:
        with tempfile.TemporaryDirectory() as folder:
            try:
                run = (lambda *where: peer(name, *where)) if name != "tunesmith" else ours  # noqa: B023
                kept, (seconds, processor, peak) = run(rows, Path(folder))
            except RuntimeError as error:
                results.setdefault(name, []).append(str(error))
                continue
        precision, recall = judged(kept, clusters)
        results.setdefault(name, []).append(
            (len(clusters) / seconds, len(clusters) / processor, peak, precision, recall)
        )
        print(
            f"{len(clusters):>9,} {name:11} {seconds:8.1f} s {processor:8.1f} s of processor time "
            f"{peak:7.0f} MiB {precision:.4f} {recall:.4f}",
            flush=True,
        )


def table(size, results):
    """Markdown: medians, with the spread of the rates."""
    own = statistics.median(row[0] for row in results["tunesmith"])
    lines = []
    for name, runs in results.items():
        good = [row for row in runs if not isinstance(row, str)]
        if not good:
            lines.append(f"| {size:,} | {name} | – | | | | | | {runs[0][:60]} |")
            continue
        rates = [row[0] for row in good]
        peak, precision, recall = (statistics.median(row[column] for row in good) for column in (2, 3, 4))
        rate, per_core = (statistics.median(row[column] for row in good) for column in (0, 1))
        lines.append(
            f"| {size:,} | {name} | {rate:,.0f} ({min(rates):,.0f}–{max(rates):,.0f}) | {own / rate:.2f} "
            f"| {per_core:,.0f} | {peak:,.0f} | {precision:.4f} | {recall:.4f} | |"
        )
    return lines


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sizes", type=int, nargs="+", default=[10_000, 100_000])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--peers", nargs="*", default=list(PEERS))
    parser.add_argument("--cache", type=Path, default=Path("~/.cache/tunesmith/packages").expanduser())
    parser.add_argument("--out", type=Path)
    given = parser.parse_args()
    os.environ |= {"OMP_WAIT_POLICY": "PASSIVE", "HF_HUB_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "true"}
    given.cache.mkdir(parents=True, exist_ok=True)
    lines = ["| rows | | rows/s (spread) | ours is × | rows a CPU second | peak MiB | precision | recall | |"]
    lines.append("|---:|---|---:|---:|---:|---:|---:|---:|---|")
    with tempfile.TemporaryDirectory() as folder:
        for size in given.sizes:
            rows, results = Path(folder) / f"{size}.jsonl", {}
            known = make(size, rows, given.cache)
            for _ in range(given.rounds):
                run_round(("tunesmith", *given.peers), rows, known, results)
            lines += table(size, results)
    text = "\n".join(lines)
    print(text)
    if given.out:
        given.out.write_text(text + "\n")


main()
