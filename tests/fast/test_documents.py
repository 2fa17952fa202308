"""Documents: every file of a folder is accounted for, and chunks keep the document's structure."""

import errno
import json
import os
import random
from pathlib import Path

import docx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pypdf import PdfWriter
from pypdf.generic import DecodedStreamObject, DictionaryObject, NameObject

from tunesmith.cli.main import guarded, root
from tunesmith.core.errors import DataError, FolderError, OutOfSpace
from tunesmith.core.files import folder_lock
from tunesmith.core.formats.read import read_rows
from tunesmith.core.workspace import AlreadyDone
from tunesmith.data.documents import DocumentsConfig, documents
from tunesmith.data.documents.blocks import Block, Unreadable
from tunesmith.data.documents.chunks import chunks, count_words
from tunesmith.data.documents.kinds import read_document


def write(folder: Path, name: str, content: bytes | str) -> Path:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def pdf(
    path: Path, *pages: list[str], marks: dict[int, str] | None = None, password: str | None = None
) -> Path:
    """A PDF whose pages hold lines of text; a page without lines has none."""
    writer = PdfWriter()
    font = DictionaryObject(
        {
            NameObject("/Type"): NameObject("/Font"),
            NameObject("/Subtype"): NameObject("/Type1"),
            NameObject("/BaseFont"): NameObject("/Helvetica"),
        }
    )
    for lines in pages:
        page = writer.add_blank_page(600, 800)
        stream = DecodedStreamObject()
        shown = " ".join(f"({line}) Tj T*" for line in lines)
        stream.set_data(f"BT /F1 12 Tf 14 TL 50 750 Td {shown} ET".encode() if lines else b"0 0 9 9 re f")
        page[NameObject("/Contents")] = writer._add_object(stream)
        fonts = DictionaryObject({NameObject("/F1"): font})
        page[NameObject("/Resources")] = DictionaryObject({NameObject("/Font"): fonts})
    for number, title in (marks or {}).items():
        writer.add_outline_item(title=title, page_number=number)
    if password is not None:
        writer.encrypt(password, algorithm="RC4-128")
    writer.write(path)
    return path


def text_of(path: Path) -> list[tuple[str, str]]:
    return [(block.kind, block.text) for block in read_document(path).blocks]


def rows_of(result):
    return [json.loads(line) for line in (result.folder / "rows.jsonl").read_text().splitlines()]


# Readers


def test_plain_text_is_paragraphs(tmp_path):
    path = write(tmp_path, "a.txt", "one\nstill one\r\n\r\ntwo\n \n\n\x0cthree\n")
    assert text_of(path) == [("paragraph", "one\nstill one"), ("paragraph", "two"), ("paragraph", "three")]


@pytest.mark.parametrize(
    ("content", "remark"),
    [
        ("größer".encode(), None),
        (b"\xef\xbb\xbf" + "größer".encode(), None),
        ("größer".encode("cp1252"), "read as Windows-1252"),
        ("größer".encode("utf-16"), "read as UTF-16"),
    ],
)
def test_encodings_are_recognised_and_said(tmp_path, content, remark):
    found = read_document(write(tmp_path, "a.txt", content))
    assert [block.text for block in found.blocks] == ["größer"]
    assert found.remarks == ([remark] if remark else [])


def test_markdown_keeps_headings_code_lists_and_tables(tmp_path):
    text = (
        "---\ntitle: x\n---\n# One #\n\npara\ngoes on\n\nTwo\n---\n\n- a\n- b\n\n"
        "```py\n# no heading\n\nx = 1\n```\n| a | b |\n|---|---|\n| 1 | 2 |\n#hashtag\n"
    )
    found = read_document(write(tmp_path, "a.md", text))
    assert [(block.kind, block.level, block.text) for block in found.blocks] == [
        ("heading", 1, "One"),
        ("paragraph", 0, "para\ngoes on"),
        ("heading", 2, "Two"),
        ("lines", 0, "- a\n- b"),
        ("lines", 0, "```py\n# no heading\n\nx = 1\n```"),
        ("lines", 0, "| a | b |\n|---|---|\n| 1 | 2 |\n#hashtag"),
    ]
    assert found.remarks == ["3 lines of front matter left out"]


