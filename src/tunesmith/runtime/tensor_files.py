"""Safetensors files: written whole or not at all, without a copy in memory; read with clear errors."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from tunesmith.core.errors import ModelError
from tunesmith.core.files import explain_disk_errors

SYSTEM_ERROR = re.compile(r"os error (\d+)")


def write_tensors(path: Path, tensors: Mapping[str, Tensor]) -> None:
    """Write a file beside the final place, synced, then rename it over that.

    Raises OutOfSpace when the disk is full; what stood there before then still stands.
    """
    growing = path.with_name(f".{path.name}.part")
    whole = {name: tensor.detach().contiguous() for name, tensor in tensors.items()}
    with explain_disk_errors(path), tensor_errors_are_os_errors():
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            save_file(whole, growing, metadata={"format": "pt"})
            sync(growing)
            growing.chmod(0o644)
            growing.replace(path)
        except BaseException:
            growing.unlink(missing_ok=True)
            raise


def read_tensors(path: Path, *, what: str) -> dict[str, Tensor]:
    """The tensors of a file by name; raises ModelError, which calls them `what`, when they cannot be read."""
    try:
        return load_file(path)
    except (OSError, SafetensorError) as error:
        raise ModelError(
            f"{what} cannot be read",
            where=path,
            value=str(error),
            next_step="copy the folder anew, or train again",
        ) from error


@contextmanager
def tensor_errors_are_os_errors() -> Iterator[None]:
    """Safetensors reports a full disk in words of its own: give it back its number."""
    try:
        yield
    except SafetensorError as error:
        if (number := SYSTEM_ERROR.search(str(error))) is None:
            raise
        raise OSError(int(number[1]), str(error)) from error


def sync(path: Path) -> None:
    """Wait until the file is on the disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
