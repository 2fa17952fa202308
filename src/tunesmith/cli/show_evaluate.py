"""How `tunesmith evaluate`, `gate` and `rank` look in a terminal."""

from rich.console import Console
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from tunesmith.core.progress import counted, duration
from tunesmith.evaluate.gate.schema import GateResult
from tunesmith.evaluate.ranking.schema import RankResult
from tunesmith.evaluate.schema import EvaluateResult, Score, TaskResult, TrustResult

BAR_WIDTH = 30


def show_scores(result: EvaluateResult, console: Console) -> None:
    """A line for each score with its interval drawn, then its parts."""
    where = f"{result.suite} ({result.split})" if result.split else result.suite
    title = Text(f"{result.model}, prompt {result.prompt}, on {where}", style="italic")
    table = Table(title=title, title_justify="left", box=None)
    table.add_column("score")
    table.add_column("value", justify="right")
    table.add_column("95 % interval", justify="right")
    table.add_column(f"0 {'·' * (BAR_WIDTH - 4)} 100%")
    for name, score in result.scores.items():
        style = "bold" if name == result.primary else ""
        value, low, high = (shown(part, score.kind) for part in (score.value, score.low, score.high))
        bar = Text("") if score.kind == "number" else interval_bar(score)
        table.add_row(Text(name), value, f"{low} – {high}", bar, style=style)
    console.print()
    console.print(table)
    show_parts(result, console)


def show_evaluate(result: EvaluateResult, console: Console) -> None:
    """The scores, then counts and times."""
    show_scores(result, console)
    items = counted(result.items, "item")
    if result.errors:
        items += f", {result.errors} without an answer (scored 0)"
    if result.cached:
        items += f", {result.cached} answered before"
    if result.truncated:
        items += f", {result.truncated} cut at {result.max_tokens} tokens"
    tokens = f"{counted(result.completion_tokens, 'token')} answered"
    times = f"asked in {duration(result.seconds)}, median latency {result.latency_median:.2f} s"
    console.print(f"\n{items}; {tokens}; {times}", style="dim")
    console.print(str(result.folder), style="dim", markup=False, soft_wrap=True)


def shown(value: float, kind: str) -> str:
    """A share in per cent, another number as it is."""
    return f"{value:.4g}" if kind == "number" else f"{value:.1%}"


def show_parts(result: EvaluateResult, console: Console) -> None:
    """The deciding score on each slice, what repeats say, and what could not be scored."""
    score = result.scores[result.primary]
    if score.slices:
        table = Table(
            title=Text(f"{result.primary} by slice", style="italic"), title_justify="left", box=None
        )
        for heading in ("slice", "items", "value", "95 % interval"):
            table.add_column(heading, justify="left" if heading == "slice" else "right")
        for part in score.slices:
            value, low, high = (shown(one, score.kind) for one in (part.score, part.low, part.high))
            table.add_row(Text(f"{part.key}: {part.value}"), f"{part.n:,}", value, f"{low} – {high}")
        console.print()
        console.print(table)
    for task in result.tasks:
        show_classes(task, console)
        show_calibration(task, console)
        show_swaps(task, result, console)
    for task in {task.fingerprint: task for task in result.tasks}.values():
        show_items(task, console)
    for name, one in result.scores.items():
        if one.trust is not None:
            console.print(trusted(name, one.trust), style="dim", markup=False, soft_wrap=True)
        if one.repeats is not None:
            tries = one.repeats
            said = f"{name}: any of {tries.number} right {tries.any_right:.1%}, all {tries.all_right:.1%}"
            console.print(f"{said}; {counted(tries.flaky, 'item')} with differing answers", markup=False)
        if one.failed:
            console.print(
                f"{name} could not score {counted(one.failed, 'answer')} (samples.jsonl says why)",
                markup=False,
            )


def trusted(name: str, trust: TrustResult) -> str:
    """How good a scorer that learned is on held-out texts."""
    area = f"AUC {trust.auc:.2f} ({trust.auc_low:.2f} – {trust.auc_high:.2f})"
    rates = f"finds {trust.found:.0%} of {trust.positive:,}, takes {trust.false_alarms:.0%} of the others"
    known = f"{area} on {trust.texts:,} held-out texts; {rates} for one"
    return f"{name} by a classifier ({trust.source}): {known}"


def show_classes(task: TaskResult, console: Console) -> None:
    """Each label of a classification, and macro-F1."""
    if task.classes is None:
        return
    macro = task.classes.macro_f1
    title = f"{task.data} by label: macro-F1 {macro.value:.1%} ({macro.low:.1%} – {macro.high:.1%})"
    table = Table(title=Text(title, style="italic"), title_justify="left", box=None)
    for heading in ("label", "items", "precision", "recall", "F1", "most often taken for"):
        table.add_column(heading, justify="left" if heading in ("label", "most often taken for") else "right")
    names = [*(one.label for one in task.classes.classes), "no label"]
    for place, one in enumerate(task.classes.classes):
        row = [0 if column == place else count for column, count in enumerate(task.classes.confusion[place])]
        worst = f"{names[row.index(max(row))]} ({max(row)})" if max(row) else ""
        figures = (f"{value:.1%}" for value in (one.precision, one.recall, one.f1))
        table.add_row(Text(one.label), f"{one.items:,}", *figures, Text(worst))
    console.print()
    console.print(table)


