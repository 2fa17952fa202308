"""How the terminal shows what the data checks found."""

from itertools import groupby

from rich.console import Console
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from tunesmith.cli.layout import harmless, show_commands
from tunesmith.core.progress import counted
from tunesmith.data.check.port import FAMILIES
from tunesmith.data.check.schema import CheckOutcome, CheckResult

STYLES = {"error": "red", "warning": "yellow", "note": "cyan", "": "green"}


def show_check(result: CheckResult, console: Console) -> None:
    """The verdict, a table by family and check, what did not run, and where everything is."""
    console.print(Panel(Text(verdict(result)), border_style=border(result), padding=(0, 1)))
    found = [part for part in result.checks if part.findings]
    if found:
        console.print(table_of(found, console.width))
    quiet = [part for part in result.checks if not part.findings]
    for words, some in (
        ("nothing found by ", [part.check for part in quiet if part.looked_at]),
        ("nothing to look at for ", [part.check for part in quiet if not part.looked_at]),
    ):
        if some:
            console.print(Text(f"\n{words}", style="dim").append(", ".join(some)))
    for reason, names in not_run(result).items():
        console.print(Text("\nnot run  ", style="yellow").append(", ".join(names), style="default"))
        console.print(Text(f"  because {reason}", style="dim"))
    if result.sampled:
        console.print(Text(f"\n{result.sampled}", style="dim"))
    console.print(f"\n  page      {result.folder / result.page}", markup=False, soft_wrap=True)
    console.print(f"  findings  {result.folder / 'findings.jsonl'}", markup=False, soft_wrap=True)
    show_commands(result.next, console)


def verdict(result: CheckResult) -> str:
    """What was found, in one line."""
    rows = counted(result.rows, "row")
    unreadable = f" ({result.unreadable:,} more cannot be read)" if result.unreadable else ""
    parts = [
        counted(number, noun)
        for number, noun in ((result.errors, "error"), (result.warnings, "warning"), (result.notes, "note"))
        if number
    ]
    missing = f"; {counted(len(result.not_run), 'check')} did not run" if result.not_run else ""
    return f"{result.data}, {rows}{unreadable}: {', '.join(parts) or 'nothing found'}{missing}"


def border(result: CheckResult) -> str:
    """Colour of the verdict."""
    return "red" if result.errors else "yellow" if result.warnings or result.not_run else "green"


def table_of(outcomes: list[CheckOutcome], width: int) -> Table:
    """Findings by family and check, the rows' share, and one example in the room that is left."""
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="dim")
    names = max(len(part.check) for part in outcomes) + 4
    shares = max(len(share(part)) for part in outcomes)
    room = max(16, width - names - shares - 20)
    table.add_column("check", no_wrap=True, min_width=names)
    table.add_column("findings", justify="right", min_width=8)
    table.add_column("of rows", justify="right", no_wrap=True, min_width=max(7, shares))
    table.add_column("example", no_wrap=True, max_width=room)
    for family, group in groupby(sorted(outcomes, key=place_of), lambda part: part.family):
        table.add_row(Text(family, style="bold"))
        for part in group:
            name = Text("  ").append("● ", style=STYLES[part.severity]).append(part.check)
            example = harmless(part.example)
            example = example if len(example) <= room else example[: room - 1] + "…"
            table.add_row(name, f"{part.findings:,}", share(part), Text(example, style="dim"))
    return table


def place_of(part: CheckOutcome) -> int:
    """Families stand in the order of the report."""
    return FAMILIES.index(part.family)


def share(part: CheckOutcome) -> str:
    """'3.4 %', with the interval when only a sample was looked at; nothing for the whole set."""
    if not part.rows:
        return ""
    shown = f"{100 * part.share:.1f} %"
    if part.low is None or part.high is None:
        return shown
    return f"{shown} ({100 * part.low:.1f}–{100 * part.high:.1f})"


def not_run(result: CheckResult) -> dict[str, list[str]]:
    """Reason → the checks that did not run for it."""
    reasons: dict[str, list[str]] = {}
    for part in result.not_run:
        reasons.setdefault(part.reason, []).append(part.check)
    return reasons
