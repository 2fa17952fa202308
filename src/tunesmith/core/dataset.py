"""The data set folder: Parquet splits with a row hash and a group for each row, and a leak proof.

`train`, `validation` and `test` come from one source; `held_out`, when there is one, from a file
that must never be trained on.  pyarrow is imported when rows are read or written, not before.
"""

import hashlib
import json
from array import array
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from tunesmith.core.conversation import Example
from tunesmith.core.errors import CheckFailed, DataError, FolderError
from tunesmith.core.files import explain_disk_errors, hash_file, read_json, write_json
from tunesmith.core.workspace import Manifest, Workspace

if TYPE_CHECKING:
    import pyarrow.parquet

SPLITS = ("train", "validation", "test", "held_out")
"""Every split a folder can have; `held_out` is there only when a held-out file was given."""

BATCH_ROWS = 4096
BATCH_CHARACTERS = 1 << 26
"""Rows are written when so many wait, or so much text (an Arrow column of texts holds 2 GiB)."""
COLUMNS = ("row_hash", "group_id", "line", "example")
LEAK_PROOF = "leak_proof.json"
KEY_BYTES = 16
SAMPLING_WEIGHT = "sampling_weight"
"""Key of a row's metadata that says how often an epoch of training sees the row; 1 where it is missing."""


class Row(NamedTuple):
    """One example of a split: its content hash, its group, and its line in the source file."""

    example: Example
    row_hash: str
    group_id: str
    line: int

    @property
    def key(self) -> str:
        """What the row is known by in training: the first 16 bytes of its hash, hexadecimal."""
        return self.row_hash[: 2 * KEY_BYTES]


class Seen(NamedTuple):
    """Which row hashes and groups a split holds; enough to prove that splits are disjoint.

    Sorted and distinct, as 64-bit hashes: what is shared is always found.
    """

    rows: NDArray[np.uint64]
    groups: NDArray[np.uint64]
    num_rows: int
    digest: str


@dataclass(frozen=True)
class DataSet:
    """A finished data set folder."""

    folder: Path
    manifest: Manifest
    fingerprint: str
    """Hash of every split's rows and groups in order: the identity of the data, whatever the file format."""

    @classmethod
    def find(cls, thing: Path | str, workspace: Workspace) -> "DataSet":
        """Open the data set folder of this path, name or id.  Raises FolderError for anything else."""
        path = Path(thing)
        folder = path if path.is_dir() else workspace.resolve(str(thing), "data-set")
        return cls.open(folder.resolve())

    @classmethod
    def open(cls, folder: Path) -> "DataSet":
        """Open a finished folder.

        Raises FolderError when it is missing, unfinished, of another kind, or its files were changed.
        """
        manifest = Manifest.read(folder)
        if manifest.kind != "data-set":
            step = "give a folder made by `tunesmith data prepare`"
            raise FolderError(
                f"this is a {manifest.kind} folder, not a data set", where=folder, next_step=step
            )
        check_files(folder, manifest)
        proof = read_json(folder / LEAK_PROOF)
        if proof["fingerprint"] != manifest.summary.get("fingerprint"):
            step = "run `tunesmith data prepare` again into a new folder"
            raise FolderError(
                "the leak proof belongs to other data", where=folder / LEAK_PROOF, next_step=step
            )
        return cls(folder, manifest, str(proof["fingerprint"]))

    def split_names(self) -> list[str]:
        """The splits of this folder, in the order of `SPLITS`."""
        return [name for name in SPLITS if (self.folder / f"{name}.parquet").exists()]

    def num_rows(self, name: str) -> int:
        """Rows of a split; 0 where there is no such split."""
        import pyarrow.parquet as pq

        path = self.folder / f"{name}.parquet"
        return int(pq.read_metadata(path).num_rows) if path.exists() else 0

    def split(self, name: str) -> list[Row]:
        """Every row of a split, in the source's order (a split of size 0 is an empty list)."""
        return list(self.rows(name))

    def rows(self, name: str) -> Iterator[Row]:
        """The rows of a split, streaming."""
        import pyarrow as pa
        import pyarrow.parquet as pq

        path = self.folder / f"{name}.parquet"
        if not path.exists():
            known = ", ".join(self.split_names())
            raise DataError(
                "this data set has no such split", value=name, where=self.folder, next_step=f"known: {known}"
            )
        try:
            with pq.ParquetFile(path) as file:
                for batch in file.iter_batches(batch_size=BATCH_ROWS, columns=list(COLUMNS)):
                    for entry in batch.to_pylist():
                        example = Example.from_json(json.loads(entry["example"]))
                        yield Row(example, entry["row_hash"], entry["group_id"], entry["line"])
        except (pa.ArrowInvalid, OSError) as error:  # a torn page is an OSError
            step = "run `tunesmith data prepare` again"
            raise DataError(
                "not a readable Parquet file", where=path, value=str(error), next_step=step
            ) from None

    def verify(self) -> None:
        """Prove again, from the rows themselves, that nothing changed and nothing leaks.

        Raises CheckFailed naming what is wrong.
        """
        seen: dict[str, Seen] = {}
        for name in self.split_names():
            digest = Digest()
            for row in self.rows(name):
                if row.example.row_hash != row.row_hash:
                    raise CheckFailed(f"{self.folder}: {name}, line {row.line}: the example was changed")
                digest.add(row.row_hash, row.group_id)
            seen[name] = digest.seen()
        proof = prove(seen)
        if proof["fingerprint"] != self.fingerprint:
            raise CheckFailed(f"{self.folder}: the rows are not those that the leak proof was made for")