def show_calibration(task: TaskResult, console: Console) -> None:
    """How sure the model was against how often it was right."""
    if task.calibration is None:
        return
    found = task.calibration
    title = f"{found.score} by confidence: calibration error {found.error:.1%}, Brier score {found.brier:.3f}"
    table = Table(title=Text(title, style="italic"), title_justify="left", box=None)
    for heading in ("mean confidence", "answers", "right", "95 % interval"):
        table.add_column(heading, justify="right")
    for one in found.bins:
        interval = f"{one.low:.1%} – {one.high:.1%}"
        table.add_row(f"{one.confidence:.1%}", f"{one.items:,}", f"{one.right:.1%}", interval)
    console.print()
    console.print(table)


def show_swaps(task: TaskResult, result: EvaluateResult, console: Console) -> None:
    """What another group's name in the same question changes."""
    if not task.swaps:
        return
    title = f"{task.data}: the same questions with another term"
    table = Table(title=Text(title, style="italic"), title_justify="left", box=None)
    for heading in ("terms", "score", "items", "differ", "second − first", "95 % interval", "p (BH)"):
        table.add_column(heading, justify="left" if heading in ("terms", "score") else "right")
    for one in task.swaps:
        kind = result.scores[one.score].kind
        interval = f"{change(one.low, kind)} to {change(one.high, kind)}"
        counts = (f"{one.n:,}", f"{one.differing:,}", change(one.value, kind), interval)
        table.add_row(Text(f"{one.first} → {one.second}"), Text(one.score), *counts, f"{one.adjusted_p:.2g}")
    console.print()
    console.print(table)


def show_items(task: TaskResult, console: Console) -> None:
    """What is known of the items: people's verdicts, and how often they were looked at."""
    if task.people is not None:
        people = task.people
        agreed = f", kappa {people.kappa:.2f}" if people.kappa is not None else ""
        said = (
            f"people accepted {people.accepted} of {people.items} items, two looked at {people.twice}{agreed}"
        )
        console.print(f"{task.data}: {said}", style="dim", markup=False)
    if task.uses > 1:
        console.print(
            f"{task.data}: {task.uses} reports asked these items by now; each look at a test wears it out",
            style="dim",
            markup=False,
            soft_wrap=True,
        )


def interval_bar(score: Score) -> Text:
    """The interval as a line from 0 to 100 % with the value on it."""
    last = BAR_WIDTH - 1
    low, value, high = (round(part * last) for part in (score.low, score.value, score.high))
    marks = ["━" if low <= at <= high else " " for at in range(BAR_WIDTH)]
    marks[value] = "●"
    return Text("".join(marks), style="cyan")


def change(value: float, kind: str) -> str:
    """A difference of shares in points, of other numbers as it is."""
    return f"{value:+.3g}" if kind == "number" else f"{100 * value:+.1f}"


def show_gate(result: GateResult, console: Console) -> None:
    """Pass or fail in a box, then each condition."""
    word, style = ("pass", "green") if result.passed else ("fail", "red")
    console.print()
    console.print(
        Panel(Text(result.sentence), title=f"[bold]{word}[/bold]", border_style=style, padding=(1, 2))
    )
    for part in result.conditions:
        mark = Text("✓ ", style="green") if part.holds else Text("✗ ", style="red")
        console.print(Text.assemble(mark, part.sentence), soft_wrap=True)
    console.print(f"\nA: {result.a}\nB: {result.b}", markup=False, soft_wrap=True)
    console.print(str(result.folder), style="dim", markup=False, soft_wrap=True)


def show_rank(result: RankResult, console: Console) -> None:
    """The order with intervals, and what is known of the judge."""
    console.print()
    console.print(Panel(Text(result.sentence), border_style="cyan", padding=(1, 2)))
    table = Table(box=None)
    for heading in ("rank", "model", "strength", "95 % interval", "wins", "ties", "losses"):
        table.add_column(heading, justify="left" if heading in ("rank", "model") else "right")
    for one in result.ranked:
        ranks = str(one.best_rank) if one.best_rank == one.worst_rank else f"{one.best_rank}–{one.worst_rank}"
        counts = (f"{number:,}" for number in (one.wins, one.ties, one.losses))
        table.add_row(
            ranks, Text(one.label), f"{one.strength:+.2f}", f"{one.low:+.2f} to {one.high:+.2f}", *counts
        )
    console.print(table)
    if result.consistent is not None:
        said = (
            f"the judge's verdict kept to its answer in both orders in {result.consistent:.0%} of the pairs"
        )
        if result.first_favoured is not None:
            said += f"; it named the answer that it saw first in {result.first_favoured:.0%}"
        console.print(f"\n{said}", style="dim")
    if result.unread:
        console.print(f"{counted(result.unread, 'comparison')} without a verdict, left out")
    for name, weight in result.style.items():
        console.print(f"style: {name} {weight:+.2f}", style="dim")
    console.print(str(result.folder), style="dim", markup=False, soft_wrap=True)
