"""How serving and chatting look in a terminal when they are over."""

from rich.console import Console

from tunesmith.core.progress import counted
from tunesmith.serve.schema import ChatResult, ServeResult


def show_serve(result: ServeResult, console: Console) -> None:
    """What the server did."""
    console.print(f"{counted(result.requests, 'request')}, {counted(result.errors, 'error')}")
    if result.record is not None:
        console.print(f"record: {result.record}  → tunesmith monitor", markup=False, soft_wrap=True)
    if result.dropped_requests or result.dropped_contents:
        cause = "keep up" if result.record_problem is None else f"be written ({result.record_problem})"
        console.print(
            f"the record could not {cause}: {result.dropped_requests} requests are missing, "
            f"{result.dropped_contents} have no content",
            style="yellow",
        )


def show_chat(result: ChatResult, console: Console) -> None:
    """The answers, unless they were shown while they were made."""
    if not result.shown:
        for turn in result.turns:
            console.print(turn.answer, markup=False, soft_wrap=True)
