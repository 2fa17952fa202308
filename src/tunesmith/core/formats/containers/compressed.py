"""Compressed files as streams of bytes: gzip (RFC 1952), xz, bzip2 and zstd (RFC 8878).

Bounded memory: nothing is decompressed beyond what a reader asks for, and a dictionary over
`MAX_XZ_MEMORY` is refused, so a small file that claims to be huge costs time, not memory.
"""

import bz2
import gzip
import io
import lzma
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO, NamedTuple, Protocol, cast

from tunesmith.core.errors import DataError
from tunesmith.core.formats.containers.port import buffered

MAX_XZ_MEMORY = 256 << 20
"""`xz -9` needs 65 MiB to be decompressed."""

CHUNK_BYTES = 1 << 18


class Reads(Protocol):
    """What gives bytes on demand; nothing at the end."""

    def read(self, size: int, /) -> bytes:
        """At most `size` bytes."""


class Xz:
    """xz and lzma streams, one after the other, within a memory limit (which `lzma.open` does not take)."""

    def __init__(self, raw: BinaryIO) -> None:
        self._raw = raw
        self._decoder = lzma.LZMADecompressor(memlimit=MAX_XZ_MEMORY)
        self._is_fresh = False

    def read(self, size: int, /) -> bytes:
        """At most `size` bytes.  Raises EOFError when the file ends inside a stream."""
        while True:
            if self._decoder.eof:
                rest = (self._decoder.unused_data or self._raw.read(CHUNK_BYTES)).lstrip(b"\0")
                if not rest:
                    return b""
                self._decoder = lzma.LZMADecompressor(memlimit=MAX_XZ_MEMORY)
                given = rest
            else:
                given = self._raw.read(CHUNK_BYTES) if self._decoder.needs_input else b""
                if not given and self._decoder.needs_input:
                    raise EOFError("the stream has no end")
            if made := self._decoder.decompress(given, size):
                return made


class Zstd:
    """zstd frames, by Arrow's decoder."""

    def __init__(self, raw: BinaryIO) -> None:
        import pyarrow as pa

        self._stream = pa.CompressedInputStream(pa.PythonFile(cast(io.IOBase, raw), "r"), "zstd")

    def read(self, size: int, /) -> bytes:
        """At most `size` bytes."""
        return bytes(self._stream.read(size))


class Compression(NamedTuple):
    """A way files are compressed."""

    name: str
    signature: bytes
    suffix: str
    reader: Callable[[BinaryIO], Reads]


COMPRESSIONS = (
    Compression("gzip", b"\x1f\x8b", ".gz", lambda raw: gzip.GzipFile(fileobj=raw, mode="rb")),
    Compression("xz", b"\xfd7zXZ\x00", ".xz", Xz),
    Compression("bzip2", b"BZh", ".bz2", bz2.BZ2File),
    Compression("zstd", b"\x28\xb5\x2f\xfd", ".zst", Zstd),
)
SUFFIXES = {entry.suffix for entry in COMPRESSIONS}


def compression_of(head: bytes) -> Compression | None:
    """The compression that the first bytes show, if any."""
    return next((entry for entry in COMPRESSIONS if head.startswith(entry.signature)), None)


class Decompressed(io.RawIOBase):
    """A compressed file as plain bytes; every fault of the compression is a DataError."""

    def __init__(self, inner: Reads, raw: BinaryIO, name: str, kind: str) -> None:
        super().__init__()
        self._inner, self._raw, self._name, self._kind = inner, raw, name, kind

    def readable(self) -> bool:
        """It can be read, and nothing else."""
        return True

    def readinto(self, buffer: bytearray | memoryview, /) -> int:  # type: ignore[override]
        """Fill a buffer as far as one read goes."""
        try:
            made = self._inner.read(len(buffer))
        except EOFError:
            raise self.broken("the compressed file ends in the middle", None) from None
        except lzma.LZMAError as error:
            what = "the compressed file is broken"
            if "memory" in str(error).lower():
                what = f"it needs more than {MAX_XZ_MEMORY >> 20} MiB to be decompressed"
            raise self.broken(what, str(error)) from None
        except (OSError, zlib.error, ValueError) as error:  # ArrowInvalid is a ValueError
            raise self.broken("the compressed file is broken", str(error)) from None
        buffer[: len(made)] = made
        return len(made)

    def broken(self, what: str, value: str | None) -> DataError:
        """The fault, with what to do about it."""
        step = "copy or compress the file again; what came before this place can be used"
        return DataError(f"{what} ({self._kind})", where=self._name, value=value, next_step=step)

    def close(self) -> None:
        """Close the file beneath too."""
        self._raw.close()
        super().close()


class CompressedFile:
    """Opens a compressed file as often as wanted; knows how far the last opening has read it."""

    def __init__(self, path: Path, compression: Compression) -> None:
        self._path, self._compression = path, compression
        self._raw: BinaryIO | None = None

    def open(self) -> BinaryIO:
        """The decompressed bytes from the start."""
        self._raw = self._path.open("rb")
        inner = self._compression.reader(self._raw)
        return buffered(Decompressed(inner, self._raw, str(self._path), self._compression.name))

    def position(self) -> int:
        """How many bytes of the compressed file were taken by the opening that is being read."""
        return 0 if self._raw is None or self._raw.closed else self._raw.tell()
