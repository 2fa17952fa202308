"""Office files are zip archives: what they claim to hold is looked at before anything is unpacked."""

import zipfile
from pathlib import Path
from typing import NoReturn

from tunesmith.core.errors import DataError

MAX_UNPACKED_BYTES = 1 << 30
"""What an Office file may claim to hold when it is unpacked; much of it lies in memory then."""


def members(path: Path) -> dict[str, int]:
    """Names in a zip archive, with the bytes that each claims.

    Raises DataError when it is broken, or claims more than `MAX_UNPACKED_BYTES`.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            sizes = {entry.filename: entry.file_size for entry in archive.infolist()}
    # zipfile raises NotImplementedError for a version of the format that it does not know
    except (zipfile.BadZipFile, ValueError, OSError, NotImplementedError) as error:
        if isinstance(error, PermissionError):
            raise
        step = "copy or save the file again"
        raise DataError("a broken zip archive", where=path, value=str(error), next_step=step) from None
    if sum(sizes.values()) > MAX_UNPACKED_BYTES:
        refuse_huge(path, sum(sizes.values()))
    return sizes


def refuse_huge(path: Path, size: int) -> NoReturn:
    """A small file that claims to be huge."""
    what = f"the file would be larger than {MAX_UNPACKED_BYTES >> 20} MiB when unpacked"
    raise DataError(what, where=path, value=f"{size:,} bytes", next_step="save it in parts, or as text")
