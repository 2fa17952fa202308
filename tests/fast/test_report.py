"""The report: one self-contained page that says what the folders hold, and nothing a reader cannot trust."""

import json
import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from report_folders import BASE_MODEL, answers, data_set, example, journey, report, run, sample, tuned_model
from rich.console import Console

from tunesmith.cli.show_report import show_report
from tunesmith.core.config import build
from tunesmith.core.conversation import chat
from tunesmith.core.errors import ConfigError, FolderError
from tunesmith.core.job import Job
from tunesmith.core.page import diff, drawing, numbers
from tunesmith.core.workspace import AlreadyDone, Manifest
from tunesmith.evaluate.comparison.door import compare
from tunesmith.evaluate.comparison.schema import CompareConfig
from tunesmith.evaluate.report import ReportConfig, ReportResult, charts, folders
from tunesmith.evaluate.report import answers as answers_of_report
from tunesmith.evaluate.report import report as make
from tunesmith.evaluate.report.facts import LossPoint, Token
from tunesmith.evaluate.report.gather import find, gather, tidy
from tunesmith.evaluate.report.page import render, token_html

HOSTILE = "<script>alert('x')</script><img src=x onerror=alert(1)>\"'&{{ 7*7 }}</style></svg>"
VOID = {"meta", "link", "br", "img", "input", "hr"}


class Outline(HTMLParser):
    """Checks that tags close in order, and collects tags, attributes and text."""

    def __init__(self, page: str) -> None:
        super().__init__(convert_charrefs=True)
        self.open, self.tags, self.attributes, self.texts = [], [], [], []
        self.feed(page)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += [(tag, name, value or "") for name, value in attrs]
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += [(tag, name, value or "") for name, value in attrs]

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.texts.append(data)

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.texts).split()).replace(numbers.THIN, " ")

    def all(self, tag: str, name: str) -> list[str]:
        return [value for found, key, value in self.attributes if found == tag and key == name]


def page_of(result: ReportResult) -> str:
    return (result.folder / result.page).read_text(encoding="utf-8")


@pytest.fixture
def whole(job):
    values = journey(job)
    return make(ReportConfig(**values), job), values


def test_the_verdict_is_one_sentence_with_difference_and_interval(whole):
    result, _ = whole
    assert result.verdict.startswith("The tuned model is better than the base model (4-shot prompt): ")
    assert re.search(r"a difference of \+\d+ points \(95.% interval \+\d+ to \+\d+\)\.$", result.verdict)
    assert result.difference.low <= result.difference.value <= result.difference.high
    assert result.verdict.replace(numbers.THIN, " ") in Outline(page_of(result)).text


def test_the_page_loads_nothing_and_runs_nothing(whole):
    page = page_of(whole[0])
    outline = Outline(page)
    policy = outline.all("meta", "content")
    assert "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'" in policy
    assert not {"script", "link", "img", "iframe", "object", "embed", "form", "base"} & set(outline.tags)
    names = {name for _, name, _ in outline.attributes}
    assert not {name for name in names if name.startswith("on")} | (names & {"src", "style"})
    assert all(target.startswith("#") for target in outline.all("a", "href"))
    assert "@import" not in page
    assert "url(" not in page


def test_the_sections_stand_in_their_order_and_every_link_has_a_target(whole):
    outline = Outline(page_of(whole[0]))
    order = "models answers speed repeats judge data tokens loss recipe cost kept hard validity"
    assert outline.all("section", "id") == [*order.split(), "provenance", "reproduce"]
    identities = [value for _, name, value in outline.attributes if name == "id"]
    assert len(identities) == len(set(identities))
    assert {target[1:] for target in outline.all("a", "href")} <= set(identities)
    assert set(outline.all("section", "aria-labelledby")) <= set(identities)


def test_the_page_can_be_read_without_seeing_it(whole):
    page = page_of(whole[0])
    outline = Outline(page)
    assert outline.all("html", "lang") == ["en"]
    images = page.count('role="img"')
    assert images > 10
    assert page.count("<title>") == images + 1
    assert all(scope in ("col", "row", "rowgroup") for scope in outline.all("th", "scope"))
    assert outline.tags.count("th") == len(outline.all("th", "scope"))
    named = page.count("<caption") + page.count('<table class="fields">')
    assert outline.tags.count("table") == named


