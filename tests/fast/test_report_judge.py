"""The judge's panel: people against the judge, and what order and length do to verdicts."""

import pytest
from report_folders import answers, data_set, example, report, reviewed, sample
from report_text import facts_of, markdown_of, text_of
from servers import completion, server

from tunesmith.core.errors import FolderError
from tunesmith.evaluate.ranking.door import rank
from tunesmith.evaluate.ranking.schema import RankConfig
from tunesmith.evaluate.report import ReportConfig
from tunesmith.evaluate.report import report as make

ITEMS = range(70, 170)


def judged(job, *, kind="tuned", name="judged", data=None):
    """A report whose judge likes every right answer and one wrong one in three."""
    rows = answers(kind, ITEMS)
    for at, row in enumerate(rows):
        row["scores"]["judge"] = 1.0 if row["scores"]["exact_json"] or at % 3 == 0 else 0.25
    return report(job, name, rows, data=data)


def accepts(answered):
    return answered.metadata["right_answer"] == answered.answer


@pytest.fixture
def folders(job):
    data = data_set(job, test=120)
    folder = judged(job, data=data)
    return data, folder, reviewed(job, folder, accepts, sample=60)


def test_people_judge_and_both_stand_side_by_side(folders, job):
    data, folder, validation = folders
    result = make(ReportConfig(data=data, reports=[folder], validation=[validation], labels=["Tuned"]), job)
    (one,) = facts_of(result)["validations"]
    assert one["label"] == "Tuned"
    assert one["alone"]["value"] > one["corrected"]["value"]
    assert one["corrected"]["low"] <= one["corrected"]["value"] <= one["corrected"]["high"]
    assert (one["too_strict"], one["num_reviewed"], one["num_items"]) == (0, 60, 100)
    assert one["too_kind"] + one["both_wrong"] + one["both_right"] == 60
    for text in (text_of(result), markdown_of(result)):
        assert "People would accept" in text
        assert f"it let {one['too_kind']} pass" in text
        assert f"{one['kappa']['value']:.2f} ({one['kappa']['low']:.2f} to" in text
        assert f"{one['ac1']['value']:.2f} ({one['ac1']['low']:.2f} to" in text
        assert "People looked at 60 of 100 answers" in text
        assert (
            "for each doubling of the words it grows kinder" in text
            or "whether it pays for length is not known" in text
        )
        assert "is of a report that is not shown" not in text
    roles = [(origin["role"], origin["kind"]) for origin in facts_of(result)["origins"]]
    assert roles[-1] == ("validation-1", "validation")


def test_a_validation_of_a_report_that_is_not_shown_is_called_out(folders, job):
    data, _, validation = folders
    text = text_of(make(ReportConfig(data=data, validation=[validation]), job))
    assert "is of a report that is not shown here." in text


@pytest.mark.parametrize("option", ["validation", "ranking"])
def test_a_folder_of_another_kind_is_refused_by_name(folders, job, option):
    data = folders[0]
    given = [data] if option == "validation" else data
    with pytest.raises(FolderError, match=f"expected a folder of kind '{option}', this is 'data-set'") as no:
        make(ReportConfig(data=data, **{option: given}), job)
    assert f"--{option}" in str(no.value)


def test_a_judge_that_nobody_checked_is_said_to_be_unchecked(job):
    data = data_set(job)
    settings = {"model": "large", "question": "Is it polite?", "highest": 5, "with_reference": True}
    tasks = {"t": {"judge": {**settings, "endpoint": "http://secret.example/v1"}, "temperature": 0}}
    rows = [sample(example(at), "{}", scorers=("exact_json",)) for at in range(70, 90)]
    folder = report(job, "r", rows, data=data, settings={"tasks": tasks})
    result = make(ReportConfig(data=data, reports=[folder]), job)
    for text in (text_of(result), markdown_of(result)):
        assert "large graded each answer from 1 to 5, with the right one at hand: “Is it polite?”" in text
        assert "how often the judge is wrong is not known" in text
    assert "secret.example" not in (result.folder / "report.json").read_text()


def test_without_a_judge_the_panel_says_so(job):
    result = make(ReportConfig(data=data_set(job)), job)
    assert "No judge was asked, and no person looked at the answers." in text_of(result)
    assert "No judge was asked" in markdown_of(result)


def both_reports(job):
    data = data_set(job, test=120)
    return data, [
        report(job, kind, answers(kind, ITEMS), prompt=kind, data=data) for kind in ("prompted", "tuned")
    ]


def ranked(job, reports, says):
    with server(says, models=("judge",)) as script:
        config = RankConfig(reports=[str(one) for one in reports], judge="judge", endpoint=script.url)
        return rank(config, job)


def test_a_judge_that_takes_what_stands_first_is_found_out(job):
    data, reports = both_reports(job)
    found = ranked(job, reports, lambda body: completion("Verdict: A"))
    config = ReportConfig(data=data, reports=reports, ranking=found.folder, labels=["Old", "New"])
    result = make(config, job)
    facts = facts_of(result)["ranking"]
    assert facts["consistent"]["value"] == found.consistent == 0
    assert facts["first_favoured"]["value"] == found.first_favoured == 1
    assert facts["longer_favoured"] is None
    assert sorted(one["label"] for one in facts["ranked"]) == ["New", "Old"]
    for text in (text_of(result), markdown_of(result)):
        assert "it favours the first" in text
        assert "no two of them were decided" in text


def test_a_judge_that_takes_the_longer_answer_is_found_out(job):
    data, reports = both_reports(job)

    def longer(body):
        parts = [
            body["messages"][1]["content"].split(f"[ANSWER {name} ")[1].split("[END")[0] for name in "AB"
        ]
        first, second = (len(part.split()) for part in parts)
        return completion(f"Verdict: {'TIE' if first == second else 'A' if first > second else 'B'}")

    found = ranked(job, reports, longer)
    result = make(ReportConfig(data=data, reports=reports, ranking=found.folder), job)
    facts = facts_of(result)["ranking"]
    assert facts["consistent"]["value"] == 1
    assert facts["longer_favoured"]["value"] == 1
    assert facts["longer_favoured"]["low"] > 0.5
    assert "The longer answer won 100 %" in text_of(result)
    assert "The longer answer won 100 %" in markdown_of(result)


def test_a_ranking_by_a_score_has_no_order_to_look_at(job):
    data, reports = both_reports(job)
    found = rank(RankConfig(reports=[str(one) for one in reports], style=True), job)
    result = make(ReportConfig(data=data, reports=reports[:1], ranking=found.folder), job)
    facts = facts_of(result)["ranking"]
    assert facts["first_favoured"] is facts["consistent"] is facts["longer_favoured"] is None
    assert [name for name, _ in facts["style"]] == ["words", "lists", "headings", "bold"]
    for text in (text_of(result), markdown_of(result)):
        assert "A score decides: the order of the answers cannot matter." in text
        assert "Held equal in the strengths" in text
