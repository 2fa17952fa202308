import io
import json

import pytest
from folders import address, data_set
from rich.console import Console

from tunesmith.cli.show_clean import show_clean
from tunesmith.core.conversation import Example, Message, chat
from tunesmith.core.dataset import DataSet
from tunesmith.core.errors import ConfigError, DataError, FolderError
from tunesmith.core.files import read_json, read_jsonl, write_jsonl
from tunesmith.core.workspace import AlreadyDone, Manifest
from tunesmith.data.check.registry import CHECKS
from tunesmith.data.clean import CleanConfig, CleanResult, clean
from tunesmith.data.clean.diff import word_diff
from tunesmith.data.clean.filters import ABOUT_OTHERS

LONG = "Paris is the capital of France, and has been for most of its history."


def asked(question, answer, system=None):
    turns = [("system", system)] if system else []
    return chat([*turns, ("user", question), ("assistant", answer)])


def cleaned(job, folder, *steps, **settings):
    result = clean(CleanConfig(data=folder, step=steps, **settings), job)
    return result, DataSet.open(result.folder)


def train_of(data):
    return [row.example for row in data.rows("train")]


def lines(folder, name):
    return [line.value for line in read_jsonl(folder / name)]


def checked(job, folder, findings):
    """A folder such as `data check` makes."""
    inputs = {"data": folder}
    with job.workspace.open(verb="data check", kind="report", name="c", config={}, inputs=inputs) as made:
        write_jsonl(made / "findings.jsonl", findings)
    return made.path


def finding(data, line, check, severity="error", split="train"):
    row = next(row for row in data.rows(split) if row.line == line)
    place = {"split": split, "line": line, "row_hash": row.row_hash}
    return {"check": check, "row": place, "severity": severity, "value": 1, "threshold": 0, "evidence": {}}


def test_white_space_goes_in_every_split_and_each_change_is_listed(job):
    folder = data_set(job, {"train": [asked(" a\r\nb ", "x\u200b y")], "test": [asked("q ", "z")]})
    result, data = cleaned(job, folder, "trim")
    assert train_of(data)[0].messages[0].content == "a\nb"
    assert train_of(data)[0].answer == "x y"
    assert next(iter(data.rows("test"))).example.messages[0].content == "q"
    assert (result.changed, result.dropped) == (2, 0)
    changes = lines(result.folder, "changes.jsonl")
    assert [(row["split"], row["line"]) for row in changes] == [("train", 1), ("test", 1)]
    assert changes[0]["new_row_hash"] == next(iter(data.rows("train"))).row_hash != changes[0]["row_hash"]
    assert {"pointer": "/messages/0/content", "before": " a\r\nb ", "after": "a\nb"} in changes[0]["changes"]
    data.verify()


def test_raw_text_and_parts_keep_the_space_that_joins_them(job):
    text = Example((Message("text", "The sky ", weight=0), Message("text", " is blue\r\n")))
    parts = Example((Message("user", "q"), Message("assistant", "a b ", parts=(("a ", 0.0), ("b ", 1.0)))))
    folder = data_set(job, {"train": [text, parts]})
    _, data = cleaned(job, folder, "trim")
    assert [turn.content for turn in train_of(data)[0].messages] == ["The sky ", " is blue\n"]
    assert train_of(data)[1] == parts


def test_broken_encodings_are_mended_and_quotes_stay_as_they_were_typed(job):
    folder = data_set(job, {"train": [asked("q", "schÃ¶n"), asked("r", "“quoted” &amp; ﬁne")]})
    result, data = cleaned(job, folder, "unicode")
    assert [row.answer for row in train_of(data)] == ["schön", "“quoted” &amp; ﬁne"]
    assert result.changed == 1


def test_of_exact_duplicates_the_longest_finished_answer_stays(job):
    rows = [
        asked("q", "It is so"),
        asked("Q", "It is so, is it not?"),
        asked("q ", "It is so, is it not and"),
    ]
    folder = data_set(job, {"train": [*rows, asked("other", "x")]})
    result, data = cleaned(job, folder, "drop-exact-duplicates text=prompt")
    assert [row.line for row in data.rows("train")] == [2, 4]
    dropped = lines(result.folder, "dropped.jsonl")
    assert [(row["line"], row["like"]["line"]) for row in dropped] == [(1, 2), (3, 2)]


def test_rows_with_one_prompt_and_different_answers_are_no_exact_duplicates(job):
    folder = data_set(job, {"train": [asked("q", "yes."), asked("q", "no."), asked("q", "YES.")]})
    _, data = cleaned(job, folder, "drop-exact-duplicates")
    assert [row.line for row in data.rows("train")] == [1, 2]


