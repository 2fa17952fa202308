"""How the terminal shows a report."""

from rich.console import Console
from rich.panel import Panel
from rich.text import Text

from tunesmith.evaluate.report.schema import ReportResult


def show_report(result: ReportResult, console: Console) -> None:
    """The verdict, the difference, and where the page is."""
    gap = result.difference
    good = gap is not None and gap.low > 0
    bad = gap is not None and gap.high < 0
    colour = "blue" if good else "yellow" if bad else "white"
    console.print(Panel(Text(result.verdict), border_style=colour, padding=(0, 1)))
    if gap is not None:
        shown = f"{100 * gap.value:+.0f} points, 95 % interval {100 * gap.low:+.0f} to {100 * gap.high:+.0f}"
        console.print(f"  difference  {shown}", markup=False)
    size = f"({result.page_bytes / 1000:.0f} kB, opens offline)"
    console.print(f"  page        {result.folder / result.page}  {size}", markup=False, soft_wrap=True)
    console.print(f"  markdown    {result.folder / result.markdown}", markup=False, soft_wrap=True)
    console.print(f"  facts       {result.folder / 'report.json'}", markup=False, soft_wrap=True)
