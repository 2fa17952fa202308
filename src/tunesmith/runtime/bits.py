"""Importing bitsandbytes without asking a hub."""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from importlib import import_module
from types import ModuleType
from typing import Final

from tunesmith.core.errors import MissingPackage

ASKS_A_HUB: Final = "kernels"
NOTICE: Final = "bitsandbytes.backends.cpu.ops"


@contextmanager
def hidden(package: str) -> Iterator[None]:
    """Let an import of `package` fail inside the block, whether it is installed or not."""
    missing = object()
    before = sys.modules.get(package, missing)
    sys.modules[package] = None  # type: ignore[assignment]  # Python's own way to say: not importable
    try:
        yield
    finally:
        if before is missing:
            del sys.modules[package]
        else:
            sys.modules[package] = before  # type: ignore[assignment]  # what stood there


@cache
def import_bitsandbytes() -> ModuleType:
    """The package bitsandbytes; raises MissingPackage when it is absent.

    On processors with AVX512-BF16 it fetches a kernel from a hub while it is imported, if the package
    `kernels` is installed (bitsandbytes 0.50, backends/cpu/ops.py); we never call it.  To import PEFT is to
    import bitsandbytes: call this first.
    """
    logger = logging.getLogger(NOTICE)
    level = logger.level
    logger.setLevel(logging.ERROR)  # its warning that the kernel is missing is what we want
    try:
        with hidden(ASKS_A_HUB):
            return import_module("bitsandbytes")
    except ImportError as error:
        raise MissingPackage(
            "weights and optimisers in 8 and 4 bits need the package bitsandbytes",
            value=str(error),
            next_step="pip install 'tunesmith[train]'",
        ) from error
    finally:
        logger.setLevel(level)
