"""What rows come in: every container is recognised by content, and every fault has one clear message."""

import gzip
import io
import json
import lzma
import os
from pathlib import Path

import pyarrow as pa
import pyarrow.feather
import pytest
from container_files import ARRAY, CSV, LINES, ROWS, SAME_ROWS, arrow_stream, parquet_bytes, workbook
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tunesmith.core.errors import DataError, UserError
from tunesmith.core.formats.containers import json_lines, json_text
from tunesmith.core.formats.containers.delimited import sniff
from tunesmith.core.formats.containers.open import open_raw, open_stream
from tunesmith.core.formats.containers.place import check_source, files_of


def read(path: Path):
    return list(open_raw(path))


def write(folder: Path, name: str, content: bytes) -> Path:
    path = folder / name
    path.write_bytes(content)
    return path


def values(rows):
    return [row.value for row in rows if not row.is_blank and not row.problems]


def reasons(row):
    return [problem.reason for problem in (*row.problems, *row.changes)]


@pytest.mark.parametrize("name", SAME_ROWS)
def test_the_same_rows_come_out_of_every_container_and_all_bytes_are_counted(tmp_path, name):
    path = write(tmp_path, name, SAME_ROWS[name])
    rows = read(path)
    assert values(rows) == ROWS
    assert not any(row.problems for row in rows)
    if "wide" not in name:
        assert sum(row.num_bytes for row in rows) == path.stat().st_size or name.endswith(".xlsx")


@pytest.mark.parametrize("name", ["lines.jsonl", "array.json", "data.json", "sequence.json", "table.csv"])
def test_a_row_knows_its_first_byte(tmp_path, name):
    content = SAME_ROWS[name]
    for row in read(write(tmp_path, name, content)):
        start = content[row.offset :]
        assert start.startswith((b"{", b"Stra"))


@pytest.mark.parametrize("name", ["array.jsonl", "lines.csv", "table.json.parquet", "rows.json"])
def test_a_name_that_promises_something_else_is_said_once(tmp_path, name):
    content = {"array.jsonl": ARRAY, "lines.csv": LINES, "rows.json": LINES}.get(name, CSV)
    first, *others = read(write(tmp_path, name, content))
    assert any("the name ends in" in reason for reason in reasons(first))
    assert not any(reasons(row) for row in others)


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("wide.jsonl", "read as UTF-16"),
        ("cp1252.csv", "read as Windows-1252"),
        ("mark.json", "byte order mark removed"),
        ("excel.csv", "byte order mark removed"),
        ("crlf.jsonl", "Windows line end"),
    ],
)
def test_what_was_mended_is_a_change_of_the_row(tmp_path, name, said):
    assert said in reasons(read(write(tmp_path, name, SAME_ROWS[name]))[0])[0]


