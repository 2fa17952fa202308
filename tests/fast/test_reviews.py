import sqlite3
import threading
from contextlib import closing

import pytest
import sqlalchemy as sa

from tunesmith.core.errors import DataError, UserError
from tunesmith.core.reviews import store
from tunesmith.core.reviews.acts import Item, Verdict
from tunesmith.core.reviews.state import answers_again, replay, settle, settle_all
from tunesmith.core.reviews.store import Reviews, TakenMeanwhile

Q = "data-set:f"


def filled(tmp_path, items=10, **settings):
    reviews = Reviews(tmp_path / "reviews.sqlite", **settings)
    reviews.queue(Q, "data-set", "set", [Item(f"h{n}", float(n)) for n in range(items)])
    return reviews


def states(reviews):
    return {one.row_hash: one for one in settle_all(reviews.tasks(Q))}


def do(reviews, who, *actions):
    for action in actions:
        reviews.decide(reviews.claim(Q, who), Verdict(action))


def test_a_store_that_is_not_there_is_empty_and_is_not_made(tmp_path):
    reviews = Reviews(tmp_path / "reviews.sqlite")
    assert reviews.tasks(Q) == reviews.events(Q) == []
    assert (reviews.name_of(Q), reviews.signed_off(Q)) == (None, None)
    assert not (tmp_path / "reviews.sqlite").exists()


def test_rows_come_in_the_queues_order_and_verdicts_settle_them(tmp_path):
    reviews = filled(tmp_path, 3)
    do(reviews, "ann", "accept", "reject")
    task = reviews.claim(Q, "ann")
    assert task.row_hash == "h2"
    reviews.decide(task, Verdict("edit", value={"messages": []}, after_hash="new"))
    assert reviews.claim(Q, "ann") is None
    found = states(reviews)
    assert [found[f"h{n}"].action for n in range(3)] == ["accept", "reject", "edit"]
    assert [found[f"h{n}"].after_hash for n in range(3)] == ["h0", None, "new"]


def test_queueing_again_keeps_verdicts_and_moves_only_what_is_open(tmp_path):
    reviews = filled(tmp_path, 3)
    do(reviews, "ann", "accept")
    items = [Item(f"h{n}", float(10 - n), reviewers=2, sampled=True) for n in range(4)]
    assert reviews.queue(Q, "data-set", "set", items) == 1
    assert reviews.claim(Q, "ann").row_hash == "h3"  # the highest rank now
    assert reviews.tasks(Q, row_hash="h0")[0].action == "accept"
    assert states(reviews)["h0"].state == "open"  # a second person is wanted now


@pytest.mark.parametrize("act", ["queue", "open_conflicts"])
def test_two_who_fill_a_queue_at_once_wait_for_each_other(tmp_path, act):
    acts = {
        "queue": lambda one: one.queue(Q, "data-set", "set", [Item("new", 1.0)]),
        "open_conflicts": lambda one: one.open_conflicts(Q, ["h0"]),
    }
    first, second = filled(tmp_path, 1), Reviews(tmp_path / "reviews.sqlite", lock_seconds=0.01)
    refused = []

    def cut_in(connection, cursor, statement, *rest):
        if statement.startswith("INSERT INTO task") and not refused:
            with pytest.raises(UserError, match="another process is writing") as caught:
                acts[act](second)
            refused.append(caught.value)

    sa.event.listen(first._opened(), "before_cursor_execute", cut_in)
    acts[act](first)
    assert len(refused) == 1
    before = first.tasks(Q)
    acts[act](second)
    assert second.tasks(Q) == before
    assert len(before) == 2


def test_two_people_never_hold_one_look_at_a_row(tmp_path):
    reviews = filled(tmp_path, 40)
    taken, threads = [], []

    def work(who):
        own = Reviews(tmp_path / "reviews.sqlite")
        while (task := own.claim(Q, who)) is not None:
            own.decide(task, Verdict("accept"))
            taken.append(task.row_hash)

    for who in ("ann", "bob", "eve"):
        threads.append(threading.Thread(target=work, args=(who,)))
        threads[-1].start()
    for thread in threads:
        thread.join()
    assert sorted(taken) == sorted(f"h{n}" for n in range(40))
    assert len(reviews.events(Q)) == 40


