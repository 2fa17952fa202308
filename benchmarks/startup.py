"""CPU time until `tunesmith --help` has answered, beside a bare interpreter and click alone.

    .venv/bin/python benchmarks/startup.py

The three alternate in one run; figures are user + system seconds of the child process.
"""

import resource
import statistics
import subprocess
import sys

RUNS = 15
CONTESTANTS = {
    "python, nothing imported": [sys.executable, "-c", "pass"],
    "python, click imported": [sys.executable, "-c", "import click"],
    "tunesmith --help": [sys.executable, "-m", "tunesmith", "--help"],
    "tunesmith train --help": [sys.executable, "-m", "tunesmith", "train", "--help"],
}


def cpu_seconds(command):
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run(command, stdout=subprocess.DEVNULL, check=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return (after.ru_utime + after.ru_stime) - (before.ru_utime + before.ru_stime)


def main():
    seconds = {name: [] for name in CONTESTANTS}
    for _ in range(RUNS):
        for name, command in CONTESTANTS.items():
            seconds[name].append(cpu_seconds(command))
    for name, values in seconds.items():
        low, middle, high = min(values), statistics.median(values), max(values)
        print(f"{name:28s} median {middle:.3f} s   ({low:.3f}–{high:.3f}, {RUNS} runs)")


if __name__ == "__main__":
    main()
