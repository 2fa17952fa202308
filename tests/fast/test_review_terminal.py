import io
import json
from dataclasses import replace
from pathlib import Path

import pytest
from rich.console import Console
from sample_rows import colour_rows, row

from tunesmith.cli.layout import harmless
from tunesmith.cli.review_terminal import Asking, Screen, as_yaml, edit_text, from_yaml, review
from tunesmith.cli.show_data import show_rows
from tunesmith.cli.show_review import show_review, told, turn
from tunesmith.core.conversation import Example, Message, chat
from tunesmith.core.dataset import DataSet
from tunesmith.core.errors import ConfigError, DataError, UserError
from tunesmith.core.reviews.acts import Verdict
from tunesmith.core.reviews.guard import check_reviewed
from tunesmith.core.reviews.store import TakenMeanwhile, reviews_of
from tunesmith.core.workspace import AlreadyDone
from tunesmith.data.preparation import prepare
from tunesmith.data.review.schema import ReviewConfig
from tunesmith.data.review.session import open_session
from tunesmith.data.schema import PrepareConfig, ShowConfig, ShownRow, ShowResult
from tunesmith.data.viewing import show


def made(tmp_path, job, lines=None):
    path = tmp_path / "rows.jsonl"
    path.write_text("\n".join(lines or colour_rows(30)) + "\n")
    return DataSet.open(prepare(PrepareConfig(source=path), job).folder)


def config(data, **settings):
    return ReviewConfig(data=str(data.folder), **{"as_": "ann", "again": 0.0, **settings})


def rows_of(data):
    return [entry for name in data.split_names() for entry in data.rows(name)]


def ask(settings, job, keys, lines=(), edits=()):
    """Press keys, give lines and edits where asked.  Returns what the screen said, and the notes."""
    said = io.StringIO()
    pressed, typed, files = iter(keys), iter(lines), iter(edits)
    screen = Screen(
        Console(file=said, width=100, force_terminal=False),
        key=lambda: next(pressed, "q"),
        line=lambda question: next(typed),
        edit=lambda text: next(files)(text),
    )
    with open_session(settings, job) as session:
        notes = Asking(session, screen, settings.label).run()
    return said.getvalue(), notes


def decide(data, job, tmp_path, decisions, **settings):
    path = tmp_path / "decisions.jsonl"
    path.write_text("\n".join(json.dumps(one) for one in decisions))
    return review(config(data, decisions=path, **settings), job)


def accept_all(data):
    return [{"row_hash": one.row_hash, "action": "accept"} for one in rows_of(data)]


def test_keys_give_verdicts_and_each_is_saved_at_once(tmp_path, job):
    data = made(tmp_path, job)
    said, _ = ask(config(data, order="given"), job, "arx", ["two things"])
    assert "'x' is no key here" in said
    found = review(config(data, status=True), job)
    assert (found.accepted, found.rejected, found.open) == (1, 1, 28)
    event = reviews_of(job.workspace).events(f"data-set:{data.fingerprint}")[1]
    assert (event.reason, event.reviewer) == ("two things", "ann")
    assert event.seconds is not None


def test_an_empty_reason_goes_back_and_ctrl_c_loses_nothing(tmp_path, job):
    data = made(tmp_path, job)
    with pytest.raises(KeyboardInterrupt):
        ask(config(data), job, "ra\x03", [""])
    found = review(config(data, status=True), job)
    assert (found.accepted, found.rejected) == (1, 0)
    assert all(
        task.claimed_until is None for task in reviews_of(job.workspace).tasks(f"data-set:{data.fingerprint}")
    )


def test_undo_notes_and_skips(tmp_path, job):
    data = made(tmp_path, job)
    said, notes = ask(config(data, order="given"), job, "uanus", ["odd"])
    assert "there is nothing to undo" in said
    assert notes == ["1 skipped rows come again next time"]
    events = reviews_of(job.workspace).events(f"data-set:{data.fingerprint}")
    assert [event.action for event in events] == ["accept", "note", "undo", "skip"]
    assert events[1].note == "odd"


def test_the_row_can_be_edited_until_it_is_valid(tmp_path, job):
    data = made(tmp_path, job)
    edits = [
        lambda text: text.replace("role: assistant", "role: robot"),
        lambda text: text.replace("role: robot", "role: assistant").replace("thing", "what"),
    ]
    said, _ = ask(config(data), job, "ee", edits=edits)
    assert "this is no valid row" in said
    found = review(config(data, status=True), job)
    assert found.edited == 1
    made_of = review(config(data, apply=True), job)
    rows = rows_of(DataSet.open(made_of.folder))
    assert sum('"what"' in one.example.answer for one in rows) == 1
    DataSet.open(made_of.folder).verify()


