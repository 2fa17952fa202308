"""How the terminal shows a report."""

from rich.console import Console
from rich.panel import Panel
from rich.text import Text

from tunesmith.core.page import numbers
from tunesmith.evaluate.report.schema import ReportResult


def show_report(result: ReportResult, console: Console) -> None:
    """The verdict, the difference, and where the page is."""
    gap = result.difference
    up, down = (gap is not None and gap.low > 0, gap is not None and gap.high < 0)
    good, bad = (down, up) if gap is not None and gap.better == "lower" else (up, down)
    colour = "blue" if good else "yellow" if bad else "white"
    console.print(Panel(Text(result.verdict), border_style=colour, padding=(0, 1)))
    if gap is not None:
        value, low, high = (numbers.gap(one, gap.kind) for one in (gap.value, gap.low, gap.high))
        shown = f"{value}{'' if gap.kind == 'number' else ' points'}, 95 % interval {low} to {high}"
        console.print(f"  difference  {shown}", markup=False)
    size = f"({result.page_bytes / 1000:.0f} kB, opens offline)"
    console.print(f"  page        {result.folder / result.page}  {size}", markup=False, soft_wrap=True)
    console.print(f"  markdown    {result.folder / result.markdown}", markup=False, soft_wrap=True)
    console.print(f"  facts       {result.folder / 'report.json'}", markup=False, soft_wrap=True)
