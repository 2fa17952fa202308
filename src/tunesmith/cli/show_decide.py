"""How `tunesmith decide` looks in a terminal."""

from shlex import quote

from rich.console import Console
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from tunesmith.decide.schema import DecideResult

TITLES = {
    "base_is_enough": "do not fine-tune: the base is enough",
    "prompt_is_enough": "do not fine-tune: a prompt is enough",
    "collect_more_data": "collect more data first",
    "fine_tune": "fine-tune",
}
STYLES = {
    "base_is_enough": "cyan",
    "prompt_is_enough": "cyan",
    "collect_more_data": "yellow",
    "fine_tune": "green",
}


def show_decide(result: DecideResult, console: Console) -> None:
    """The verdict in a box, the base with each prompt, warnings, and the next command."""
    title = f"[bold]{TITLES[result.verdict]}[/bold]"
    console.print()
    console.print(
        Panel(Text(result.sentence), title=title, border_style=STYLES[result.verdict], padding=(1, 2))
    )
    others = [name for name in result.measurements[0].scores if name != result.primary]
    table = Table(
        title=Text(f"{result.model} on the validation split", style="italic"), title_justify="left", box=None
    )
    for heading in ("prompt", result.primary, "95 % interval", *others, "tokens", "seconds"):
        table.add_column(heading, justify="left" if heading == "prompt" else "right")
    for one in result.measurements:
        table.add_row(
            one.prompt,
            f"{one.value:.1%}",
            f"{one.low:.1%} – {one.high:.1%}",
            *(f"{one.scores[name]:.1%}" for name in others),
            f"{one.prompt_tokens:.0f}",
            f"{one.seconds:.1f}",
            style="bold" if one.file == result.best_prompt else "",
        )
    console.print(table)
    rows = ", ".join(f"{count:,} {name}" for name, count in result.rows.items())
    console.print(f"\nrows: {rows}; target {result.target:.0%}", style="dim")
    for warning in result.warnings:
        console.print(f"warning: {warning}", style="yellow", markup=False)
    for left_out in result.skipped:
        console.print(f"not measured: {left_out}", style="dim", markup=False)
    next_step = Text(f"recipe: tunesmith train {quote(str(result.folder / result.recipe))}")
    console.print(next_step, style="bold" if result.verdict == "fine_tune" else "dim", soft_wrap=True)
