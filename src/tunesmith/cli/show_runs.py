"""How `tunesmith runs` and `tunesmith replay` look in the terminal."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from tunesmith.cli.layout import facts, figures, show_commands
from tunesmith.cli.plot import Points, plot, sparkline
from tunesmith.core.progress import counted, duration
from tunesmith.train.schema import (
    Curve,
    Pair,
    ProofFacts,
    ReplayResult,
    RunFacts,
    RunsCompareResult,
    RunsListResult,
    RunsPlotResult,
    RunsShowResult,
    SourceFacts,
)

COLOURS = {"finished": "green", "running": "cyan", "interrupted": "yellow", "failed": "red"}
OUTCOMES = {
    "passed": "[green]✓[/green]",
    "failed": "[red]✗[/red]",
    "waived": "[yellow]![/yellow]",
    "not applicable": "[dim]–[/dim]",
}


def show_list(result: RunsListResult, console: Console) -> None:
    """One line for each run."""
    if not result.runs:
        console.print("no run yet; start with: tunesmith train RECIPE")
        return
    rows = [list_cells(run) for run in result.runs]
    columns = fitting(rows, console.width)
    table = Table(box=None, padding=(0, GAP, 0, 0), header_style="dim")
    for name in columns:
        table.add_column(name, justify="right" if name in FIGURES else "left", no_wrap=True)
    for row in rows:
        table.add_row(*(row[name] for name in columns))
    console.print(table)
    if left_out := [name for name in LIST_COLUMNS if name not in columns]:
        console.print(f"a wider terminal or --json shows {', '.join(left_out)} too", style="dim")


LIST_COLUMNS = (
    "run", "state", "method", "model", "data", "steps", "validation", "tokens/s", "memory", "time",
)  # fmt: skip
FIGURES = ("steps", "validation", "tokens/s", "memory", "time")
LEFT_OUT_FIRST = ("data", "model", "memory", "tokens/s", "time", "method")
"""What a narrow terminal does without, in this order."""
GAP = 2
"""Spaces behind each column."""


def fitting(rows: Sequence[Mapping[str, str]], width: int) -> list[str]:
    """The columns that a terminal of `width` characters has room for, cells uncut."""
    needs = {
        name: GAP + max(len(name), *(Text.from_markup(row[name]).cell_len for row in rows))
        for name in LIST_COLUMNS
    }
    columns = list(LIST_COLUMNS)
    for name in LEFT_OUT_FIRST:
        if sum(needs[column] for column in columns) <= width:
            break
        columns.remove(name)
    return columns


def list_cells(run: RunFacts) -> dict[str, str]:
    """What the list says about a run, by column."""
    validation, speed, memory, seconds = cost(run)
    return {
        "run": f"[bold]{escape(run.name)}[/bold]",
        "state": f"[{COLOURS[run.state]}]{run.state}[/]",
        "method": run.method,
        "model": escape(run.model),
        "data": escape(", ".join(run.data)),
        "steps": steps(run),
        "validation": validation,
        "tokens/s": speed,
        "memory": memory,
        "time": seconds,
    }


def steps(run: RunFacts) -> str:
    """'120', or '57/120' of a run that has more to do."""
    more = run.planned_steps is not None and run.planned_steps != run.steps
    return f"{run.steps}/{run.planned_steps}" if more else str(run.steps)


def cost(run: RunFacts) -> tuple[str, str, str, str]:
    """Validation loss, speed, memory and time, as far as they are known."""
    return (
        "" if run.validation_loss is None else f"{run.validation_loss:.4f}",
        "" if run.tokens_per_second is None else f"{run.tokens_per_second:,.0f}",
        "" if run.peak_memory_bytes is None else f"{run.peak_memory_bytes / 1e9:.1f} GB",
        "" if run.seconds is None else duration(run.seconds),
    )


def show_run(result: RunsShowResult, console: Console) -> None:
    """Everything about one run."""
    run = result.run
    validation, speed, memory, seconds = cost(run)
    table = facts()
    state = f"[{COLOURS[run.state]}]{run.state}[/]"
    table.add_row("run", f"[bold]{escape(run.name)}[/bold]  {state}  {moment(run.updated)}")
    table.add_row("learned", f"{run.method}, {run.objective}, on {escape(run.model)}")
    table.add_row("steps", steps(run))
    for curve in result.curves:
        table.add_row(names(curve), curve_line(curve))
    if validation and run.state == "finished":
        table.add_row("of the result", f"{validation} (validation loss)")
    if spent := [part for part in (seconds, speed and f"{speed} tokens/s", memory) if part]:
        table.add_row("cost", " · ".join(spent))
    for name, value in result.generation.items():
        table.add_row(f"generated: {name}", f"{value:.3f}")
    console.print(table)
    show_sources(result.sources, console)
    show_proofs(result.proofs, console)
    console.print("\nsettings", style="dim")
    settings = facts()
    for name, value in kinds_first(result.settings):
        settings.add_row(f"  {name}", escape(shown(value)))
    console.print(settings)
    if result.problem:
        console.print(f"\n{result.problem}", style="red", markup=False)
    console.print(f"\nfolder  {run.folder}", style="dim", markup=False, soft_wrap=True)
    show_commands(result.next_commands, console)


def kinds_first(settings: Mapping[str, Any]) -> list[tuple[str, Any]]:
    """Settings with the kind of each section before what belongs to it."""
    sections: dict[str, list[tuple[str, Any]]] = {}
    for name, value in settings.items():
        section = name.partition(".")[0]
        sections.setdefault(section, []).append((name, value))
    return [
        pair
        for section, pairs in sections.items()
        for pair in sorted(pairs, key=lambda pair: pair[0] != f"{section}.kind")
    ]


def moment(time: str) -> str:
    """'2026-11-22 23:51:04 UTC' of an ISO time in UTC."""
    return f"{time[:19].replace('T', ' ')} UTC"


def names(curve: Curve) -> str:
    """What a curve shows, in words."""
    return {"loss": "training loss", "validation_loss": "validation loss"}.get(curve.key, curve.key)


def curve_line(curve: Curve) -> str:
    """First value, the curve, last value."""
    return f"{curve.values[0]:.4f} [cyan]{sparkline(curve.values)}[/cyan] {curve.values[-1]:.4f}"


def show_sources(sources: Sequence[SourceFacts], console: Console) -> None:
    """The data sets with their losses."""
    table = figures("data", "weight", "items", "training", "validation", "fingerprint")
    table.columns[-1].justify = "left"
    for source in sources:
        table.add_row(
            escape(source.name),
            f"{source.weight:g}",
            f"{source.examples:,}",
            loss(source.training_loss),
            loss(source.validation_loss),
            source.fingerprint[:16],
        )
    if sources:
        console.print()
        console.print(table)


def show_proofs(proofs: Sequence[ProofFacts], console: Console) -> None:
    """The pre-flight, proof by proof."""
    table = Table(show_header=False, box=None, padding=(0, 2, 0, 0))
    for proof in proofs:
        table.add_row(
            OUTCOMES[proof.outcome], proof.name, escape(proof.evidence), f"[dim]{proof.seconds:.1f} s[/dim]"
        )
    if proofs:
        console.print()
        console.print(table)


def loss(value: float | None) -> str:
    """'0.0569'."""
    return "" if value is None else f"{value:.4f}"


def shown(value: Any) -> str:
    """A setting as people read it, and as a recipe writes it."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float):
        return f"{value:.4g}"
    if isinstance(value, list | tuple):
        return ", ".join(shown(part) for part in value) or "none"
    return "none" if value is None or value == {} else str(value)