def test_html_is_read_without_scripts_and_menus(tmp_path):
    page = (
        "<!DOCTYPE html><html><head><title>T</title><style>p{}</style><script>x()</script></head><body>"
        "<nav>menu</nav><!-- note --><h2>Big <b>title</b></h2><p>one<br>two &amp; <i>three</i></p>"
        "<div>loose<p>inner</p>tail</div>"
        "<table><tr><th>a</th><th>b|c</th></tr><tr><td>1</td><td>2<table><tr><td>n</td></tr></table></td></tr>"
        "</table><pre>x\n  y</pre><ul><li>i<li>j</ul><table><tr><td>layout</td></tr></table></body></html>"
    )
    path = write(tmp_path, "a.html", page)
    assert text_of(path) == [
        ("mark", "T"),
        ("heading", "Big title"),
        ("paragraph", "one two & three"),
        ("paragraph", "loose"),
        ("paragraph", "inner"),
        ("paragraph", "tail"),
        ("lines", "| a | b\\|c |\n| --- | --- |\n| 1 | 2 n |"),
        ("lines", "x\n  y"),
        ("lines", "- i"),
        ("lines", "- j"),
        ("paragraph", "layout"),
    ]
    assert read_document(path).remarks == ["left out: 1 nav, 1 script, 1 style"]


def test_the_encoding_that_a_page_names_is_used_and_said(tmp_path):
    path = write(tmp_path, "a.html", '<html><meta charset="iso-8859-1"><p>Caf\xe9'.encode("latin-1"))
    assert text_of(path) == [("paragraph", "Café")]
    assert read_document(path).remarks == ["read as iso-8859-1"]


def test_bytes_that_are_no_text_are_said_and_nothing_is_printed(tmp_path, capfd):
    path = write(tmp_path, "a.html", b'<html><meta charset="ascii"><p>a \x81\x9d b')
    found = read_document(path)
    assert found.blocks[0].text.startswith("a ")
    assert found.remarks
    assert capfd.readouterr() == ("", "")


def test_elements_too_deep_inside_each_other_are_refused(tmp_path):
    with pytest.raises(Unreadable, match="deeper than"):
        read_document(write(tmp_path, "a.html", "<div>" * 5000 + "x"))


def test_word_headings_lists_tables_and_tracked_changes(tmp_path):
    body = docx.Document()
    body.add_heading("Handbook", 0)
    body.add_heading("Travel", 2)
    changed = body.add_paragraph("Book ")
    for tag, text in (("ins", "early"), ("del", "late")):
        inside = "delText" if tag == "del" else "t"
        xml = (
            f'<w:{tag} xmlns:w="{changed._p.nsmap["w"]}"><w:r><w:{inside}>{text}</w:{inside}></w:r></w:{tag}>'
        )
        changed._p.append(docx.oxml.parse_xml(xml))
    body.add_paragraph("one", style="List Bullet")
    table = body.add_table(2, 2)
    for cell, text in zip((*table.rows[0].cells, *table.rows[1].cells), ("a", "b", "c\nd", ""), strict=True):
        cell.text = text
    body.save(str(tmp_path / "a.docx"))
    assert text_of(tmp_path / "a.docx") == [
        ("heading", "Handbook"),
        ("heading", "Travel"),
        ("paragraph", "Book early"),
        ("lines", "- one"),
        ("lines", "| a | b |\n| --- | --- |\n| c d |  |"),
    ]


def test_word_texts_in_content_controls_and_in_tables_inside_tables_are_read(tmp_path):
    body = docx.Document()
    body.add_paragraph("before")
    space = f'xmlns:w="{body.element.nsmap["w"]}"'
    xml = f"<w:sdt {space}><w:sdtContent><w:p><w:r><w:t>controlled</w:t></w:r></w:p></w:sdtContent></w:sdt>"
    body.element.body.insert(1, docx.oxml.parse_xml(xml))
    cells = body.add_table(1, 2).rows[0].cells
    cells[0].text = "a"
    cells[1].add_table(1, 1).cell(0, 0).text = "inner"
    body.save(str(tmp_path / "a.docx"))
    assert text_of(tmp_path / "a.docx") == [
        ("paragraph", "before"),
        ("paragraph", "controlled"),
        ("lines", "| a | inner |\n| --- | --- |"),
    ]


def test_the_caption_of_a_table_on_a_page_stands_before_it(tmp_path):
    rows = "<tr><td>a</td><td>b</td></tr>"
    page = f"<html><table><caption>Prices of <b>2020</b></caption>{rows}</table></html>"
    assert text_of(write(tmp_path, "a.html", page)) == [
        ("paragraph", "Prices of 2020"),
        ("lines", "| a | b |\n| --- | --- |"),
    ]


