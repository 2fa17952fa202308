"""How the terminal shows the data room's results."""

import json

from rich.console import Console
from rich.table import Table
from rich.text import Text

from tunesmith.data.schema import FetchResult, PrepareResult, ShowResult

ROLE_STYLES = {"system": "dim", "developer": "dim", "user": "cyan", "assistant": "green", "tool": "yellow"}


def facts() -> Table:
    """A table of names and values."""
    table = Table(box=None, show_header=False, padding=(0, 2, 0, 0))
    table.add_column(style="dim", no_wrap=True)
    table.add_column(overflow="fold")
    return table


def show_fetch(result: FetchResult, console: Console) -> None:
    """What came, from where, and the next command."""
    table = facts()
    table.add_row("rows", f"{result.rows:,}  and {result.messy:,} messy ones to test with")
    table.add_row("set aside", f"{result.set_aside:,}  (accounting.json says why)")
    table.add_row("from", Text(f"{result.origin}, licence {result.licence}"))
    rows, messy = result.folder / "rows.jsonl", result.folder / "messy.jsonl"
    table.add_row("next", Text(f"tunesmith data prepare {rows} --held-out {messy}"))
    console.print(table)


def show_prepare(result: PrepareResult, console: Console) -> None:
    """What became of the rows, the splits, what to look at, and where the card is."""
    console.print(splits(result))
    table = facts()
    kinds = {
        "used as written": result.kept,
        "changed": result.changed,
        "refused": result.refused,
        "exact duplicates": result.duplicates,
        "withheld": result.withheld,
    }
    parts = [f"{count:,} {kind}" for kind, count in kinds.items() if count]
    table.add_row("rows", f"{result.rows:,} = {' + '.join(parts)}")
    near = f", {result.near_duplicates:,} rows in groups of near-duplicates" if result.near_duplicates else ""
    table.add_row("groups", f"{result.groups:,}{near}; none stands in two splits")
    for finding in result.findings:
        table.add_row("[yellow]look at[/yellow]", Text(finding))
    table.add_row("card", Text(str(result.folder / "card.md")))
    console.print(table)


def splits(result: PrepareResult) -> Table:
    """Rows of each split, with a bar."""
    table = Table(box=None, show_header=False, padding=(0, 2, 0, 0))
    table.add_column(style="bold", no_wrap=True)
    table.add_column(justify="right")
    table.add_column(style="blue")
    most = max(result.splits.values())
    for name, rows in result.splits.items():
        table.add_row(name.replace("_", "-"), f"{rows:,}", "━" * round(32 * rows / most))
    return table


def show_show(result: ShowResult, console: Console) -> None:
    """Conversations, a colour for each role; calls of tools as JSON."""
    for row in result.rows:
        console.print(Text(f"{result.split} · line {row.line} · group {row.group_id}", style="dim"))
        for message in row.example["messages"]:
            role = str(message["role"])
            calls = message.get("tool_calls")
            body = message["content"] or ""
            if calls:
                body += json.dumps(calls, ensure_ascii=False)
            console.print(
                Text.assemble((f"{role:>9}  ", f"bold {ROLE_STYLES[role]}"), (body, ROLE_STYLES[role]))
            )
        console.print()
    console.print(Text(f"{len(result.rows)} of {result.total:,} rows of {result.folder}", style="dim"))