def test_a_claim_is_kept_until_it_expires_and_then_belongs_to_who_takes_it(tmp_path, monkeypatch):
    reviews, now = filled(tmp_path, 1), [1000.0]
    monkeypatch.setattr(store.time, "time", lambda: now[0])
    first = reviews.claim(Q, "ann", seconds=60)
    assert reviews.claim(Q, "bob") is None
    assert reviews.claim(Q, "ann").row_hash == "h0"  # their own comes back to them
    first = reviews.claim(Q, "ann", seconds=60)
    now[0] += 61
    second = reviews.claim(Q, "bob")
    with pytest.raises(TakenMeanwhile, match="the claim ran out"):
        reviews.decide(first, Verdict("reject"))
    reviews.decide(second, Verdict("accept"))
    assert states(reviews)["h0"].reviewers == ("bob",)


def test_an_expired_claim_that_nobody_took_still_counts(tmp_path, monkeypatch):
    reviews, now = filled(tmp_path, 1), [1000.0]
    monkeypatch.setattr(store.time, "time", lambda: now[0])
    task = reviews.claim(Q, "ann")
    now[0] += 10_000
    reviews.decide(task, Verdict("accept"))
    assert states(reviews)["h0"].action == "accept"


def test_two_reviewers_who_differ_make_a_conflict_that_a_third_decides(tmp_path):
    reviews = Reviews(tmp_path / "reviews.sqlite")
    reviews.queue(Q, "data-set", "set", [Item("h0", 0, reviewers=2), Item("h1", 1, reviewers=2)])
    do(reviews, "ann", "accept", "accept")
    assert states(reviews)["h0"].state == "open"
    do(reviews, "bob", "accept", "reject")
    assert [one.state for one in states(reviews).values()] == ["settled", "conflict"]
    assert reviews.claim(Q, "eve", adjudicate=True) is None
    reviews.open_conflicts(Q, ["h1"])
    reviews.open_conflicts(Q, ["h1"])  # twice does no harm
    task = reviews.claim(Q, "eve", adjudicate=True)
    reviews.decide(task, Verdict("reject", "wrong"))
    assert states(reviews)["h1"].action == "reject"
    with pytest.raises(TakenMeanwhile, match="cannot be taken back"):
        reviews.undo(Q, "bob")


def test_equal_edits_agree_and_different_ones_do_not(tmp_path):
    for after, state in (("same", "settled"), ("other", "conflict")):
        folder = tmp_path / after
        reviews = Reviews(folder / "reviews.sqlite")
        reviews.queue(Q, "data-set", "set", [Item("h0", 0, reviewers=2)])
        reviews.decide(reviews.claim(Q, "ann"), Verdict("edit", value={}, after_hash="same"))
        reviews.decide(reviews.claim(Q, "bob"), Verdict("edit", value={}, after_hash=after))
        assert states(reviews)["h0"].state == state


def test_a_row_is_shown_again_to_the_one_who_judged_it_and_only_to_them(tmp_path):
    reviews = Reviews(tmp_path / "reviews.sqlite")
    reviews.queue(Q, "data-set", "set", [Item(f"h{n}", float(n), again=n == 0) for n in range(3)])
    do(reviews, "ann", "accept", "accept")
    do(reviews, "bob", "accept")
    assert reviews.claim(Q, "bob") is None
    again = reviews.claim(Q, "ann")
    assert (again.row_hash, again.purpose) == ("h0", "again")
    reviews.decide(again, Verdict("reject"))
    [(first, later)] = answers_again(reviews.tasks(Q))
    assert (first.action, later.action) == ("accept", "reject")
    assert states(reviews)["h0"].action == "accept"  # the first verdict stands


def test_a_skipped_row_stays_open_and_can_be_passed_over(tmp_path):
    reviews = filled(tmp_path, 2)
    do(reviews, "ann", "skip")
    assert states(reviews)["h0"].skipped
    assert reviews.claim(Q, "ann", without=frozenset({"h0"})).row_hash == "h1"
    assert reviews.claim(Q, "bob").row_hash == "h0"


def test_undo_takes_verdicts_back_one_by_one(tmp_path):
    reviews = filled(tmp_path, 3)
    do(reviews, "ann", "accept", "reject", "accept")
    assert reviews.undo(Q, "ann").row_hash == "h2"
    assert reviews.undo(Q, "ann").row_hash == "h1"
    do(reviews, "ann", "accept")
    assert reviews.undo(Q, "ann").row_hash in {"h1", "h2"}
    assert reviews.undo(Q, "ann").row_hash == "h0"
    assert reviews.undo(Q, "ann") is None
    assert reviews.undo(Q, "bob") is None
    assert all(one.state == "open" for one in states(reviews).values())


