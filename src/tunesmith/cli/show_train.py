"""How a finished run, or a pre-flight without one, looks in the terminal."""

from shlex import quote

from rich.console import Console
from rich.markup import escape

from tunesmith.cli.layout import facts, show_commands
from tunesmith.cli.show_runs import show_sources
from tunesmith.core.progress import counted, duration
from tunesmith.core.workspace import name_for_commands
from tunesmith.train.schema import CheckResult, SpeedResult, TrainResult


def show_train(result: TrainResult | CheckResult | SpeedResult, console: Console) -> None:
    """What was trained, whether it may be, or how fast it goes."""
    if isinstance(result, CheckResult):
        show_check(result, console)
    elif isinstance(result, SpeedResult):
        show_speed(result, console)
    else:
        show_result(result, console)


def show_check(result: CheckResult, console: Console) -> None:
    """Whether the run would start, and why not; the proofs were shown one by one as they were tried."""
    if result.passed:
        held = sum(proof.outcome == "passed" for proof in result.proofs)
        console.print(
            f"[bold green]ready[/bold green]: {escape(result.name)} may be trained, "
            f"{held} of {counted(len(result.proofs), 'proof')} passed ({result.seconds:.0f} s)"
        )
    else:
        console.print(result.message, style="red", markup=False, soft_wrap=True)


def show_speed(result: SpeedResult, console: Console) -> None:
    """How long a step takes."""
    console.print(
        f"{result.name}: {result.seconds_per_step:.2f} s a step, {result.tokens_per_second:,.0f} tokens/s "
        f"({counted(result.steps, 'step')} timed, nothing is kept)",
        markup=False,
        highlight=False,
    )


def show_result(result: TrainResult, console: Console) -> None:
    """What was trained, how the loss went, what it cost, and the next command."""
    table = facts()
    table.add_row("run", f"[bold]{result.name}[/bold] on {escape(result.model)} ({result.dtype})")
    table.add_row(
        "method", f"{result.method}, {result.trainable_parameters:,} parameters; {result.objective}"
    )
    early = f" of {result.planned_steps:,}, stopped early" if result.steps < result.planned_steps else ""
    table.add_row(
        "learned",
        f"{counted(result.examples, 'example')} × {counted(result.epochs, 'epoch')}, "
        f"{counted(result.steps, 'step')}{early}, "
        f"{result.tokens:,} tokens ({result.supervised_tokens:,} learned)",
    )
    table.add_row("training loss", f"{result.first_loss:.4f} → {result.last_loss:.4f}")
    if result.validation_loss is not None:
        table.add_row("validation loss", f"{result.validation_loss:.4f} at step {result.best_step}")
    for name, value in result.generation.items():
        table.add_row(f"generated: {name}", f"{value:.3f}")
    table.add_row(
        "cost",
        f"{duration(result.seconds)} on {counted(result.threads, 'thread')}, "
        f"{result.tokens_per_second:,.0f} tokens/s, {result.peak_memory_bytes / 1e9:.1f} GB",
    )
    console.print(table)
    if len(result.sources) > 1:
        show_sources(result.sources, console)
    console.print(f"folder           {result.folder}", style="dim", markup=False, soft_wrap=True)
    console.print()
    show_commands(next_commands(result), console)


def next_commands(result: TrainResult) -> list[str]:
    """What can be done with a finished run now."""
    run = quote(name_for_commands(result.folder))
    if result.objective == "text":
        return [f"tunesmith runs show {run}"]
    return [f"tunesmith chat {run}", f"tunesmith runs show {run}"]