def test_pdf_lines_become_paragraphs_and_bookmarks_headings(tmp_path):
    full = "a line that the page breaks at its right end, over there"
    lines = [full, "and goes on, however long that one may be, in an exam-", "ple. End.", "New one."]
    path = pdf(tmp_path / "a.pdf", lines, [], marks={0: "Start"})
    found = read_document(path)
    assert [block.kind for block in found.blocks] == ["mark", "paragraph", "paragraph"]
    assert found.blocks[1].text == f"{full} and goes on, however long that one may be, in an example. End."
    assert (found.pages, found.pages_without_text) == (2, [2])
    assert found.remarks == ["pages without text: 2"]


REFUSED = {
    "scan.pdf": "it is scanned",
    "locked.pdf": "encrypted",
    "torn.pdf": "not readable as a PDF",
    "fake.pdf": "its first bytes are of another kind",
    "fake.docx": "its first bytes are of another kind",
    "old.docx": "an old .doc, or encrypted",
    "sheet.docx": "a zip archive: unpack it",
    "torn.docx": "a broken zip archive",
    "binary.txt": "a binary file",
    "empty.md": "an empty file",
    "blank.txt": "no text in it",
    "odd.txt": "neither UTF-8 nor Windows-1252",
    "page.html": "no text in it",
}


def bad_documents(folder: Path) -> None:
    pdf(folder / "scan.pdf", [], [])
    pdf(folder / "locked.pdf", ["secret"], password="p")
    write(folder, "torn.pdf", (folder / "scan.pdf").read_bytes()[:200])
    for name in ("fake.pdf", "fake.docx"):
        write(folder, name, "hello")
    write(folder, "old.docx", b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(50))
    write(folder, "sheet.docx", b"PK\x05\x06" + bytes(18))
    write(folder, "torn.docx", b"PK\x03\x04" + bytes(18))
    write(folder, "binary.txt", b"a\x00b" * 9)
    write(folder, "empty.md", "")
    write(folder, "blank.txt", " \n\n")
    write(folder, "odd.txt", b"\x81\xff\x8d")
    write(folder, "page.html", "<html><script>x()</script></html>")


def test_documents_that_cannot_be_read_are_refused_by_name(tmp_path):
    bad_documents(tmp_path)
    write(tmp_path, "sheet.docx", zipped("a.txt"))
    for name, reason in REFUSED.items():
        with pytest.raises(Unreadable) as caught:
            read_document(tmp_path / name)
        assert reason in str(caught.value), name


def zipped(name: str) -> bytes:
    import io
    import zipfile

    sink = io.BytesIO()
    with zipfile.ZipFile(sink, "w") as archive:
        archive.writestr(name, "x")
    return sink.getvalue()


def test_a_pdf_locked_with_an_empty_password_is_read(tmp_path):
    assert text_of(pdf(tmp_path / "a.pdf", ["open"], password="")) == [("paragraph", "open")]


# Chunks


def paragraphs(*texts):
    return [Block("paragraph", text) for text in texts]


def made(blocks, limit):
    return list(chunks(blocks, limit, count_words))


def test_a_short_document_is_one_chunk():
    blocks = [Block("heading", "A", 1), Block("heading", "B", 2), *paragraphs("x", "y")]
    (chunk,) = made(blocks, 99)
    assert chunk.text == "# A\n\n## B\n\nx\n\ny"
    assert chunk.headings == ("A", "B")


def test_sections_stay_together_and_no_heading_ends_a_chunk():
    blocks = []
    for name in "ABC":
        blocks += [Block("heading", name, 1), *paragraphs("one two three four five", "six seven")]
    found = made(blocks, 12)
    assert [chunk.text.split("\n")[0] for chunk in found] == ["# A", "# B", "# C"]
    assert [chunk.headings for chunk in found] == [("A",), ("B",), ("C",)]
    assert [chunk.size for chunk in made(blocks, 18)] == [18, 9]


def test_a_long_paragraph_is_cut_between_sentences_then_words_and_nothing_is_lost():
    text = "One two three. Four five six! Seven eight nine ten eleven twelve thirteen? Done."
    found = made(paragraphs(text), 4)
    assert [chunk.text for chunk in found] == [
        "One two three.",
        "Four five six!",
        "Seven eight nine ten",
        "eleven twelve thirteen? Done.",
    ]


def test_a_table_is_cut_between_its_lines():
    lines = [f"| row {number} |" for number in range(9)]
    found = made([Block("lines", "\n".join(lines))], 12)
    assert [line for chunk in found for line in chunk.text.split("\n")] == lines


