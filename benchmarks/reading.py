"""How fast files of rows are read, and in how much memory: `python benchmarks/reading.py [--huge]`.

Every file is read in a process of its own, up to parsed rows (before their keys mean anything).  `--huge`
adds a JSON array of a gigabyte and lines of two gigabytes; it needs 4 GB of temporary space.
"""

import argparse
import csv
import gzip
import json
import random
import subprocess
import sys
import tempfile
import time
from pathlib import Path

NUM_ROWS = 60_000
MIB = 1 << 20


def rows(count):
    """Rows of a prompt and a completion, 1.7 kB each."""
    draw = random.Random(1)
    words = ["".join(draw.choices("abcdefghijklmnopqrstuvwxyzäö", k=draw.randint(2, 9))) for _ in range(3000)]
    texts = [" ".join(draw.choices(words, k=120)) for _ in range(400)]
    for number in range(count):
        yield {"prompt": f"{number} {texts[number % 400]}", "completion": f'{texts[number * 7 % 400]}\n"x"'}


def usual(folder):
    """The same rows in the usual kinds of files."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    table = list(rows(NUM_ROWS))
    lines = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in table).encode()
    (folder / "rows.jsonl").write_bytes(lines)
    (folder / "rows.jsonl.gz").write_bytes(gzip.compress(lines, 1))
    (folder / "rows.jsonl.zst").write_bytes(pa.compress(lines, codec="zstd", asbytes=True))
    array = b"[" + b",\n".join(lines.splitlines()) + b"]"
    (folder / "array.json").write_bytes(array)
    (folder / "wrapped.json").write_bytes(b'{"data": ' + array + b"}")
    with (folder / "rows.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, ["prompt", "completion"])
        writer.writeheader()
        writer.writerows(table)
    pq.write_table(pa.Table.from_pylist(table), folder / "rows.parquet")
    return sorted(folder.iterdir())


def huge(folder):
    """An array of a gigabyte, and lines of two; made one after the other, and removed when they are read."""
    array = folder / "gigabyte.json"
    with array.open("wb") as file:
        body = b",\n".join(json.dumps(row, ensure_ascii=False).encode() for row in rows(NUM_ROWS))
        file.write(b"[" + body)
        for _ in range(10):
            file.write(b",\n" + body)
        file.write(b"]")
    yield array
    array.unlink()
    for name, opened in (("line.jsonl", open), ("line.jsonl.gz", gzip.open)):
        with opened(folder / name, "wb") as file:
            for _ in range(2048):
                file.write(b"x" * MIB)
            file.write(b'\n{"text": "the next row"}\n')
        yield folder / name
        (folder / name).unlink()


def peak_mib():
    """Most memory that this process has held (Linux: getrusage would count its parent's too)."""
    line = next(
        line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM")
    )
    return int(line.split()[1]) / 1024


def measure(path):
    """Read a file and print its figures; in a process of its own, so that the peak is its own."""
    from tunesmith.core.formats.containers.open import open_raw

    before = peak_mib()
    started, count, refused = time.perf_counter(), 0, 0
    for row in open_raw(path):
        count += 1
        refused += bool(row.problems)
    seconds = time.perf_counter() - started
    size = path.stat().st_size / 1e6
    print(
        f"| {path.name} | {size:,.0f} | {count:,} | {refused} | {seconds:.2f} | {size / seconds:,.0f} | "
        f"{count / seconds:,.0f} | {peak_mib():.0f} ({before:.0f} before it) |",
        flush=True,
    )


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--huge", action="store_true")
    parser.add_argument("--one", type=Path, help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.one:
        measure(asked.one)
        return
    print("| file | MB | rows | refused | s | MB/s | rows/s | peak MiB |", flush=True)
    print("|---|---:|---:|---:|---:|---:|---:|---:|", flush=True)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for path in usual(folder):
            subprocess.run([sys.executable, __file__, "--one", str(path)], check=True)
            path.unlink()
        for path in huge(folder) if asked.huge else ():
            subprocess.run([sys.executable, __file__, "--one", str(path)], check=True)


if __name__ == "__main__":
    main()
