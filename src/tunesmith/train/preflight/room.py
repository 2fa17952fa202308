"""How much memory a process may still take, and how much one takes: exact on Linux, elsewhere a guess."""

from __future__ import annotations

import os
import subprocess
from contextlib import suppress
from pathlib import Path
from typing import Final

from tunesmith.core.machine import memory_bytes

RESERVE_SHARE: Final = 0.05
RESERVE_BYTES: Final = 256 * 1024 * 1024
"""Left to everyone else: the larger of the two."""
GUESSED_SHARE: Final = 0.7
"""Of physical memory, where the system does not say what is free."""

PROC: Final = Path("/proc")
CGROUP: Final = Path("/sys/fs/cgroup")


def room_bytes() -> int:
    """Memory that can be taken now, less a reserve: what is free on the machine and in the control group."""
    total = memory_bytes()
    free = min(free_on_machine(total), free_in_group())
    return max(0, int(free - max(RESERVE_BYTES, RESERVE_SHARE * total)))


def free_on_machine(total: int, proc: Path = PROC) -> float:
    """What the kernel says is available: free pages and those of the page cache that it would give up."""
    with suppress(OSError):
        for line in (proc / "meminfo").read_text().splitlines():
            if line.startswith("MemAvailable:"):
                return float(line.split()[1]) * 1024
    return GUESSED_SHARE * total


def free_in_group(proc: Path = PROC, root: Path = CGROUP) -> float:
    """What the control groups of this process (version 2, up to the root) leave; infinite without a limit."""
    try:
        own = (proc / "self/cgroup").read_text().strip().rpartition("::")[2]
    except OSError:
        own = "/"
    place = root / own.strip("/")
    groups = [place, *(parent for parent in place.parents if parent.is_relative_to(root))]
    return min(map(free_in_one_group, groups))


def free_in_one_group(folder: Path) -> float:
    """Limit less use, not counting file pages that nobody used lately."""
    try:
        limit = (folder / "memory.max").read_text().strip()
        used = int((folder / "memory.current").read_text())
        stat = dict(line.split() for line in (folder / "memory.stat").read_text().splitlines())
    except (OSError, ValueError):
        return float("inf")
    return float("inf") if limit == "max" else int(limit) - used + int(stat.get("inactive_file", 0))


def resident_bytes(pid: int) -> int:
    """Memory that a process holds now; 0 when it is gone."""
    path = PROC / str(pid) / "statm"
    with suppress(OSError, IndexError):
        return int(path.read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    if PROC.exists():
        return 0
    command = ["/bin/ps", "-o", "rss=", "-p", str(pid)]
    answer = subprocess.run(command, capture_output=True, text=True, check=False).stdout.strip()
    return int(answer) * 1024 if answer.isdigit() else 0