def test_a_row_with_findings_gives_way_to_one_without(job):
    folder = data_set(job, {"train": [asked("q", LONG), asked("Q", "Paris.")]})
    findings = checked(job, folder, [finding(DataSet.open(folder), 1, "mojibake", "warning")])
    _, data = cleaned(job, folder, "drop-exact-duplicates text=prompt", findings=findings)
    assert [row.line for row in data.rows("train")] == [2]


def test_findings_that_name_the_later_of_two_alike_rows_do_not_decide_which_stays(job):
    cut = LONG[:-30]
    folder = data_set(job, {"train": [asked("q", cut), asked("Q", LONG)]})
    later = DataSet.open(folder)
    about = [
        finding(later, 2, "near_duplicates", "warning"),
        finding(later, 2, "conflicting_answers", "note"),
    ]
    findings = checked(job, folder, about)
    _, data = cleaned(job, folder, "drop-exact-duplicates text=prompt", findings=findings)
    assert [row.line for row in data.rows("train")] == [2]


@pytest.mark.parametrize("answers", [("Paris  in \n\n France.", "paris IN france."), ("Rome", "Rome  \n ")])
def test_white_space_makes_no_answer_longer(job, answers):
    folder = data_set(job, {"train": [asked("q", answer) for answer in answers]})
    _, data = cleaned(job, folder, "drop-exact-duplicates")
    assert [row.line for row in data.rows("train")] == [1]


def test_the_checks_about_likeness_are_checks():
    assert set(CHECKS) >= ABOUT_OTHERS


def test_a_near_duplicate_goes_only_when_it_is_like_a_row_that_stays(job):
    """b is like a and like c, but a and c are not alike: with b gone both stay."""
    words = "alpha beta gamma delta epsilon zeta eta theta iota kappa lambda omega sigma".split()  # noqa: SIM905
    a, b, c = " ".join(words[:10]), " ".join(words[1:11]), " ".join(words[2:12])
    rows = [asked(a, "one."), asked(b, "one"), asked(c, "one.")]
    folder = data_set(job, {"train": rows})
    result, data = cleaned(job, folder, "drop-near-duplicates threshold=0.72 text=prompt")
    assert [row.line for row in data.rows("train")] == [1, 3]
    dropped = lines(result.folder, "dropped.jsonl")[0]
    assert dropped["line"] == 2
    assert 0.72 <= dropped["similarity"] < 1
    strict, _ = cleaned(job, folder, "drop-near-duplicates threshold=0.95 text=prompt")
    assert strict.dropped == 0


def test_rows_that_differ_in_a_number_or_a_not_are_no_duplicates(job):
    text = "please tell me whether the parcel that was sent to the old town will arrive on day {} of May"
    rows = [asked(text.format(12), "yes."), asked(text.format(13), "yes.")]
    rows.append(asked(text.format(12).replace("will arrive", "will not arrive"), "yes."))
    folder = data_set(job, {"train": rows})
    assert cleaned(job, folder, "drop-near-duplicates")[0].dropped == 0
    assert cleaned(job, folder, "drop-near-duplicates different_numbers=drop")[0].dropped == 2


def test_ten_thousand_variants_of_one_template_are_thinned_without_comparing_all_pairs(job, monkeypatch):
    from tunesmith.data.clean import duplicates

    rows = [asked(f"please write a short letter to the city of number {n % 400}", "a") for n in range(400)]
    folder = data_set(job, {"train": rows})
    compared = []
    inner = duplicates.jaccard
    monkeypatch.setattr(duplicates, "jaccard", lambda *sets: compared.append(1) or inner(*sets))
    cleaned(job, folder, "drop-near-duplicates threshold=0.6 different-numbers=drop text=prompt")
    assert len(compared) <= 400 * duplicates.COMPARED_ROWS


def test_flagged_rows_go_by_check_and_severity(job):
    folder = data_set(job, {"train": [address(n) for n in range(4)], "test": [address(9)]})
    data = DataSet.open(folder)
    found = [
        finding(data, 1, "truncation"), finding(data, 2, "truncation", "warning"), finding(data, 3, "pii"),
        finding(data, 1, "truncation", split="test"), {**finding(data, 1, "x"), "row": None},
    ]  # fmt: skip
    findings = checked(job, folder, found)
    result, kept = cleaned(job, folder, "drop-flagged checks=truncation", findings=findings)
    assert [row.line for row in kept.rows("train")] == [2, 3, 4]
    assert kept.num_rows("test") == 1
    reason = lines(result.folder, "dropped.jsonl")[0]["reason"]
    assert reason == "a check found something: truncation"
    both = cleaned(
        job, folder, "drop-flagged severities=error,warning", findings=findings, splits=("train", "test")
    )
    assert (both[1].num_rows("train"), both[1].num_rows("test")) == (1, 0)


