"""Arrays that grow on disk, so that what they hold need not fit in memory.  NumPy's own file format."""

from __future__ import annotations

from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO

import numpy as np
from numpy.lib import format as npy
from numpy.typing import DTypeLike, NDArray

from tunesmith.core.files import explain_disk_errors

CHUNK = 1 << 20
WAITING = 4096
"""Single numbers are written when so many of them wait."""


class GrowingArray:
    """An `.npy` file written from front to back; `close` puts the final length into its header.

    Used as `with GrowingArray(path, "int32") as array: array.extend(values)`; `width` columns make rows.
    `append` and `extend` may be mixed.
    """

    def __init__(self, path: Path, dtype: DTypeLike, *, width: int = 0) -> None:
        self.path, self.dtype, self.width = path, np.dtype(dtype), width
        self.length = 0
        self._waiting: list[Any] = []
        self._file: BinaryIO = path.open("wb")
        self._header_bytes = self._write_header()

    def __enter__(self) -> GrowingArray:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def append(self, value: Any) -> None:
        """Append one number (one row of them, with a width)."""
        self._waiting.append(value)
        if len(self._waiting) == WAITING:
            self.extend(())

    def extend(self, values: Any) -> None:
        """Append numbers (rows of numbers, with a width)."""
        if self._waiting:
            waiting, self._waiting = self._waiting, []
            self.extend(waiting)
        if not len(values):
            return
        array = np.asarray(values, dtype=self.dtype)
        self.length += len(array)
        with explain_disk_errors(self.path):
            self._file.write(np.ascontiguousarray(array).data)

    def widen(self, dtype: DTypeLike) -> None:
        """Go on with another type; what stands in the file is converted, a part at a time."""
        self.close()
        old = self.path.with_suffix(".old")
        self.path.rename(old)
        wider = GrowingArray(self.path, dtype, width=self.width)
        held = np.load(old, mmap_mode="r")
        for start in range(0, len(held), CHUNK):
            wider.extend(held[start : start + CHUNK])
        old.unlink()
        self.dtype, self._file, self._header_bytes = wider.dtype, wider._file, wider._header_bytes

    def close(self) -> None:
        """Write the final header; the file is then whole."""
        if self._file.closed:
            return
        self.extend(())
        with explain_disk_errors(self.path):
            self._file.seek(0)
            assert self._write_header() == self._header_bytes  # numpy leaves room for the length to grow
            self._file.close()

    def _write_header(self) -> int:
        shape = (self.length, self.width) if self.width else (self.length,)
        header = {"descr": npy.dtype_to_descr(self.dtype), "fortran_order": False, "shape": shape}
        npy.write_array_header_1_0(self._file, header)
        return self._file.tell()


def open_array(path: Path) -> NDArray[Any]:
    """An array on disk, read where it is used."""
    if path.stat().st_size <= CHUNK:
        return np.asarray(np.load(path))  # an empty file cannot be mapped, and a small one need not be
    return np.load(path, mmap_mode="r")  # type: ignore[no-any-return]  # numpy leaves the type open
