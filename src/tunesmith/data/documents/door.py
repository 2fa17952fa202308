"""`tunesmith data documents`: files of prose to a source folder of plain text rows."""

import json
import re
import stat
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

from tunesmith.core.errors import DataError, ModelError
from tunesmith.core.files import explain_disk_errors, hash_file, hash_json, write_json
from tunesmith.core.job import Job
from tunesmith.core.workspace import Input
from tunesmith.data.documents.blocks import Document, Unreadable
from tunesmith.data.documents.chunks import Chunk, Count, chunks, count_words
from tunesmith.data.documents.kinds import NAMES, read_document
from tunesmith.data.documents.schema import DocumentsConfig, DocumentsResult

ROWS = frozenset((".jsonl", ".ndjson", ".json", ".csv", ".tsv"))
"""Text that would be read as a document, and is none."""
KINDS_READ = "txt, md, html, docx and pdf"


@dataclass
class Account:
    """What became of every file."""

    unit: str
    limit: int
    files: list[dict[str, Any]] = field(default_factory=list)
    rows: int = 0
    total: int = 0
    too_long: int = 0

    def of(self, state: str) -> list[dict[str, Any]]:
        """Files that ended so."""
        return [entry for entry in self.files if entry["state"] == state]

    def summary(self) -> dict[str, Any]:
        """What the result and the manifest say."""
        read = self.of("read")
        return {
            "rows": self.rows,
            "documents": len(read),
            "refused": {entry["file"]: entry["reason"] for entry in self.of("refused")},
            "passed_over": len(self.of("passed over")),
            "pages": sum(entry["pages"] for entry in read),
            "pages_without_text": sum(len(entry["pages_without_text"]) for entry in read),
            "unit": self.unit,
            "limit": self.limit,
            "total": self.total,
            "too_long": self.too_long,
            "remarks": {entry["file"]: entry["remarks"] for entry in read if entry["remarks"]},
        }


def documents(config: DocumentsConfig, job: Job) -> DocumentsResult:
    """Read every document of a file or folder and write its chunks as rows.

    The folder gets rows.jsonl and accounting.json, in which every file stands as read, refused or passed
    over.  Raises DataError when there is no document, or none can be read.
    """
    files = found_files(config.source)
    count = counter(config, job)
    given = {"source": hashed(config.source, files)}
    settings = {"unit": config.unit, "limit": config.limit, "tokenizer": config.tokenizer}
    name = config.name or re.sub(r"[^A-Za-z0-9._-]+", "-", config.source.resolve().stem).strip("-._")
    with job.folder(
        verb="data documents", kind="source", name=name or "documents", config=settings, inputs=given
    ) as folder:
        account = Account(config.unit, config.limit)
        with explain_disk_errors(folder.path), ExitStack() as stack:
            rows = stack.enter_context((folder / "rows.jsonl").open("w", encoding="utf-8"))
            task = stack.enter_context(job.progress.task("reading documents", total=len(files), unit="files"))
            for path in files:
                account.files.append(read_one(path, config, account, count, rows))
                task.advance(1, note=path.name)
        if not account.rows:
            refuse_all(config.source, account)
        if hashed(config.source, found_files(config.source)) != given["source"]:
            step = "run the command again"
            raise DataError("a document changed while it was read", where=config.source, next_step=step)
        write_json(folder / "accounting.json", {"files": account.files})
        folder.summary = account.summary()
    return DocumentsResult(**DocumentsResult.fields_from(folder.summary, folder.path))


def found_files(source: Path) -> list[Path]:
    """The file, or every file below the folder, in the order of their names.

    Raises DataError when there is none; pipes and devices are no files.
    """
    if not source.is_dir():
        try:
            status = source.stat()
        except (FileNotFoundError, NotADirectoryError):
            raise DataError("no such file or folder", where=source, next_step="check the path") from None
        except PermissionError:
            step = "check its permissions"
            raise DataError("this file cannot be read", where=source, next_step=step) from None
        if not stat.S_ISREG(status.st_mode):
            step = "write it to a file first"
            raise DataError("this is a pipe or a device, not a file", where=source, next_step=step)
        if source.suffix.lower() in ROWS:
            step = f"tunesmith data prepare {source}"
            raise DataError("this is a file of rows, no document", where=source, next_step=step)
        return [source]
    files = sorted(path for path in source.rglob("*") if path.is_file())
    if not files:
        raise DataError("the folder is empty", where=source, next_step=f"give documents: {KINDS_READ}")
    if not any(is_document(path, source) for path in files):
        step = f"give documents: {KINDS_READ}"
        raise DataError("no file of the folder is a document", where=source, next_step=step)
    return files


