"""The door of the report: gather, render, write."""

from tunesmith import __version__
from tunesmith.core.files import write_json, write_text
from tunesmith.core.job import Job
from tunesmith.evaluate.report import notes, twin
from tunesmith.evaluate.report.facts import Difference
from tunesmith.evaluate.report.gather import find, gather
from tunesmith.evaluate.report.page import as_json, render
from tunesmith.evaluate.report.schema import Gap, ReportConfig, ReportResult

PAGE, TWIN, FACTS = "report.html", "report.md", "report.json"
EDITION = 3
"""Goes up when a page shows more: an older one is other work then."""


def report(config: ReportConfig, job: Job) -> ReportResult:
    """Write one self-contained HTML page, the same as Markdown and as JSON, into a folder of kind "summary".

    Raises FolderError for a folder that is unfinished, missing or of the wrong kind.
    """
    given = find(config, job)
    settings = {
        "title": config.title,
        "labels": list(config.labels),
        "hard_labels": list(config.hard_labels),
        "reproduce": list(config.reproduce),
        "page": f"{__version__}, edition {EDITION}",  # the page's looks belong to its identity
    }
    with job.folder(
        verb="report", kind="summary", name=config.name, config=settings, inputs=given.inputs()
    ) as folder:
        facts = gather(config, given, root=job.workspace.root.parent)
        page = render(facts)
        write_text(folder / PAGE, page)
        write_text(folder / TWIN, twin.render(facts))
        write_json(folder / FACTS, as_json(facts))
        main = facts.comparison.main if facts.comparison else None
        result = ReportResult(
            folder=folder.path,
            page=PAGE,
            markdown=TWIN,
            verdict=notes.verdict(facts),
            difference=gap_of(main) if main else None,
            page_bytes=len(page.encode("utf-8")),
        )
        folder.summary = {name: value for name, value in result.to_json().items() if name != "folder"}
    return result


def gap_of(main: Difference) -> Gap:
    """The deciding difference as the result shows it."""
    return Gap(value=main.value, low=main.low, high=main.high, kind=main.kind, better=main.better)
