"""How `tunesmith answers` and `tunesmith validate` look in a terminal."""

from shlex import quote

from rich.console import Console
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from tunesmith.cli.layout import facts, show_commands
from tunesmith.core.progress import counted
from tunesmith.core.workspace import name_for_commands
from tunesmith.evaluate.schema import Score
from tunesmith.evaluate.validate.schema import Agreement, AnswersResult, ValidateResult


def show_answers(result: AnswersResult, console: Console) -> None:
    """How many answers were drawn, and how they are reviewed."""
    table = facts()
    left = f"; {counted(result.left_out, 'item')} without an answer left out" if result.left_out else ""
    table.add_row("answers", f"{result.rows:,} of {result.answered:,} drawn at random{left}")
    table.add_row("of", Text(result.report))
    console.print(table)
    console.print()
    show_commands([f"tunesmith data review {quote(name_for_commands(result.folder))}"], console)


def show_validate(result: ValidateResult, console: Console) -> None:
    """The outcome in a box, then the three ways to know, agreement and bias."""
    console.print()
    console.print(Panel(Text(result.sentence), border_style="cyan", padding=(1, 2)))
    table = Table(box=None)
    for heading in ("", "value", "95 % interval", "from"):
        table.add_column(heading, justify="left" if heading in ("", "from") else "right")
    rows = {"people alone": result.people, f"{result.judge} alone": result.judge_alone}
    for name, score in {**rows, "both (PPI++)": result.corrected}.items():
        add_score(table, name, score, deciding=score is result.corrected)
    console.print(table)
    part = result.confusion
    console.print(f"\nkappa {in_words(result.kappa)} · AC1 {in_words(result.ac1)}")
    said = f"of {counted(result.reviewed, 'reviewed answer')}: right by both {part.both_right}, by neither "
    said += f"{part.both_wrong}; the judge too kind {part.judge_too_kind}, too strict {part.judge_too_strict}"
    console.print(said)
    if result.length_bias is not None:
        ends = f"{result.length_bias_low:+.3f} to {result.length_bias_high:+.3f}"
        console.print(f"length bias {result.length_bias:+.3f} for each doubling of the words ({ends})")
    if result.open_conflicts:
        console.print(f"{counted(result.open_conflicts, 'answer')} with two verdicts that nobody decided")
    if result.left_out:
        console.print(f"{counted(result.left_out, 'item')} without an answer left out")
    console.print(str(result.folder), style="dim", markup=False, soft_wrap=True)


def add_score(table: Table, name: str, score: Score, *, deciding: bool) -> None:
    """One way to know."""
    interval = f"{score.low:.1%} – {score.high:.1%}"
    table.add_row(Text(name), f"{score.value:.1%}", interval, score.method, style="bold" if deciding else "")


def in_words(found: Agreement) -> str:
    """'0.61 (0.40–0.79)'."""
    if found.value is None:
        return "undefined"
    ends = f" ({found.low:.2f}–{found.high:.2f})" if found.low is not None and found.high is not None else ""
    return f"{found.value:.2f}{ends}"
