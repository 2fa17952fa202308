"""How `tunesmith decide` looks in a terminal."""

from shlex import quote

from rich.console import Console
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from tunesmith.core.progress import duration
from tunesmith.decide.page import HEADLINES
from tunesmith.decide.schema import DecideResult, Verdict

STYLES: dict[Verdict, str] = {
    "base_is_enough": "cyan",
    "prompt_is_enough": "cyan",
    "better_data": "yellow",
    "bigger_model": "yellow",
    "cannot_say": "yellow",
    "fine_tune": "green",
}


def show_decide(result: DecideResult, console: Console) -> None:
    """The verdict in a box, what was measured, what is expected, warnings, and the next command."""
    title = f"[bold]{HEADLINES[result.verdict]}[/bold]"
    style = STYLES[result.verdict]
    console.print()
    console.print(Panel(Text(result.sentence), title=title, border_style=style, padding=(1, 2)))
    console.print(prompts(result))
    if result.forecast:
        console.print()
        console.print(expected(result))
    if result.methods:
        console.print()
        console.print(costs(result))
    rows = ", ".join(f"{count:,} {name}" for name, count in result.rows.items())
    spent = f"{duration(result.seconds)} in all"
    target = f"target {result.target:.0%} ({result.target_from})"
    console.print(f"\nrows: {rows}; {target}; {spent}", style="dim")
    for warning in result.warnings:
        console.print(f"warning: {warning}", style="yellow", markup=False)
    for left_out in result.skipped:
        console.print(f"not measured: {left_out}", style="dim", markup=False)
    recipe = Text(f"recipe  tunesmith train {quote(str(result.folder / result.recipe))}")
    console.print(recipe, style="bold" if result.verdict == "fine_tune" else "dim", soft_wrap=True)
    console.print(Text(f"report  {result.folder / result.page}"), soft_wrap=True)


def headed(title: str, *headings: str) -> Table:
    """A table whose first column is words and whose others are numbers."""
    table = Table(title=Text(title, style="italic"), title_justify="left", box=None)
    for place, heading in enumerate(headings):
        table.add_column(heading, justify="right" if place else "left")
    return table


def prompts(result: DecideResult) -> Table:
    """Every prompt as it was measured."""
    others = [name for name in result.measurements[0].scores if name != result.primary][:1]
    headings = ("prompt", result.primary, "95 % interval", *others, "items", "tokens")
    table = headed(f"{result.model} on the validation split", *headings)
    for one in (*result.measurements, *result.bigger):
        is_bigger = one in result.bigger
        table.add_row(
            f"{one.model}, {one.prompt}" if is_bigger else one.prompt,
            f"{one.value:.1%}",
            f"{one.low:.1%} – {one.high:.1%}",
            *(f"{one.scores[name]:.1%}" for name in others),
            str(one.n),
            f"{one.prompt_tokens:.0f}",
            style="bold" if one.file == result.best_prompt and not is_bigger else "",
        )
    return table


def expected(result: DecideResult) -> Table:
    """What training on so many rows is expected to reach."""
    title = f"expected after training, from {len(result.probes)} short ones"
    table = headed(title, "rows", result.primary, "95 % interval", "gain", "95 % interval")
    for one in result.forecast:
        table.add_row(
            f"{one.rows:,}",
            f"{one.score:.1%}",
            f"{one.low:.1%} – {one.high:.1%}",
            f"{100 * one.gain:+.1f}",
            f"{100 * one.gain_low:+.1f} – {100 * one.gain_high:+.1f}",
        )
    return table


def costs(result: DecideResult) -> Table:
    """What each method takes here."""
    table = headed("training on all rows here", "method", "time", "memory", "tokens/s")
    for one in result.methods:
        if one.minutes is None or one.tokens_per_second is None:
            table.add_row(one.method, "–", "–", "–", style="dim")
            continue
        table.add_row(
            one.method,
            duration(60 * one.minutes),
            f"{(one.peak_memory_bytes or 0) / 1e9:.1f} GB",
            f"{one.tokens_per_second:,.0f}",
            style="" if one.fits else "dim",
        )
    return table