def check_files(folder: Path, manifest: Manifest) -> None:
    """Refuse a folder whose splits or leak proof are not the files that it was finished with."""
    for name, known in manifest.files.items():
        if name != LEAK_PROOF and not name.endswith(".parquet"):
            continue
        path = folder / name
        status = path.stat() if path.is_file() else None
        if status is None or hash_at(path, status.st_ino, status.st_size, status.st_mtime_ns) != known:
            state = "is gone" if status is None else "was changed"
            step = "copy the folder again, or make it again with `tunesmith data prepare`"
            raise FolderError(f"this file of the data set {state}", where=path, next_step=step)


@lru_cache(maxsize=64)
def hash_at(path: Path, inode: int, num_bytes: int, modified_ns: int) -> str:
    """The hash of a file as it is now: a command that opens a data set again need not read it again."""
    return hash_file(path)


@dataclass
class Digest:
    """Collects what the proof needs while rows stream by: 16 bytes a row."""

    rows: "array[int]" = field(default_factory=lambda: array("Q"))
    groups: "array[int]" = field(default_factory=lambda: array("Q"))
    hash: Any = field(default_factory=hashlib.sha256)

    def add(self, row_hash: str, group_id: str) -> None:
        """Count one row."""
        self.rows.append(short(row_hash))
        self.groups.append(short(group_id))
        self.hash.update(f"{row_hash} {group_id}\n".encode())

    def add_many(self, row_hashes: Sequence[str], group_ids: Sequence[str]) -> None:
        """Count many rows."""
        self.rows.frombytes(shorts(row_hashes).tobytes())
        self.groups.frombytes(shorts(group_ids).tobytes())
        pairs = zip(row_hashes, group_ids, strict=True)
        self.hash.update("".join([f"{row_hash} {group_id}\n" for row_hash, group_id in pairs]).encode())

    def seen(self) -> Seen:
        """What was collected."""
        rows, groups = (np.unique(np.array(column, dtype=np.uint64)) for column in (self.rows, self.groups))
        return Seen(rows, groups, len(self.rows), self.hash.hexdigest())


def short(name: str) -> int:
    """64 bits of a hexadecimal hash, or of the hash of any other name."""
    try:
        return int(name[:16], 16)
    except ValueError:
        return int.from_bytes(hashlib.sha256(name.encode()).digest()[:8])


def shorts(names: Sequence[str]) -> NDArray[np.uint64]:
    """`short` of many names."""
    try:
        found = np.frombuffer(bytes.fromhex("".join([name[:16] for name in names])), dtype=">u8")
    except ValueError:
        found = np.zeros(0, dtype=">u8")
    if len(found) != len(names) or any(len(name) < 16 for name in names):  # short names, or other ones
        return np.array([short(name) for name in names], dtype=np.uint64)
    return found.astype(np.uint64)


