"""How the monitor's figures look in a terminal."""

from collections.abc import Sequence

from rich.console import Console
from rich.table import Table
from rich.text import Text

from tunesmith.monitor.schema import Health, MonitorResult, Quantiles

SHOWN_HOURS = 24
COLUMNS = ("requests", "errors (95 %)", "answer p50/p95", "first token", "tokens in/out")


def show_monitor(result: MonitorResult, console: Console) -> None:
    """Tables by model and by hour, then the last errors."""
    if result.advice is not None:
        console.print(f"{result.advice}\nrecord: {result.record}", markup=False, soft_wrap=True)
        return
    console.print(f"{result.first} … {result.last} (UTC)\n", style="bold")
    models = [(f"{row.model or '(none)'} {row.version[:8]}", row) for row in result.by_model]
    console.print(table("model", [*models, ("all", result.overall)]))
    hours = [(row.hour[:16].replace("T", " "), row) for row in result.by_hour[-SHOWN_HOURS:]]
    if len(hours) > 1:
        console.print()
        console.print(table("hour", hours))
    if result.last_errors:
        console.print("\nlast errors", style="bold")
        for error in result.last_errors:
            line = (
                f"  {error.time[:19].replace('T', ' ')}  {error.status} {error.error_type}: {error.message}"
            )
            console.print(line, markup=False, soft_wrap=True)
    if result.dropped_requests or result.dropped_contents:
        console.print(
            f"\nthe record could not keep up: {result.dropped_requests} requests are missing, "
            f"{result.dropped_contents} have no content",
            style="yellow",
        )


def table(first: str, rows: Sequence[tuple[str, Health]]) -> Table:
    """One line for each row, figures to the right."""
    found = Table(box=None, pad_edge=False, header_style="bold")
    found.add_column(first, no_wrap=True)
    for column in COLUMNS:
        found.add_column(column, justify="right", no_wrap=True)
    for name, health in rows:
        found.add_row(
            Text(name),  # a client may have asked for a model of any name
            f"{health.requests:,}",
            errors(health),
            both(health.total_seconds),
            both(health.first_token_seconds),
            f"{health.prompt_tokens:,}/{health.completion_tokens:,}",
        )
    return found


def both(quantiles: Quantiles) -> str:
    """'35 ms/1.24 s'."""
    return f"{seconds(quantiles.p50)}/{seconds(quantiles.p95)}" if quantiles.p50 is not None else "–"


def errors(health: Health) -> str:
    """'2 · 1 % (0–4)': count, share and its 95 % interval; clients that left are told apart."""
    left = f" +{health.cancelled} left" if health.cancelled else ""
    if health.error_rate is None:
        return f"{health.errors:,}{left}"
    low, high = 100 * health.error_rate_low, 100 * health.error_rate_high
    return f"{health.errors:,}{left} · {100 * health.error_rate:.0f} % ({low:.0f}–{high:.0f})"


def seconds(value: float | None) -> str:
    """'35 ms', '1.24 s'."""
    if value is None:
        return "–"
    return f"{value * 1000:.0f} ms" if value < 1 else f"{value:.2f} s"
