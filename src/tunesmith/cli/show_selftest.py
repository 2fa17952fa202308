"""How the terminal shows a selftest of the checks."""

from itertools import groupby

from rich.console import Console
from rich.table import Table
from rich.text import Text

from tunesmith.core.progress import counted
from tunesmith.data.selftest.schema import Outcome, Rate, SelftestResult


def show_selftest(result: SelftestResult, console: Console) -> None:
    """Recall and precision by kind of fault and check, with their intervals."""
    unreadable = f" ({result.unreadable:,} more cannot be read)" if result.unreadable else ""
    console.print(Text(f"{result.data}, {counted(result.rows, 'row')}{unreadable}\n", style="bold"))
    console.print(table_of(result.outcomes))
    for part in result.not_planted:
        console.print(Text(f"\nnot planted  {part.plant}", style="yellow"))
        console.print(Text(f"  because {part.reason}", style="dim"))
    before = sum(part.before for part in result.outcomes)
    if before:
        text = "before: rows that the check finds without anything planted; they count neither way"
        console.print(Text(f"\n{text}", style="dim"))
    console.print(f"\n  results  {result.folder / 'selftest.json'}", markup=False, soft_wrap=True)
    console.print(f"  planted  {result.folder / 'planted.jsonl'}", markup=False, soft_wrap=True)


def table_of(outcomes: list[Outcome]) -> Table:
    """One line for each check under its kind of fault."""
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="dim")
    table.add_column("fault and check")
    for heading in ("found", "recall", "false", "precision", "AUC", "before"):
        table.add_column(heading, justify="right", no_wrap=True)
    for plant, group in groupby(outcomes, lambda part: part.plant):
        table.add_row(Text(plant.replace("_", " "), style="bold"))
        for part in group:
            table.add_row(
                f"  {part.check}",
                f"{part.found}/{part.planted}",
                shown(part.recall if part.planted else None),
                f"{part.false:,}",
                shown(part.precision),
                shown(part.auc),
                f"{part.before:,}" if part.before else "",
            )
    return table


def shown(rate: Rate | None) -> Text:
    """'.97 (.92–.99)'."""
    if rate is None:
        return Text("")
    style = "green" if rate.value >= 0.9 else "yellow" if rate.value >= 0.6 else "red"
    interval = f" ({rate.low:.2f}–{rate.high:.2f})"
    return Text(f"{rate.value:.2f}", style=style).append(interval, style="dim")
