"""How the terminal shows selections and balanced data."""

from shlex import quote

from rich.console import Console
from rich.table import Table
from rich.text import Text

from tunesmith.cli.layout import facts, figures, harmless, show_commands
from tunesmith.cli.show_pool import show_pool
from tunesmith.core.workspace import name_for_commands
from tunesmith.data.pool.schema import PoolResult
from tunesmith.data.select.schema import BalanceResult, ChoiceFacts, SelectResult
from tunesmith.data.steps import DataSetResult

MOST_VALUES = 25


def show_select(result: SelectResult | PoolResult, console: Console) -> None:
    """The choice beside its controls; of a pool, the round."""
    if isinstance(result, PoolResult):
        show_pool(result, console)
        return
    headings = ("rows", "characters", "median", "coverage", "worst 5 %", "diversity", "nearest")
    table = figures("", *headings)
    table.columns[0].no_wrap = True
    for choice in result.choices:
        table.add_row(*choice_row(choice, result.by))
    console.print(table)
    console.print(
        "  coverage: mean cosine of all training rows to the choice; diversity: Vendi score;\n"
        "  nearest: mean cosine to the nearest other row of the choice (lower is more varied)\n",
        style="dim",
        highlight=False,
    )
    finish(result, about_folder(result), console)


def choice_row(choice: ChoiceFacts, by: str) -> list[str]:
    """One line of the table."""
    name = by if choice.name == "selected" else {"length": "by length"}.get(choice.name, choice.name)
    means = (choice.coverage, choice.worst, choice.diversity, choice.nearest)
    shown = ["–" if value is None else f"{value:.3f}" for value in means]
    return [name, f"{choice.rows:,}", f"{choice.characters:,}", f"{choice.median:,.0f}", *shown]


def show_balance(result: BalanceResult, console: Console) -> None:
    """Rows of each value before and after, or the weights."""
    table = figures(result.by, "before", "after", "weight")
    for value in result.values[:MOST_VALUES]:
        name = harmless(value.value)
        name = name if len(name) <= 40 else name[:39] + "…"
        table.add_row(Text(name), f"{value.before:,}", f"{value.after:,}", f"{value.weight:.3g}")
    if (more := len(result.values) - MOST_VALUES) > 0:
        table.add_row(f"… {more:,} more values", "", "", "")
    console.print(table)
    console.print()
    finish(result, about_folder(result), console)


def about_folder(result: DataSetResult) -> Table:
    """Splits, notes and the folder."""
    about = facts()
    splits = ", ".join(f"{rows:,} {name.replace('_', '-')}" for name, rows in result.splits.items())
    about.add_row("rows", f"{splits}; {result.dropped:,} left out (dropped.jsonl)")
    for note in result.notes:
        about.add_row("[yellow]look at[/yellow]", Text(harmless(note)))
    about.add_row("folder", Text(str(result.folder)))
    return about


def finish(result: DataSetResult, about: Table, console: Console) -> None:
    """The table of facts, and the next command."""
    console.print(about)
    console.print()
    assert result.folder is not None
    show_commands([f"tunesmith data show {quote(name_for_commands(result.folder))}"], console)
