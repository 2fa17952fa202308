"""How the terminal shows documents that were read."""

from shlex import quote

from rich.console import Console
from rich.text import Text

from tunesmith.cli.layout import facts, show_commands
from tunesmith.core.progress import counted
from tunesmith.data.documents.schema import DocumentsResult


def show_documents(result: DocumentsResult, console: Console) -> None:
    """What was read, what was not and why, and the next command."""
    table = facts()
    others = f", {counted(result.passed_over, 'other file')} passed over" if result.passed_over else ""
    table.add_row("documents", f"{result.documents:,} read, {len(result.refused):,} refused{others}")
    if result.pages:
        empty = f", {result.pages_without_text:,} of them without text" if result.pages_without_text else ""
        table.add_row("pages", f"{result.pages:,} in PDFs{empty}")
    table.add_row(
        "rows", f"{result.rows:,} of at most {result.limit:,} {result.unit}, {result.total:,} in all"
    )
    if result.too_long:
        what = f"{counted(result.too_long, 'row')} longer: one word of each is longer than a chunk"
        table.add_row("[yellow]look at[/yellow]", Text(what))
    for name, reason in result.refused.items():
        table.add_row("[red]refused[/red]", Text(f"{name}: {reason}"))
    for name, remarks in result.remarks.items():
        table.add_row("[yellow]look at[/yellow]", Text(f"{name}: {'; '.join(remarks)}"))
    console.print(table)
    console.print()
    show_commands([f"tunesmith data prepare {quote(str(result.folder / 'rows.jsonl'))}"], console)