def test_a_script_without_spaces_is_cut_between_characters():
    found = made(paragraphs("今日は晴れです。明日は雨が降るでしょう。" * 3), 25)
    assert "".join(chunk.text for chunk in found) == "今日は晴れです。明日は雨が降るでしょう。" * 3
    assert all(chunk.size <= 25 for chunk in found)


def test_a_chunk_knows_its_pages():
    blocks = [Block("mark", "Intro", 1, 1), *(Block("paragraph", "a b c", page=page) for page in (1, 2, 3))]
    first, second = made(blocks, 6)
    assert (first.first_page, first.last_page, second.first_page) == (1, 2, 3)
    assert second.headings == ("Intro",)


@settings(max_examples=150, deadline=None)
@given(
    texts=st.lists(st.text("ab .!?\n今日,", min_size=1, max_size=60), min_size=1, max_size=6),
    kinds=st.lists(st.sampled_from(["heading", "paragraph", "lines"]), min_size=6, max_size=6),
    limit=st.integers(1, 12),
)
def test_no_letter_of_a_document_is_lost_and_no_chunk_is_too_long(texts, kinds, limit):
    blocks = [Block(kind, text, 1) for kind, text in zip(kinds, texts, strict=False) if text.strip()]
    found = made(blocks, limit)

    def letters(parts):
        return "".join("".join(part.split()) for part in parts).replace("#", "")

    assert letters(chunk.text for chunk in found) == letters(block.text for block in blocks)
    assert all(chunk.size <= limit for chunk in found)
    assert all(chunk.text == chunk.text.strip() and chunk.text for chunk in found)


# The verb


@pytest.fixture
def folder(tmp_path) -> Path:
    """A folder with good and bad documents, and files that are none."""
    place = tmp_path / "my dócs"
    write(place, "sub/a.md", "# One\n\n" + "Some words here. " * 60)
    write(place, "b.txt", "Short text.")
    pdf(place / "c.pdf", ["Page one."], [], ["Page three."])
    write(place, "picture.png", b"\x89PNG")
    write(place, ".hidden.txt", "x")
    return place


def test_every_file_of_a_folder_is_accounted_for(job, folder):
    bad_documents(folder)
    result = documents(DocumentsConfig(source=folder, chunk_words=50), job)
    files = json.loads((result.folder / "accounting.json").read_text())["files"]
    states = {entry["file"]: entry["state"] for entry in files}
    assert sorted(states) == sorted(
        path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()
    )
    assert (result.documents, set(result.refused), result.passed_over) == (3, set(REFUSED), 2)
    assert (result.pages, result.pages_without_text, result.unit) == (3, 1, "words")
    assert result.rows == len(rows_of(result)) == sum(entry.get("rows", 0) for entry in files)


def test_rows_say_where_they_stand_and_are_read_again(job, folder):
    result = documents(DocumentsConfig(source=folder, chunk_words=50), job)
    rows = rows_of(result)
    assert {row["metadata"]["group_id"] for row in rows} == {
        f"document {name}" for name in ("b.txt", "c.pdf", "sub/a.md")
    }
    (page,) = [row for row in rows if row["metadata"]["source"] == "c.pdf"]
    assert (page["metadata"]["page"], page["metadata"]["last_page"]) == (1, 3)
    first = next(row for row in rows if row["metadata"]["source"] == "sub/a.md")
    assert first["text"].startswith("# One\n\nSome words")
    assert first["metadata"]["headings"] == ["One"]
    read = list(read_rows(result.folder / "rows.jsonl"))
    assert [row.outcome for row in read] == ["kept"] * len(rows)
    assert {row.example.metadata["group_id"] for row in read} == {row["metadata"]["group_id"] for row in rows}


def test_no_document_stands_in_two_splits(job, tmp_path):
    from tunesmith.core.dataset import DataSet
    from tunesmith.data import PrepareConfig, prepare

    letters = random.Random(3)
    for number in range(12):
        words = " ".join("".join(letters.choices("abcdefghijklmnop", k=7)) for _ in range(120))
        write(tmp_path / "d", f"{number}.txt", words)
    made = documents(DocumentsConfig(source=tmp_path / "d", chunk_words=20), job)
    data = DataSet.open(prepare(PrepareConfig(source=made.folder / "rows.jsonl"), job).folder)
    names = {
        split: {row.example.metadata["source"] for row in data.rows(split)} for split in data.split_names()
    }
    assert not names["train"] & names["test"]
    assert not names["train"] & names["validation"]
    assert sum(map(len, names.values())) == 12