@pytest.mark.parametrize("change", [lambda text: text, lambda text: None, lambda text: f"\n{text}\n"])
def test_an_edit_without_a_change_is_no_verdict(tmp_path, job, change):
    data = made(tmp_path, job)
    said, _ = ask(config(data), job, "e", edits=[change])
    assert "nothing was changed" in said
    assert review(config(data, status=True), job).edited == 0


def test_text_of_any_kind_comes_back_from_the_editor_as_it_was():
    odd = [
        "a\nb\n",
        " lead",
        "trail \n x",
        "- x: y",
        "\u2028 \x85 \u202e",
        "tab\tx\n\tz",
        "'\"",
        "",
        "null",
        "1",
    ]
    for text in odd:
        example = chat([("user", text or "x"), ("assistant", text)])
        assert from_yaml(as_yaml(example.to_json())) == example.to_json()
    with pytest.raises(DataError, match="no valid YAML"):
        from_yaml("a: [1")


def test_an_editor_that_fails_or_is_missing_is_told(monkeypatch, tmp_path):
    monkeypatch.delenv("VISUAL", raising=False)
    monkeypatch.setenv("EDITOR", "false")
    with pytest.raises(UserError, match="ended with 1"):
        edit_text("x")
    monkeypatch.setenv("EDITOR", "no-such-editor-here")
    with pytest.raises(UserError, match="cannot be started"):
        edit_text("x")
    script = tmp_path / "ed.sh"
    script.write_text("#!/bin/sh\nsed -i s/x/y/ $1\n")
    script.chmod(0o755)
    monkeypatch.setenv("EDITOR", str(script))
    assert edit_text("x") == "y"


def test_what_a_row_says_cannot_move_the_terminal(tmp_path, job):
    nasty = "\x1b[2J\x1b]0;owned\x07 \x9b31m \u202eevil\u200b \r\x08 ok\nline"
    assert harmless(nasty) == "␛[2J␛]0;owned␇ ⟨U+009B⟩31m ⟨U+202E⟩evil⟨U+200B⟩ ␍␈ ok\nline"
    assert harmless("نمی‌خواهم 👩‍👩‍👧 \ud800") == "نمی‌خواهم 👩‍👩‍👧 ⟨U+D800⟩"
    data = made(tmp_path, job, [*colour_rows(20), row("\x1b[2J hi", "\x1b]0;x\x07 there")])
    said, _ = ask(config(data), job, "a" * 30)
    assert "␛[2J hi" in said
    assert "\x1b" not in said


def test_labels_have_number_keys_and_a_row_without_answer_cannot_be_accepted(tmp_path, job):
    data = made(tmp_path, job)
    said, _ = ask(config(data, label=("yes", "no"), order="given"), job, "29")
    assert "[1] yes  [2] no" in said
    assert "'9' is no key here" in said
    assert review(config(data, status=True), job).edited == 1
    with open_session(config(data), job) as session:
        shown = session.next()
        bare = replace(shown.row.example, messages=shown.row.example.messages[:1])
        with pytest.raises(DataError, match="no answer yet"):
            session.decide(shown._replace(row=shown.row._replace(example=bare)), Verdict("accept"))


