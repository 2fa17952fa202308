"""How the terminal shows a round of active learning."""

from shlex import quote

from rich.console import Console
from rich.text import Text

from tunesmith.cli.layout import facts, figures, harmless, show_commands
from tunesmith.core.progress import counted
from tunesmith.core.workspace import name_for_commands
from tunesmith.data.pool.schema import PoolResult


def show_pool(result: PoolResult, console: Console) -> None:
    """What was chosen and how, how good the labels so far are, whether to go on, and the next command."""
    table = facts()
    table.add_row(
        "round", f"{result.round}, {result.task}, {counted(result.labelled, 'labelled row')} before"
    )
    picked = result.chosen - result.uniform
    table.add_row(
        "chosen", f"{result.chosen:,} = {picked:,} by {result.strategy} + {result.uniform:,} uniform"
    )
    out = ", ".join(f"{count:,} {reason}" for reason, count in result.pool_out.items())
    table.add_row(
        "pool", Text(f"{result.pool_rows:,} rows to choose from{f'; left out: {out}' if out else ''}")
    )
    if result.labels:
        shown = ", ".join(result.labels[:12]) + (" …" if len(result.labels) > 12 else "")
        table.add_row("labels", Text(harmless(shown)))
    table.add_row("[yellow]stop[/yellow]" if result.stop else "go on", Text(result.why))
    if result.folder is not None:
        table.add_row("folder", Text(str(result.folder)))
    console.print(table)
    if result.scores:
        console.print()
        scores = figures("before round", "labels", "accuracy", "95 % interval")
        for score in result.scores:
            ends = f"{score.low:.3f} to {score.high:.3f}"
            scores.add_row(str(score.round), f"{score.labelled:,}", f"{score.value:.3f}", ends)
        console.print(scores)
    if result.folder is not None:
        console.print()
        name = quote(name_for_commands(result.folder))
        show_commands([f"tunesmith data review {name}", f"tunesmith data review {name} --apply"], console)
