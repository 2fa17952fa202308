"""How `tunesmith evaluate` and `tunesmith compare` look in a terminal."""

from rich.console import Console
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from tunesmith.core.progress import counted, duration
from tunesmith.evaluate.schema import CompareResult, EvaluateResult, Score

BAR_WIDTH = 30
VERDICT_STYLES = {"better": "green", "tied": "cyan", "worse": "red", "not enough data": "yellow"}


def show_evaluate(result: EvaluateResult, console: Console) -> None:
    """A line for each score with its interval drawn, then counts and times."""
    where = f"{result.suite} ({result.split})" if result.split else result.suite
    title = Text(f"{result.model}, prompt {result.prompt}, on {where}", style="italic")
    table = Table(title=title, title_justify="left", box=None)
    table.add_column("score")
    table.add_column("value", justify="right")
    table.add_column("95 % interval", justify="right")
    table.add_column(f"0 {'·' * (BAR_WIDTH - 4)} 100%")
    for name, score in result.scores.items():
        style = "bold" if name == result.primary else ""
        interval = f"{score.low:.1%} – {score.high:.1%}"
        table.add_row(name, f"{score.value:.1%}", interval, interval_bar(score), style=style)
    console.print()
    console.print(table)
    items = counted(result.items, "item")
    if result.errors:
        items += f", {result.errors} without an answer (scored 0)"
    if result.truncated:
        items += f", {result.truncated} cut at {result.max_tokens} tokens"
    tokens = f"{counted(result.completion_tokens, 'token')} answered"
    times = f"asked in {duration(result.seconds)}, median latency {result.latency_median:.2f} s"
    console.print(f"\n{items}; {tokens}; {times}", style="dim")
    console.print(str(result.folder), style="dim", markup=False, soft_wrap=True)


def interval_bar(score: Score) -> Text:
    """The interval as a line from 0 to 100 % with the value on it."""
    last = BAR_WIDTH - 1
    low, value, high = (round(part * last) for part in (score.low, score.value, score.high))
    marks = ["━" if low <= at <= high else " " for at in range(BAR_WIDTH)]
    marks[value] = "●"
    return Text("".join(marks), style="cyan")


def show_compare(result: CompareResult, console: Console) -> None:
    """The verdict in a box, then each score's difference, then what changed."""
    style = VERDICT_STYLES[result.verdict]
    console.print()
    console.print(
        Panel(
            Text(result.sentence), title=f"[bold]{result.verdict}[/bold]", border_style=style, padding=(1, 2)
        )
    )
    table = Table(box=None)
    for heading in ("score", "A", "B", "B − A (points)", "95 % interval", "p", "p (Holm)"):
        table.add_column(heading, justify="left" if heading == "score" else "right")
    for name, part in result.differences.items():
        deciding = name == result.primary
        table.add_row(
            name,
            f"{part.a:.1%}",
            f"{part.b:.1%}",
            f"{100 * part.value:+.1f}",
            f"{100 * part.low:+.1f} to {100 * part.high:+.1f}",
            f"{part.p_value:.2g}",
            "decides" if deciding else f"{part.adjusted_p:.2g}",
            style="bold" if deciding else "",
        )
    console.print(table)
    console.print(f"\nA: {result.a}\nB: {result.b}", markup=False, soft_wrap=True)
    console.print(
        f"{counted(result.n, 'item')} in common; {result.fixes} better, {result.regressions} worse in B",
        style="dim",
    )
    for note in result.notes:
        console.print(f"note: {note}", markup=False)
    console.print(str(result.folder), style="dim", markup=False, soft_wrap=True)