FAULTS = [
    ("empty.json", b"[]", "empty array", "one row a line"),
    ("torn.json", ARRAY[:-20], "half-written: it ends inside item 3", "again"),
    ("open.json", ARRAY[:-1], "half-written: it ends inside the array, after item 3", "again"),
    ("more.json", ARRAY + b" {}", "after the array there is more", "one array"),
    ("comma.json", ARRAY.replace(b"}, {", b"} {"), "a comma or ] should stand after item 1", "mend"),
    ("word.json", b'[{"a": 1}, nul]', "not valid JSON", "mend"),
    ("brackets.json", b'[{"a": [1}, {"b": 2}]', "closes a bracket of another kind", "mend"),
    ("latin.json", '[{"a": "é"}]'.encode("latin-1"), "not UTF-8 (byte offset 8)", "iconv"),
    ("several.json", json.dumps({"train": ROWS, "test": ROWS}).encode(), "several lists of rows", "#train"),
    ("twice.json", b'{"data": [{}],\n"data": [{}]}', "stands twice in one object", "keep one"),
    ("torn object.json", b'{"data": [{"a": 1}, {"a"', "half-written", "again"),
    ("torn.jsonl.gz", gzip.compress(LINES)[:-20], "ends in the middle (gzip)", "again"),
    ("torn.xz", lzma.compress(LINES)[:-20], "ends in the middle (xz)", "again"),
    ("torn.zst", pa.compress(LINES * 9, codec="zstd", asbytes=True)[:-9], "broken (zstd)", "again"),
    ("bad.gz", gzip.compress(LINES)[:-8] + b"12345678", "broken (gzip)", "again"),
    ("p.parquet.gz", gzip.compress(parquet_bytes()), "a compressed table file", "decompress"),
    ("p.parquet", parquet_bytes()[:-9], "not a readable table file", "again"),
    ("s.arrow", arrow_stream()[:-300], "the Arrow stream has no end mark: it was cut", "again"),
    ("unclosed.csv", b'a,b\n1,"x\n2,y\n', "unclosed.csv:2: a quote is opened here", "close the quote"),
    ("twice.csv", b"a,b,a\n1,2,3\n", "two columns have the same name: 'a'", "name of its own"),
    ("broken.csv", "a,b\nä,ö\n".encode() + b"\xfc,1\n", "UTF-8 only up to byte offset 10", "again"),
    ("torn.csv", "a,b\nä,ö".encode()[:-1], "UTF-8 only up to byte offset 7", "again"),
    ("torn ascii.csv", b"a,b\n1,\x9d\xc3", "neither UTF-8 nor Windows-1252 (byte offset 6)", "UTF-8"),
    ("header.csv", b"a,b\n", "a header and no rows", "give rows"),
    ("both.csv", b"a,b\n\x81\xff,1\n", "neither UTF-8 nor Windows-1252 (byte offset 4)", "UTF-8"),
    ("two.xlsx", workbook(("a", [["x"], [1]]), ("b", [["x"], [2]])), "several sheets have rows", "#a"),
    ("none.xlsx", workbook(("a", [])), "no sheet has a row", "header"),
    ("torn.xlsx", workbook(("a", [["x"], [1]]))[:-50], "a broken zip archive", "again"),
    ("a.pdf", b"%PDF-1.7", "this is a PDF", "tunesmith data documents"),
    ("a.xls", b"\xd0\xcf\x11\xe0\xa1\xb1", "an old Office file", "save it as .xlsx"),
    ("a.pkl", b"\x80\x04\x95" + bytes(9), "a pickle", "JSON Lines"),
    ("a.db", b"SQLite format 3\0", "an SQLite database", "export"),
    ("a.tar", bytes(257) + b"ustar\0" + bytes(300), "a tar archive", "unpack"),
    ("a.txt", b"Once upon a time, there was.\nAnd then, at last, an end.\nSo.", "this is text", "documents"),
    ("a.bin", bytes(range(256)) * 4, "this is binary", "JSON Lines"),
    ("wide4.jsonl", LINES.decode().encode("utf-32"), "UTF-32", "UTF-8"),
    ("blank.json", b" \n\n", "only blank lines", "one row a line"),
]  # fmt: skip


@pytest.mark.parametrize(("name", "content", "what", "step"), FAULTS, ids=[fault[0] for fault in FAULTS])
def test_a_fault_of_the_whole_file_is_one_message_with_the_next_step(tmp_path, name, content, what, step):
    with pytest.raises(DataError) as caught:
        read(write(tmp_path, name, content))
    message = caught.value.message()
    assert what in message
    assert step in message
    assert name in message


@pytest.mark.parametrize(
    ("bad", "reason"),
    [
        (b'{"a": NaN}', "NaN is not JSON"),
        (b'{"a": 1, "a": 2}', "stands twice"),
        (b'{"a": 1e999}', "too large"),
        (b'{"a": "\\ud800"}', "surrogate"),
        (b"[" * 100 + b"]" * 100, "nested deeper"),
        (b'{"a": 1,}', "not valid JSON"),
        (b'{"a" "}"}', "not valid JSON"),
    ],
)
def test_a_faulty_item_of_an_array_refuses_only_itself(tmp_path, bad, reason):
    rows = read(write(tmp_path, "a.json", b'[{"x": 1}, ' + bad + b', {"y": 2}]'))
    assert [row.value for row in rows] == [{"x": 1}, None, {"y": 2}]
    assert reason in rows[1].problems[0].reason
    assert rows[1].problems[0].line == 2


