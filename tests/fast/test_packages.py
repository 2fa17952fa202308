"""Archives from the package index: pinned, cached, read by member; a fake pip stands for the network."""

import hashlib
import io
import tarfile
import zipfile
from pathlib import Path
from subprocess import CompletedProcess

import pytest

from tunesmith.core import packages
from tunesmith.core.errors import DataError, UserError
from tunesmith.core.packages import Package, extract_member, fetch_package, read_member
from tunesmith.core.progress import Silent

CONTENT = b"the archive"
PACKAGE = Package("thing", "1.0", "sdist", "thing-1.0.tar.gz", hashlib.sha256(CONTENT).hexdigest(), "MIT")


@pytest.fixture
def pip(monkeypatch, tmp_path):
    """pip's place: writes `pip.content` where it is told, or fails with `pip.errors`."""

    class Pip:
        content, errors, commands = CONTENT, "", []

        def run(self, command, **_):
            self.commands.append(command)
            if self.errors:
                return CompletedProcess(command, 1, "", self.errors)
            into = command[command.index("--dest") + 1]
            (Path(into) / PACKAGE.file_name).write_bytes(self.content)
            return CompletedProcess(command, 0, "", "")

    fake = Pip()
    fake.commands = []
    monkeypatch.setenv("TUNESMITH_HOME", str(tmp_path / "home"))
    monkeypatch.setattr(packages.subprocess, "run", fake.run)
    return fake


def test_an_archive_is_downloaded_once_with_its_hash_pinned(pip):
    path = fetch_package(PACKAGE, Silent())
    assert path.read_bytes() == CONTENT
    assert fetch_package(PACKAGE, Silent()) == path
    (command,) = pip.commands
    assert "--require-hashes" in command
    assert "--no-deps" in command
    assert [entry.name for entry in path.parent.iterdir()] == [PACKAGE.file_name]


def test_a_damaged_archive_in_the_cache_is_downloaded_again(pip):
    path = fetch_package(PACKAGE, Silent())
    path.write_bytes(b"other")
    assert fetch_package(PACKAGE, Silent()).read_bytes() == CONTENT


def test_another_file_than_the_pinned_one_never_reaches_the_cache(pip):
    pip.content = b"other"
    with pytest.raises(DataError, match="not the pinned file"):
        fetch_package(PACKAGE, Silent())
    assert not PACKAGE.path().exists()


@pytest.mark.parametrize(
    ("errors", "message"),
    [
        ("WARNING: x\nERROR: No matching distribution found for thing==1.0\n", "No matching distribution"),
        ("python: No module named pip\n", "ensurepip"),
        ("", "pip ended with 1"),
    ],
)
def test_offline_says_what_to_do_by_hand(pip, errors, message):
    pip.errors = errors or " "
    with pytest.raises(UserError) as caught:
        fetch_package(PACKAGE, Silent())
    text = caught.value.message()
    assert message in text or not errors
    assert PACKAGE.file_name in text
    assert PACKAGE.sha256 in text
    assert "packages" in text


def tar(path, name="a/b.txt", kind=tarfile.REGTYPE):
    with tarfile.open(path, "w:gz") as archive:
        info = tarfile.TarInfo(name)
        info.type, info.size, info.linkname = kind, 5 if kind == tarfile.REGTYPE else 0, "/etc/hostname"
        archive.addfile(info, io.BytesIO(b"hello"))
    return path


def test_members_are_read_from_wheels_and_source_distributions(tmp_path):
    with zipfile.ZipFile(tmp_path / "a.whl", "w") as archive:
        archive.writestr("a/b.txt", "hello")
    for path in (tmp_path / "a.whl", tar(tmp_path / "a.tar.gz")):
        assert read_member(path, "a/b.txt") == b"hello"
        assert extract_member(path, "a/b.txt", tmp_path / "deep" / "b.txt").read_bytes() == b"hello"
        with pytest.raises(DataError, match="no such file"):
            read_member(path, "a/c.txt")


def test_links_large_files_and_broken_archives_are_refused(tmp_path, monkeypatch):
    with pytest.raises(DataError, match="not a regular file"):
        read_member(tar(tmp_path / "link.tar.gz", kind=tarfile.SYMTYPE), "a/b.txt")
    whole = tar(tmp_path / "a.tar.gz")
    (tmp_path / "torn.tar.gz").write_bytes(whole.read_bytes()[:60])
    with pytest.raises(DataError, match="broken"):
        read_member(tmp_path / "torn.tar.gz", "a/b.txt")
    (tmp_path / "no.tar.gz").write_bytes(b"hello")
    with pytest.raises(DataError, match="broken"):
        read_member(tmp_path / "no.tar.gz", "a/b.txt")
    monkeypatch.setattr(packages, "MAX_MEMBER_BYTES", 4)
    with pytest.raises(DataError, match="larger than"):
        extract_member(whole, "a/b.txt", tmp_path / "b.txt")
    assert not (tmp_path / "b.txt").exists()
