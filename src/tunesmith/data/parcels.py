"""Rows of a file, read and validated, a few thousand at a time: what grouping needs of each, as columns.

A large file is read in a process of its own, so that two cores work: one parses and validates, the other
compares texts.  What comes does not depend on where it was read.
"""

import json
import os
import re
import subprocess
import sys
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from datetime import datetime
from hashlib import blake2b
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import DTypeLike, NDArray

from tunesmith.core.conversation import Example, Message, write_line
from tunesmith.core.errors import DataError, FolderError, TunesmithError, UserError
from tunesmith.core.formats.containers.place import check_source
from tunesmith.core.formats.problems import Problem
from tunesmith.core.formats.read import Reading, ReadRow, open_rows
from tunesmith.core.formats.shapes.mapping import load_mapping
from tunesmith.core.similarity import hash_normal, normalise
from tunesmith.data.measures import MOST_IN_PARCEL, Numbers, answer_keys

PARCEL_ROWS = 2048
PARCEL_BYTES = 8 << 20
"""A parcel is closed at so many rows or bytes."""
OWN_PROCESS_FROM_BYTES = 4 << 20
"""A smaller file is read before another process has started."""
ERRORS = {kind.__name__: kind for kind in (UserError, DataError, FolderError)}
NO_TIME = float("nan")
SHOWN = 5
"""So many problems of a parcel are kept for a message."""


class Wanted(NamedTuple):
    """Metadata keys that the split asks for."""

    group_by: tuple[str, ...] = ()
    stratify: str | None = None
    time: str | None = None
    groups: bool = False
    """Whether rows that were in one group before stay in one."""


def nothing() -> NDArray[Any]:
    """An empty column."""
    return np.zeros(0, dtype=np.int64)


@dataclass
class Parcel:
    """Some rows: counts of all, and columns of the usable ones (`lines` and all after it)."""

    num_lines: int = 0
    num_blank: int = 0
    num_refused: int = 0
    num_bytes: int = 0
    refusals: Counter[str] = field(default_factory=Counter)
    changes: Counter[str] = field(default_factory=Counter)
    notes: Counter[str] = field(default_factory=Counter)
    problems: list[Problem] = field(default_factory=list)
    """The first faults."""
    rejects: list[dict[str, Any]] = field(default_factory=list)
    """What rejects.jsonl holds of refused rows."""
    mended: list[dict[str, Any]] = field(default_factory=list)
    """What changes.jsonl holds of changed rows."""
    layout: dict[str, Any] = field(default_factory=dict)
    """How the file is laid out; in the last parcel."""
    missing: Counter[str] = field(default_factory=Counter)
    """Metadata keys that were asked for → usable rows without them."""
    known: Counter[str] = field(default_factory=Counter)
    """Metadata keys that rows have, as far as any were asked for."""
    texts: list[str] = field(default_factory=list)
    """What is compared (`prompt_text`), in its normal form."""
    strata: list[str] = field(default_factory=list)
    answer_names: list[str] = field(default_factory=list)
    """Different answers, as `answer_numbers` number them."""
    key_names: list[str] = field(default_factory=list)
    """The same for the keys of JSON answers."""
    lines: NDArray[np.int64] = field(default_factory=nothing)
    times: NDArray[np.float64] = field(default_factory=nothing)
    changed: NDArray[np.uint8] = field(default_factory=nothing)
    synthetic: NDArray[np.uint8] = field(default_factory=nothing)
    prompt_lengths: NDArray[np.int64] = field(default_factory=nothing)
    answer_lengths: NDArray[np.int64] = field(default_factory=nothing)
    answer_numbers: NDArray[np.int64] = field(default_factory=nothing)
    key_numbers: NDArray[np.int64] = field(default_factory=nothing)
    hashes: bytes = b""
    """SHA-256 row hashes, 32 bytes each."""
    keys: bytes = b""
    """16 bytes each: hash of the group that the row names itself; zeros where it names none."""
    prompts: bytes = b""
    """16 bytes each: hash of what is compared."""
    contexts: bytes = b""
    """16 bytes each: hash of everything before the answer; zeros for text without a prompt."""
    answers: bytes = b""
    """16 bytes each: hash of the answer."""
    shared: bytes = b""
    """16 bytes each for each `group_by` key of each row, and for its group before: hash of key and value;
    zeros where there is none."""
    seeds: bytes = b""
    """SHA-256 row hashes of the rows that synthetic ones were made from, 32 bytes each."""
    spool: bytes = b""
    """The examples, a line of JSON each."""