def test_a_comma_before_the_closing_bracket_is_a_change(tmp_path):
    rows = read(write(tmp_path, "a.json", ARRAY[:-1] + b" , ]\n"))
    assert values(rows) == ROWS
    assert reasons(rows[-1]) == ["a comma before the closing bracket left out"]


def test_lines_and_arrays_mixed_keep_their_lines(tmp_path):
    for content, place in ((LINES + b"[1, 2]\n", 3), (b"[1, 2]\n" + LINES, 0)):
        rows = read(write(tmp_path, "mixed.jsonl", content))
        assert [row.value for row in rows][place] == [1, 2]
        assert len(rows) == 4


def test_a_torn_first_line_does_not_hide_the_others(tmp_path):
    rows = read(write(tmp_path, "torn.jsonl", b'{"prompt": "a", "comple\n' + LINES))
    assert [bool(row.problems) for row in rows] == [True, False, False, False]


def test_a_part_is_asked_for_behind_the_name(tmp_path):
    path = write(tmp_path, "a.json", json.dumps({"train": ROWS, "test": ROWS[:1]}).encode())
    assert values(read(Path(f"{path}#test"))) == ROWS[:1]
    with pytest.raises(DataError, match="did you mean 'test'"):
        read(Path(f"{path}#tst"))
    book = write(tmp_path, "b.xlsx", workbook(("a", [["x"], ["1"]]), ("b", [["x"], ["2"]])))
    assert values(read(Path(f"{book}#b"))) == [{"x": "2"}]
    table = write(tmp_path, "table.csv", workbook(("a", [["x"], ["1"]])))
    assert values(read(table)) == [{"x": "1"}]
    with pytest.raises(DataError, match="no parts to choose from"):
        read(Path(f"{write(tmp_path, 'c.jsonl', LINES)}#b"))
    assert values(read(write(tmp_path, "d#b", LINES))) == ROWS


@pytest.mark.parametrize("window", [1, 7, 64])
@pytest.mark.parametrize("indent", [None, 1])
def test_values_that_run_over_the_windows_end_are_read_whole(tmp_path, monkeypatch, window, indent):
    monkeypatch.setattr(json_text, "WINDOW_BYTES", window)
    rows = [*ROWS, [1, 23, -4.5e6, True, None], 'a\\"]}', 123456, {"deep": [[{}], "]"]}]
    assert values(read(write(tmp_path, "a.json", json.dumps(rows, indent=indent).encode()))) == rows


def test_an_item_too_long_to_hold_is_refused_and_the_next_is_read(tmp_path, monkeypatch):
    monkeypatch.setattr(json_lines, "MAX_LINE_BYTES", 500)
    monkeypatch.setattr(json_text, "WINDOW_BYTES", 64)
    long = json.dumps({"a": 'x\\"{' * 500, "b": [["y" * 100] * 9]})
    rows = read(write(tmp_path, "a.json", f'[{{"x": 1}}, {long}, {{"y": 2}}]'.encode()))
    assert [row.value for row in rows] == [{"x": 1}, None, {"y": 2}]
    assert "longer than" in rows[1].problems[0].reason


def test_a_small_file_that_unpacks_to_a_huge_line_is_refused_without_holding_it(tmp_path, monkeypatch):
    monkeypatch.setattr(json_lines, "MAX_LINE_BYTES", 1000)
    rows = read(write(tmp_path, "a.jsonl.gz", gzip.compress(b"0" * 5_000_000 + b"\n" + LINES)))
    assert [bool(row.problems) for row in rows] == [True, False, False, False]


# Tables of cells


