"""`quickstart --full` looks at the data and documents them; with the fake model it takes seconds."""

from pathlib import Path

from journeys import run, run_json
from sample_rows import write_rows

FULL = ("quickstart", "--model", "fake", "--data", "rows.jsonl", "--full")


def test_a_full_quickstart_checks_and_documents_the_data_and_repeats_nothing(tmp_path):
    write_rows(tmp_path / "rows.jsonl")
    result = run_json(tmp_path, *FULL)
    assert {"verdict", "report", "run"} <= set(result)
    made = tmp_path / ".tunesmith"
    (card,) = made.glob("cards/*/README.md")
    findings = [*made.glob("checks/*/findings.jsonl")]
    assert len(findings) == 2, "one with the model for the report, one without for decide"
    assert all(path.read_text() for path in findings)
    text = card.read_text()
    assert "`data check`" in text
    assert "exact_duplicates planted, exact_duplicates: recall 1.00" in text
    assert str(tmp_path) not in text
    page = Path(result["report"]).read_text()
    assert "corrected for 17 looks" in page
    assert "(forgetting)" not in page
    assert "may take the place of" in page or "may not take the place of" in page
    again = run(tmp_path, *FULL, "--json")
    assert again.stderr.count("already done") >= 10
    assert Path(result["report"]).exists()
