"""`make proof`: everything with the real model, simulations and fuzzing; writes docs/proof.md, dated.

Fakes and tiny models are `make test`'s.  Runs the two tiers with the real model one after the other, fuzzing
beside the first, and the wheel's own journey; keeps what the slow tests print.  A failure is written down
too, and the exit code is then 1.
"""

import re
import subprocess
import sys
import time
import xml.etree.ElementTree as ElementTree  # reads only what pytest wrote a moment ago
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

from tunesmith.core.machine import machine
from tunesmith.core.progress import duration
from tunesmith.core.workspace import now_iso, versions

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "proof.md"
TIERS = {
    "real": "the embedded model through every room, at most 5,000 training tokens",
    "proof": "the quickstart and the other journeys with the embedded model, simulations, more fuzzing",
}


class Part(NamedTuple):
    """One command that was run."""

    title: str
    command: str
    code: int
    seconds: float
    lines: list[str]


def run(title: str, *command: str) -> Part:
    """Run a command and keep what it printed."""
    print(f"{title} …", flush=True)
    started = time.monotonic()
    done = subprocess.run(
        command, cwd=ROOT, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False
    )
    words = ["python" if word == sys.executable else word for word in command]
    return Part(title, " ".join(words), done.returncode, time.monotonic() - started, done.stdout.splitlines())


def run_tier(name: str) -> Part:
    """Run a test tier; keep a line for each test file and what the slow tests printed."""
    results = ROOT / f".proof-{name}.xml"
    part = run(
        f"tests/{name}: {TIERS[name]}",
        sys.executable,
        "-m",
        "pytest",
        f"tests/{name}",
        f"--junitxml={results}",
        "-rP",
    )
    cases = list(ElementTree.parse(results).iter("testcase"))  # noqa: S314  our own file
    results.unlink()
    counts = Counter(case.attrib["classname"] for case in cases)
    seconds: Counter[str] = Counter()
    for case in cases:
        seconds[case.attrib["classname"]] += float(case.attrib["time"])  # type: ignore[assignment]
    table = [f"{count:5d} tests  {seconds[file]:7.1f} s  {file}" for file, count in sorted(counts.items())]
    printed = part.lines if name == "proof" or part.code else part.lines[-1:]
    return part._replace(command=f"python -m pytest tests/{name}", lines=[*table, "", *clean(printed)])


def run_fuzz() -> Part:
    """Fuzz the readers for ten minutes; keep the last lines, which count what was tried."""
    fuzzer = ["tests/fuzz/fuzz_readers.py", "--seconds", "600"]
    part = run("fuzzing of every reader (atheris)", ".venvs/fuzz/bin/python", *fuzzer)
    return part._replace(lines=clean(part.lines[-6:] if part.code == 0 else part.lines[-60:]))


def clean(lines: list[str]) -> list[str]:
    """Without places of this machine, and what pip says about those it looks for packages at."""
    told = (line for line in lines if not line.startswith("WARNING: Location"))
    here = [line.replace(str(ROOT), ".").replace(str(Path.home()), "~") for line in told]
    return [re.sub(r"[^\s\"]*/pytest-of-[^/]+/pytest-\d+/", "", line) for line in here]


def commit() -> str:
    """Which state of the project this is."""
    asked = ("git", "describe", "--always", "--dirty", "--exclude=*")
    done = subprocess.run(asked, cwd=ROOT, text=True, capture_output=True, check=False)
    return f"at commit {done.stdout.strip()}" if done.returncode == 0 else "outside a repository"


def page(parts: list[Part], seconds: float) -> str:
    """The page, with the machine it was made on."""
    here = machine()
    facts = [
        f"- made {now_iso()} by `make proof`, in {duration(seconds)}, {commit()}",
        f"- machine: {here.processor}, {here.cores} cores, {here.memory_bytes / (1 << 30):.0f} GiB,"
        f" {here.bf16 or 'no bf16'}, GPUs: {', '.join(here.gpus) or 'none'}",
        "- " + ", ".join(f"{name} {version}" for name, version in versions().items()),
    ]
    body = []
    for part in parts:
        state = "passed" if part.code == 0 else f"FAILED with {part.code}"
        body += [f"## {part.title}", "", f"`{part.command}`: {state} in {duration(part.seconds)}", "", "```"]
        body += [*part.lines, "```", ""]
    return "\n".join(["# Proof", "", *facts, "", *body])


def main() -> None:
    """Run everything and write the page."""
    started = time.monotonic()
    with ThreadPoolExecutor(1) as beside:  # fuzzing takes one core and ten minutes, whatever else runs
        fuzz = beside.submit(run_fuzz)
        parts = [run_tier("real"), fuzz.result()]
    parts.append(run_tier("proof"))
    wheel = run("the wheel, outside the checkout", sys.executable, "scripts/dist.py")
    parts.append(wheel._replace(lines=clean(wheel.lines)))
    PAGE.write_text(page(parts, time.monotonic() - started), encoding="utf-8")
    print(f"wrote {PAGE.relative_to(ROOT)}")
    sys.exit(any(part.code for part in parts))


if __name__ == "__main__":
    main()
