"""The same three rows in every container that is read."""

import bz2
import gzip
import io
import json
import lzma

import pyarrow as pa
import pyarrow.feather
import pyarrow.parquet as pq
from openpyxl import Workbook

ROWS = [{"prompt": f"Straße {number}", "completion": 'ja\n"so"'} for number in range(3)]
LINES = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in ROWS).encode()
ARRAY = json.dumps(ROWS, ensure_ascii=False).encode()
TABLE = pa.Table.from_pylist(ROWS)


def parquet_bytes(table=TABLE) -> bytes:
    sink = io.BytesIO()
    pq.write_table(table, sink)
    return sink.getvalue()


def arrow_stream(table=TABLE) -> bytes:
    sink = io.BytesIO()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    return sink.getvalue()


def feather(table=TABLE) -> bytes:
    sink = io.BytesIO()
    pyarrow.feather.write_feather(table, sink)
    return sink.getvalue()


def workbook(*sheets: tuple[str, list[list[object]]]) -> bytes:
    book = Workbook()
    book.remove(book.active)
    for name, rows in sheets:
        sheet = book.create_sheet(name)
        for row in rows:
            sheet.append(row)
    sink = io.BytesIO()
    book.save(sink)
    return sink.getvalue()


CSV = b"prompt,completion\n" + b"".join(
    f'{row["prompt"]},"{row["completion"].replace(chr(34), chr(34) * 2)}"\n'.encode() for row in ROWS
)
SAME_ROWS = {
    "lines.jsonl": LINES,
    "crlf.jsonl": LINES.replace(b"\n", b"\r\n"),
    "mark.jsonl": b"\xef\xbb\xbf" + LINES,
    "array.json": ARRAY,
    "pretty.json": json.dumps(ROWS, indent=2).encode(),
    "mark.json": b"\xef\xbb\xbf" + ARRAY,
    "data.json": json.dumps({"version": 1, "data": ROWS, "notes": ["a"]}).encode(),
    "data pretty.json": json.dumps({"version": 1, "data": ROWS}, indent=2).encode(),
    "sequence.json": "\n".join(json.dumps(row, indent=2) for row in ROWS).encode(),
    "no name": ARRAY,
    "lines.jsonl.gz": gzip.compress(LINES),
    "array.json.xz": lzma.compress(ARRAY),
    "lines.jsonl.bz2": bz2.compress(LINES),
    "lines.jsonl.zst": pa.compress(LINES, codec="zstd", asbytes=True),
    "two parts.gz": gzip.compress(LINES[:30]) + gzip.compress(LINES[30:]),
    "two parts.xz": lzma.compress(LINES[:30]) + lzma.compress(LINES[30:]),
    "two parts.zst": pa.compress(LINES[:30], codec="zstd", asbytes=True)
    + pa.compress(LINES[30:], codec="zstd", asbytes=True),
    "wide.jsonl": LINES.decode().encode("utf-16"),
    "wide big.json": ARRAY.decode().encode("utf-16-be"),
    "table.csv": CSV,
    "table.csv.gz": gzip.compress(CSV),
    "semicolons.csv": CSV.replace(b",", b";"),
    "tabs.tsv": CSV.replace(b",", b"\t"),
    "bars.txt": CSV.replace(b",", b"|"),
    "excel.csv": b"\xef\xbb\xbf" + CSV.replace(b"\n", b"\r\n").replace(b'ja\r\n', b"ja\n"),
    "cp1252.csv": CSV.decode().encode("cp1252"),
    "wide.csv": CSV.decode().encode("utf-16"),
    "backslash.csv": CSV.replace(b'""', b'\\"'),
    "book.xlsx": workbook(("rows", [list(ROWS[0]), *(list(row.values()) for row in ROWS)]), ("empty", [])),
    "table.parquet": parquet_bytes(),
    "file.arrow": feather(),
    "stream.arrow": arrow_stream(),
}  # fmt: skip
