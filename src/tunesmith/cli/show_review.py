"""How the terminal shows rows under review, and how far a review is.

Texts of rows are strangers' texts: what could move the cursor, change colours or hide letters is shown as a
sign instead.
"""

import json
from collections.abc import Iterator
from dataclasses import replace

from rich.console import Console
from rich.text import Text

from tunesmith.cli.layout import ROLE_STYLES, facts, harmless, show_commands
from tunesmith.core.conversation import Example, Message
from tunesmith.core.progress import counted
from tunesmith.data.review.schema import Agreed, ReviewResult
from tunesmith.data.review.session import Shown
from tunesmith.data.review.words import rate_words, together_words, verdict_words

SEVERITY_STYLES = {"error": "red", "warning": "yellow", "note": "dim"}
SHOWN_FINDINGS = 8
SHOWN_EVIDENCE = 200


# --- one row -------------------------------------------------------------------------------------------


def row_lines(shown: Shown, decided: int) -> Iterator[Text]:
    """Where the row stands, what was found on it, what was said of it, and the row."""
    row, task = shown.row, shown.task
    purposes = {"overlap": " · second review", "again": "", "adjudicate": " · adjudication", "first": ""}
    place = f"{row.split} · line {row.line} · {row.row_hash[:12]}{purposes[task.purpose]}"
    source = row.example.metadata.get("source")
    yield Text()
    yield Text(f"── {place} · {counted(decided, 'verdict')} so far ──", style="dim")
    if source is not None:
        yield Text(f"   source  {harmless(str(source))}", style="dim")
    for finding in shown.findings[:SHOWN_FINDINGS]:
        evidence = json.dumps(finding.get("evidence"), ensure_ascii=False)[:SHOWN_EVIDENCE]
        text = f"  finding  {finding['check']}: {finding.get('value')}  {evidence}"
        yield Text(harmless(text), style=SEVERITY_STYLES.get(str(finding["severity"]), "dim"))
    if len(shown.findings) > SHOWN_FINDINGS:
        yield Text(f"           and {len(shown.findings) - SHOWN_FINDINGS} more findings", style="dim")
    for event in shown.earlier:
        words = " · ".join(word for word in (event.reason, event.note) if word)
        yield Text(harmless(f"{event.action:>9}  by {event.reviewer}  {words}"), style="magenta")
        if event.action == "edit":
            yield from example_lines(told(Example.from_json(event.value), row.example), indent="           ")
    yield from example_lines(row.example)
    yield Text()


def told(edited: Example, row: Example) -> Example:
    """An edited row without the turns before its answer that the row below it begins with too."""
    pairs = enumerate(zip(edited.messages, row.messages, strict=False))
    start = next((at for at, (one, other) in pairs if one != other), len(row.messages))
    rest = edited.messages[start:]
    return replace(edited, messages=rest) if rest and rest[-1].role == "assistant" else edited


def example_lines(example: Example, indent: str = "") -> Iterator[Text]:
    """The turns, a colour for each role; both answers of a pair, the steps with their grades."""
    for message in example.messages:
        yield turn(message.role, message, indent)
    for name, turns in (("chosen", example.chosen), ("rejected", example.rejected)):
        for message in turns:
            yield turn(name, message, indent)
    for step in example.steps:
        yield turn("step", Message("assistant", f"{'✓' if step.is_right else '✗'} {step.text}"), indent)
    if example.label is not None:
        yield Text(f"{indent}    label  {'wanted' if example.label else 'not wanted'}", style="bold")
    if not (
        example.chosen or example.steps or any(m.role in ("assistant", "text") for m in example.messages)
    ):
        yield Text(f"{indent}{'assistant':>9}  (no answer yet)", style="bold yellow")


def turn(name: str, message: Message, indent: str) -> Text:
    """One turn; a turn that is not learned is dim."""
    style = ROLE_STYLES[name]
    line = Text(f"{indent}{name:>9}  ", style=f"bold {style}")
    body = f"{style} not bold" + ("" if message.is_learned else " dim")
    said = harmless(f"[reasoning] {message.reasoning}\n" if message.reasoning else "")
    said += harmless(message.content or "")
    if message.tool_calls:
        said += harmless(
            json.dumps([dict(call) for call in message.tool_calls], ensure_ascii=False, indent=2)
        )
    line.append(said.replace("\n", "\n" + " " * (len(indent) + 11)), body)
    return line


# --- the whole review ----------------------------------------------------------------------------------


def show_review(result: ReviewResult, console: Console) -> None:
    """Counts, error rate, agreement, sign-off, and what to do next."""
    table = facts()
    table.add_row("review of", Text(f"{harmless(result.data)}, {counted(result.total, 'row')}"))
    if result.decided:
        table.add_row("decided now", counted(result.decided, "verdict"))
    table.add_row("in review", verdict_words(result))
    if result.reviewers:
        people = ", ".join(f"{harmless(name)} {count:,}" for name, count in result.reviewers.items())
        pace = f"; median {result.median_seconds:.1f} s" if result.median_seconds is not None else ""
        table.add_row("reviewers", Text(f"{people}{pace}"))
    if result.sample is not None:
        table.add_row("error rate", rate_words(result.sample))
    if result.agreement is not None:
        for name, words in agreement_words(result.agreement):
            table.add_row(name, Text(words))
    table.add_row("signed off", Text(harmless(result.signed_off) or "no"))
    if result.folder is not None:
        sizes = ", ".join(f"{name} {rows:,}" for name, rows in result.splits.items())
        table.add_row("made", Text(f"{result.folder}  ({sizes})"))
    if result.exported is not None:
        table.add_row("written", Text(str(result.exported)))
    for note in result.notes:
        table.add_row("[yellow]mind[/yellow]", Text(harmless(note)))
    console.print(table)
    if result.next:
        console.print()
        show_commands(result.next, console)


def agreement_words(agreed: Agreed) -> Iterator[tuple[str, str]]:
    """Agreement between people, and of each with themselves."""
    if agreed.rows:
        yield "agreement", together_words(agreed)
        people = ", ".join(f"{harmless(name)} {share:.0%}" for name, share in agreed.by_reviewer.items())
        yield "with others", people
        verdicts = {name: value for name, value in agreed.by_verdict.items() if value is not None}
        if verdicts:
            yield "by verdict", ", ".join(f"{name} alpha {value:.2f}" for name, value in verdicts.items())
    if agreed.again:
        yield "shown again", f"the same verdict on {agreed.again_equal:,} of {counted(agreed.again, 'row')}"