def is_document(path: Path, source: Path) -> bool:
    """Whether a file of a folder is read: it is not hidden, and its ending is that of a document."""
    hidden = any(part.startswith(".") for part in path.relative_to(source).parts)
    return not hidden and path.suffix.lower() in NAMES


def hashed(source: Path, files: list[Path]) -> Input:
    """The source as an input: the names and contents of all its files."""
    try:
        contents = {name_of(path, source): hash_file(path) for path in files}
    except PermissionError as error:
        step = "check its permissions"
        raise DataError("this file cannot be read", where=error.filename, next_step=step) from None
    return Input("source", "documents", hash_json(contents), str(source.resolve()))


def name_of(path: Path, source: Path) -> str:
    """What a document is called: its path below the source."""
    return path.name if path == source else path.relative_to(source).as_posix()


def counter(config: DocumentsConfig, job: Job) -> Count:
    """How length is counted: in a model's own tokens, or in words."""
    if config.tokenizer is None:
        return count_words
    from tunesmith.runtime.catalogue import locate

    located = locate(config.tokenizer, job, needs_template=False)
    if located.model_folder is None:
        step = "give a real model, or leave --tokenizer out: words are counted then"
        raise ModelError("this model has no tokenizer", value=config.tokenizer, next_step=step)
    from tunesmith.runtime.models import read_tokenizer

    tokenizer = read_tokenizer(located.model_folder)
    return lambda text: len(tokenizer(text, add_special_tokens=False, verbose=False)["input_ids"])


def read_one(
    path: Path, config: DocumentsConfig, account: Account, count: Count, rows: IO[str]
) -> dict[str, Any]:
    """Read one file, write its rows, and say what became of it."""
    name = name_of(path, config.source)
    if path != config.source and not is_document(path, config.source):
        is_named = path.suffix.lower() in NAMES
        reason = "hidden" if is_named else f"no document by its ending ({KINDS_READ})"
        return {"file": name, "state": "passed over", "reason": reason}
    try:
        document = read_document(path)
    except Unreadable as error:
        return {"file": name, "state": "refused", "reason": str(error)}
    written = 0
    for row, size in rows_of(name, document, config.limit, count):
        rows.write(json.dumps(row, ensure_ascii=False) + "\n")
        written += 1
        account.total += size
        account.too_long += size > config.limit
    account.rows += written
    return {
        "file": name,
        "state": "read",
        "rows": written,
        "pages": document.pages,
        "pages_without_text": document.pages_without_text,
        "remarks": document.remarks,
    }


def rows_of(name: str, document: Document, limit: int, count: Count) -> Iterator[tuple[dict[str, Any], int]]:
    """Rows of a document, with their lengths; all of them name it as their group."""
    for number, chunk in enumerate(chunks(document.blocks, limit, count), start=1):
        # half of a surrogate pair, which some PDFs give, cannot be written
        text = chunk.text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
        yield {"text": text, "metadata": metadata(name, number, chunk)}, chunk.size


def metadata(name: str, number: int, chunk: Chunk) -> dict[str, Any]:
    """Where a chunk stands; `group_id` keeps a document in one split."""
    found: dict[str, Any] = {"source": name, "group_id": f"document {name}", "chunk": number}
    if chunk.headings:
        found["headings"] = list(chunk.headings)
    if chunk.first_page is not None:
        found["page"] = chunk.first_page
        if chunk.last_page != chunk.first_page:
            found["last_page"] = chunk.last_page
    return found


def refuse_all(source: Path, account: Account) -> None:
    """Nothing could be read: name the reasons.  Raises DataError."""
    refused = account.of("refused")
    if len(refused) == 1 and not source.is_dir():
        what = f"this document cannot be read: {refused[0]['reason']}"
        raise DataError(what, where=source, next_step=f"give another one: {KINDS_READ}")
    listed = "\n".join(f"  {entry['file']}: {entry['reason']}" for entry in refused[:10])
    raise DataError(f"no document can be read:\n{listed}", where=source, next_step="mend or replace them")
