"""How the terminal shows a report."""

from rich.console import Console
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from tunesmith.evaluate.report.schema import ReportResult


def show_report(result: ReportResult, console: Console) -> None:
    """The verdict, the difference, and where the page is."""
    gap = result.difference
    good = gap is not None and gap.low > 0
    bad = gap is not None and gap.high < 0
    colour = "blue" if good else "yellow" if bad else "white"
    console.print(Panel(Text(result.verdict), border_style=colour, padding=(0, 1)))
    table = Table(box=None, show_header=False, padding=(0, 2, 0, 0))
    table.add_column(style="dim", no_wrap=True)
    table.add_column(overflow="fold")
    if gap is not None:
        shown = f"{100 * gap.value:+.0f} points, 95 % interval {100 * gap.low:+.0f} to {100 * gap.high:+.0f}"
        table.add_row("difference", Text(shown))
    table.add_row(
        "page", Text(f"{result.folder / result.page} ({result.page_bytes / 1000:.0f} kB, opens offline)")
    )
    table.add_row("facts", Text(str(result.folder / "report.json")))
    console.print(table)