def test_findings_are_shown_and_the_gravest_rows_come_first(tmp_path, job):
    data = made(tmp_path, job)
    last = rows_of(data)[-1]
    place = {"split": "test", "line": last.line, "row_hash": last.row_hash}
    folder = tmp_path / "check"
    folder.mkdir()
    lines = [
        {
            "check": "pii",
            "row": place,
            "severity": "error",
            "value": 1,
            "threshold": 0,
            "evidence": {"text": "\x1b[m"},
        },
        {"check": "whole", "row": None, "severity": "note", "value": 1, "threshold": 0, "evidence": {}},
    ]
    (folder / "findings.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    said, _ = ask(config(data, findings=str(folder)), job, "")
    assert last.row_hash[:12] in said
    assert "finding  pii: 1" in said
    (folder / "findings.jsonl").write_text("[]\n")
    with pytest.raises(DataError, match=r"not a finding|findings.jsonl:1"):
        ask(config(data, findings=str(folder)), job, "")


def test_decisions_are_checked_before_the_first_is_saved(tmp_path, job):
    data = made(tmp_path, job)
    good = accept_all(data)[0]
    bad = [
        ({"row_hash": "ab" * 32, "action": "accept"}, "no such row"),
        ({"row_hash": good["row_hash"], "action": "reject"}, "needs a reason"),
        ({"row_hash": good["row_hash"], "action": "edit"}, "edited row in"),
        ({"row_hash": good["row_hash"], "action": "edit", "example": {"messages": []}}, "no valid row"),
        ({"row_hash": good["row_hash"], "action": "maybe"}, "not a decision"),
        ({"row_hash": "xyz", "action": "accept"}, "names no row"),
        ({"row_hash": good["row_hash"], "action": "accept", "mood": 1}, "unknown keys mood"),
        ({"split": "train", "line": 10_000, "action": "accept"}, "no such row"),
        ([1], "not a decision"),
    ]
    for decision, what in bad:
        with pytest.raises(DataError, match=what) as error:
            decide(data, job, tmp_path, [good, decision])
        assert "decisions.jsonl:2" in str(error.value)
    assert review(config(data, status=True), job).accepted == 0


def test_decisions_given_twice_count_once(tmp_path, job):
    data = made(tmp_path, job)
    assert decide(data, job, tmp_path, accept_all(data), again=0.5).decided == 30
    second = decide(data, job, tmp_path, accept_all(data), again=0.5)
    assert (second.decided, second.notes, second.accepted) == (0, [], 30)
    other = [{**accept_all(data)[0], "action": "reject", "reason": "no"}]
    assert "said accept before" in decide(data, job, tmp_path, other).notes[0]
    assert "judged by ann already" in decide(data, job, tmp_path, other, as_="bob").notes[0]


def test_a_row_that_another_looks_at_is_told(tmp_path, job):
    data = made(tmp_path, job)
    with open_session(config(data), job) as session:
        shown = session.next()
    with pytest.raises(TakenMeanwhile, match="another reviewer is looking"):
        decide(data, job, tmp_path, [{"row_hash": shown.row.row_hash, "action": "accept"}], as_="bob")


def test_different_labels_are_a_disagreement_and_the_judge_sides_by_a_key(tmp_path, job):
    data = made(tmp_path, job)
    labels = {"label": ("red", "blue"), "order": "given", "overlap": 1.0}
    ask(config(data, **labels), job, "1122")
    ask(config(data, **labels, as_="bob"), job, "1221")
    found = review(config(data, status=True), job)
    assert (found.agreement.rows, found.agreement.percent, found.conflicts) == (4, 0.5, 2)
    assert found.agreement.kappa == pytest.approx(0)
    assert set(found.agreement.by_verdict) == {"edit: red", "edit: blue"}
    said, _ = ask(config(data, adjudicate=True, as_="eve"), job, "12")
    assert "[1] as ann  [2] as bob" in said
    found = review(config(data, status=True), job)
    assert (found.conflicts, found.edited) == (0, 4)


@pytest.mark.parametrize(
    ("edited", "row", "shown"),
    [
        (["q", "new"], ["q"], ["new"]),
        (["q", "new"], ["q", "old"], ["new"]),
        (["Q", "old"], ["q", "old"], ["Q", "old"]),
        (["q", "old"], ["q", "old", "more", "end"], ["q", "old"]),
    ],
)
def test_of_an_edit_the_judge_sees_what_the_row_does_not_say_anyway(edited, row, shown):
    def talk(texts):
        return Example(tuple(Message(("user", "assistant")[at % 2], text) for at, text in enumerate(texts)))

    assert [turn.content for turn in told(talk(edited), talk(row)).messages] == shown


def test_a_verdict_that_was_taken_back_is_not_shown_to_the_judge(tmp_path, job):
    data = made(tmp_path, job)
    labels = {"label": ("red", "blue"), "order": "given", "overlap": 1.0}
    ask(config(data, **labels), job, "1u2")
    ask(config(data, **labels, as_="bob"), job, "1")
    said, _ = ask(config(data, adjudicate=True, as_="eve"), job, "q")
    assert said.count("by ann") == 1


def test_agreement_adjudication_sign_off_and_the_data_set_that_comes_of_it(tmp_path, job):
    data = made(tmp_path, job)
    decisions = accept_all(data)
    decide(data, job, tmp_path, decisions, overlap=1.0)
    first, second = decisions[0]["row_hash"], decisions[1]["row_hash"]
    decisions[0] = {"row_hash": first, "action": "reject", "reason": "no"}
    edited = rows_of(data)[1].example.to_json()
    edited["messages"][1]["content"] = "{}"
    decisions[1] = {"row_hash": second, "action": "edit", "example": edited}
    found = decide(data, job, tmp_path, decisions, overlap=1.0, as_="bob")
    assert (found.conflicts, found.accepted, found.agreement.rows) == (2, 28, 30)
    assert found.agreement.percent == pytest.approx(28 / 30)
    for mode in ({"sign_off": True}, {"apply": True}):
        with pytest.raises(UserError, match=r"conflict|differ") as error:
            review(config(data, **mode), job)
        assert "--adjudicate" in str(error.value)
    settled = decide(data, job, tmp_path, decisions[:2], adjudicate=True, as_="eve")
    assert (settled.rejected, settled.edited, settled.conflicts) == (1, 1, 0)
    signed = review(config(data, sign_off=True, as_="eve", note="looked twice"), job)
    assert signed.signed_off.startswith("eve, ")
    made_of = review(config(data, apply=True), job)
    after = DataSet.open(made_of.folder)
    after.verify()
    assert sum(made_of.splits.values()) == 29
    dropped = json.loads((made_of.folder / "dropped.jsonl").read_text())
    assert (dropped["row_hash"], dropped["by"]) == (first, ["eve"])
    assert after.manifest.inputs[0].id == data.manifest.id
    check_reviewed(after, reviews_of(job.workspace))
    with pytest.raises(DataError, match=r"1 of .* were rejected"):
        check_reviewed(data, reviews_of(job.workspace))
    with pytest.raises(AlreadyDone):
        review(config(data, apply=True), job)


def test_an_edit_that_makes_a_row_of_another_split_is_left_out_with_the_reason(tmp_path, job):
    data = made(tmp_path, job)
    test_row = next(data.rows("test"))
    decisions = [{"row_hash": next(data.rows("train")).row_hash, "action": "edit",
                  "example": test_row.example.to_json()}]  # fmt: skip
    decide(data, job, tmp_path, decisions)
    made_of = review(config(data, apply=True), job)
    assert sum(made_of.splits.values()) == 29
    assert "stands in the test split already" in (made_of.folder / "dropped.jsonl").read_text()
    DataSet.open(made_of.folder).verify()


def test_training_on_rows_that_nobody_looked_at_is_refused_with_counts_and_the_next_command(tmp_path, job):
    data = made(tmp_path, job)
    reviews = reviews_of(job.workspace)
    with pytest.raises(DataError, match="of 27 rows to learn from were not reviewed") as error:
        check_reviewed(data, reviews)
    assert "tunesmith data review" in str(error.value)
    decide(data, job, tmp_path, accept_all(data))
    with pytest.raises(DataError, match="nobody signed"):
        check_reviewed(data, reviews)
    review(config(data, sign_off=True), job)
    check_reviewed(data, reviews)


def test_a_recipe_can_require_the_review_whatever_the_engine(tmp_path, job):
    from tunesmith.train import TrainConfig, train

    data = made(tmp_path, job)
    recipe = tmp_path / "r.yaml"
    recipe.write_text(
        f"name: r\nmodel: fake\nengine: fake\ndata: {data.folder}\nrequire_review: true\n"
        "optimiser: {learning_rate: 0.1}\n"
    )
    with pytest.raises(DataError, match="not reviewed"):
        train(TrainConfig(recipe=recipe), job)


def test_a_spot_check_goes_on_as_one_and_takes_every_row_only_when_asked(tmp_path, job):
    data = made(tmp_path, job)
    ask(config(data, sample=3), job, "a")
    ask(config(data), job, "aaaa")
    found = review(config(data, status=True), job)
    assert (found.queued, found.accepted, found.open, found.sample.rows) == (3, 3, 0, 3)
    ask(config(data, sample=0), job, "")
    assert review(config(data, status=True), job).queued == 30


def test_a_sample_gives_the_error_rate_and_a_larger_one_holds_it(tmp_path, job):
    data = made(tmp_path, job)
    with open_session(config(data, sample=10), job) as session:
        small = {task.row_hash for task in session.reviews.tasks(session.queue)}
    with open_session(config(data, sample=20), job) as session:
        large = {task.row_hash for task in session.reviews.tasks(session.queue)}
    assert (len(small), len(large)) == (10, 20)
    assert small < large
    chosen = sorted(large)
    decisions = [{"row_hash": one, "action": "accept"} for one in chosen[:18]]
    decisions += [{"row_hash": chosen[18], "action": "reject", "reason": "no"}]
    rate = decide(data, job, tmp_path, decisions, sample=20).sample
    assert (rate.rows, rate.errors, rate.undecided) == (19, 1, 1)
    assert rate.exact_low < rate.value < rate.exact_high
    assert rate.below == pytest.approx(0.2264, abs=1e-3)


def test_everything_can_be_exported_with_its_trail(tmp_path, job):
    data = made(tmp_path, job)
    decide(data, job, tmp_path, accept_all(data)[:2])
    result = review(config(data, export=tmp_path / "out" / "reviews.jsonl"), job)
    with pytest.raises(UserError, match="there already"):
        review(config(data, export=tmp_path / "out" / "reviews.jsonl"), job)
    rows = [json.loads(line) for line in (tmp_path / "out" / "reviews.jsonl").read_text().splitlines()]
    assert len(rows) == 30
    done = [one for one in rows if one["review_status"] == "settled"]
    assert [one["reviewed_by"] for one in done] == [["ann"], ["ann"]]
    assert done[0]["events"][0]["action"] == "accept"
    screen = io.StringIO()
    show_review(result, Console(file=screen, width=120))
    assert "2 accepted + 28 open" in screen.getvalue()


def test_what_cannot_be_asked_is_told(tmp_path, job, monkeypatch):
    data = made(tmp_path, job)
    monkeypatch.setattr("sys.stdin", io.StringIO())
    with pytest.raises(UserError, match="no terminal to ask at"):
        review(config(data), job)
    with pytest.raises(UserError, match="no row was reviewed"):
        review(config(data, sign_off=True), job)
    with pytest.raises(UserError, match="no row was reviewed"):
        review(config(data, apply=True), job)
    from tunesmith.core.config import build

    with pytest.raises(ConfigError, match="different commands"):
        build(ReviewConfig, {"data": "x", "status": True, "apply": True}, source="command line")


# --- `data show` ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("row", "shown"),
    [
        (
            {"messages": [{"role": "user", "content": "why"}],
             "chosen": [{"role": "assistant", "content": "light scatters"}],
             "rejected": [{"role": "assistant", "content": "no\x1b[2J idea"}]},
            ["user  why", "chosen  light scatters", "rejected  no␛[2J idea"],
        ),
        (
            {"messages": [{"role": "user", "content": "1+1"}], "steps": [
                {"text": "one", "label": True}, {"text": "three", "label": False}]},
            ["right  one", "wrong  three"],
        ),
        (
            {"messages": [{"role": "assistant", "content": "4", "reasoning_content": "2 and 2"}]},
            ["assistant  [reasoning] 2 and 2\n4"],
        ),
        ({"messages": [{"role": "text", "content": "tale"}], "label": False}, ["text  tale", "rating  bad"]),
    ],
)  # fmt: skip
def test_every_part_of_a_row_is_shown(row, shown):
    rows = [ShownRow(line=1, row_hash="h", group_id="g", example=row)]
    out = io.StringIO()
    show_rows(ShowResult(folder=Path("x"), split="train", total=1, rows=rows), Console(file=out, width=100))
    for part in shown:
        assert part in out.getvalue()
    assert "\x1b" not in out.getvalue()


