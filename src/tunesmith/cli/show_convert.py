"""How the terminal shows a conversion."""

from rich.console import Console
from rich.text import Text

from tunesmith.cli.layout import facts
from tunesmith.data.convert.schema import ConvertResult


def show_convert(result: ConvertResult, console: Console) -> None:
    """How the rows were read, what became of them, and where they are."""
    table = facts()
    table.add_row("read as", Text(result.layout))
    left = f", {result.left_out:,} left out ({result.file.name}.rejects.jsonl)" if result.left_out else ""
    table.add_row("rows", f"{result.rows:,} read, {result.written:,} written as {result.to}{left}")
    for reason, count in result.reasons.items():
        table.add_row("[yellow]left out[/yellow]", Text(f"{count:,}: {reason}"))
    for reason, count in result.changes.items():
        table.add_row("changed", Text(f"{count:,}: {reason}"))
    table.add_row("file", Text(f"{result.file}  (read again and found equal)"))
    console.print(table)