def test_equal_folders_give_equal_bytes(whole, job, tmp_path):
    result, values = whole
    again = make(ReportConfig(**values), Job(job.workspace, out=tmp_path / "again"))
    assert page_of(again) == page_of(result)
    assert (again.folder / "report.json").read_bytes() == (result.folder / "report.json").read_bytes()


def test_a_finished_report_is_not_made_again(whole, job):
    result, values = whole
    with pytest.raises(AlreadyDone) as done:
        make(ReportConfig(**values), job)
    assert done.value.folder == result.folder
    summary = Manifest.read(result.folder).summary
    assert ReportResult(**ReportResult.fields_from(summary, result.folder)) == result


def test_hostile_text_from_every_folder_is_shown_as_text(job):
    turns = [("system", HOSTILE), ("assistant", HOSTILE)]
    hostile = [chat([turns[0], ("user", f"{HOSTILE} {at}"), turns[1]]) for at in range(30)]
    rejects = [{"line": 1, "pointer": HOSTILE, "reason": HOSTILE, "value": HOSTILE}]
    data = data_set(job, validation=5, test=12, examples=hostile, rejects=rejects)
    ran = run(job, data, environment={"processor": HOSTILE, HOSTILE: HOSTILE})
    first = [sample(one, HOSTILE + "no", scorers=("exact",)) for one in hostile[18:]]
    second = [sample(one, HOSTILE, scorers=("exact",)) for one in hostile[18:]]
    second[0] = sample(hostile[18], "", error=HOSTILE, scorers=("exact",))
    base = report(job, "base", first, prompt=HOSTILE, data=data)
    after = report(job, "tuned", second, model=tuned_model(ran), data=data)
    compared = compare(CompareConfig(a=base, b=after), job)
    config = ReportConfig(
        data=data,
        run=ran,
        reports=[base, after],
        comparison=compared.folder,
        hard=[after],
        labels=[HOSTILE, f"{HOSTILE}, {HOSTILE}"],
        reproduce=[HOSTILE],
        title=HOSTILE,
    )
    page = page_of(make(config, job))
    outline = Outline(page)
    assert not {"script", "img"} & set(outline.tags)
    assert page.lower().count("</style") == 1
    assert "{{ 7*7 }}" in outline.text
    assert outline.text.count("<script>") > 30


def test_what_was_not_given_is_named_instead_of_left_blank(job):
    page = page_of(make(ReportConfig(data=data_set(job)), job))
    text = Outline(page).text
    for absent in ("No model was evaluated.", "No run was given.", "No plan was given", "No hard test set"):
        assert absent in text
    assert "Nothing was evaluated" in text
    assert "None: every row was kept or was a duplicate." in text


def test_reports_without_a_comparison_make_no_claim(job):
    data = data_set(job)
    base = report(job, "base", answers("base", range(70, 90)), data=data)
    result = make(ReportConfig(data=data, reports=[base]), job)
    assert result.difference is None
    assert "nothing says whether fine-tuning helped" in result.verdict


@pytest.mark.parametrize(
    ("first", "second", "heading"),
    [("tuned", "prompted", "Fine-tuning made it worse"), ("base", "base", "No clear difference")],
)
def test_a_bad_or_absent_gain_is_said_as_plainly_as_a_good_one(job, first, second, heading):
    data = data_set(job)
    ran = tuned_model(run(job, data))
    numbers_of_items = range(70, 470)
    before = report(job, "before", answers(first, numbers_of_items), data=data)
    after = report(job, "after", answers(second, numbers_of_items), data=data, model=ran)
    compared = compare(CompareConfig(a=before, b=after), job)
    config = ReportConfig(data=data, reports=[before, after], comparison=compared.folder)
    assert heading in Outline(page_of(make(config, job))).text


