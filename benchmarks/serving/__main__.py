"""Servers side by side under 1 to 64 clients: tunesmith, `transformers serve`, llama.cpp.

    python benchmarks/serving [--clients 1 4 16 64] [--rounds 2] [--llamacpp PYTHON] [--without NAME …]

Each client sends a chat of about 90 tokens, reads 32 tokens of its answer as they stream, and sends the next;
greedy, the same requests for all.  Contestants are servers that are up all the time and idle while others
work; the rounds alternate between them.  `alone` is tunesmith's sampler without HTTP under as many callers;
`one adapter` and `three adapters` are tunesmith with LoRA adapters of rank 16, of random weights.
`--llamacpp` names the Python of an environment with `xllamacpp` (`make bench` makes one); its model file has
the same bfloat16 weights.  Run it when nothing else runs.
"""

import argparse
import asyncio
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator
from contextlib import ExitStack, aclosing, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import httpx
import psutil

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parent / "sampling"))

from files import adapters, bfloat16_gguf  # noqa: E402  they stand beside the other benchmark

MODEL = "smollm2-135m-instruct"
TOKENS = 32
REQUESTS = {1: 4, 4: 8, 16: 32, 64: 64}
"""Clients → requests of a round, all of them together."""
FIRST_PORT = 8110
UP_SECONDS, ANSWER_SECONDS = 180, 600


class Timed(NamedTuple):
    """One answer."""

    first: float
    """Seconds to the first token."""
    between: list[float]
    """Seconds between one piece and the next."""
    tokens: int


@dataclass
class Round:
    """What one contestant did with a number of clients."""

    seconds: float
    answers: list[Timed]

    @property
    def rate(self) -> float:
        """Requests per second."""
        return len(self.answers) / self.seconds


@dataclass
class Contestant:
    """A server, or tunesmith's sampler alone."""

    name: str
    command: list
    models: list[str]
    port: int = 0
    process: subprocess.Popen | None = None

    @property
    def log(self) -> Path:
        """What it says."""
        return Path(tempfile.gettempdir()) / f"serving-{self.name.replace(' ', '-')}.log"

    def start(self) -> None:
        """Begin; the first request waits until it is up."""
        # The same for all: threads that sleep while they wait, as many as there are cores.
        threads = str(len(os.sched_getaffinity(0)))
        settings = {"OMP_NUM_THREADS": threads, "OMP_WAIT_POLICY": "PASSIVE", "GOMP_SPINCOUNT": "0"}
        log = self.log.open("w")
        self.process = subprocess.Popen(
            list(map(str, self.command)),
            env={**os.environ, **settings, "HF_HUB_OFFLINE": "1"},
            stdout=log,
            stderr=log,
        )

    def stop(self) -> None:
        """End it with all that it started."""
        if self.process is None:
            return
        family = [self.process, *psutil.Process(self.process.pid).children(recursive=True)]
        for one in family:
            with suppress(psutil.NoSuchProcess, ProcessLookupError):
                one.kill()
        self.process.wait()

    def memory(self) -> int:
        """Bytes that it holds now."""
        assert self.process is not None
        whole = psutil.Process(self.process.pid)
        return sum(one.memory_info().rss for one in (whole, *whole.children(recursive=True)))


def question(number: int) -> list[dict]:
    """A chat whose answer is long: something to tell about part of a real text."""
    words = (HERE.parent.parent / "LICENSE").read_text().split()
    start = (61 * number) % (len(words) - 60)
    part = " ".join(words[start : start + 50])
    return [{"role": "user", "content": f"Tell me a long story about this: {part}"}]


async def pieces(client: httpx.AsyncClient, contestant: Contestant, number: int) -> AsyncIterator[str]:
    """The pieces of one answer."""
    model = contestant.models[number % len(contestant.models)]
    body = {
        "model": model,
        "messages": question(number),
        "max_tokens": TOKENS,
        "temperature": 0.0,
        "stream": True,
    }
    url = f"http://127.0.0.1:{contestant.port}/v1/chat/completions"
    async with client.stream("POST", url, json=body) as answer:
        if answer.status_code != 200:
            raise RuntimeError(f"{contestant.name}: {answer.status_code} {await answer.aread()!r}")
        async for line in answer.aiter_lines():
            if not line.startswith("data: ") or line == "data: [DONE]":
                continue
            choices = json.loads(line[6:]).get("choices") or [{}]
            text = (choices[0].get("delta") or {}).get("content")
            if text:
                yield text


async def answered(client: httpx.AsyncClient, contestant: Contestant, number: int) -> Timed:
    """One answer with its times."""
    last = time.perf_counter()
    times: list[float] = []
    async with aclosing(pieces(client, contestant, number)) as stream:
        async for _ in stream:
            now = time.perf_counter()
            times.append(now - last)
            last = now
    if not times:
        raise RuntimeError(f"{contestant.name} answered nothing to request {number}")
    return Timed(times[0], times[1:], len(times))


async def drive(contestant: Contestant, clients: int, requests: int) -> Round:
    """So many clients, each with one request under way at a time."""
    numbers = iter(range(requests))
    limits = httpx.Limits(max_connections=None)
    async with httpx.AsyncClient(timeout=ANSWER_SECONDS, limits=limits, trust_env=False) as client:

        async def work() -> list[Timed]:
            return [await answered(client, contestant, number) for number in numbers]

        started = time.perf_counter()
        done = await asyncio.gather(*(work() for _ in range(clients)))
        return Round(time.perf_counter() - started, [one for some in done for one in some])