COLUMNS: dict[str, DTypeLike] = {
    "lines": np.int64,
    "times": np.float64,
    "changed": np.uint8,
    "synthetic": np.uint8,
    "prompt_lengths": np.int64,
    "answer_lengths": np.int64,
    "answer_numbers": np.int64,
    "key_numbers": np.int64,
}
BLOBS = ("hashes", "keys", "prompts", "contexts", "answers", "shared", "seeds", "spool")
MOST_KNOWN = 200
"""So many metadata keys are remembered for a message."""


def short_hash(text: str) -> bytes:
    """128-bit hash of a text as it stands."""
    return blake2b(text.encode("utf-8", errors="surrogatepass"), digest_size=16).digest()


NOTHING = bytes(16)
ROW_HASH = re.compile(r"[0-9a-f]{64}")
STANDING = ("system", "developer")
"""Roles of instructions that many rows share."""


def prompt_text(example: Example) -> str:
    """What is compared: everything said before the answer, without the standing instruction.

    A system prompt that all rows share would make short prompts look alike.  Plain text without a prompt is
    compared whole.
    """
    prompt = example.prompt
    if not prompt:
        return example.answer
    said = [turn.content or "" for turn in prompt if turn.role not in STANDING]
    return "\n".join(said or [turn.content or "" for turn in prompt])


def normal_prompt(prompt: Sequence[Message]) -> tuple[str, str]:
    """The normal forms of what is compared, and of everything before the answer with who said it.

    The normal form of texts with white space between them is that of each, with single spaces between.
    """
    said, compared = [], []
    context: list[str] = []
    for turn in prompt:
        text = normalise(turn.content) if turn.content else ""
        said.append(text)
        if turn.role not in STANDING:
            compared.append(text)
        context += (turn.role, text if turn.content is not None else "none")
    return " ".join(filter(None, compared or said)), " ".join(filter(None, context))


def answer_text(example: Example) -> str:
    """What an example answers: the text, and the calls of tools; of a pair both answers."""
    if example.chosen or example.steps or example.messages[-1].tool_calls:
        turns = example.chosen + example.rejected or example.messages[-1:]
        said = [turn.to_json() for turn in turns]
        return json.dumps([said, [list(step) for step in example.steps]], ensure_ascii=False)
    return example.messages[-1].content or ""


def find_value(metadata: Mapping[str, Any], key: str) -> Any:
    """A value of the metadata; dots lead into objects."""
    if key in metadata:
        return metadata[key]
    found: Any = metadata
    for part in key.split("."):
        if not isinstance(found, Mapping):
            return None
        found = found.get(part)
    return found


def seconds(value: object) -> float:
    """A time as seconds since 1970: a number, or ISO 8601; NaN for anything else."""
    if isinstance(value, int | float) and not isinstance(value, bool):
        return float(value)
    try:
        return datetime.fromisoformat(str(value)).timestamp()
    except ValueError:
        return NO_TIME