def test_no_path_name_or_host_of_this_machine_is_on_the_page(whole, job):
    result, _ = whole
    for file in (result.folder / result.page, result.folder / "report.json"):
        text = file.read_text()
        assert str(job.workspace.root) not in text
        assert "/home/somebody" not in text
        assert "secret-host" not in text
    assert "tunesmith quickstart --workspace workspace" in Outline(page_of(result)).text


def test_the_json_holds_the_facts_of_the_page(whole):
    result, values = whole
    facts = json.loads((result.folder / "report.json").read_text())
    assert facts["verdict"] == result.verdict
    assert [split["num_rows"] for split in facts["data"]["splits"]] == [60, 10, 20]
    assert facts["comparison"]["outcome"] == "better"
    assert facts["run"]["best"]["step"] == Manifest.read(values["run"]).summary["best_step"]
    assert facts["run"]["num_trainable"] == 4_884_480
    assert [origin["stage"] for origin in facts["origins"]][:3] == ["Prepare the data", "Decide", "Train"]
    assert all(len(origin["id"]) == 64 for origin in facts["origins"])


def test_the_leak_proof_is_counted_again_from_the_rows(job):
    data = data_set(job)
    given = find(ReportConfig(data=data), job)
    facts = gather(ReportConfig(data=data), given, root=job.workspace.root)
    assert {(part.num_rows, part.num_groups) for part in facts.data.overlaps} == {(0, 0)}
    leaking = replace(facts.data, overlaps=(replace(facts.data.overlaps[0], num_rows=3),))
    page = render(replace(facts, data=leaking))
    assert 'class="alarm"' in page
    assert "Splits overlap" in page
    assert "Nothing leaks" not in page


def test_models_tested_on_other_items_are_called_out(job):
    data = data_set(job)
    stranger = report(job, "stranger", answers("base", range(70, 90)))
    page = page_of(make(ReportConfig(data=data, reports=[stranger]), job))
    assert "was tested on other items" in Outline(page).text


def test_reports_on_different_items_are_called_out(job):
    data = data_set(job)
    reports = [report(job, f"r{size}", answers("base", range(size)), data=data) for size in (8, 9)]
    text = Outline(page_of(make(ReportConfig(data=data, reports=reports), job))).text
    assert "did not answer the same items" in text
    assert "Base model, prompt as in the data (2)" in text


def test_failed_and_cut_answers_are_counted_in_the_validity_notes(job):
    data = data_set(job)
    rows = [
        sample(example(70), "{", finish="length"),
        *(sample(example(at), "", error="the server went away") for at in (71, 72)),
        *answers("tuned", range(73, 80)),
    ]
    config = ReportConfig(data=data, reports=[report(job, "r", rows, data=data)])
    text = Outline(page_of(make(config, job))).text
    assert "Requests that failed (Base model, prompt as in the data: 2): wrong where more is better" in text
    assert "no answer: the server went away" in text
    assert "scored as they stand (Base model, prompt as in the data: 1)." in text


def test_a_whole_journey_stays_far_below_half_a_megabyte(job):
    result = make(ReportConfig(**journey(job, test=100, hard=60, steps=1000)), job)
    assert result.page_bytes == (result.folder / result.page).stat().st_size < 300_000


def test_a_model_that_runs_on_does_not_fill_the_page(job):
    data = data_set(job)
    rows = [sample(example(at), "word " * 20_000, finish="length") for at in range(70, 90)]
    result = make(ReportConfig(data=data, reports=[report(job, "r", rows, data=data)]), job)
    assert result.page_bytes < 200_000
    assert "more characters" in page_of(result)


def test_a_folder_of_the_wrong_kind_is_refused_by_name(job):
    data = data_set(job)
    with pytest.raises(FolderError, match="expected a folder of kind 'run', this is 'data-set'"):
        make(ReportConfig(data=data, run=data), job)


def test_a_folder_can_be_given_by_name_or_id(job):
    data = data_set(job)
    result = make(ReportConfig(data=Path(data.name)), job)
    assert Manifest.read(result.folder).inputs[0].id == Manifest.read(data).id


