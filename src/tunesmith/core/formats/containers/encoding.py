"""Encodings other than UTF-8, recognised by their first bytes and turned into UTF-8 on the way."""

import codecs
import io
from collections.abc import Callable
from typing import BinaryIO, NamedTuple

from tunesmith.core.errors import DataError
from tunesmith.core.formats.containers.port import buffered

BOM_UTF8 = codecs.BOM_UTF8
CHUNK_BYTES = 1 << 18
SEEN_BYTES = 4096
NULL_SHARE = 0.8
"""Of mostly Latin text in UTF-16 every other byte is null; of text in UTF-8 none is."""


class Wide(NamedTuple):
    """UTF-16 in one byte order, with or without its mark."""

    codec: str
    mark: bytes


def wide_encoding(head: bytes) -> Wide | None:
    """UTF-16 by its byte order mark (Unicode 16, 23.8), or by the nulls between its letters."""
    if head.startswith(codecs.BOM_UTF32_LE) and len(head) >= 8:
        return None  # UTF-32 begins like UTF-16
    for mark, codec in ((codecs.BOM_UTF16_LE, "utf-16-le"), (codecs.BOM_UTF16_BE, "utf-16-be")):
        if head.startswith(mark):
            return Wide(codec, mark)
    seen = head[: min(SEEN_BYTES, len(head) // 2 * 2)]
    if len(seen) >= 8:
        for first, codec in ((1, "utf-16-le"), (0, "utf-16-be")):
            ours, others = seen[first::2].count(0), seen[1 - first :: 2].count(0)
            if ours >= NULL_SHARE * len(seen) / 2 and others == 0:
                return Wide(codec, b"")
    return None


class Recoded(io.RawIOBase):
    """Bytes of another encoding as UTF-8."""

    def __init__(self, raw: BinaryIO, wide: Wide, name: str) -> None:
        super().__init__()
        self.consumed = len(raw.read(len(wide.mark)))
        """Bytes of the file that were read so far."""
        self._raw, self._name, self._codec = raw, name, wide.codec
        self._decoder = codecs.getincrementaldecoder(wide.codec)()
        self._made = b""

    def readable(self) -> bool:
        """It can be read, and nothing else."""
        return True

    def readinto(self, buffer: bytearray | memoryview, /) -> int:  # type: ignore[override]
        """Fill a buffer as far as what is decoded goes."""
        while not self._made:
            chunk = self._raw.read(CHUNK_BYTES)
            self.consumed += len(chunk)
            try:
                self._made = self._decoder.decode(chunk, final=not chunk).encode("utf-8")
            except UnicodeError as error:
                step = "write the file again, as UTF-8"
                what = f"the file is not the {self._codec.upper()} that it seems to be"
                raise DataError(what, where=self._name, value=str(error), next_step=step) from None
            if not chunk and not self._made:
                return 0
        part, self._made = self._made[: len(buffer)], self._made[len(buffer) :]
        buffer[: len(part)] = part
        return len(part)

    def close(self) -> None:
        """Close the file beneath too."""
        self._raw.close()
        super().close()


class RecodedFile:
    """A file of another encoding, to be opened as UTF-8, and how far it was read."""

    def __init__(self, inner: Callable[[], BinaryIO], wide: Wide, name: str) -> None:
        self._inner, self._wide, self._name = inner, wide, name
        self._last: Recoded | None = None

    def open(self) -> BinaryIO:
        """The text from its start."""
        self._last = Recoded(self._inner(), self._wide, self._name)
        return buffered(self._last)

    def position(self) -> int:
        """Bytes of the file behind what was last opened."""
        return self._last.consumed if self._last is not None else 0

    def size(self) -> int:
        """Bytes of the file; 0 where that is not known, as inside a compressed one."""
        with self._inner() as file:
            return file.seek(0, io.SEEK_END) if file.seekable() else 0