def test_reasoning_is_shown_to_reviewers():
    message = Message("assistant", "4", reasoning="2 and\x1b[2J 2")
    assert "[reasoning] 2 and␛[2J 2" in turn("assistant", message, "").plain


def shown_of(tmp_path, job, text: str, **settings) -> ShowResult:
    path = tmp_path / "rows.jsonl"
    path.write_text(text, encoding="utf-8")
    return show(ShowConfig(data=str(path), **settings), job)


GOOD = '{"messages": [{"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}]}\n'


def test_rows_of_a_file_are_shown_as_they_are_read_and_refused_ones_with_the_reason(tmp_path, job):
    found = shown_of(
        tmp_path, job, GOOD * 30 + '{"instruction": "x", "output": "y"}\n' + GOOD.strip() + "\r\n", skip=29
    )
    assert [row.line for row in found.rows] == [30, 31, 32]
    assert found.split is found.total is None
    assert found.layout.startswith("openai-chat")
    assert found.rows[0].example["messages"][1]["content"] == "a"
    assert "laid out as alpaca" in found.rows[1].problems[0]
    assert "CRLF" in found.rows[2].changes[0]
    out = io.StringIO()
    show_rows(found, Console(file=out, width=200))
    assert "refused  row: this row is laid out as alpaca" in out.getvalue()
    assert "changed  row: Windows line end" in out.getvalue()


def test_more_rows_than_the_file_has_cannot_be_skipped(tmp_path, job):
    with pytest.raises(UserError, match="the file has 2 rows"):
        shown_of(tmp_path, job, GOOD * 2, skip=2)


def test_how_a_file_is_read_cannot_be_said_of_a_recipe(tmp_path, job):
    with pytest.raises(ConfigError, match="this option is for files"):
        show(ShowConfig(data=str(tmp_path / "recipe.yaml"), shape="alpaca"), job)