def show_compare(result: RunsCompareResult, console: Console) -> None:
    """Settings that differ, then losses and cost of both."""
    if not result.same_data:
        console.print("other data: their losses are of different rows", style="yellow")
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="bold")
    for heading in ("", result.a.name, result.b.name):
        table.add_column(escape(heading), overflow="fold")
    for title, pairs, usual in (
        ("settings", result.settings, shown),
        ("losses", result.losses, loss),
        ("cost", result.cost, shown),
    ):
        table.add_row(f"[dim]{title}[/dim]", *(() if pairs else ("the same", "the same")))
        for pair in pairs:
            name, show = MEASURES.get(pair.name, (pair.name, usual))
            table.add_row(f"  {escape(name)}", *sides(pair, show))
    console.print(table)


def sides(pair: Pair, show: Callable[[Any], str]) -> tuple[str, ...]:
    """Both values; one that is missing as a dash."""
    return tuple("–" if value is None else escape(show(value)) for value in (pair.a, pair.b))


def gigabytes(value: float) -> str:
    """'1.9 GB'."""
    return f"{value / 1e9:.1f} GB"


def whole(value: float) -> str:
    """'1,234'."""
    return f"{value:,.0f}"


MEASURES: Mapping[str, tuple[str, Callable[[Any], str]]] = {
    "seconds": ("time", duration),
    "peak_memory_bytes": ("memory", gigabytes),
    "tokens_per_second": ("tokens/s", whole),
}
"""Costs: what people call them, and how they are shown in their unit."""


def show_plot(result: RunsPlotResult, console: Console) -> None:
    """The curves, as wide as the terminal."""
    curves = [Points(curve.run, curve.steps, curve.values) for curve in result.curves]
    width = max(20, min(console.width - 14, 100))
    console.print(f"{result.key} over steps", style="dim")
    console.print(plot(curves, width=width, height=result.height), soft_wrap=True)


def show_replay(result: ReplayResult, console: Console) -> None:
    """Identical, or the first difference."""
    if result.difference is None:
        compared = f"{counted(result.steps, 'step')} and {counted(result.files, 'file')} of the result"
        console.print(f"[bold green]identical[/bold green]: {compared}, bit for bit")
    else:
        found = result.difference
        place = f", step {found.step}, {found.key}" if found.step is not None else ""
        console.print(f"[bold red]different[/bold red]: {escape(found.what)}{place}")
        console.print(f"  run     {found.first}\n  replay  {found.second}", markup=False, soft_wrap=True)
    for line in result.elsewhere:
        console.print(f"around it: {line}", style="yellow", markup=False, soft_wrap=True)
    console.print(f"replay   {result.replay}", style="dim", markup=False, soft_wrap=True)