def wait_until_up(contestant: Contestant) -> None:
    """Ask once, until it answers."""
    until = time.monotonic() + UP_SECONDS
    while True:
        try:
            asyncio.run(drive(contestant, 1, 1))
            return
        except (httpx.TransportError, RuntimeError) as error:
            if time.monotonic() > until or contestant.process.poll() is not None:
                sys.exit(f"{contestant.name} does not answer: {error}; see {contestant.log}")
            time.sleep(1)


def contestants(options: argparse.Namespace, scratch: Path) -> list[Contestant]:
    """Everybody who takes part."""
    from tunesmith.core.job import Job
    from tunesmith.core.workspace import Workspace
    from tunesmith.runtime.catalogue import locate

    folder = locate(MODEL, Job(Workspace.find(None))).model_folder
    made = adapters(folder, scratch, count=3)
    ours = [sys.executable, HERE / "ours.py"]
    names = [f"adapter-{number}" for number in range(len(made))]
    transformers = [Path(sys.executable).parent / "transformers", "serve", "--device", "cpu"]
    transformers += ["--dtype", "bfloat16", "--host", "127.0.0.1"]
    found = [
        Contestant("tunesmith", [*ours, "{port}", folder, *made], ["base"]),
        Contestant("alone", [*ours, "--alone", "{port}", folder], ["base"]),
        Contestant("one adapter", [], names[:1]),
        Contestant("three adapters", [], names),
        Contestant("transformers", [*transformers, "--port", "{port}"], [str(folder)]),
        Contestant(
            "transformers, continuous",
            [*transformers, "--continuous-batching", "--port", "{port}"],
            [str(folder)],
        ),
    ]
    if options.llamacpp:
        script = [options.llamacpp, HERE / "llamacpp.py", "{port}", bfloat16_gguf(scratch)]
        found.append(Contestant("llama.cpp", script, ["any"]))
    return [one for one in found if one.name not in options.without]


def start_all(everybody: list[Contestant], stack: ExitStack) -> None:
    """Start the servers; tunesmith with adapters is the same server as without."""
    ours = next(one for one in everybody if one.name == "tunesmith")
    for number, one in enumerate(everybody):
        if not one.command:
            one.port, one.process = ours.port, ours.process
            continue
        one.port = FIRST_PORT + number
        one.command = [str(one.port) if word == "{port}" else word for word in one.command]
        one.start()
        stack.callback(one.stop)
        wait_until_up(one)
        say(f"{one.name} is up")


def quantile(values: list[float], share: float) -> float:
    """A quantile by linear interpolation."""
    ordered = sorted(values)
    place = share * (len(ordered) - 1)
    low = int(place)
    high = min(low + 1, len(ordered) - 1)
    return ordered[low] + (ordered[high] - ordered[low]) * (place - low)


def row(name: str, clients: int, rounds: list[Round], base: list[Round]) -> str:
    """One line of the table."""
    first = [one.first for done in rounds for one in done.answers]
    between = [gap for done in rounds for one in done.answers for gap in one.between] or [0.0]
    ratios = [ours.rate / theirs.rate for ours, theirs in zip(base, rounds, strict=True)]
    rate = statistics.median(done.rate for done in rounds)
    cells = [
        name,
        str(clients),
        f"{rate:.2f}",
        f"{statistics.median(ratios):.2f} ({min(ratios):.2f}–{max(ratios):.2f})",
        f"{statistics.median(first):.2f} · {quantile(first, 0.95):.2f}",
        f"{1000 * statistics.median(between):.0f} · {1000 * quantile(between, 0.95):.0f}",
    ]
    return f"| {' | '.join(cells)} |"


def say(text: str) -> None:
    """Where it stands."""
    print(text, file=sys.stderr, flush=True)


def main() -> None:
    """All rounds, then a table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--clients", type=int, nargs="+", default=list(REQUESTS))
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--llamacpp", help="Python of an environment with xllamacpp")
    parser.add_argument("--without", nargs="*", default=[], help="contestants to leave out")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch, ExitStack() as stack:
        everybody = contestants(options, Path(scratch))
        start_all(everybody, stack)
        found: dict[tuple[str, int], list[Round]] = {}
        for number in range(options.rounds):
            for clients in options.clients:
                for one in everybody:
                    done = asyncio.run(drive(one, clients, REQUESTS.get(clients, 2 * clients)))
                    found.setdefault((one.name, clients), []).append(done)
                    say(f"round {number}, {clients} clients, {one.name}: {done.rate:.2f} requests/s")
        memory = {one.name: one.memory() for one in everybody}
    print("| who | clients | requests/s | our rate ÷ its | first token, s · p95 | between, ms · p95 |")
    print("|---|---|---|---|---|---|")
    for clients in options.clients:
        for one in everybody:
            rounds, base = found[one.name, clients], found["tunesmith", clients]
            print(row(one.name, clients, rounds, base))
    print("\nmemory at the end: " + ", ".join(f"{who} {held / 1e9:.1f} GB" for who, held in memory.items()))


if __name__ == "__main__":
    main()