def test_cells_are_text_as_they_stand(tmp_path):
    content = b'id,text,empty\n007,"a, ""b""\nc",\n1e5,NaN, \n'
    rows = read(write(tmp_path, "a.csv", content))
    assert [row.value for row in rows] == [
        {"id": "007", "text": 'a, "b"\nc', "empty": ""},
        {"id": "1e5", "text": "NaN", "empty": " "},
    ]
    assert [row.line for row in rows] == [2, 4]


def test_ragged_records_are_refused_with_their_line_and_empty_ones_are_blank(tmp_path):
    rows = read(write(tmp_path, "a.csv", b"a,b\n1,2\n1\n1,2,3\n1,2,\n,\n\n5,6\n"))
    assert [row.line for row in rows if row.problems] == [3, 4]
    assert rows[1].problems[0].value.startswith("1 instead of 2")
    assert reasons(rows[3]) == ["empty cells beyond the header left out"]
    assert [row.is_blank for row in rows] == [False] * 4 + [True, True, False]


def test_a_column_without_a_name_gets_a_number(tmp_path):
    first, second = read(write(tmp_path, "a.csv", b",text\n0,x\n1,y\n"))
    assert first.value == {"column 1": "0", "text": "x"}
    assert reasons(first) == ["column 1 has no name"]
    assert not second.changes


@pytest.mark.parametrize(
    ("sample", "delimiter", "quote", "columns"),
    [
        ("a,b\n1,2\n", ",", '"', 2),
        ("a;b\n1,5;2,5\n3,5;4\n", ";", '"', 2),
        ("a\tb\n1, 2\t3\n", "\t", '"', 2),
        ("a,b\n'1, 5',2\n'x','y'\n", ",", "'", 2),
        ("a,b\nit's,2\nx,y\n", ",", '"', 2),
    ],
)
def test_the_dialect_that_cuts_records_alike_is_taken(sample, delimiter, quote, columns):
    found = sniff(sample, is_whole=True)
    assert (found.dialect.delimiter, found.dialect.quote, found.columns) == (delimiter, quote, columns)
    assert f"{columns} columns by" in found.evidence


def test_tabs_that_are_commas_are_said(tmp_path):
    (row,) = read(write(tmp_path, "a.tsv", b"a,b\n1,2\n"))
    assert reasons(row) == ["the name ends in .tsv, the cells are separated by commas"]


def test_a_line_of_a_table_too_long_to_hold_is_one_message(tmp_path, monkeypatch):
    monkeypatch.setattr(json_lines, "MAX_LINE_BYTES", 1000)
    with pytest.raises(DataError, match=r"a.csv:2: the line is longer"):
        read(write(tmp_path, "a.csv", b"a,b\n" + b"x" * 5000))


# Workbooks


def test_cells_of_a_workbook_are_what_its_csv_would_hold(tmp_path):
    import datetime

    day = datetime.date(2026, 1, 2)
    content = workbook(("s", [["n", "f", "b", "d", "t"], [7, 7.0, True, day, "007"], [], [0.5, None, False]]))
    rows = read(write(tmp_path, "a.xlsx", content))
    assert rows[0].value == {"n": "7", "f": "7", "b": True, "d": "2026-01-02T00:00:00", "t": "007"}
    assert rows[1].is_blank
    assert rows[2].value == {"n": "0.5", "f": "", "b": False, "d": "", "t": ""}
    assert [row.line for row in rows] == [2, 3, 4]


def test_a_number_whose_format_says_more_is_read_as_the_sheet_shows_it(tmp_path):
    import openpyxl

    book = openpyxl.Workbook()
    book.active.append(["code", "share", "fine", "plain", "huge"])
    book.active.append([7, 0.25, 0.12345, 7, 12345])
    formats = ("000", "0%", "0.00%", "#,##0.00", "000")
    for cell, number_format in zip(book.active[2], formats, strict=True):
        cell.number_format = number_format
    book.save(tmp_path / "a.xlsx")
    (row,) = read(tmp_path / "a.xlsx")
    assert row.value == {"code": "007", "share": "25%", "fine": "12.35%", "plain": "7", "huge": "12345"}