def test_findings_about_other_data_are_refused(job):
    one, two = (data_set(job, {"train": [address(n)]}, name=f"set{n}") for n in (1, 2))
    findings = checked(job, one, [])
    with pytest.raises(FolderError, match="other data"):
        cleaned(job, two, "drop-flagged", findings=findings)
    with pytest.raises(ConfigError, match="needs the findings"):
        cleaned(job, two, "drop-flagged")
    with pytest.raises(ConfigError, match="no check of this name: 'truncatoin'"):
        cleaned(job, one, "drop-flagged checks=truncatoin", findings=findings)


def test_personal_data_become_placeholders(job):
    folder = data_set(job, {"train": [asked("write to anna@firma.de ", "I wrote to anna@firma.de")]})
    result, data = cleaned(job, folder, "trim", "mask-pii")
    assert "anna" not in json.dumps(train_of(data)[0].to_json())
    assert all("anna" not in path.read_text() for path in result.folder.glob("*.jsonl"))
    assert train_of(data)[0].answer.startswith("I wrote to <")
    assert lines(result.folder, "changes.jsonl")[1]["kinds"] == {"email_address": 2}


def test_instructions_come_to_the_form_of_the_majority_or_are_listed(job):
    usual = [asked(f"Split this address: {n} Main St", "{}", "Answer in JSON.") for n in range(8)]
    odd = [
        asked("split this ADDRESS : 9 Main St", "{}", "answer in json"),
        asked("Split this address: 10 Main St", "{}"),
        asked("Write a poem: about rain", "{}", "Be a poet and rhyme."),
    ]
    folder = data_set(job, {"train": usual + odd, "test": [asked("split this address: 99 Elm", "{}")]})
    result, data = cleaned(job, folder, "normalise-instructions majority=0.7")
    rows = train_of(data)
    assert rows[8].messages[0].content == "Answer in JSON."
    assert rows[8].messages[1].content == "Split this address: 9 Main St"
    assert [turn.role for turn in rows[9].messages] == ["system", "user", "assistant"]
    assert rows[10] == odd[2]
    assert result.steps[0].left == 1
    left = [row for row in lines(result.folder, "changes.jsonl") if "cannot" in row["reason"]]
    assert [row["line"] for row in left] == [11]
    test = next(iter(data.rows("test"))).example
    assert (test.messages[0].content, test.messages[1].content) == (
        "Answer in JSON.",
        "Split this address: 99 Elm",
    )


def test_without_a_majority_nothing_is_brought_to_anything(job):
    rows = [asked(f"{n} Main St", "{}", f"You are number {n}") for n in range(4)]
    result, data = cleaned(job, data_set(job, {"train": rows}), "normalise-instructions")
    assert train_of(data) == rows
    assert [note.split(": ")[1] for note in result.notes] == [
        "no system turn has a share of 0.9",
        "no opening of the question has a share of 0.9",
    ]


def test_what_few_rows_have_is_no_majority_however_alike_they_are(job):
    rows = [asked(f"Read this: {n}", "x") for n in range(3)] + [
        asked(f"read THIS {n}", "x") for n in range(7)
    ]
    result, data = cleaned(job, data_set(job, {"train": rows}), "normalise-instructions")
    assert train_of(data) == rows
    assert result.steps[0].left == 0


def test_too_long_refused_and_foreign_rows_are_dropped(job):
    german = "wie heißt die Hauptstadt von Deutschland und seit wann ist sie das eigentlich, bitte sehr?"
    rows = [
        asked("short and sweet", "yes"), asked("x" * 300, "yes"), asked(german, "Berlin, seit 1990."),
        asked("Generate 5 sums", "1 x 3 = ?, 2. 8 x 7 = ?, 3. 5 x 9 = ?, 4. 11 x 6 = ? and so on"),
        asked("write a poem", "I'm sorry, but I can't help with that."),
    ]  # fmt: skip
    result, data = cleaned(
        job, data_set(job, {"train": rows}),
        "drop-too-long max_characters=200", "remove-refusals", "keep-language languages=en,fr",
    )  # fmt: skip
    assert [row.line for row in data.rows("train")] == [1, 4]
    assert [(step.rows, step.dropped) for step in result.steps] == [(5, 1), (4, 1), (3, 1)]
    reasons = [row["reason"] for row in lines(result.folder, "dropped.jsonl")]
    assert reasons == ["longer than 200 characters", "the answer is a refusal", "its language is de"]


