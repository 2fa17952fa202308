"""How jobs that were brought home look in a terminal."""

from shlex import quote

from rich.console import Console
from rich.table import Table

from tunesmith.api.bringing.schema import BroughtJob, ImportOpenaiResult
from tunesmith.core.progress import counted


def show_brought(result: ImportOpenaiResult, console: Console) -> None:
    """A row for each job, and what to do with them."""
    if not result.jobs:
        console.print(f"no fine-tuning jobs at {result.endpoint}", markup=False, highlight=False)
        return
    table = Table(box=None, pad_edge=False)
    table.add_column("job", no_wrap=True)  # to be copied
    for title in ("model there", "examples", "here"):
        table.add_column(title, overflow="fold")
    for one in result.jobs:
        examples = "" if one.examples is None else f"{one.examples:,}"
        table.add_row(one.id, one.fine_tuned_model or f"{one.model} ({one.status})", examples, state(one))
    console.print(table, markup=False)
    for one in result.jobs:
        for line in one.missing:
            console.print(f"{one.id}: {line}", markup=False, highlight=False, soft_wrap=True)
    console.print(f"files, settings and recipes: {result.folder}", markup=False, soft_wrap=True)
    ready = [one for one in result.jobs if one.obstacle is None and one.run is None]
    if ready:
        what = counted(len(ready), "job")
        console.print(f"{what} can be trained here  → the same command with --train", highlight=False)
    for one in result.jobs:
        if one.run is not None:
            console.print(f"  talk     tunesmith chat {quote(str(one.run))}", markup=False, soft_wrap=True)


def state(one: BroughtJob) -> str:
    """What became of a job here."""
    if one.obstacle is not None:
        return f"not trained: {one.obstacle}"
    if one.run is None:
        return "ready to train"
    return "trained" if one.verdict is None else f"trained; {one.verdict}"
