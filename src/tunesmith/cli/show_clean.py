"""How the terminal shows what cleaning did."""

from shlex import quote

from rich.console import Console
from rich.text import Text

from tunesmith.cli.layout import facts, figures, harmless, show_commands
from tunesmith.core.progress import counted
from tunesmith.core.workspace import name_for_commands
from tunesmith.data.clean.schema import CleanResult, ShownChange

STYLES = {"=": "dim", "-": "red strike", "+": "green"}


def show_clean(result: CleanResult, console: Console) -> None:
    """What each step did, the first changes of a dry run, and the new folder."""
    table = figures("step", "splits", "rows", "changed", "dropped", "left as is")
    table.columns[0].no_wrap = True
    for account in result.steps:
        splits = "all" if len(account.splits) == len(result.splits) else " ".join(account.splits)
        numbers = (account.rows, account.changed, account.dropped, account.left)
        table.add_row(account.step, splits, *(f"{number:,}" for number in numbers))
    console.print(table)
    console.print()
    for change in result.first:
        console.print(change_line(change))
    if result.first:
        console.print()
    about = facts()
    for account in result.steps:
        for reason, count in list(account.reasons.items())[:5]:
            about.add_row(account.step, Text(f"{count:,} × {harmless(reason)}"))
    for note in result.notes:
        about.add_row("[yellow]look at[/yellow]", Text(harmless(note)))
    splits = ", ".join(f"{rows:,} {name.replace('_', '-')}" for name, rows in result.splits.items())
    lost = f"{counted(result.changed, 'row')} changed, {result.dropped:,} dropped"
    about.add_row("rows", f"{result.rows:,} → {sum(result.splits.values()):,}: {lost}; {splits}")
    if result.folder is None:
        about.add_row("dry run", "nothing was written; without --dry-run a new folder is made")
    else:
        about.add_row("folder", Text(str(result.folder)))
        about.add_row("lists", "dropped.jsonl, changes.jsonl, steps.json")
    console.print(about)
    if result.folder is not None:
        console.print()
        show_commands([f"tunesmith data show {quote(name_for_commands(result.folder))}"], console)


def change_line(change: ShownChange) -> Text:
    """Where, why, and the text with what goes struck out and what comes in green."""
    line = Text.assemble((f"{change.step} · {change.place} · {change.reason}\n  ", "bold"))
    for sign, text in change.diff:
        line.append(harmless(text).replace("\n", "⏎").replace("\t", "⇥"), STYLES[sign])
    return line
