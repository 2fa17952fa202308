"""How a finished run looks in the terminal."""

from shlex import quote

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from tunesmith.core.progress import duration
from tunesmith.train.schema import TrainResult


def show_train(result: TrainResult, console: Console) -> None:
    """What was trained, how the loss went, what it cost, and the next command."""
    table = Table(show_header=False, box=None, padding=(0, 2, 0, 0))
    table.add_column(style="dim")
    table.add_column()
    table.add_row("run", f"[bold]{result.name}[/bold] on {escape(result.model)} ({result.dtype})")
    table.add_row(
        "learned",
        f"{result.examples:,} examples × {result.epochs:g} epochs, {result.steps:,} steps, "
        f"{result.tokens:,} tokens ({result.supervised_tokens:,} learned)",
    )
    table.add_row("training loss", f"{result.first_loss:.4f} → {result.last_loss:.4f}")
    if result.validation_loss is not None:
        table.add_row("validation loss", f"{result.validation_loss:.4f} at step {result.best_step}")
    table.add_row(
        "cost",
        f"{duration(result.seconds)} on {result.threads} threads, {result.tokens_per_second:,.0f} tokens/s, "
        f"{result.peak_memory_bytes / 1e9:.1f} GB",
    )
    console.print(table)
    console.print(f"folder           {result.folder}", style="dim", markup=False, soft_wrap=True)
    run = escape(quote(result.folder.name))
    console.print(f"\n  next: [bold]tunesmith chat {run}[/bold]", soft_wrap=True)