class Filling:
    """A parcel that is being filled."""

    def __init__(self) -> None:
        self.parcel, self.size = Parcel(), 0
        self.columns: dict[str, list[Any]] = {name: [] for name in COLUMNS}
        self.blobs: dict[str, list[bytes]] = {name: [] for name in BLOBS}
        self.answers, self.keys = Numbers(MOST_IN_PARCEL), Numbers(MOST_IN_PARCEL)

    def add(self, row: ReadRow, wanted: Wanted) -> None:
        """Count a row; keep what is needed of a usable one."""
        parcel = self.parcel
        parcel.num_lines += 1
        parcel.num_bytes += row.num_bytes
        if row.outcome == "blank":
            parcel.num_blank += 1
        elif row.problems or row.example is None:
            parcel.num_refused += 1
            parcel.refusals.update({problem.reason for problem in row.problems})
            parcel.problems += list(row.problems[: SHOWN - len(parcel.problems)])
            parcel.rejects += row.rejects()
        else:
            if row.notes or row.changes:
                parcel.notes.update({note.reason for note in row.notes})
                parcel.changes.update({change.reason for change in row.changes})
                parcel.mended += [change.to_json() for change in row.changes]
            self._use(row, row.example)
            self._place(row, row.example, wanted)

    def _use(self, row: ReadRow, example: Example) -> None:
        """What every usable row has."""
        metadata, answer, prompt, blobs = example.metadata, example.answer, example.prompt, self.blobs
        line = write_line(example)
        self.size += len(line.text)
        group = metadata.get("group_id")
        compared, context = normal_prompt(prompt) if prompt else (normalise(answer), "")
        self.parcel.texts.append(compared)
        blobs["spool"] += (line.text, b"\n")
        blobs["hashes"].append(line.row_hash)
        blobs["keys"].append(NOTHING if group is None else short_hash(f"group {group}"))
        blobs["prompts"].append(hash_normal(compared))
        blobs["contexts"].append(hash_normal(context) if prompt else NOTHING)
        blobs["answers"].append(hash_normal(normalise(answer_text(example))))
        columns = self.columns
        columns["lines"].append(row.line)
        columns["changed"].append(bool(row.changes))
        columns["synthetic"].append(bool(metadata.get("synthetic")))
        if metadata.get("synthetic"):
            blobs["seeds"] += seeds_of(metadata)
        columns["prompt_lengths"].append(sum([len(turn.content or "") for turn in prompt]))
        columns["answer_lengths"].append(len(answer))
        columns["answer_numbers"].append(self.answers.number(answer))
        columns["key_numbers"].append(self.keys.number(answer_keys(answer)))

    def _place(self, row: ReadRow, example: Example, wanted: Wanted) -> None:
        """What the split asks for."""
        missing, time = self.parcel.missing, NO_TIME
        if not any(wanted):
            self.columns["times"].append(time)
            return
        if len(self.parcel.known) < MOST_KNOWN:
            self.parcel.known.update(example.metadata.keys())
        if wanted.groups:
            self.blobs["shared"].append(short_hash(f"group before {row.group}") if row.group else NOTHING)
        for key in wanted.group_by:
            value = find_value(example.metadata, key)
            missing[key] += value is None
            shared = json.dumps([key, value], ensure_ascii=False, sort_keys=True)
            self.blobs["shared"].append(NOTHING if value is None else short_hash(shared))
        if wanted.stratify:
            self.parcel.strata.append(stratum(example, wanted.stratify, missing))
        if wanted.time:
            time = seconds(find_value(example.metadata, wanted.time))
            missing[wanted.time] += time != time
        self.columns["times"].append(time)

    def closed(self, layout: Mapping[str, Any] | None = None) -> Parcel:
        """The parcel with its columns whole."""
        whole = {name: b"".join(parts) for name, parts in self.blobs.items()}
        columns = {name: np.array(self.columns[name], dtype=kind) for name, kind in COLUMNS.items()}
        names = {"answer_names": list(self.answers.known), "key_names": list(self.keys.known)}
        return replace(self.parcel, **whole, **columns, **names, layout=dict(layout or {}))  # type: ignore[arg-type]


def parcels_of(rows: Iterable[ReadRow], wanted: Wanted) -> Iterator[Parcel]:
    """Rows to parcels, streaming."""
    filling = Filling()
    for row in rows:
        filling.add(row, wanted)
        if filling.parcel.num_lines >= PARCEL_ROWS or filling.size >= PARCEL_BYTES:
            yield filling.closed()
            filling = Filling()
    yield filling.closed()


def seeds_of(metadata: Mapping[str, Any]) -> Iterator[bytes]:
    """Hashes of the rows that were shown to the teacher of a synthetic row."""
    given = metadata.get("seed_rows")
    for text in given if isinstance(given, list) else ():
        if isinstance(text, str) and ROW_HASH.fullmatch(text):
            yield bytes.fromhex(text)


def stratum(example: Example, key: str, missing: Counter[str]) -> str:
    """The value that a row is stratified by: `answer` is the answer itself, anything else a metadata key."""
    value = example.answer.strip() if key == "answer" else find_value(example.metadata, key)
    missing[key] += value is None
    return "" if value is None else str(value)


