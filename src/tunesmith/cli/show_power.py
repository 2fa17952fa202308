"""How `tunesmith power` looks in a terminal."""

from rich.console import Console
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from tunesmith.cli.show_evaluate import shown
from tunesmith.evaluate.power.schema import PowerResult


def show_power(result: PowerResult, console: Console) -> None:
    """The outcome in a box, then a line for each correlation."""
    console.print()
    console.print(Panel(Text(result.sentence), border_style="cyan", padding=(1, 2)))
    title = f"{result.report}: {result.metric} {shown(result.value, result.kind)} on {result.items:,} items"
    table = Table(title=Text(title, style="italic"), title_justify="left", box=None)
    asked = result.difference is not None
    is_share = any(one.discordance is not None for one in result.scenarios)
    headings = ["correlation"]
    headings += ["only one is right"] if is_share else []
    headings += [f"items for {gap(result.difference, result.kind)}"] if asked else []
    for heading in [*headings, f"seen by {result.items:,} items"]:
        table.add_column(heading, justify="right")
    for one in result.scenarios:
        row = [f"{one.correlation:g}"]
        row += [f"{one.discordance:.1%}" if one.discordance is not None else "–"] if is_share else []
        row += [f"{one.needed:,}" if one.needed is not None else "–"] if asked else []
        table.add_row(*row, gap(one.visible, result.kind))
    console.print(table)
    for note in result.notes:
        console.print(f"note: {note}", markup=False)


def gap(difference: float | None, kind: str) -> str:
    """A difference of shares in points, of other numbers as it is."""
    if difference is None:
        return "none"
    return f"{difference:.3g}" if kind == "number" else f"{100 * difference:.1f} points"
