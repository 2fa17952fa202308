"""Standard output on which texts of models and names in foreign files cannot steer the terminal."""

import io
import re
from typing import TextIO, cast

CONTROLS = re.compile(r"(\x1b\[[0-9;]*m)|[\x00-\x08\x0b-\x1f\x7f-\x9f]")
"""Every control character but line feed and tab; colours, which rich writes itself, stay."""


def printable(stream: TextIO) -> TextIO:
    """The stream without control characters."""
    return cast("TextIO", Printable(stream))  # typeshed does not know a text base as a text stream


class Printable(io.TextIOBase):
    """Writes to another stream, without control characters."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    @property
    def encoding(self) -> str:  # type: ignore[override]
        """That of the stream."""
        return self._stream.encoding

    def write(self, text: str, /) -> int:
        """Write what may be shown."""
        return self._stream.write(CONTROLS.sub(lambda found: found[1] or "", text))

    def flush(self) -> None:
        """Flush the stream."""
        self._stream.flush()

    def isatty(self) -> bool:
        """Whether the stream is a terminal."""
        return self._stream.isatty()

    def fileno(self) -> int:
        """That of the stream."""
        return self._stream.fileno()
