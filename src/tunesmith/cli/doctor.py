"""`tunesmith doctor`: what this machine has, and what would be fast here."""

import os
import shutil
from importlib import metadata
from pathlib import Path

from rich.console import Console
from rich.table import Table

from tunesmith.core.config import Schema
from tunesmith.core.job import Job
from tunesmith.core.machine import Machine, machine
from tunesmith.core.workspace import cache_root
from tunesmith.runtime.catalogue import CARD, EMBEDDED

GIB = 1 << 30
PACKAGES = ("torch", "transformers", "peft", "tokenizers", "safetensors", "pyarrow", "fastapi", "gguf")
ROOM_FOR_QUICKSTART_BYTES = 3 * GIB
BYTES_PER_WEIGHT = 2
WEIGHTS_SHARE = 0.5
"""Share of the memory that frozen weights may take; the rest is for activations and the system."""


class DoctorConfig(Schema):
    """Looks at cores, memory, bfloat16, GPUs, packages, cache and disk; changes nothing."""


class Finding(Schema):
    """One thing that was looked at."""

    name: str
    """What was looked at."""
    state: str
    """ok, note or problem."""
    value: str
    """What was found."""
    advice: str = ""
    """What it means for tunesmith here, or how to mend it."""


class DoctorResult(Schema):
    """All findings."""

    findings: tuple[Finding, ...]
    """In the order of the display."""
    fast_here: tuple[str, ...]
    """What would be fast on this machine, in sentences."""


def doctor(config: DoctorConfig, job: Job) -> DoctorResult:
    """Look at the machine."""
    here = machine()
    findings = [*machine_findings(here), *thread_findings(), *package_findings(), *place_findings(job)]
    return DoctorResult(findings=tuple(findings), fast_here=tuple(fast_here(here)))


def machine_findings(here: Machine) -> list[Finding]:
    """Processor, cores, memory, bfloat16, GPUs."""
    memory = f"{here.memory_bytes / GIB:.1f} GiB"
    short = here.memory_bytes < 4 * GIB
    return [
        Finding(name="system", state="ok", value=here.system),
        Finding(name="processor", state="ok", value=here.processor),
        Finding(name="cores", state="ok", value=str(here.cores)),
        Finding(
            name="memory",
            state="problem" if short else "ok",
            value=memory,
            advice="the quickstart needs about 4 GiB" if short else "",
        ),
        Finding(
            name="bfloat16",
            state="ok" if here.bf16 else "note",
            value=here.bf16 or "not in this processor",
            advice="frozen weights are kept and multiplied in bfloat16"
            if here.bf16
            else "training runs in float32, about half as fast",
        ),
        Finding(name="GPU", state="ok" if here.gpus else "note", value=", ".join(here.gpus) or "none"),
    ]


def thread_findings() -> list[Finding]:
    """Threads that spin while they wait cost a busy machine most of its speed."""
    policy = os.environ.get("OMP_WAIT_POLICY", "")
    advice = "workers and servers that tunesmith starts set it to PASSIVE by themselves"
    return [Finding(name="OMP_WAIT_POLICY", state="ok", value=policy or "not set", advice=advice)]


def package_findings() -> list[Finding]:
    """Versions of the packages that matter."""
    findings = []
    for name in PACKAGES:
        try:
            findings.append(Finding(name=name, state="ok", value=metadata.version(name)))
        except metadata.PackageNotFoundError:
            advice = "pip install 'tunesmith[train]'"
            findings.append(Finding(name=name, state="problem", value="not installed", advice=advice))
    return findings


def place_findings(job: Job) -> list[Finding]:
    """Cache, embedded model, workspace, free disk."""
    cache = cache_root()
    ready = (cache / "models" / EMBEDDED.name / CARD).exists()
    free = shutil.disk_usage(existing_parent(cache)).free
    short = free < ROOM_FOR_QUICKSTART_BYTES
    return [
        Finding(name="cache", state="ok", value=str(cache), advice="TUNESMITH_HOME moves it"),
        Finding(
            name=EMBEDDED.name,
            state="ok" if ready else "note",
            value="ready" if ready else "not fetched yet",
            advice="" if ready else "fetched on first use (93 MB)",
        ),
        Finding(name="workspace", state="ok", value=str(job.workspace.root)),
        Finding(
            name="free disk",
            state="problem" if short else "ok",
            value=f"{free / GIB:.1f} GiB",
            advice="the quickstart needs about 3 GiB" if short else "",
        ),
    ]


def existing_parent(path: Path) -> Path:
    """The nearest folder above that exists."""
    return next(folder for folder in (path, *path.parents) if folder.exists())


def fast_here(here: Machine) -> list[str]:
    """Sentences about what this machine does well, from its facts alone."""
    sentences = []
    if here.gpus:
        sentences.append("A GPU is there: training runs on it when torch is built for it.")
    if here.bf16:
        sentences.append(f"{here.bf16}: matrix products in bfloat16 run about twice as fast as in float32.")
    largest = here.memory_bytes * WEIGHTS_SHARE / BYTES_PER_WEIGHT / 1e9
    sentences.append(
        f"LoRA: frozen weights of up to about {largest:.0f} billion parameters leave room to train."
    )
    return sentences


def show_doctor(result: DoctorResult, console: Console) -> None:
    """A table of findings, problems in red, then the sentences."""
    colours = {"ok": "green", "note": "yellow", "problem": "red"}
    table = Table(box=None, show_header=False, pad_edge=False)
    table.add_column("", no_wrap=True)
    table.add_column("", overflow="fold")
    table.add_column("", style="dim", overflow="fold")
    for finding in result.findings:
        mark = f"[{colours[finding.state]}]●[/]"
        table.add_row(f"{mark} {finding.name}", finding.value, finding.advice)
    console.print(table)
    console.print()
    for sentence in result.fast_here:
        console.print(f"  {sentence}", markup=False)
