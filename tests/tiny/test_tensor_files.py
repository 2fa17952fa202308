from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from tunesmith.core.errors import OutOfSpace
from tunesmith.runtime import tensor_files
from tunesmith.runtime.tensor_files import write_tensors


def test_tensors_come_back_bit_by_bit_whatever_their_strides(tmp_path: Path):
    wide = torch.randn(5, 7)
    tensors = {"turned": wide.T, "whole": wide, "number": torch.tensor(3), "half": wide.bfloat16()}
    write_tensors(tmp_path / "new" / "a.safetensors", tensors)
    found = load_file(tmp_path / "new" / "a.safetensors")
    assert found.keys() == tensors.keys()
    assert all(torch.equal(found[name], tensors[name]) for name in tensors)
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["a.safetensors"]


def test_a_full_disk_leaves_what_stood_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    path = tmp_path / "a.safetensors"
    write_tensors(path, {"a": torch.ones(3)})

    def full(tensors: object, growing: Path, metadata: object) -> None:
        growing.write_bytes(b"half")
        words = "Error while serializing: I/O error: No space left on device (os error 28)"
        raise tensor_files.SafetensorError(words)

    monkeypatch.setattr(tensor_files, "save_file", full)
    with pytest.raises(OutOfSpace, match="no space left"):
        write_tensors(path, {"a": torch.zeros(3)})
    assert torch.equal(load_file(path)["a"], torch.ones(3))
    assert list(tmp_path.iterdir()) == [path]
