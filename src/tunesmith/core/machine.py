"""What this machine has: cores, memory, instructions, accelerators.  No torch."""

import os
import platform
import shutil
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

BF16_FLAGS = {"avx512_bf16": "AVX512-BF16", "amx_bf16": "AMX-BF16", "bf16": "Arm BF16"}
"""Processor flags of /proc/cpuinfo that mean fast bfloat16 matrix products."""


@dataclass(frozen=True)
class Machine:
    """Facts of a machine."""

    system: str
    processor: str
    cores: int
    """Cores that this process may use."""
    memory_bytes: int
    """Physical memory, or the control group's limit when that is smaller."""
    bf16: str
    """The instruction set that makes bfloat16 fast, or empty."""
    gpus: tuple[str, ...]


def machine() -> Machine:
    """Read the facts off this machine."""
    info = cpu_info()
    flags = set((info.get("flags") or info.get("Features") or "").split())
    return Machine(
        system=f"{platform.system()} {platform.machine()}",
        processor=info.get("model name") or platform.processor() or "unknown",
        cores=usable_cores(),
        memory_bytes=memory_bytes(),
        bf16=next((name for flag, name in BF16_FLAGS.items() if flag in flags), ""),
        gpus=gpus(),
    )


def cpu_info() -> Mapping[str, str]:
    """The first processor's entry of /proc/cpuinfo; empty where there is none."""
    path = Path("/proc/cpuinfo")
    if not path.exists():
        return {}
    first = path.read_text(encoding="utf-8", errors="replace").split("\n\n")[0]
    pairs = (line.partition(":") for line in first.splitlines())
    return {key.strip(): value.strip() for key, _, value in pairs}


def usable_cores() -> int:
    """Cores that the scheduler lets this process use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def memory_bytes() -> int:
    """Physical memory, or the control group's limit when that is smaller."""
    physical = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    limit = Path("/sys/fs/cgroup/memory.max")
    if limit.exists() and (text := limit.read_text().strip()).isdigit():
        return min(physical, int(text))
    return physical


def gpus() -> tuple[str, ...]:
    """Names and memory of NVIDIA GPUs by nvidia-smi; empty without it."""
    if shutil.which("nvidia-smi") is None:
        return ()
    query = ["nvidia-smi", "--query-gpu=name,memory.total", "--format=csv,noheader"]
    answer = subprocess.run(query, capture_output=True, text=True, timeout=20, check=False)
    return (
        tuple(line.strip() for line in answer.stdout.splitlines() if line.strip())
        if answer.returncode == 0
        else ()
    )
