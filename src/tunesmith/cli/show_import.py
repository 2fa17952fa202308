"""How `tunesmith import-results` looks in a terminal."""

from rich.console import Console

from tunesmith.cli.show_evaluate import show_scores
from tunesmith.core.progress import counted
from tunesmith.evaluate.imported.schema import ImportResult


def show_import(result: ImportResult, console: Console) -> None:
    """The scores as of an evaluation, then what became of every row."""
    show_scores(result, console)
    for name, why in result.left_out.items():
        console.print(f"{name} is left out: {why}", markup=False)
    for note in result.notes:
        console.print(f"note: {note}", markup=False)
    for one in result.refusals:
        console.print(f"refused: {one.where}: {one.reason}", markup=False, soft_wrap=True)
    if more := result.refused - len(result.refusals):
        console.print(f"… and {counted(more, 'row')} more (refused.jsonl)")
    said = (
        f"{counted(result.rows, 'answer')} of {result.harness}: {result.kept} taken, {result.refused} refused"
    )
    if result.elsewhere:
        said += f", {result.elsewhere} of another model or prompt"
    if result.errors:
        said += f"; {result.errors} did not come (scored 0)"
    console.print(f"\n{said}", style="dim")
    console.print(str(result.folder), style="dim", markup=False, soft_wrap=True)
