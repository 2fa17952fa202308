"""What several displays share: tables of facts and of figures, and the commands to paste next."""

from collections.abc import Sequence

from rich.console import Console
from rich.markup import escape
from rich.table import Table


def facts() -> Table:
    """Names on the left, values on the right; a long value goes on in its own column."""
    table = Table(show_header=False, box=None, padding=(0, 2, 0, 0))
    table.add_column(style="dim", no_wrap=True)
    table.add_column(overflow="fold")
    return table


def figures(first: str, *others: str) -> Table:
    """A column of names, then columns of figures under their headings."""
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="dim")
    table.add_column(first)
    for heading in others:
        table.add_column(heading, justify="right")
    return table


def show_commands(commands: Sequence[str], console: Console) -> None:
    """What can be pasted next, each on a line of its own however long it is."""
    for command in commands:
        console.print(f"  next: [bold]{escape(command)}[/bold]", soft_wrap=True)
