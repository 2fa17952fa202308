"""Opens what a user names: a file, a folder or a hub id, recognised by what is in it."""

import io
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import BinaryIO

from tunesmith.core.errors import DataError
from tunesmith.core.formats.containers.compressed import CompressedFile, compression_of
from tunesmith.core.formats.containers.delimited import read_delimited
from tunesmith.core.formats.containers.encoding import RecodedFile, wide_encoding
from tunesmith.core.formats.containers.folders import Layout, inner_suffix, shards
from tunesmith.core.formats.containers.json_document import read_array, read_member, read_sequence
from tunesmith.core.formats.containers.json_lines import read_json_lines
from tunesmith.core.formats.containers.place import check_source, locate
from tunesmith.core.formats.containers.port import RawRow, Rows, Source, refused, spread, with_remarks
from tunesmith.core.formats.containers.recognise import KEPT, recognise
from tunesmith.core.formats.strict_json import BadJson, parse_json

HEAD_BYTES = 4096


def open_raw(path: Path) -> Rows:
    """The rows of what a path names, streaming: `FILE`, `FOLDER` or `owner/name`, each with `#part`.

    A row of a folder of several files is numbered through all of them.  Raises DataError for a fault of
    the whole, and when it changed while it was read.
    """
    before = check_source(path)
    place = locate(path)
    try:
        if place.path.is_dir():
            found = shards(place.path, place.part)
            yield from FOLDERS[found.layout](found.files)
        else:
            yield from open_file(place.path, place.part)
    except PermissionError as error:
        where = error.filename or path
        raise DataError("this file cannot be read", where=where, next_step="check its permissions") from None
    if check_source(path) != before:
        step = "run the command again"
        raise DataError("the file changed while it was read", where=path, next_step=step)


def open_file(path: Path, part: str | None = None) -> Rows:
    """The rows of one file."""
    with path.open("rb") as file:
        head = file.read(HEAD_BYTES)
    suffix = inner_suffix(path)
    if (compression := compression_of(head)) is not None:
        packed = CompressedFile(path, compression)
        size = path.stat().st_size
        yield from spread(read_source(Source(str(path), suffix, packed.open, part)), packed.position, size)
        return
    yield from read_source(Source(str(path), suffix, lambda: path.open("rb"), part, path))


def open_stream(file: BinaryIO, name: str) -> Rows:
    """The rows of bytes that can be sought in; `name` stands for the file in messages."""

    def again() -> BinaryIO:
        file.seek(0)
        return io.BytesIO(file.read())

    yield from read_source(Source(name, inner_suffix(Path(name)), again))


def read_source(source: Source) -> Rows:
    """The rows of decompressed bytes."""
    with source.open() as file:
        head = file.read(HEAD_BYTES)
    if (wide := wide_encoding(head)) is not None:
        file_of_text = RecodedFile(source.open, wide, source.name)
        rows = read_text(replace(source, open=file_of_text.open))
        remark = f"read as {wide.codec[:6].upper()}: the file is not UTF-8"
        yield from spread(with_remarks(rows, (remark,)), file_of_text.position, file_of_text.size())
    else:
        yield from read_text(source)


def read_text(source: Source) -> Rows:
    """The rows of bytes in UTF-8, or of a table."""
    kind = recognise(source)
    if source.part is not None and kind.kind not in ("object", "xlsx"):
        what = f"{KEPT[kind.kind]} has no parts to choose from"
        raise DataError(what, where=source.name, value=source.part, next_step="leave out what follows #")
    rows = READERS[kind.kind](source)
    yield from with_remarks(rows, kind.remarks(source.suffix))


def read_lines(source: Source) -> Rows:
    """JSON Lines."""
    with source.open() as file:
        yield from read_json_lines(file, source.name)


def read_parquet(source: Source) -> Rows:
    """Parquet; Arrow is loaded when a table is read."""
    from tunesmith.core.formats.containers import arrow

    yield from arrow.read_parquet(on_disk(source))


def read_ipc(source: Source) -> Rows:
    """Arrow."""
    from tunesmith.core.formats.containers import arrow

    yield from arrow.read_ipc(on_disk(source))


def read_workbook(source: Source) -> Rows:
    """XLSX."""
    from tunesmith.core.formats.containers.spreadsheet import read_spreadsheet

    yield from read_spreadsheet(source)


def on_disk(source: Source) -> Path:
    """The file of a table, which is read from several places."""
    if source.path is None:
        raise DataError("a compressed table file", where=source.name, next_step="decompress it first")
    return source.path


READERS: dict[str, Callable[[Source], Rows]] = {
    "lines": read_lines,
    "array": read_array,
    "object": read_member,
    "sequence": read_sequence,
    "delimited": read_delimited,
    "xlsx": read_workbook,
    "parquet": read_parquet,
    "ipc": read_ipc,
}
"""A reader for each kind that `recognise` names."""


def read_files(files: list[Path]) -> Rows:
    """Files one after the other, their rows numbered through."""
    before = 0
    for file in files:
        last = 0
        for row in open_file(file):
            last = row.line
            yield renumbered(row, before) if before else row
        before += last


def renumbered(row: RawRow, before: int) -> RawRow:
    """A row of a later file."""
    problems = tuple(problem._replace(line=problem.line + before) for problem in row.problems)
    changes = tuple(change._replace(line=change.line + before) for change in row.changes)
    return row._replace(line=row.line + before, problems=problems, changes=changes, offset=None)


def read_own(files: list[Path]) -> Rows:
    """A split of a data set folder: its examples as they were read."""
    for row in read_files(files):
        example = row.value.get("example") if isinstance(row.value, dict) else None
        try:
            yield row._replace(value=parse_json(example if isinstance(example, str) else ""))
        except BadJson as error:
            yield refused(row.line, f"not a row of a data set: {error}", "", num_bytes=row.num_bytes)


FOLDERS: dict[Layout, Callable[[list[Path]], Rows]] = {
    "data set": read_own,
    "rows": read_files,
    "saved": read_files,
    "files": read_files,
}
"""A reader for each layout of a folder."""
