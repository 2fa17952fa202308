"""How `tunesmith compare` looks in a terminal."""

from rich.console import Console
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from tunesmith.cli.show_evaluate import change, shown
from tunesmith.core.progress import counted
from tunesmith.evaluate.comparison.schema import Alone, Candidate, CompareResult, Difference

VERDICT_STYLES = {"better": "green", "tied": "cyan", "worse": "red", "not enough data": "yellow"}


def show_compare(result: CompareResult, console: Console) -> None:
    """The verdict in a box, then each score's difference, then what changed; of several, each candidate."""
    style = VERDICT_STYLES[result.verdict]
    console.print()
    console.print(
        Panel(
            Text(result.sentence), title=f"[bold]{result.verdict}[/bold]", border_style=style, padding=(1, 2)
        )
    )
    if result.candidates:
        show_candidates(result, console)
    else:
        show_differences(result, console)
    console.print(str(result.folder), style="dim", markup=False, soft_wrap=True)


def show_differences(result: Candidate, console: Console) -> None:
    """Every score, the slices, and what was counted."""
    table = Table(box=None)
    for heading in ("score", "A", "B", "B − A", "95 % interval", "p", "p (Holm)"):
        table.add_column(heading, justify="left" if heading == "score" else "right")
    for name, part in result.differences.items():
        deciding = name == result.primary
        table.add_row(
            Text(name),
            shown(part.a, part.kind),
            shown(part.b, part.kind),
            change(part.value, part.kind),
            f"{change(part.low, part.kind)} to {change(part.high, part.kind)}",
            f"{part.p_value:.2g}",
            "decides" if deciding else f"{part.adjusted_p:.2g}",
            style="bold" if deciding else "",
        )
    console.print(table)
    show_people(result, console)
    show_slices(result, console)
    console.print(f"\nA: {result.a}\nB: {result.b}", markup=False, soft_wrap=True)
    counts = f"{counted(result.n, 'item')} in common; {result.fixes} better, {result.regressions} worse in B"
    if result.people is not None:
        counts = f"of {counted(result.people.judged, 'item')} that people judged {result.fixes} better,"
        counts += f" {result.regressions} worse in B"
    console.print(counts, style="dim")
    for note in result.notes:
        console.print(f"note: {note}", markup=False)


def show_people(result: Candidate, console: Console) -> None:
    """What people say alone, and with the judge."""
    if result.people is None:
        return
    people = result.people
    table = Table(title=Text("What people say", style="italic"), title_justify="left", box=None)
    for heading in ("", "B − A", "95 % interval", "p", "from"):
        table.add_column(heading, justify="left" if heading in ("", "from") else "right")
    rows: list[tuple[str, Alone | Difference]] = [("people alone", people.alone)]
    if people.weight > 0:
        rows.append((f"with {people.judge}", result.difference))
    for name, part in rows:
        interval = f"{change(part.low, 'share')} to {change(part.high, 'share')}"
        row = (Text(name), change(part.value, "share"), interval, f"{part.p_value:.2g}", Text(part.method))
        table.add_row(*row, style="bold" if part is rows[-1][1] else "")
    console.print()
    console.print(table)


def show_candidates(result: CompareResult, console: Console) -> None:
    """Each candidate against A by the deciding score; the foremost in bold."""
    title = Text(f"{result.primary}, against A: {result.a}", style="italic")
    table = Table(title=title, title_justify="left", box=None)
    headings = (
        "candidate",
        "A",
        "it",
        "it − A",
        "95 % interval",
        "p",
        "p (Holm)",
        "better",
        "worse",
        "verdict",
    )
    for heading in headings:
        table.add_column(heading, justify="left" if heading in ("candidate", "verdict") else "right")
    for one in result.candidates:
        part = one.difference
        table.add_row(
            Text(f"{one.role.upper()}: {one.b}"),
            shown(part.a, part.kind),
            shown(part.b, part.kind),
            change(part.value, part.kind),
            f"{change(part.low, part.kind)} to {change(part.high, part.kind)}",
            f"{part.p_value:.2g}",
            f"{part.adjusted_p:.2g}",
            f"{one.fixes:,}",
            f"{one.regressions:,}",
            Text(one.verdict, style=VERDICT_STYLES[one.verdict]),
            style="bold" if one.role == result.role else "",
        )
    console.print(table)
    for one in result.candidates:
        for note in one.notes:
            console.print(f"note on {one.role.upper()}: {note}", markup=False)


def show_slices(result: Candidate, console: Console) -> None:
    """The deciding difference on each slice, corrected for having looked at all of them."""
    if not result.slices:
        return
    table = Table(title=Text(f"{result.primary} by slice", style="italic"), title_justify="left", box=None)
    for heading in ("slice", "items", "B − A", "95 % interval", "p (BH)"):
        table.add_column(heading, justify="left" if heading == "slice" else "right")
    kind = result.difference.kind
    for part in result.slices:
        interval = f"{change(part.low, kind)} to {change(part.high, kind)}"
        name = Text(f"{part.key}: {part.value}")
        table.add_row(name, f"{part.n:,}", change(part.difference, kind), interval, f"{part.adjusted_p:.2g}")
    console.print()
    console.print(table)
