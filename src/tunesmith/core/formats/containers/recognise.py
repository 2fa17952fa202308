"""What kind of file it is: by its first bytes, then by its structure; its name only breaks ties."""

import struct
from typing import NamedTuple, NoReturn

from tunesmith.core.errors import DataError
from tunesmith.core.formats.containers.delimited import CERTAIN, sniff
from tunesmith.core.formats.containers.encoding import BOM_UTF8
from tunesmith.core.formats.containers.json_layout import json_layout
from tunesmith.core.formats.containers.json_lines import ROW_SHAPE
from tunesmith.core.formats.containers.port import Source
from tunesmith.core.formats.containers.zipped import members

HEAD_BYTES = 1 << 18
SPACE = b" \t\r\n\f\v"

DOCUMENTS = "read documents: tunesmith data documents FILE"
FOREIGN = (
    (b"%PDF", "a PDF", DOCUMENTS),
    (b"{\\rtf", "a rich text document", "save it as .docx or .txt; then " + DOCUMENTS),
    (b"\xd0\xcf\x11\xe0", "an old Office file (.xls or .doc)", "save it as .xlsx or CSV"),
    (b"FEA1", "a Feather 1 file", "write it as Parquet or Feather 2"),
    (b"PARE", "an encrypted Parquet file", "write it without encryption"),
    (b"SQLite format 3\0", "an SQLite database", "export the table as CSV or JSON Lines"),
    (b"\x80\x04\x95", "a pickle, which could run code", "write the rows as JSON Lines or Parquet"),
    (b"\x93NUMPY", "a NumPy array", "write the rows as JSON Lines or Parquet"),
    (b"\x89HDF", "an HDF5 file", "write the rows as JSON Lines or Parquet"),
    (b"Obj\x01", "an Avro file", "write the rows as JSON Lines or Parquet"),
    (b"ORC", "an ORC file", "write the rows as JSON Lines or Parquet"),
    (b"Rar!", "a RAR archive", "unpack it first, and give a file of it"),
    (b"7z\xbc\xaf\x27\x1c", "a 7z archive", "unpack it first, and give a file of it"),
    (b"\x89PNG", "a picture", "tunesmith is for text"),
    (b"\xff\xd8\xff", "a picture", "tunesmith is for text"),
    (b"\xff\xfe\0\0", "UTF-32 text", "write the file again, as UTF-8"),
    (b"\0\0\xfe\xff", "UTF-32 text", "write the file again, as UTF-8"),
)
"""First bytes of files that are no rows: what they are, and the next step."""

EXPECTED = {
    ".jsonl": "JSON Lines", ".ndjson": "JSON Lines", ".jl": "JSON Lines",
    ".json": "JSON", ".csv": "CSV", ".tsv": "CSV", ".tab": "CSV", ".xlsx": "an Excel workbook",
    ".parquet": "Parquet", ".pq": "Parquet", ".arrow": "Arrow", ".feather": "Arrow", ".ipc": "Arrow",
}  # fmt: skip
"""What an ending promises."""

KEPT = {
    "lines": "JSON Lines", "array": "JSON", "object": "JSON", "sequence": "JSON",
    "delimited": "CSV", "xlsx": "an Excel workbook", "parquet": "Parquet", "ipc": "Arrow",
}  # fmt: skip
"""What each kind is, in the same words."""

NAMES = KEPT | {
    "array": "a JSON array",
    "object": "one JSON object",
    "sequence": "JSON objects over several lines",
}
"""More exactly."""


class Recognised(NamedTuple):
    """The kind of a file, and what shows it."""

    kind: str
    evidence: str

    def remarks(self, suffix: str) -> tuple[str, ...]:
        """What has to be said when the name promises something else."""
        promised, found = EXPECTED.get(suffix), KEPT[self.kind]
        if promised in (None, found):
            return ()
        return (f"the name ends in {suffix}, the content is {NAMES[self.kind]}: read as that",)


def recognise(source: Source) -> Recognised:
    """The kind of a file.  Raises DataError naming what it is when it holds no rows."""
    with source.open() as file:
        head = file.read(HEAD_BYTES)
    if not head:
        raise DataError("the file is empty", where=source.name, next_step=ROW_SHAPE)
    for signature, what, step in FOREIGN:
        if head.startswith(signature):
            refuse(source, what, step)
    if head[257:262] == b"ustar":
        refuse(source, "a tar archive", "unpack it first, and give a file of it")
    if binary := binary_kind(head):
        return binary
    if head.startswith(b"PK\x03\x04"):
        return zipped(source)
    return text_kind(source, head)


def refuse(source: Source, what: str, step: str) -> NoReturn:
    """Name what the file is instead of rows."""
    raise DataError(f"this is {what}, no file of rows", where=source.name, next_step=step)


def binary_kind(head: bytes) -> Recognised | None:
    """Parquet and Arrow, by their magic bytes (an Arrow stream: its continuation mark and first length)."""
    if head.startswith(b"PAR1"):
        return Recognised("parquet", "begins with PAR1")
    if head.startswith(b"ARROW1"):
        return Recognised("ipc", "begins with ARROW1")
    if head.startswith(b"\xff\xff\xff\xff") and len(head) >= 8:
        (length,) = struct.unpack("<I", head[4:8])
        if 0 < length < 1 << 28:
            return Recognised("ipc", "begins with an Arrow schema message")
    return None


def zipped(source: Source) -> Recognised:
    """A workbook, or what else the zip archive is."""
    if source.path is None:
        refuse(source, "a compressed zip archive", "decompress it first")
    names = members(source.path)
    if "xl/workbook.xml" in names:
        return Recognised("xlsx", "a zip archive with xl/workbook.xml")
    if "word/document.xml" in names:
        refuse(source, "a Word document", DOCUMENTS)
    if "xl/workbook.bin" in names or "content.xml" in names:
        refuse(source, "a spreadsheet or text of another kind (.xlsb, .ods, .odt)", "save it as .xlsx or CSV")
    value = ", ".join(sorted(names)[:3])
    refuse(source, f"a zip archive ({value} …)", "unpack it first, and give a file of it")


def text_kind(source: Source, head: bytes) -> Recognised:
    """JSON in one of its layouts, or a table of cells."""
    is_whole = len(head) < HEAD_BYTES
    body = head.removeprefix(BOM_UTF8).lstrip(SPACE)
    if body[:1] in (b"{", b"["):
        layout = json_layout(head, is_whole=is_whole)
        return Recognised(layout, f"begins with {body[:1].decode()}")
    promised = EXPECTED.get(source.suffix)
    if promised in ("JSON", "JSON Lines") or not body:
        return Recognised("lines", f"the name ends in {source.suffix}")
    if b"\0" in head:
        refuse(source, "binary", "give rows as JSON Lines, CSV or Parquet")
    lines = head.split(b"\n")
    if promised != "CSV" and any(line.startswith(b"{") and line.rstrip().endswith(b"}") for line in lines):
        return Recognised("lines", "a line is a JSON object")
    text = head.removeprefix(BOM_UTF8).decode("utf-8", errors="replace")
    sniffed = sniff(text, is_whole=is_whole)
    if sniffed is not None and (promised == "CSV" or (sniffed.share >= CERTAIN and sniffed.records > 1)):
        return Recognised("delimited", sniffed.evidence)
    if promised == "CSV":
        return Recognised("delimited", f"the name ends in {source.suffix}")
    if source.suffix in (".txt", ".md", ".html", ".htm", ".rst", ".xml"):
        refuse(source, "text", DOCUMENTS)
    return Recognised("lines", "nothing shows anything else")
