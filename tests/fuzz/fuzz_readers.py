"""Coverage-guided fuzzing of every reader (atheris, libFuzzer): `make fuzz`, or `python THIS --seconds 60`.

The first byte chooses the ending of the name, the rest is the file.  Whatever is not one of our own
messages is a finding: atheris prints it, keeps the bytes, and the command fails.
"""

import argparse
import gzip
import io
import json
import lzma
import sys
import tempfile
import warnings
from pathlib import Path

import atheris

with atheris.instrument_imports(include=["tunesmith.core.formats", "tunesmith.data.documents"]):
    import tunesmith.core.formats.containers.arrow
    import tunesmith.core.formats.containers.spreadsheet
    import tunesmith.data.documents.pdf
    import tunesmith.data.documents.plain
    import tunesmith.data.documents.web
    import tunesmith.data.documents.word  # noqa: F401  readers that are loaded when they are used
    from tunesmith.core.errors import UserError
    from tunesmith.core.formats.read import read_rows
    from tunesmith.data.documents.blocks import Unreadable
    from tunesmith.data.documents.chunks import chunks, count_words
    from tunesmith.data.documents.kinds import read_document

ENDINGS = ("", ".jsonl", ".json", ".csv", ".tsv", ".xlsx", ".parquet", ".arrow", ".gz", ".xz", ".zst")
DOCUMENTS = (".txt", ".md", ".html", ".docx", ".pdf")
NAMES = (*ENDINGS, *DOCUMENTS)
LIMIT_SECONDS = 30
"""Longer for one small file is a finding too."""

ROWS = [
    {"messages": [{"role": "user", "content": "ä"}, {"role": "assistant", "content": "b\n"}]},
    {"prompt": "x", "chosen": "y", "rejected": "z"},
]


def seeds() -> dict[str, bytes]:
    """A good file of each kind, to begin with."""
    import docx
    import pyarrow as pa
    import pyarrow.parquet as pq
    from openpyxl import Workbook
    from pypdf import PdfWriter

    table, parquet, arrow, sheet, word, pdf = (pa.Table.from_pylist(ROWS), *(io.BytesIO() for _ in range(5)))
    pq.write_table(table, parquet)
    with pa.ipc.new_stream(arrow, table.schema) as writer:
        writer.write_table(table)
    book = Workbook()
    book.active.append(["prompt", "completion"])
    book.active.append([1, "=A1"])
    book.save(sheet)
    body = docx.Document()
    body.add_heading("A", 1)
    body.add_table(1, 2).cell(0, 0).text = "x"
    body.save(word)
    pages = PdfWriter()
    pages.add_blank_page(9, 9)
    pages.write(pdf)
    lines = "".join(json.dumps(row) + "\n" for row in ROWS).encode()
    return {
        ".jsonl": lines,
        ".json": json.dumps(ROWS, indent=1).encode(),
        "": json.dumps({"data": ROWS, "x": [{}]}).encode(),
        ".csv": b'a;"b"\r\n1;"x\ny"\r\n2;"\xe9"\r\n',
        ".tsv": "a\tb\nö\t1\n".encode("utf-16"),
        ".parquet": parquet.getvalue(),
        ".arrow": arrow.getvalue(),
        ".gz": gzip.compress(lines),
        ".xz": lzma.compress(lines),
        ".zst": pa.compress(lines, codec="zstd", asbytes=True),
        ".xlsx": sheet.getvalue(),
        ".docx": word.getvalue(),
        ".pdf": pdf.getvalue(),
        ".html": b"<html><meta charset=latin1><h1>a<p>b<table><tr><td>c<td>d</table><pre>e</pre>",
        ".md": b"---\nx\n---\n# a\n\nb\n==\n```\nc\n```\n| d |\n- e\n",
        ".txt": b"a b. C d!\n\n\xe9\n",
    }


def try_one(data: bytes, folder: Path) -> None:
    """Read one file as rows, or as a document."""
    if not data:
        return
    suffix = NAMES[data[0] % len(NAMES)]
    path = folder / f"file{suffix}"
    path.write_bytes(data[1:])
    if suffix in DOCUMENTS:
        try:
            found = read_document(path)
        except Unreadable:
            return
        list(chunks(found.blocks, 20, count_words))
        return
    lines = set()
    try:
        for row in read_rows(path):
            assert row.outcome in ("kept", "changed", "refused", "blank")
            assert row.line not in lines, f"line {row.line} came twice"
            lines.add(row.line)
    except UserError:
        return


def main() -> None:
    """Fuzz for some seconds."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=int, default=600, help="how long")
    parser.add_argument("--again", type=Path, help="read the bytes of a finding once more")
    options = parser.parse_args()
    warnings.simplefilter("ignore")  # openpyxl and bs4 warn of odd files
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        if options.again is not None:
            try_one(options.again.read_bytes(), folder)
            return
        corpus = folder / "corpus"
        corpus.mkdir()
        for suffix, content in seeds().items():
            (corpus / f"seed{suffix}").write_bytes(bytes([NAMES.index(suffix)]) + content)
        kept = Path(tempfile.gettempdir()) / "tunesmith-fuzz-"
        limits = [
            f"-artifact_prefix={kept}",
            f"-max_total_time={options.seconds}",
            f"-timeout={LIMIT_SECONDS}",
            "-rss_limit_mb=3000",
        ]
        command = [sys.argv[0], *limits, "-max_len=16384", "-print_final_stats=1", str(corpus)]
        atheris.Setup(command, lambda data: try_one(data, folder))
        atheris.Fuzz()


if __name__ == "__main__":
    main()