def test_labels_must_match_the_reports():
    with pytest.raises(ConfigError, match="2 names for 1 folders"):
        build(ReportConfig, {"data": "d", "reports": ["r"], "labels": ["a", "b"]}, source="test")


def test_the_terminal_shows_verdict_difference_and_page(whole, capsys):
    show_report(whole[0], Console(width=200, highlight=False))
    shown = capsys.readouterr().out
    assert "points, 95 % interval +" in shown
    assert "report.html" in shown


def test_answers_are_compared_field_by_field():
    gold = {"a": "1", "b": "Main Street", "c": {"d": "x"}}
    output = {"a": "1", "b": "Main Road", "e": "9"}
    one = sample(chat([("user", "q"), ("assistant", json.dumps(gold))]), json.dumps(output))
    from tunesmith.evaluate.report.gather_results import sample as read

    fields = answers_of_report.compared(read([one])).fields
    assert [(field.name, field.state) for field in fields] == [
        ("a", "same"),
        ("b", "different"),
        ("c.d", "missing"),
        ("e", "added"),
    ]
    assert [piece.text for piece in fields[1].gold if piece.marked] == ["Street"]
    assert [piece.text for piece in fields[1].output if piece.marked] == ["Road"]


@given(st.text(max_size=200), st.text(max_size=200))
def test_a_diff_loses_and_adds_no_letter(gold, output):
    left, right = diff.word_diff(gold, output)
    assert "".join(piece.text for piece in left) == gold
    assert "".join(piece.text for piece in right) == output
    if gold == output:
        assert not any(piece.marked for piece in (*left, *right))


@given(st.floats(0, 1))
def test_a_share_is_never_rounded_to_none_or_all_when_it_is_not(share):
    shown = numbers.bare_percent(share)
    assert float(shown) == pytest.approx(100 * share, abs=0.51)
    if 0.0005 < share < 0.9994:
        assert shown not in ("0", "100")


@pytest.mark.parametrize(
    ("number", "shown"),
    [(0.474, "+47"), (-0.02, "−2"), (0.004, "+0.4"), (0.0, "0"), (-1.0, "−100"), (0.00001, "0")],
)
def test_differences_are_shown_in_points(number, shown):
    assert numbers.points(number) == shown


@given(st.floats(-1, 1), st.floats(0, 1))
def test_an_axis_has_round_ticks_and_holds_its_values(low, width):
    scale = drawing.scale_around(low, low + width)
    assert scale.low <= low + 1e-6
    assert scale.high >= low + width - 1e-6
    assert 2 <= len(scale.ticks) <= 9
    assert scale.low < scale.high


def test_the_loss_curve_marks_the_best_checkpoint():
    train = [LossPoint(step, 2 / step) for step in range(1, 2001)]
    validation = [LossPoint(1000, 0.5), LossPoint(2000, 0.7)]
    drawing = str(charts.loss_curve(train, validation, validation[0]))
    assert 'class="best" cx="50.00%"' in drawing
    assert "best checkpoint: 0.5 at step 1" in drawing
    assert drawing.count(",") < 1000


def test_tokens_show_whitespace_specials_and_what_is_learned():
    end, word, tag = (
        Token("<|im_end|>", 2, True, True),
        Token(" a\n", 5, False, False),
        Token("<b>", 6, True, False),
    )
    tokens = [end, word, tag]
    shown = str(token_html(tokens))
    assert '<i class="s x" title="2">&lt;|im_end|&gt;</i>' in shown
    assert '<i title="5"><u>·</u>a<u>↵</u></i><br>' in shown
    assert '<i class="s" title="6">&lt;b&gt;</i>' in shown


def test_commands_lose_the_paths_of_this_machine(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", "/home/somebody")
    assert tidy(f"cat {tmp_path}/a /home/somebody/b", tmp_path) == "cat a ~/b"


def test_private_facts_are_left_out():
    facts = {"cpu": "x", "hostname": "h", "cache_path": "/p", "deep": {"user": "u", "model": "/srv/models/m"}}
    assert dict(folders.leaves(facts)) == {"cpu": "x", "deep.model": "m"}
    assert BASE_MODEL.path == folders.public(BASE_MODEL.path)