def test_a_single_document_is_read_and_a_bad_one_refused(job, folder, tmp_path):
    assert documents(DocumentsConfig(source=folder / "b.txt"), job).rows == 1
    for name, reason in (("bad.pdf", "first bytes"), ("void.txt", "an empty file")):
        path = write(tmp_path, name, "hello" if name == "bad.pdf" else "")
        with pytest.raises(DataError, match=f"cannot be read: .*{reason}"):
            documents(DocumentsConfig(source=path), job)
    assert len(job.workspace.folders("source")) == 1


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("absent",), "no such file or folder"),
        (("/dev/null",), "a pipe or a device"),
        (("void",), "the folder is empty"),
        (("pictures",), "no file of the folder is a document"),
        (("file.txt", "--chunk-tokens", "100"), "--chunk-tokens needs --tokenizer"),
        (("file.txt", "--chunk-words", "100", "--tokenizer", "fake"), "exclude each other"),
        (("file.txt", "--tokenizer", "fake"), "has no tokenizer"),
        (("file.txt", "--chunk-words", "0"), "at least 8"),
    ],
)
def test_a_mistake_is_one_message_and_leaves_nothing(tmp_path, monkeypatch, capsys, words, says):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "void").mkdir()
    write(tmp_path, "pictures/a.png", "x")
    write(tmp_path, "file.txt", "words")
    before = sorted(tmp_path.rglob("*"))
    code = guarded(lambda: root().main(["data", "documents", *words], standalone_mode=False))
    message = capsys.readouterr().err
    assert (code, says in message, "Traceback" in message) == (2, True, False), message
    assert sorted(tmp_path.rglob("*")) == before


def test_the_command_shows_what_was_read_and_what_was_not(folder, monkeypatch, capsys):
    bad_documents(folder)
    monkeypatch.chdir(folder.parent)
    code = guarded(lambda: root().main(["data", "documents", folder.name, "--quiet"], standalone_mode=False))
    shown = capsys.readouterr().out
    assert code == 0
    assert "3 read, 13 refused, 2 other files passed over" in shown
    assert "scan.pdf: no page has a text layer" in " ".join(shown.split())
    assert "tunesmith data prepare" in shown


def test_the_same_documents_are_not_read_twice_and_changed_ones_are(job, folder):
    first = documents(DocumentsConfig(source=folder), job)
    with pytest.raises(AlreadyDone):
        documents(DocumentsConfig(source=folder), job)
    write(folder, "b.txt", "Other text.")
    assert documents(DocumentsConfig(source=folder), job).folder != first.folder


def test_a_document_that_changes_while_it_is_read_is_one_message(job, folder, monkeypatch):
    from tunesmith.data.documents import door

    def change(path):
        found = read_document(path)
        write(folder, "b.txt", "changed")
        return found

    monkeypatch.setattr(door, "read_document", change)
    with pytest.raises(DataError, match="changed while it was read"):
        documents(DocumentsConfig(source=folder), job)
    assert not job.workspace.folders("source")


def test_a_full_disk_leaves_no_folder(job, folder, monkeypatch):
    from tunesmith.data.documents import door

    def full(*_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(door, "read_one", full)
    with pytest.raises(OutOfSpace, match="finished work is kept"):
        documents(DocumentsConfig(source=folder), job)
    assert not job.workspace.folders("source")


def test_a_second_process_on_one_folder_is_refused(job, folder, tmp_path):
    from dataclasses import replace

    out = tmp_path / "out"
    with folder_lock(out), pytest.raises(FolderError, match="another process"):
        documents(DocumentsConfig(source=folder), replace(job, out=out))


@settings(max_examples=120, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    start=st.sampled_from([b"", b"%PDF-1.4\n", b"PK\x03\x04", b"<html>", b"# a\n", b"\xff\xfe"]),
    content=st.binary(max_size=200) | st.text("<>/ =\"'pdivtablr!-[]&#;ax\n", max_size=80).map(str.encode),
    suffix=st.sampled_from([".txt", ".md", ".html", ".docx", ".pdf", ""]),
)
def test_no_bytes_crash_a_reader(tmp_path_factory, start, content, suffix):
    path = tmp_path_factory.getbasetemp() / f"fuzzed document{suffix}"
    path.write_bytes(start + content)
    try:
        found = read_document(path)
    except Unreadable:
        return
    assert any(block.text for block in found.blocks)