def test_formulas_without_values_and_errors_refuse_their_row_by_the_cells_name(tmp_path):
    content = workbook(("s", [["a", "b"], [1, "=A2*2"], ["#N/A", 3], [5, 6], [7, 8, 9]]))
    rows = read(write(tmp_path, "a.xlsx", content))
    found = [(problem.pointer, problem.reason[:14]) for row in rows for problem in row.problems]
    assert found == [("B2", "a formula whos"), ("A3", "an error inste"), ("C5", "a cell beyond ")]
    assert rows[2].value == {"a": "5", "b": "6"}


# Tables of Arrow


def test_padding_of_structs_is_taken_out_and_counted(tmp_path):
    turns = [
        {"role": "user", "content": "a", "name": None},
        {"role": "assistant", "content": "b", "name": "c"},
    ]
    calls = [{"f": {"x": 1}}, {"f": {"y": {"z": []}}}]
    table = pa.Table.from_pylist([{"messages": turns, "calls": calls, "system": None}])
    (row,) = read(write(tmp_path, "a.parquet", parquet_bytes(table)))
    assert row.value == {
        "messages": [{"role": "user", "content": "a"}, turns[1]],
        "calls": calls,
        "system": None,
    }
    ((change,),) = [row.changes]
    assert change.value == "3"


def test_what_json_does_not_have_becomes_text_or_refuses_the_row(tmp_path):
    import datetime
    import decimal

    table = pa.table(
        {
            "day": [datetime.date(2026, 1, 2)] * 3,
            "cost": [decimal.Decimal("1.50")] * 3,
            "score": [1.5, float("nan"), float("inf")],
            "raw": [None, None, b"\x00"],
            "map": pa.array([[("a", 1)]] * 3, pa.map_(pa.string(), pa.int64())),
        }
    )
    first, second, third = read(write(tmp_path, "a.parquet", parquet_bytes(table)))
    assert first.value == {"day": "2026-01-02", "cost": "1.50", "score": 1.5, "raw": None, "map": {"a": 1}}
    assert [change.reason for change in second.changes] == ["NaN read as empty"]
    assert [problem.pointer for problem in third.problems] == ["/score", "/raw"]


def test_text_that_is_not_utf8_refuses_only_its_row(tmp_path):
    column = pa.Array.from_buffers(
        pa.string(), 2, [None, pa.py_buffer(b"\0\0\0\0\2\0\0\0\3\0\0\0"), pa.py_buffer(b"\xff\xfeb")]
    )
    bad, good = read(write(tmp_path, "a.parquet", parquet_bytes(pa.table({"a": column}))))
    assert "cannot be read" in bad.problems[0].reason
    assert good.value == {"a": "b"}


def test_what_datasets_says_of_its_columns_is_used(tmp_path):
    features = {
        "label": {"names": ["bad", "good"], "_type": "ClassLabel"},
        "tools": {"feature": {"_type": "Json"}, "_type": "List"},
        "turns": [{"kind": {"names": ["a", "b"], "_type": "ClassLabel"}}],
        "text": {"dtype": "string", "_type": "Value"},
    }
    rows = [
        {"label": 1, "tools": ['{"a": 1}', "no json"], "turns": [{"kind": 1}], "text": "x"},
        {"label": -1, "tools": None, "turns": [], "text": "y"},
    ]
    described = json.dumps({"info": {"features": features}})
    table = pa.Table.from_pylist(rows).replace_schema_metadata({"huggingface": described})
    first, second = read(write(tmp_path, "a.arrow", arrow_stream(table)))
    assert first.value == {
        "label": "good",
        "tools": [{"a": 1}, "no json"],
        "turns": [{"kind": "b"}],
        "text": "x",
    }
    assert [change.pointer for change in first.changes] == ["/label"]
    assert second.value["label"] == -1
    broken = table.replace_schema_metadata({"huggingface": "[" * 9999})
    assert values(read(write(tmp_path, "b.arrow", arrow_stream(broken)))) == rows


