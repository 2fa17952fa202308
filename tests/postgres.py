"""A PostgreSQL server of the tests' own, in a temporary folder, reached through a socket there."""

import os
import pwd
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

REQUIRED = "TUNESMITH_TEST_POSTGRES"
"""Set to 1 (as .ci/run does), tests fail where PostgreSQL is not installed; else they are skipped there."""


def binaries() -> Path | None:
    """Where initdb and pg_ctl are: on the path, or where Debian puts them."""
    found = shutil.which("pg_ctl")
    if found is not None:
        return Path(found).parent
    versions = sorted(Path("/usr/lib/postgresql").glob("*/bin/pg_ctl"))
    return versions[-1].parent if versions else None


def owner() -> str | None:
    """The user that the server runs as; it refuses to be root."""
    if os.getuid() != 0:
        return None
    pwd.getpwnam("postgres")
    return "postgres"


@contextmanager
def cluster() -> Iterator[Path]:
    """A running server; yields the folder of its socket.  Nothing is written safely: it is for tests."""
    here = binaries()
    if here is None:
        if os.environ.get(REQUIRED) == "1":
            pytest.fail("PostgreSQL is not installed: apt install postgresql")
        pytest.skip("PostgreSQL is not installed (apt install postgresql)")
    user = owner()
    with tempfile.TemporaryDirectory(prefix="tunesmith-pg-", ignore_cleanup_errors=True) as name:
        folder = Path(name)
        if user is not None:
            shutil.chown(folder, user)

        def run(program: str, *arguments: str) -> None:
            command = [str(here / program), *arguments]
            # The server inherits what it is started with, and would keep a pipe open for ever.
            with (folder / "said.log").open("ab") as log:
                done = subprocess.run(
                    command, user=user, cwd=folder, stdin=subprocess.DEVNULL, stdout=log, stderr=log
                )
            assert done.returncode == 0, (folder / "said.log").read_text()

        data = str(folder / "data")
        run("initdb", "-D", data, "-A", "trust", "-U", "tunesmith", "--no-sync", "-E", "UTF8", "--locale=C")
        options = (
            f"-c listen_addresses='' -c unix_socket_directories={folder} -c fsync=off -c max_connections=50"
        )
        run("pg_ctl", "-D", data, "-w", "-l", str(folder / "server.log"), "-o", options, "start")
        try:
            yield folder
        finally:
            run("pg_ctl", "-D", data, "-w", "-m", "immediate", "stop")
