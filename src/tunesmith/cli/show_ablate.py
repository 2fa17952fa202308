"""How the terminal shows an ablation."""

from rich.console import Console
from rich.text import Text

from tunesmith.cli.layout import facts, figures
from tunesmith.data.ablate.schema import AblateResult

STYLES = {"helped": "bold green", "hurt": "bold red", "no measurable gain": "bold yellow"}


def show_ablate(result: AblateResult, console: Console) -> None:
    """The verdict, the arms, every difference with its interval."""
    console.print(Text(result.sentence, style=STYLES[result.verdict]))
    console.print()
    scores = list(result.arms[0].scores)
    arms = figures("trained on", "rows", "tokens a run", "loss", *scores)
    for arm in result.arms:
        loss = "–" if arm.loss is None else f"{arm.loss:.4f}"
        values = [f"{arm.scores[name]:.3f}" for name in scores]
        arms.add_row(arm.name, f"{arm.rows:,}", f"{arm.tokens:,}", loss, *values)
    console.print(arms)
    console.print()
    table = figures("gain of the selection", "against", "value", "95 % interval", "says")
    for one in result.differences:
        interval = f"{one.low:+.4f} to {one.high:+.4f}"
        table.add_row(one.measure, one.against, f"{one.value:+.4f}", interval, one.verdict)
    console.print(table)
    about = facts()
    about.add_row("method", Text(result.differences[0].method))
    for note in result.notes:
        about.add_row("[yellow]look at[/yellow]", Text(note))
    about.add_row("folder", Text(str(result.folder)))
    console.print()
    console.print(about)
