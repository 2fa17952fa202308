"""Progress on standard error: bars on a terminal, plain lines elsewhere, silence in tests.

Standard output belongs to results (`--json` prints one object there and nothing else).
"""

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Protocol

LINE_EVERY_SECONDS = 15.0


class Task(Protocol):
    """A piece of work whose end is known."""

    def advance(self, amount: float = 1, *, note: str = "") -> None:
        """Move on by `amount` of the unit; `note` is shown beside the bar."""


class Progress(Protocol):
    """Where a door says what it is doing."""

    def heading(self, text: str) -> None:
        """A line of its own that starts a stage."""

    def say(self, text: str) -> None:
        """One line of information."""

    @contextmanager
    def task(self, title: str, *, total: float, unit: str) -> Iterator[Task]:
        """A bar with percentage and remaining time; `total` counts in `unit`."""


class SilentTask:
    """Counts and shows nothing."""

    def advance(self, amount: float = 1, *, note: str = "") -> None:
        """Nothing to show."""


class Silent:
    """Shows nothing: for tests and libraries."""

    def heading(self, text: str) -> None:
        """Nothing to show."""

    def say(self, text: str) -> None:
        """Nothing to show."""

    @contextmanager
    def task(self, title: str, *, total: float, unit: str) -> Iterator[Task]:
        """A task that shows nothing."""
        yield SilentTask()


def duration(seconds: float) -> str:
    """'45 s', '3 min 05 s', '1 h 12 min'."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"


def counted(number: float, noun: str) -> str:
    """'1 step', '1,234 steps', '2.5 epochs'; of a noun whose plural ends in s."""
    shown = f"{number:,.6g}" if number < 1e6 else f"{number:,.0f}"
    return f"{shown} {noun}{'' if number == 1 else 's'}"


@dataclass
class LineTask:
    """A task that prints a line now and then, for logs and pipes."""

    title: str
    total: float
    unit: str
    started: float = field(default_factory=time.monotonic)
    done: float = 0.0
    last_line: float = field(default_factory=time.monotonic)

    def advance(self, amount: float = 1, *, note: str = "") -> None:
        """Print at most one line every `LINE_EVERY_SECONDS`, and the last one always."""
        self.done += amount
        now = time.monotonic()
        finished = amount > 0 and self.done >= self.total
        if finished or now - self.last_line >= LINE_EVERY_SECONDS:
            self.last_line = now
            print(self.line(now, note), file=sys.stderr, flush=True)

    def line(self, now: float, note: str) -> str:
        """Title, share done, and the time taken or left."""
        elapsed = now - self.started
        share = min(1.0, self.done / self.total) if self.total else 1.0
        left = elapsed * (1 - share) / share if share else 0.0
        clock = f", about {duration(left)} left" if share else ""  # nothing to reckon from before
        clock = f", took {duration(elapsed)}" if share >= 1 else clock
        tail = f"  {note}" if note else ""
        return f"  {self.title}: {self.done:,.0f}/{self.total:,.0f} {self.unit} ({share:.0%}{clock}){tail}"


class Lines:
    """Plain lines on standard error."""

    def heading(self, text: str) -> None:
        """A line of its own that starts a stage."""
        print(f"\n{text}", file=sys.stderr, flush=True)

    def say(self, text: str) -> None:
        """One line of information."""
        print(f"  {text}", file=sys.stderr, flush=True)

    @contextmanager
    def task(self, title: str, *, total: float, unit: str) -> Iterator[Task]:
        """A task that prints lines."""
        yield LineTask(title, total, unit)


class RichTask:
    """A bar of rich's."""

    def __init__(self, bars: "object", task_id: int) -> None:
        from rich.progress import Progress as Bars

        assert isinstance(bars, Bars)
        self._bars, self._id = bars, task_id

    def advance(self, amount: float = 1, *, note: str = "") -> None:
        """Move the bar."""
        from rich.progress import TaskID

        self._bars.update(TaskID(self._id), advance=amount, note=note)


class Terminal:
    """Bars and headings on a terminal."""

    def __init__(self) -> None:
        from rich.console import Console

        self.console = Console(stderr=True, highlight=False)

    def heading(self, text: str) -> None:
        """A bold line that starts a stage."""
        self.console.print(f"\n[bold]{text}[/bold]")

    def say(self, text: str) -> None:
        """One line of information."""
        self.console.print(f"  {text}", markup=False)

    @contextmanager
    def task(self, title: str, *, total: float, unit: str) -> Iterator[Task]:
        """A bar with share, count, time left and a note."""
        from rich import progress as bars

        columns = (
            bars.TextColumn("  {task.description}"),
            bars.BarColumn(bar_width=28),
            bars.TaskProgressColumn(),
            bars.TextColumn("{task.completed:,.0f}/{task.total:,.0f} {task.fields[unit]}"),
            bars.TimeRemainingColumn(compact=True),
            bars.TextColumn("{task.fields[note]}", style="dim"),
        )
        with bars.Progress(*columns, console=self.console) as shown:
            yield RichTask(shown, shown.add_task(title, total=total, unit=unit, note=""))


def for_terminal(*, quiet: bool = False) -> Progress:
    """Bars when standard error is a terminal, lines when it is not, silence when asked."""
    if quiet:
        return Silent()
    return Terminal() if sys.stderr.isatty() else Lines()