def test_a_row_that_becomes_equal_to_a_test_row_leaves_training(job):
    folder = data_set(
        job,
        {"train": [asked("What is it? ", "A."), asked("Other", "B")], "test": [asked("what is it?", "A")]},
    )
    result, data = cleaned(job, folder, "trim")
    assert [row.line for row in data.rows("train")] == [2]
    assert data.num_rows("test") == 1
    assert result.steps[-1].step == "keep-splits-apart"
    assert lines(result.folder, "dropped.jsonl")[0]["reason"] == "its prompt now equals one of the test split"
    assert (result.changed, result.dropped) == (0, 1)


def test_each_step_begins_with_the_rows_that_the_one_before_left(job):
    folder = data_set(job, {"train": [address(n) for n in range(5)] + [asked("q ", "a"), asked("q", "a")]})
    result, data = cleaned(job, folder, "trim", "drop-exact-duplicates")
    first, second, apart = result.steps
    assert first.after == second.before
    assert second.after == apart.before == apart.after
    assert (second.rows, second.dropped) == (7, 1)
    assert read_json(result.folder / "steps.json") == [step.to_json() for step in result.steps]
    manifest = Manifest.read(result.folder)
    assert manifest.inputs[0].id == Manifest.read(folder).id
    assert manifest.summary["kept"] + manifest.summary["changed"] + manifest.summary["refused"] == 7
    assert data.num_rows("train") == 6


def test_a_dry_run_shows_the_changes_and_writes_nothing(job, capsys):
    folder = data_set(job, {"train": [asked(" a", "b"), asked("c", "d"), asked("c", "D")]})
    before = sorted(job.workspace.root.rglob("*"))
    result = clean(CleanConfig(data=folder, step=("trim", "drop-exact-duplicates"), dry_run=True), job)
    assert result.folder is None
    assert sorted(job.workspace.root.rglob("*")) == before
    assert (result.splits, result.changed, result.dropped) == ({"train": 2}, 1, 1)
    assert result.first[0].diff == [("-", " "), ("=", "a")]
    console = Console(width=120, file=io.StringIO())
    show_clean(result, console)
    assert "nothing was written" in console.file.getvalue()
    assert "says the same as a row that stays (train, line 2)" in console.file.getvalue()


def test_a_plan_file_is_the_same_work_and_is_done_once(job, tmp_path):
    folder = data_set(job, {"train": [asked(" a", "b"), asked("c", "d")]})
    plan = tmp_path / "plan.yaml"
    plan.write_text("steps:\n- trim\n- {step: drop-near-duplicates, threshold: 0.7}\n")
    result = clean(CleanConfig(data=folder, plan=plan), job)
    assert result.steps[1].settings["threshold"] == 0.7
    with pytest.raises(AlreadyDone) as done:
        clean(CleanConfig(data=folder, step=("trim", "drop-near-duplicates threshold=0.7")), job)
    again = CleanResult(
        **CleanResult.fields_from(Manifest.read(done.value.folder).summary, done.value.folder)
    )
    assert again == result


@pytest.mark.parametrize(
    ("step", "said"),
    [
        ("trmi", "trim"),
        ("drop-near-duplicates threshold=2", "threshold"),
        ("drop-near-duplicates treshold=0.5", "threshold"),
        ("drop-near-duplicates 0.5", "not a setting"),
        ("drop-too-long", "max_tokens"),
        ("keep-language languages=english", "no such language"),
    ],
)
def test_a_wrong_step_is_one_clear_message(job, step, said):
    folder = data_set(job, {"train": [address(1), address(2)]})
    with pytest.raises(ConfigError, match=said):
        cleaned(job, folder, step)


def test_a_plan_file_names_its_line(job, tmp_path):
    folder = data_set(job, {"train": [address(1)]})
    plan = tmp_path / "plan.yaml"
    plan.write_text("steps:\n- trim\n- step: drop-near-duplicates\n  treshold: 0.7\n")
    with pytest.raises(ConfigError, match=r"plan.yaml:4.*threshold"):
        clean(CleanConfig(data=folder, plan=plan), job)


def test_cleaning_away_every_row_is_refused_and_leaves_nothing(job):
    folder = data_set(job, {"train": [address(1), address(2)]})
    for dry_run in (True, False):
        with pytest.raises(DataError, match="no training row is left"):
            cleaned(job, folder, "drop-too-long max_characters=3", dry_run=dry_run)
    assert job.workspace.folders("data-set") == [folder]


def test_a_word_diff_shortens_what_stays():
    text = "one two three " * 20
    diff = word_diff(text + "old", text + "new")
    assert diff[-2:] == [("-", "old"), ("+", "new")]
    assert diff[0][0] == "="
    assert len(diff[0][1]) < 40
