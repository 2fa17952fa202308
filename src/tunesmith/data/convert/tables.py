"""Lines of JSON to the kind of file that a user asked for."""

import csv
import json
from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path
from typing import IO, Any

from tunesmith.core.errors import DataError

BATCH_ROWS = 1000
USE_JSONL = "write a .jsonl file instead"


def write_table(rows: IO[str], path: Path) -> None:
    """Write the rows, which can be walked again; the ending of `path` says how."""
    TABLES[path.suffix](rows, path)


def write_lines(rows: IO[str], path: Path) -> None:
    """As they are."""
    with path.open("w", encoding="utf-8") as file:
        file.writelines(rows)


def write_csv(rows: IO[str], path: Path) -> None:
    """One column for each key.  Raises DataError for values that no cell can hold."""
    columns = list(dict.fromkeys(key for row in parsed(rows) for key in row))
    with path.open("w", encoding="utf-8", newline="") as file:
        table = csv.DictWriter(file, columns)
        table.writeheader()
        for row in parsed(rows):
            nested = [key for key, value in row.items() if isinstance(value, list | dict)]
            if nested:
                what = f"a cell of a CSV file cannot hold a list or an object: {', '.join(nested)}"
                raise DataError(what, next_step="write a .jsonl or .parquet file instead")
            table.writerow({key: plain(value) for key, value in row.items()})


def plain(value: object) -> object:
    """True and false as JSON writes them."""
    return json.dumps(value) if isinstance(value, bool) else value


def write_parquet(rows: IO[str], path: Path) -> None:
    """Columns with the types of their values, the same for all rows; tools as JSON text.

    Raises DataError for columns whose values are of different kinds.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        schema = pa.schema([])
        for batch in batches(rows):
            part = pa.Table.from_pylist(batch).schema
            schema = pa.unify_schemas([schema, part], promote_options="permissive")
        with pq.ParquetWriter(path, schema) as writer:
            for batch in batches(rows):
                writer.write_table(pa.Table.from_pylist(batch, schema=schema))
    except pa.ArrowException as error:
        what = "the rows do not fit the columns of a Parquet file"
        raise DataError(what, value=str(error)[:200], next_step=USE_JSONL) from None


def batches(rows: IO[str]) -> Iterator[list[dict[str, Any]]]:
    """Rows, some at a time, each with all keys: Arrow takes the columns from the first."""
    walk = map(without_lists_of_tools, parsed(rows))
    while batch := list(islice(walk, BATCH_ROWS)):
        keys = dict.fromkeys(key for row in batch for key in row)
        yield [{**keys, **row} for row in batch]


def without_lists_of_tools(row: dict[str, Any]) -> dict[str, Any]:
    """A row whose tools are JSON text: Arrow would give each tool the keys of all others."""
    if isinstance(row.get("tools"), list):
        row["tools"] = json.dumps(row["tools"], ensure_ascii=False)
    return row


def parsed(rows: IO[str]) -> Iterator[dict[str, Any]]:
    """The rows from their beginning."""
    rows.seek(0)
    for line in rows:
        yield json.loads(line)


TABLES: dict[str, Callable[[IO[str], Path], None]] = {
    ".jsonl": write_lines,
    ".csv": write_csv,
    ".parquet": write_parquet,
}
"""Endings of files, and how they are written."""