class Task(NamedTuple):
    """How a file is read."""

    path: Path
    shape: str | None = None
    mapping: Path | None = None
    fix: bool = False
    wanted: Wanted = Wanted()

    def to_json(self) -> str:
        """As the reading process is told."""
        mapping = None if self.mapping is None else str(self.mapping.absolute())
        return json.dumps([str(self.path.absolute()), self.shape, mapping, self.fix, self.wanted])

    @classmethod
    def from_json(cls, text: str) -> "Task":
        """Read what `to_json` wrote."""
        path, shape, mapping, fix, (group_by, *others) = json.loads(text)
        wanted = Wanted(tuple(group_by), *others)
        return cls(Path(path), shape, None if mapping is None else Path(mapping), fix, wanted)

    def parcels(self) -> Iterator[Parcel]:
        """The file's parcels, read in this process; the last one has the layout."""
        mapping = None if self.mapping is None else load_mapping(self.mapping)
        rows = open_rows(self.path, Reading(self.shape, mapping, self.fix))
        yield from parcels_of(rows, self.wanted)
        yield Filling().closed(rows.layout.to_json())


def read_parcels(task: Task) -> Iterator[Parcel]:
    """A file's parcels, read here or, where it is large, in a process of its own.

    Raises what reading raises; DataError when the other process is killed.
    """
    path = task.path
    if check_source(path).num_bytes < OWN_PROCESS_FROM_BYTES:
        yield from task.parcels()
        return
    receiving, sending = os.pipe()
    # its own group: an interrupt from the keyboard reaches this process alone, and the pipe ends the other
    with (
        Connection(receiving, writable=False) as connection,
        subprocess.Popen(
            [sys.executable, "-m", "tunesmith.data.reader", str(sending), task.to_json()],
            pass_fds=[sending],
            process_group=0,
            stdin=subprocess.DEVNULL,
        ) as process,
    ):
        os.close(sending)
        try:
            yield from received(connection, path)
        finally:
            process.terminate()


def received(connection: Connection, path: Path) -> Iterator[Parcel]:
    """What the other process sends, until it says that it is done."""
    while True:
        try:
            head = json.loads(connection.recv_bytes())
        except EOFError:
            step = "it may have run out of memory: close other programs, then run the command again"
            raise DataError(
                "the process that reads the file was killed", where=path, next_step=step
            ) from None
        if "error" in head:
            raise_again(head)
        if "done" in head:
            return
        for name in ("refusals", "changes", "notes", "missing", "known"):
            head[name] = Counter(head[name])
        for name, kind in COLUMNS.items():
            head[name] = np.frombuffer(connection.recv_bytes(), dtype=kind)
        for name in BLOBS:
            head[name] = connection.recv_bytes()
        yield Parcel(**head)


def send(connection: Connection, parcel: Parcel) -> None:
    """Counts and texts as JSON, columns as they stand in memory."""
    plain = {
        entry.name: vars(parcel)[entry.name]
        for entry in fields(Parcel)
        if entry.name not in COLUMNS and entry.name not in BLOBS
    }
    connection.send_bytes(json.dumps(plain).encode())
    for name in COLUMNS:
        connection.send_bytes(vars(parcel)[name].tobytes())
    for name in BLOBS:
        connection.send_bytes(vars(parcel)[name])


def send_error(connection: Connection, error: Exception, trace: str) -> None:
    """A user's mistake in its parts, so that it can be raised again; of anything else the trace."""
    parts: dict[str, Any] = {"error": "", "trace": trace}
    if isinstance(error, UserError):
        value = (
            error.value if isinstance(error.value, str | int | float) else error.value and str(error.value)
        )
        where = None if error.where is None else str(error.where)
        parts = {"error": type(error).__name__, "what": error.what, "value": value, "where": where}
        parts["next_step"] = error.next_step
    connection.send_bytes(json.dumps(parts).encode())


def raise_again(head: Mapping[str, Any]) -> None:
    """Raise what the other process met."""
    if not head["error"]:
        raise TunesmithError(f"reading failed in the reading process:\n{head['trace']}")
    kind = ERRORS.get(head["error"], UserError)
    raise kind(head["what"], value=head["value"], where=head["where"], next_step=head["next_step"])
