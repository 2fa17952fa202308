"""The report as Markdown: the same facts as on the page, and nothing of a model's text becomes markup."""

import re

import pytest
from hypothesis import example as case
from hypothesis import given
from hypothesis import strategies as st
from markdown_it import MarkdownIt
from report_folders import data_set, journey, report, run, sample, tuned_model

from tunesmith.core.conversation import chat
from tunesmith.core.files import read_json
from tunesmith.core.page import markdown
from tunesmith.evaluate.comparison.door import compare
from tunesmith.evaluate.comparison.schema import CompareConfig
from tunesmith.evaluate.report import ReportConfig
from tunesmith.evaluate.report import report as make

HOSTILE = "<script>alert('x')</script> | `a``b` \\| [x](http://evil) @someone #1 $x$ **b** ~~d~~ &amp;"
OURS = {"<!-- -->", "<span>", "</span>"}
READER = MarkdownIt("commonmark", {"html": True}).enable(["table", "strikethrough"])
EMPHASIS = ("em_open", "em_close")  # *nothing*
TEXTS = st.text(st.sampled_from("ab1 |\\`<>&*_~[]()#$@-+=.:/\n\t") | st.characters(), max_size=40)


def shown(inline) -> str:
    """What a reader sees of a line; fails for anything that its text turned into."""
    for part in inline.children:
        assert part.type in (
            "text",
            "code_inline",
            "html_inline",
            "strong_open",
            "strong_close",
            *EMPHASIS,
        ), part
        assert part.type != "html_inline" or part.content in OURS
    return "".join(part.content for part in inline.children if part.type != "html_inline")


def tables(source: str) -> list[list[list[str]]]:
    """Rows of cells of every table; every row has to be as wide as the first."""
    found, row = [], []
    for at, token in enumerate(tokens := READER.parse(source)):
        if token.type == "table_open":
            found.append([])
        elif token.type == "tr_open":
            found[-1].append(row := [])
        elif token.type in ("th_open", "td_open"):
            row.append(shown(tokens[at + 1]))
    return found


def text_of(result) -> str:
    return (result.folder / result.markdown).read_text(encoding="utf-8")


@given(TEXTS)
@case(HOSTILE)
@case("1. a")
@case("---")
@case("www.evil.example a@b.example https://evil.example")
def test_a_text_in_a_line_is_read_as_itself(value):
    tokens = READER.parse(str(markdown.text(value)))
    want = re.sub(r"[ \x00-\x1f\x7f-\x9f\u2028\u2029]+", " ", value).strip(" ")
    lines = [shown(token) for token in tokens if token.type == "inline"]
    assert {token.type for token in tokens} <= {"paragraph_open", "inline", "paragraph_close"}
    assert "".join(lines).strip() == want.strip()


@given(TEXTS, TEXTS)
@case(HOSTILE, "\\")
@case("|", "``")
def test_a_text_in_a_code_span_of_a_table_is_read_as_itself(first, second):
    cells = [markdown.code(value, cell=True) for value in (first, second)]
    (table,) = tables(str(markdown.table(["a", "b"], [cells], words=2)))
    want = [re.sub(r"\r\n|[\r\n\u2028\u2029]", "↵", value).replace("\t", "→") for value in (first, second)]
    want = [re.sub(r"[\x00-\x1f\x7f-\x9f]", "\N{REPLACEMENT CHARACTER}", value) for value in want]
    read = [cell.strip(" ") for cell in table[1]]
    spoken = [value.strip(" ") if value.strip(" ") else "nothing" for value in want]
    assert [cell.strip() for cell in read] == [value.strip() for value in spoken]


def test_a_code_block_is_not_ended_by_what_stands_in_it():
    block = str(markdown.fenced("echo ```\n````\nls", "bash"))
    (token,) = READER.parse(block)
    assert (token.type, token.info, token.content) == ("fence", "bash", "echo ```\n````\nls\n")


def test_mentions_numbers_and_addresses_do_not_become_links():
    made = str(markdown.text("@someone fixed #12, see https://a.example or www.a.example"))
    assert not re.search(r"@\w|#\d|://|www\.", made)


@pytest.fixture
def whole(job):
    return make(ReportConfig(**journey(job)), job)


def test_the_twin_says_what_the_page_says(whole):
    source, facts = text_of(whole), read_json(whole.folder / "report.json")
    found = tables(source)
    assert whole.verdict in source
    scores = found[0]
    assert scores[0] == ["Score", *(model["label"] for model in facts["models"])]
    assert [row[0] for row in scores[1:]] == ["Exact match", "Field F1", "Valid JSON", "Items"]
    assert scores[-1][1:] == ["20", "20", "20"]
    (main,) = (row for table in found for row in table if row[0] == "Exact match (decides)")
    assert main[1] == f"+{100 * facts['comparison']['differences'][0]['value']:.0f}"
    fixes = next(table for table in found if table[0][0] == "Question")
    assert fixes[0][2:] == ["Base model, 4-shot prompt", "Tuned model"]
    assert fixes[1][1] == fixes[1][3] != fixes[1][2]
    for note in facts["validity"]:
        assert str(markdown.text(note)) in source
    folders = next(table for table in found if table[0][0] == "Folder")
    assert [row[2] for row in folders[1:]] == [origin["id"][:12] for origin in facts["origins"]]
    assert "```bash\nmake quickstart\ntunesmith quickstart --workspace workspace\n```" in source


def test_the_twin_names_what_was_not_given(job):
    source = text_of(make(ReportConfig(data=data_set(job)), job))
    for absent in ("No model was evaluated.", "No run was given.", "No plan was given.", "not measured"):
        assert absent in source


def test_hostile_text_stays_text_in_the_twin(job):
    hostile = [chat([("user", f"{HOSTILE} {at}"), ("assistant", HOSTILE)]) for at in range(30)]
    data = data_set(job, validation=5, test=12, examples=hostile)
    ran = run(job, data)
    first = [sample(one, f"{HOSTILE}\nno", scorers=("exact",)) for one in hostile[18:]]
    second = [sample(one, HOSTILE, scorers=("exact",)) for one in hostile[18:]]
    second[0] = sample(hostile[18], "", error=HOSTILE, scorers=("exact",))
    judge = {"model": HOSTILE, "question": HOSTILE, "highest": 5, "with_reference": False}
    settings = {"tasks": {"t": {"judge": judge, "repeats": 1}}}
    base = report(job, "base", first, prompt=HOSTILE, data=data, settings=settings)
    after = report(job, "tuned", second, model=tuned_model(ran), data=data)
    compared = compare(CompareConfig(a=base, b=after), job)
    config = ReportConfig(
        data=data,
        run=ran,
        reports=[base, after],
        comparison=compared.folder,
        labels=[HOSTILE, f"B {HOSTILE}"],
        title=HOSTILE,
    )
    source = text_of(make(config, job))
    lines = [token for token in READER.parse(source) if token.type == "inline"]
    read = [shown(line) for line in lines]
    assert read[0] == HOSTILE
    assert any(line.startswith(f"{HOSTILE} graded each answer") for line in read)
    changed = [table for table in tables(source) if table[0][0] == "Question"]
    assert changed[0][1][1:3] == [HOSTILE, f"{HOSTILE}↵no"]
    outside = re.sub(r"(`+).+?(?<!`)\1(?!`)", "", source, flags=re.DOTALL)
    assert not re.search(r"@\w|<script", outside)