def test_the_tasks_can_be_made_again_from_the_audit_trail(tmp_path):
    reviews = Reviews(tmp_path / "reviews.sqlite")
    items = [Item(f"h{n}", float(n), reviewers=1 + n % 2, again=n % 3 == 0) for n in range(8)]
    reviews.queue(Q, "data-set", "set", items)
    do(reviews, "ann", "accept", "reject", "skip", "accept")
    do(reviews, "bob", "reject", "accept", "edit")
    reviews.undo(Q, "ann")
    reviews.note(reviews.claim(Q, "ann"), "ann", "odd", ["later"])
    done = {(task.row_hash, task.slot): (task.action, task.after_hash, task.reviewer)
            for task in reviews.tasks(Q) if task.state == "done"}  # fmt: skip
    assert {key: tuple(one) for key, one in replay(reviews.events(Q)).items()} == done
    assert len(done) == 5


def test_events_say_who_what_when_and_with_which_version(tmp_path):
    reviews = filled(tmp_path, 1)
    verdict = Verdict("reject", "two streets", "see the map", ("street",), 3.5)
    reviews.decide(reviews.claim(Q, "ann"), verdict)
    event = reviews.events(Q)[0]
    said = (event.action, event.reason, event.note, event.tags, event.seconds, event.reviewer)
    assert said == ("reject", "two streets", "see the map", ["street"], 3.5, "ann")
    assert event.time.endswith("+00:00")
    assert event.tool_version
    assert (event.row_hash, event.after_hash) == ("h0", None)


def test_a_verdict_after_the_sign_off_ends_it(tmp_path):
    reviews = filled(tmp_path, 2)
    do(reviews, "ann", "accept")
    reviews.sign_off(Q, "eve", {"accepted": 1}, "fine")
    assert (reviews.signed_off(Q).reviewer, reviews.signed_off(Q).value) == ("eve", {"accepted": 1})
    do(reviews, "ann", "accept")
    assert reviews.signed_off(Q) is None


def test_a_database_that_another_process_holds_is_told_and_nothing_is_lost(tmp_path):
    reviews = filled(tmp_path, 2, lock_seconds=0.05)
    task = reviews.claim(Q, "ann")
    with closing(sqlite3.connect(tmp_path / "reviews.sqlite")) as other:
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(UserError, match="another process is writing"):
            reviews.decide(task, Verdict("accept"))
        other.rollback()
    reviews.decide(task, Verdict("accept"))
    assert len(reviews.events(Q)) == 1


def test_a_file_that_is_no_store_and_a_newer_one_are_refused(tmp_path):
    path = tmp_path / "reviews.sqlite"
    path.write_text("my notes " * 1000)
    with pytest.raises(DataError, match="cannot be used"):
        Reviews(path).tasks(Q)
    path.unlink()
    filled(tmp_path, 1)
    with closing(sqlite3.connect(path)) as database, database:
        database.execute("UPDATE alembic_version SET version_num = 'reviews_9999'")
    with pytest.raises(DataError, match="store of reviews was written by a newer"):
        Reviews(path).tasks(Q)


def test_the_migrations_make_the_tables_that_are_read(tmp_path):
    import sqlalchemy as sa
    from alembic.autogenerate import compare_metadata
    from alembic.migration import MigrationContext

    from tunesmith.core.reviews.tables import metadata

    filled(tmp_path, 1)
    engine = sa.create_engine(f"sqlite:///{tmp_path / 'reviews.sqlite'}", poolclass=sa.pool.NullPool)
    with engine.connect() as connection:
        differences = compare_metadata(MigrationContext.configure(connection), metadata)
    assert [one for one in differences if one[0] != "remove_index"] == []


def test_the_statements_are_ones_that_postgres_has_too(tmp_path):
    from sqlalchemy.dialects import postgresql

    seen = []
    reviews = filled(tmp_path, 2)
    read = reviews._read
    reviews._read = lambda query: seen.append(str(query.compile(dialect=postgresql.dialect()))) or read(query)
    do(reviews, "ann", "accept")
    reviews.tasks_about(["h0"])
    assert len(seen) == 2
    assert all("SELECT" in one for one in seen)


def test_verdicts_are_found_by_the_row_before_and_after_in_any_queue(tmp_path):
    reviews = filled(tmp_path, 3)
    reviews.decide(reviews.claim(Q, "ann"), Verdict("edit", value={}, after_hash="new"))
    reviews.queue("pool:p", "pool", "p", [Item("h0", 0)])
    found = {(task.queue, task.row_hash) for task in reviews.tasks_about(["new", "h0"])}
    assert found == {(Q, "h0"), ("pool:p", "h0")}
    assert settle(reviews.tasks_about(["new"])).after_hash == "new"