def test_two_columns_of_one_name_are_refused(tmp_path):
    table = pa.Table.from_arrays([pa.array([1]), pa.array([2])], names=["a", "a"])
    with pytest.raises(DataError, match="two columns have the same name"):
        read(write(tmp_path, "a.arrow", arrow_stream(table)))


# Folders


def saved(folder: Path, rows) -> None:
    """A folder as `datasets.Dataset.save_to_disk` leaves it, in two shards."""
    folder.mkdir(parents=True)
    names = [f"data-{number:05d}-of-00002.arrow" for number in range(2)]
    for number, name in enumerate(names):
        write(folder, name, arrow_stream(pa.Table.from_pylist(rows[number::2])))
    (folder / "state.json").write_text(json.dumps({"_data_files": [{"filename": name} for name in names]}))
    (folder / "dataset_info.json").write_text("{}")


def test_a_saved_data_set_is_read_through_all_its_shards(tmp_path):
    saved(tmp_path / "one", ROWS)
    rows = read(tmp_path / "one")
    assert values(rows) == [ROWS[0], ROWS[2], ROWS[1]]
    assert [row.line for row in rows] == [1, 2, 3]
    assert len(files_of(tmp_path / "one")) == 2


def test_a_saved_dictionary_asks_for_the_split(tmp_path):
    saved(tmp_path / "d" / "train", ROWS)
    saved(tmp_path / "d" / "test", ROWS[:2])
    (tmp_path / "d" / "dataset_dict.json").write_text('{"splits": ["train", "test"]}')
    with pytest.raises(DataError, match="several splits: 'train, test'"):
        read(tmp_path / "d")
    assert len(read(Path(f"{tmp_path / 'd'}#test"))) == 2
    next((tmp_path / "d" / "test").glob("*.arrow")).unlink()
    with pytest.raises(DataError, match="files of the data set are missing"):
        read(Path(f"{tmp_path / 'd'}#test"))


def test_a_list_of_files_that_leads_out_of_the_folder_is_refused(tmp_path):
    saved(tmp_path / "one", ROWS)
    (tmp_path / "one" / "state.json").write_text('{"_data_files": [{"filename": "../../etc/passwd"}]}')
    with pytest.raises(DataError, match="leads out of the folder"):
        read(tmp_path / "one")


def test_shards_as_the_hub_has_them_are_split_by_their_names(tmp_path):
    (tmp_path / "data").mkdir()
    for number in range(2):
        write(tmp_path / "data", f"train-{number:05d}-of-00002.parquet", parquet_bytes())
    write(tmp_path / "data", "validation-00000-of-00001.parquet", parquet_bytes())
    (tmp_path / "README.md").write_text("a card")
    (tmp_path / ".cache").mkdir()
    write(tmp_path / ".cache", "train.jsonl", LINES)
    with pytest.raises(DataError, match="several splits: 'train, validation'"):
        read(tmp_path)
    rows = read(Path(f"{tmp_path}#train"))
    assert [row.line for row in rows] == [1, 2, 3, 4, 5, 6]


def test_a_folder_with_two_kinds_of_files_in_a_split_is_refused(tmp_path):
    write(tmp_path, "train.jsonl", LINES)
    write(tmp_path, "train.parquet", parquet_bytes())
    with pytest.raises(DataError, match="files of several kinds"):
        read(tmp_path)


def test_a_folder_without_rows_is_refused(tmp_path):
    (tmp_path / "a.txt").write_text("text")
    with pytest.raises(DataError, match="no file of rows") as caught:
        read(tmp_path)
    assert "data documents" in caught.value.message()


def test_a_place_of_a_later_shard_counts_through(tmp_path):
    write(tmp_path, "train-00000-of-00002.jsonl", LINES)
    write(tmp_path, "train-00001-of-00002.jsonl", b"nonsense\n" + LINES)
    bad = [problem for row in read(tmp_path) for problem in row.problems]
    assert [problem.line for problem in bad] == [4]


