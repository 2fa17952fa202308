"""How the terminal shows what a teacher wrote."""

from shlex import quote

from rich.console import Console
from rich.text import Text

from tunesmith.cli.layout import facts, show_commands
from tunesmith.core.progress import duration
from tunesmith.core.workspace import name_for_commands
from tunesmith.data.synthesize.schema import SynthesizeResult


def show_synthesize(result: SynthesizeResult, console: Console) -> None:
    """New rows, what was discarded, and the cost."""
    table = facts()
    table.add_row("new rows", f"{result.added:,} of {result.wanted:,} wanted, all in the training split")
    if len(result.slices) > 1:
        table.add_row("slices", Text(", ".join(f"{name}: {rows:,}" for name, rows in result.slices.items())))
    for reason, count in result.discarded.items():
        table.add_row("discarded", Text(f"{count:,} × {reason}"))
    cost = f"{result.prompt_tokens:,} tokens asked, {result.completion_tokens:,} written"
    table.add_row(
        "cost", f"{result.requests:,} requests, {cost}, {duration(result.seconds)} of the teacher's time"
    )
    for note in result.notes:
        table.add_row("[yellow]look at[/yellow]", Text(note))
    table.add_row("folder", Text(f"{result.folder} (synthetic.jsonl, discarded.jsonl, replies.jsonl)"))
    console.print(table)
    console.print()
    assert result.folder is not None
    show_commands([f"tunesmith data check {quote(name_for_commands(result.folder))}"], console)
