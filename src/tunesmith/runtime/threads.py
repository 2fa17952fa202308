"""Threads and number type of a process that computes.  Imports no torch: it has to run before torch does."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

from tunesmith.core.machine import machine, usable_cores

Dtype = Literal["auto", "bfloat16", "float32"]
FewBits = Literal["nf4", "int8"]
"""How the weights of a base can be held smaller: about 4.1 bits a weight, or 8."""


def resolve_threads(asked: int) -> int:
    """The number of threads to use: 0 takes every core."""
    return asked or usable_cores()


def worker_environment(num_threads: int) -> dict[str, str]:
    """Environment of a process that computes with `num_threads`; must stand before torch is imported.

    Waiting threads sleep instead of spinning: beside one other busy process a training step with spinning
    threads ran six times slower, and on a quiet machine sleeping costs a few per cent.
    """
    count = str(num_threads)
    return {
        "OMP_NUM_THREADS": count,
        "MKL_NUM_THREADS": count,
        "OMP_DYNAMIC": "FALSE",
        "OMP_WAIT_POLICY": "PASSIVE",
        "GOMP_SPINCOUNT": "0",
        "KMP_BLOCKTIME": "0",
        # Micro-batches seldom have the same shape twice, and oneDNN keeps compiled kernels for the last
        # thousand shapes: 14 MB a step, 2.7 GB in a run. The last 64 are as fast.
        "ONEDNN_PRIMITIVE_CACHE_CAPACITY": "64",
        "TOKENIZERS_PARALLELISM": "false",
    }


def apply_threads(num_threads: int) -> None:
    """Set torch's threads in this process."""
    import torch

    torch.set_num_threads(num_threads)


def describe_threads(environment: Mapping[str, str]) -> str:
    """One sentence on what `worker_environment` set, for the log."""
    count = environment["OMP_NUM_THREADS"]
    who = (
        "1 thread that sleeps while it waits"
        if count == "1"
        else f"{count} threads that sleep while they wait"
    )
    return (
        f"{who} "
        f"(OMP_WAIT_POLICY={environment['OMP_WAIT_POLICY']} GOMP_SPINCOUNT={environment['GOMP_SPINCOUNT']})"
    )


def choose_dtype(asked: Dtype) -> Literal["bfloat16", "float32"]:
    """The type of frozen weights: "auto" is bfloat16 where the processor multiplies matrices in it.

    Elsewhere bfloat16 is emulated, and slower than float32.
    """
    if asked != "auto":
        return asked
    return "bfloat16" if machine().bf16 else "float32"