def test_a_hub_id_is_fetched_as_data_files_only(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write(tmp_path, "train.parquet", parquet_bytes())
    asked = []

    def download(ref, *, repo_type, allow_patterns):
        asked.append((ref, repo_type, allow_patterns))
        return str(tmp_path)

    monkeypatch.setattr("huggingface_hub.snapshot_download", download)
    assert values(read(Path("some-org/some-set"))) == ROWS
    assert {(ref, kind) for ref, kind, _ in asked} == {("some-org/some-set", "dataset")}
    assert not any(pattern.endswith((".py", "*.pkl", ".bin")) for pattern in asked[0][2])


def test_a_hub_id_without_a_network_and_a_slip_in_a_path_are_told_apart(tmp_path, monkeypatch):
    from huggingface_hub.errors import LocalEntryNotFoundError

    def offline(ref, *, repo_type, allow_patterns):
        raise LocalEntryNotFoundError("Cannot find the folder.\nMore.")

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("huggingface_hub.snapshot_download", offline)
    with pytest.raises(UserError, match="could not be fetched from the hub"):
        read(Path("some-org/some-set"))
    (tmp_path / "data").mkdir()
    for name in ("data/rows", "some/rows.jsonl", "rows"):
        with pytest.raises(DataError, match="no such file"):
            read(Path(name))


# The file itself


def test_a_file_that_changes_while_it_is_read_is_one_message(tmp_path):
    path = write(tmp_path, "a.jsonl", LINES)
    rows = open_raw(path)
    next(rows)
    path.write_bytes(LINES + LINES)
    with pytest.raises(DataError, match="changed while it was read"):
        list(rows)


def test_a_pipe_a_missing_and_an_empty_file_are_refused(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    for path, what in (
        (tmp_path / "pipe", "a pipe or a device"),
        (tmp_path / "none.csv", "no such file"),
        (write(tmp_path, "empty.parquet", b""), "the file is empty"),
        (tmp_path / ("x" * 300), "no such file"),
        (write(tmp_path, "file", LINES) / "below", "no such file"),
    ):
        with pytest.raises(DataError, match=what):
            check_source(path)


def test_a_file_without_permission_is_one_message(tmp_path, monkeypatch):
    path = write(tmp_path, "a.jsonl", LINES)

    def refuse(*_, **__):
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(Path, "open", refuse)
    with pytest.raises(DataError, match="cannot be read") as caught:
        read(path)
    assert "permissions" in caught.value.message()


SUFFIXES = st.sampled_from(
    ["", ".jsonl", ".json", ".csv", ".tsv", ".xlsx", ".parquet", ".arrow", ".gz", ".txt"]
)
STARTS = st.sampled_from(
    [b"", b"[", b'{"data": [', b"a,b\n", b"PAR1", b"\xff\xff\xff\xff", b"\xff\xfe", b"PK\x03\x04"]
)


@settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))
@given(content=st.binary(min_size=1, max_size=120), start=STARTS, suffix=SUFFIXES)
def test_no_bytes_under_any_name_crash_a_reader_and_every_line_stands_once(
    tmp_path_factory, content, start, suffix
):
    path = tmp_path_factory.getbasetemp() / f"fuzzed{suffix}"
    path.write_bytes(start + content)
    try:
        rows = read(path)
    except UserError:
        return
    assert len({row.line for row in rows}) == len(rows)
    assert all(row.is_blank or row.problems or row.value is not None or suffix for row in rows)
    assert sum(row.num_bytes for row in rows) <= 4 * path.stat().st_size


@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    at=st.integers(0, 4000), broken=st.binary(min_size=1, max_size=4), name=st.sampled_from(sorted(SAME_ROWS))
)
def test_no_broken_byte_crashes_a_reader(tmp_path_factory, at, broken, name):
    content = SAME_ROWS[name]
    at %= len(content)
    path = tmp_path_factory.getbasetemp() / name
    path.write_bytes(content[:at] + broken + content[at + len(broken) :])
    try:
        rows = read(path)
    except UserError:
        return
    assert len({row.line for row in rows}) == len(rows)


def test_bytes_are_read_as_a_file_is():
    assert values(open_stream(io.BytesIO(ARRAY), "rows.json")) == ROWS
