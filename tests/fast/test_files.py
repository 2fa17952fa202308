import errno
import os

import pytest

from tunesmith.core import files
from tunesmith.core.errors import DataError, FolderError, OutOfSpace, UserError


def test_a_file_is_written_whole_or_not_at_all(tmp_path, monkeypatch):
    target = tmp_path / "a.json"
    files.write_json(target, {"old": 1})

    def full(descriptor):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OutOfSpace, match="free some space"):
        files.write_json(target, {"new": 2})
    monkeypatch.undo()
    assert files.read_json(target) == {"old": 1}
    assert [path.name for path in tmp_path.iterdir()] == ["a.json"]


def test_a_place_that_cannot_be_written_says_so(tmp_path):
    (tmp_path / "file").write_text("x")
    with pytest.raises(UserError, match="cannot be written"):
        files.write_text(tmp_path / "file" / "below", "x")


def test_equal_values_have_equal_hashes_whatever_their_order():
    assert files.hash_json({"a": 1, "b": [1, 2]}) == files.hash_json({"b": [1, 2], "a": 1})
    assert files.hash_json({"a": 1}) != files.hash_json({"a": "1"})


def test_a_torn_last_line_is_left_out(tmp_path):
    path = tmp_path / "log.jsonl"
    files.append_jsonl(path, {"step": 1})
    with path.open("a") as file:
        file.write('{"step": 2')
    assert [line.value for line in files.read_jsonl(path)] == [{"step": 1}]


def test_broken_json_names_file_and_line(tmp_path):
    path = tmp_path / "a.json"
    path.write_text('{\n"a": }')
    with pytest.raises(DataError, match=r"a\.json:2"):
        files.read_json(path)


def test_a_second_process_is_refused_a_locked_folder(tmp_path):
    with (
        files.folder_lock(tmp_path),
        pytest.raises(FolderError, match="another process"),
        files.folder_lock(tmp_path),
    ):
        pass


def test_a_folder_hash_skips_what_is_named(tmp_path):
    (tmp_path / "keep").mkdir()
    (tmp_path / "keep" / "a").write_text("a")
    (tmp_path / "skip").mkdir()
    (tmp_path / "skip" / "b").write_text("b")
    assert list(files.hash_folder(tmp_path, skip=frozenset({"skip"}))) == ["keep/a"]


def test_only_a_line_feed_ends_a_row(tmp_path):
    path = tmp_path / "rows.jsonl"
    texts = ["a\u2028b", "c\x85d\x0ce", "f"]
    for text in texts:
        files.append_jsonl(path, {"text": text})
    assert [line.value["text"] for line in files.read_jsonl(path)] == texts


def test_a_growing_file_goes_on_without_its_torn_row_and_those_that_are_not_kept(tmp_path):
    path = tmp_path / "rows.jsonl"
    assert files.keep_rows(path, lambda row: True) == []
    assert not path.exists()
    path.write_bytes(b'{"n": 1}\n{"n": 2}\n{"n": "torn')
    assert files.keep_rows(path, lambda row: row["n"] > 1) == [{"n": 2}]
    files.append_jsonl(path, {"n": 3})
    assert [line.value["n"] for line in files.read_jsonl(path)] == [2, 3]
    path.write_bytes(b'{"n": "torn')
    assert files.keep_rows(path, lambda row: True) == []
    files.append_jsonl(path, {"n": 4})
    assert [line.value["n"] for line in files.read_jsonl(path)] == [4]