def prove(splits: Mapping[str, Seen]) -> dict[str, Any]:
    """The leak proof: no row and no group stands in two splits; bound to the rows by the fingerprint.

    Raises CheckFailed when it does not hold.
    """
    names = [name for name in SPLITS if name in splits]
    for position, name in enumerate(names):
        for other in names[:position]:
            rows = len(np.intersect1d(splits[name].rows, splits[other].rows, assume_unique=True))
            groups = len(np.intersect1d(splits[name].groups, splits[other].groups, assume_unique=True))
            if rows or groups:
                raise CheckFailed(f"{other} and {name} share {rows} rows and {groups} groups")
    digests = {name: splits[name].digest for name in names}
    fingerprint = hashlib.sha256("\n".join(f"{name} {digests[name]}" for name in names).encode()).hexdigest()
    counts = {
        name: {"rows": splits[name].num_rows, "groups": len(splits[name].groups), "digest": digests[name]}
        for name in names
    }
    return {"fingerprint": fingerprint, "shared_rows": 0, "shared_groups": 0, "splits": counts}


class Writer:
    """Writes the splits of a folder, streaming; `close` writes the leak proof.

    Used as `with Writer(folder, names) as writer: writer.add("train", row)`.
    """

    def __init__(self, folder: Path, names: Iterable[str]) -> None:
        self.folder, self.names = folder, list(names)
        self.proof: dict[str, Any] = {}
        self._digests = {name: Digest() for name in self.names}
        self._waiting: dict[str, list[tuple[str, str, int, str]]] = {name: [] for name in self.names}
        self._characters = dict.fromkeys(self.names, 0)
        self._files: dict[str, pyarrow.parquet.ParquetWriter] = {}
        self._stack = ExitStack()

    def __enter__(self) -> "Writer":
        import pyarrow.parquet as pq

        with explain_disk_errors(self.folder):
            for name in self.names:
                writer = pq.ParquetWriter(self.folder / f"{name}.parquet", arrow_schema(), compression="zstd")
                self._files[name] = self._stack.enter_context(writer)
        return self

    def add(self, name: str, *, example_json: str, row_hash: str, group_id: str, line: int) -> None:
        """Append one row to a split."""
        waiting = self._waiting[name]
        waiting.append((row_hash, group_id, line, example_json))
        self._characters[name] += len(example_json)
        if len(waiting) >= BATCH_ROWS or self._characters[name] >= BATCH_CHARACTERS:
            self._flush(name)

    def _flush(self, name: str) -> None:
        import pyarrow as pa

        rows, self._waiting[name], self._characters[name] = self._waiting[name], [], 0
        if not rows:
            return
        row_hashes, group_ids, lines, examples = zip(*rows, strict=True)
        self._digests[name].add_many(row_hashes, group_ids)
        numbers = pa.py_buffer(np.array(lines, dtype=np.int64).tobytes())
        columns = [
            string_array(row_hashes),
            string_array(group_ids),
            pa.Array.from_buffers(pa.int64(), len(lines), [None, numbers]),
            string_array(examples),
        ]
        with explain_disk_errors(self.folder):
            self._files[name].write_table(pa.Table.from_arrays(columns, schema=arrow_schema()))

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None:
            for name in self.names:
                self._flush(name)
        with explain_disk_errors(self.folder):
            self._stack.close()
        if kind is None:
            self.proof = prove({name: digest.seen() for name, digest in self._digests.items()})
            write_json(self.folder / LEAK_PROOF, self.proof)


def string_array(texts: Sequence[str]) -> Any:
    """An Arrow column of texts.  Made from its parts: Arrow imports pandas to look at a list (0.2 s)."""
    import pyarrow as pa

    encoded = [text.encode() for text in texts]
    offsets = np.zeros(len(texts) + 1, dtype=np.int32)
    np.cumsum([len(text) for text in encoded], out=offsets[1:])
    buffers = [None, pa.py_buffer(offsets.tobytes()), pa.py_buffer(b"".join(encoded))]
    return pa.Array.from_buffers(pa.string(), len(texts), buffers)


def arrow_schema() -> Any:
    """The columns of every split file."""
    import pyarrow as pa

    kinds = (pa.string(), pa.string(), pa.int64(), pa.string())
    return pa.schema(
        [pa.field(name, kind, nullable=False) for name, kind in zip(COLUMNS, kinds, strict=True)]
    )
