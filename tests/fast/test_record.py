import sqlite3
import threading
from contextlib import closing

import pytest
import sqlalchemy as sa
from hypothesis import given, settings
from hypothesis import strategies as st

from tunesmith.core.errors import DataError, OutOfSpace, UserError
from tunesmith.core.record import (
    Entry,
    Loss,
    Record,
    RecordWriter,
    explain_database_errors,
    opened,
    read_since,
)


def entry(number=0, **changes):
    values = {
        "id": f"chatcmpl-{number}",
        "time": 1000.0 + number,
        "model": "m",
        "version": "v",
        "status": 200,
        "total_seconds": 0.5,
        "messages": [{"role": "user", "content": f"question {number}"}],
        "answer": f"answer {number}",
        "content": "kept",
    }
    return Entry(**{**values, **changes})


def write(path, entries, **limits):
    with closing(RecordWriter(path, batch_seconds=0.005, **limits)) as writer:
        for one in entries:
            writer.put(one)
    return writer


def test_what_was_put_is_read_back(tmp_path):
    path = tmp_path / "record.sqlite"
    put = [entry(1, parameters={"temperature": 0.5}), entry(2, first_token_seconds=0.1, prompt_tokens=7)]
    write(path, put)
    assert Record(path).entries() == list(reversed(put))
    assert [fact.prompt_tokens for fact in Record(path).facts()] == [None, 7]


def test_the_reader_chooses_by_time_and_model(tmp_path):
    path = tmp_path / "record.sqlite"
    write(path, [entry(1), entry(2, model="other"), entry(3)])
    record = Record(path)
    assert [fact.time for fact in record.facts(since=1002.0)] == [1002.0, 1003.0]
    assert [fact.time for fact in record.facts(model="m")] == [1001.0, 1003.0]
    assert record.models() == ["m", "other"]


def test_errors_are_those_of_the_server_and_the_client_but_not_of_clients_that_left(tmp_path):
    path = tmp_path / "record.sqlite"
    write(path, [entry(1, status=404), entry(2, status=499), entry(3, status=500), entry(4)])
    assert [one.status for one in Record(path).errors()] == [500, 404]
    assert [one.status for one in Record(path).errors(limit=1)] == [500]


def test_a_record_that_is_not_there_is_empty_and_is_not_made(tmp_path):
    record = Record(tmp_path / "record.sqlite")
    assert record.facts() == record.entries() == record.errors() == record.models() == []
    assert record.loss() == Loss()
    assert not record.path.exists()


def test_content_beyond_the_bound_is_dropped_first_and_counted(tmp_path):
    path = tmp_path / "record.sqlite"
    writer = write(path, [entry(number) for number in range(3)], max_content_bytes=0)
    assert writer.loss == Loss(contents=3)
    assert [one.content for one in Record(path).entries()] == ["dropped"] * 3
    assert [one.answer for one in Record(path).entries()] == [None] * 3
    assert Record(path).loss() == Loss(contents=3)


def test_a_full_queue_drops_rows_counts_them_and_never_waits(tmp_path):
    path = tmp_path / "record.sqlite"
    writer = RecordWriter(path, max_waiting=2, batch_seconds=0.005, batch_rows=1, retry_seconds=0.01)
    with closing(sqlite3.connect(path)) as other:
        other.execute("BEGIN IMMEDIATE")
        for number in range(10):
            writer.put(entry(number))
        other.rollback()
    writer.close()
    kept = len(Record(path).entries())
    assert writer.loss.requests == 10 - kept > 0
    assert Record(path).loss() == writer.loss


def test_many_threads_write_and_nothing_is_lost(tmp_path):
    path = tmp_path / "record.sqlite"
    with closing(RecordWriter(path)) as writer:
        threads = [
            threading.Thread(target=lambda n=n: [writer.put(entry(100 * n + i)) for i in range(50)])
            for n in range(4)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert len(Record(path).facts()) == 200
    assert writer.loss == Loss()


def test_two_writers_share_one_record(tmp_path):
    path = tmp_path / "record.sqlite"
    with closing(RecordWriter(path)) as first, closing(RecordWriter(path)) as second:
        first.put(entry(1))
        second.put(entry(2))
    assert len(Record(path).facts()) == 2


@settings(max_examples=25, deadline=None)
@given(st.text(st.characters(exclude_categories=["Cs"])))
def test_any_text_survives(tmp_path_factory, text):
    path = tmp_path_factory.mktemp("record") / "record.sqlite"
    write(path, [entry(1, answer=text, messages=[{"role": "user", "content": text}])])
    found = Record(path).entries()[0]
    assert (found.answer, found.messages[0]["content"]) == (text, text)


@pytest.mark.parametrize(
    ("cause", "kind", "says"),
    [
        ("database or disk is full", OutOfSpace, "free some space"),
        ("attempt to write a readonly database", UserError, "--record off"),
        ("unable to open database file", UserError, "--record off"),
        ("file is not a database", DataError, "move it away"),
    ],
)
def test_what_sqlite_says_about_the_record_has_a_next_step(tmp_path, cause, kind, says):
    with pytest.raises(kind, match=says), explain_database_errors(tmp_path):
        raise sa.exc.OperationalError("statement", {}, sqlite3.OperationalError(cause))


def test_a_record_that_cannot_be_written_is_told_while_the_server_runs(tmp_path, caplog):
    path = tmp_path / "record.sqlite"
    writer = RecordWriter(path, batch_seconds=0.005, retry_seconds=0.01)
    with closing(sqlite3.connect(path)) as other:
        other.execute("DROP TABLE request")
    writer.put(entry(0))
    writer.close()
    assert (writer.problem, writer.loss.requests) == ("no such table: request", 1)
    assert "cannot be written (no such table: request); trying again" in caplog.text


def test_a_file_that_is_no_record_is_left_alone(tmp_path):
    path = tmp_path / "record.sqlite"
    path.write_text("these are my notes, not a database " * 100)
    with pytest.raises(DataError, match="cannot be used"):
        Record(path).facts()
    assert path.read_text().startswith("these are my notes")


def test_a_record_of_a_newer_tunesmith_is_refused(tmp_path):
    path = tmp_path / "record.sqlite"
    write(path, [entry(1)])
    with closing(sqlite3.connect(path)) as database, database:
        database.execute("UPDATE alembic_version SET version_num = 'record_9999'")
    with pytest.raises(DataError, match="newer tunesmith"):
        Record(path).facts()


def test_the_migrations_make_the_tables_that_are_read(tmp_path):
    from alembic.autogenerate import compare_metadata
    from alembic.migration import MigrationContext

    from tunesmith.core.record import metadata

    with opened(tmp_path / "record.sqlite") as engine, engine.connect() as connection:
        differences = compare_metadata(MigrationContext.configure(connection), metadata)
    assert [one for one in differences if one[0] != "remove_index"] == []


def test_a_window_is_read_as_minutes_hours_days_or_a_date():
    now = 1_000_000.0
    assert read_since(None, now) == 0.0
    assert read_since("30m", now) == now - 1800
    assert read_since("24h", now) == now - 86400
    assert read_since("7d", now) == now - 7 * 86400
    assert read_since("2027-01-31T00:00:00+00:00", now) == 1801353600.0
    with pytest.raises(UserError, match="not a time"):
        read_since("yesterday", now)


def test_a_folder_whose_name_means_something_in_a_url_holds_its_record(tmp_path):
    path = tmp_path / "what now?#%" / "record.sqlite"
    with closing(RecordWriter(path)):
        pass
    assert path.exists()
    assert [entry.name for entry in tmp_path.iterdir()] == ["what now?#%"]
