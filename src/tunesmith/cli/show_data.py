"""How the terminal shows the data room's results."""

import json
from collections.abc import Iterator, Mapping, Sequence
from shlex import quote
from typing import Any

from rich.console import Console
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from tunesmith.cli.layout import ROLE_STYLES, facts, harmless, show_commands
from tunesmith.core.progress import counted
from tunesmith.core.workspace import name_for_commands
from tunesmith.data.schema import CardResult, FetchResult, PrepareResult, ShownToken, ShowResult, TokenCounts

OUTCOMES = {
    "kept": "used whole",
    "refused": "too long: it stops the run",
    "dropped": "too long: left out",
    "truncated": "too long: cut",
    "split": "too long: split",
    "unsupervised": "nothing is learned: left out",
    "faulty": "cannot be used: it stops the run",
}
"""What becomes of a row."""


def show_fetch(result: FetchResult, console: Console) -> None:
    """What came, from where, and the next command."""
    table = facts()
    hard = f", and {result.messy:,} messy ones to test with" if result.messy else ""
    table.add_row("rows", f"{result.rows:,}{hard}")
    table.add_row("set aside", f"{result.set_aside:,}  (accounting.json says why)")
    table.add_row("from", Text(f"{result.origin}, licence {result.licence}"))
    console.print(table)
    held_out = f" --held-out {quote(str(result.folder / 'messy.jsonl'))}" if result.messy else ""
    console.print()
    show_commands([f"tunesmith data prepare {quote(str(result.folder / 'rows.jsonl'))}{held_out}"], console)


def show_prepare(result: PrepareResult, console: Console) -> None:
    """What became of the rows, the splits, what to look at, and where the card is."""
    console.print(splits(result))
    table = facts()
    kinds = {
        "used as written": result.kept,
        "changed (changes.jsonl)": result.changed,
        "refused (rejects.jsonl)": result.refused,
        "left out as exact repeats (dropped.jsonl)": result.duplicates,
        "withheld, too like a held-out row (dropped.jsonl)": result.withheld,
        "left out as near-duplicates (dropped.jsonl)": result.near_dropped,
    }
    parts = [f"{count:,} {kind}" for kind, count in kinds.items() if count]
    table.add_row("rows", f"{result.rows:,} = {' + '.join(parts)}")
    for kind, reasons in (("[yellow]refused[/yellow]", result.refusals), ("changed", result.changes)):
        for reason, count in reasons.items():
            table.add_row(kind, Text(f"{count:,}: {reason}"))
    table.add_row("read as", Text(result.layout))
    near = f", {counted(result.near_duplicates, 'row')} in groups of near-duplicates"
    groups = f"{result.groups:,}{near if result.near_duplicates else ''}; none stands in two splits"
    table.add_row("groups", groups)
    for finding in result.findings:
        table.add_row("[yellow]look at[/yellow]", Text(finding))
    table.add_row("card", Text(str(result.folder / "card.md")))
    console.print(table)
    console.print()
    show_commands([f"tunesmith data show {quote(name_for_commands(result.folder))}"], console)


def show_card(result: CardResult, console: Console) -> None:
    """Where the card is, and what it leaves open."""
    table = facts()
    table.add_row("data set", result.data)
    table.add_row("licence", result.licence)
    table.add_row("steps", " → ".join(result.steps))
    for finding in result.findings:
        table.add_row("[yellow]open[/yellow]", Text(finding))
    if result.unknown:
        flags = ", ".join(f"--{name.replace('_', '-')}" for name in result.unknown)
        table.add_row("[yellow]not stated[/yellow]", f"{', '.join(result.unknown)} (give {flags})")
    table.add_row("card", Text(str(result.folder / "README.md")))
    table.add_row("croissant", Text(str(result.folder / "croissant.json")))
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
    """Conversations, or what a recipe's model will see of them."""
    if result.counts is not None:
        show_tokens(result, result.counts, console)
    else:
        show_rows(result, console)


def show_rows(result: ShowResult, console: Console) -> None:
    """Conversations, a colour for each role; calls of tools as JSON; parts that are not learned dim."""
    for row in result.rows:
        places = [result.split, f"line {row.line}", row.group_id and f"group {row.group_id}"]
        console.print(Text(" · ".join(place for place in places if place), style="dim"))
        for problem in row.problems:
            console.print(Text.assemble(("  refused  ", "bold red"), harmless(problem)))
        for change in row.changes:
            console.print(Text.assemble(("  changed  ", "bold yellow"), harmless(change)))
        for name, message in turns_of(row.example or {"messages": ()}):
            line = Text(f"{name:>9}  ", style=f"bold {ROLE_STYLES[name]}")
            for text, is_learned in parts_of(message):
                dim = "" if is_learned else " dim not bold"
                line.append(harmless(text), ROLE_STYLES[name] + dim)
            console.print(line)
        console.print()
    if result.layout is not None:
        console.print(Text(f"read as {harmless(result.layout)}", style="dim"))
    total = "" if result.total is None else f" of {result.total:,}"
    console.print(Text(f"{counted(len(result.rows), 'row')}{total} of {result.folder}", style="dim"))


def turns_of(example: Mapping[str, Any]) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Every turn under its role; of a pair both answers, then graded steps and the rating."""
    for message in example["messages"]:
        yield str(message["role"]), message
    for side in ("chosen", "rejected"):
        for message in example.get(side, ()):
            yield side, message
    for step in example.get("steps", ()):
        yield "right" if step["label"] else "wrong", {"content": step["text"]}
    if "label" in example:
        yield "rating", {"content": "good" if example["label"] else "bad"}


def parts_of(message: Mapping[str, Any]) -> list[tuple[str, bool]]:
    """What a message says, in parts, and whether each has a weight other than 0."""
    content, is_learned = message["content"], message.get("weight") != 0
    if isinstance(content, list):
        parts = [(str(part["text"]), part["weight"] != 0) for part in content]
    else:
        parts = [(content or "", is_learned)]
    if reasoning := message.get("reasoning_content"):
        parts.insert(0, (f"[reasoning] {reasoning}\n", is_learned))
    if calls := message.get("tool_calls"):
        parts.append((json.dumps(calls, ensure_ascii=False), is_learned))
    return parts


def show_tokens(result: ShowResult, counts: TokenCounts, console: Console) -> None:
    """Each example token by token, then the counts."""
    for example in result.examples:
        head = f"{result.split} · {example.source}, line {example.line} · {OUTCOMES[example.outcome]}"
        console.print(Text(head, style="bold"))
        if example.problem:
            console.print(Text(example.problem, style="red"))
        for piece in example.pieces:
            console.print(Padding(token_line(piece), (0, 2)))
            num_learned = sum(token.weight != 0 for token in piece)
            console.print(Text(f"  {counted(len(piece), 'token')}, {num_learned:,} learned", style="dim"))
        console.print()
    console.print(legend(any_new=bool(result.new_tokens)))
    console.print(token_facts(result, counts))


def token_line(tokens: Sequence[ShownToken]) -> Text:
    """Tokens as one text: learned ones green, neighbours told apart by their shade."""
    line = Text()
    for number, token in enumerate(tokens):
        ends = token.text.endswith("\n")
        shown = harmless(token.text).replace("\n", "⏎\n").replace("\t", "⇥")
        line.append(shown.removesuffix("\n") if ends else shown, token_style(token, number))
        line.append("\n" * ends)
    line.rstrip()
    return line


def token_style(token: ShownToken, number: int) -> str:
    """Colour says whether it is learned; underlining every other token says where one ends."""
    colour = "bold green" if token.weight else "bright_black"
    if token.kind == "new":
        return "black on yellow"
    marks = " reverse" if token.kind == "special" else ""
    return f"{colour}{marks}{' underline' if number % 2 and token.kind == 'text' else ''}"


def legend(*, any_new: bool) -> Text:
    """What the colours mean."""
    new = ("new", "black on yellow") if any_new else ""
    return Text.assemble(
        ("learned", "bold green"), "  ", ("read, not learned", "bright_black"), "  ",
        ("special", "bright_black reverse"), "  ", new, "  " * any_new,
        ("every other token is underlined", "dim"), "  ",
        ("⏎ line break", "dim"), "\n",
    )  # fmt: skip


def token_facts(result: ShowResult, counts: TokenCounts) -> Table:
    """Counts, and what the template does on its own."""
    table = facts()
    outcomes = " + ".join(f"{number:,} {OUTCOMES[name]}" for name, number in counts.outcomes.items())
    table.add_row("rows", f"{counts.rows:,} of {result.total:,} counted = {outcomes}")
    share = counts.learned_tokens / max(1, counts.tokens)
    table.add_row("tokens", f"{counts.tokens:,}, {share:.1%} of them learned")
    if counts.block_length:
        blocks = -(-counts.tokens // counts.block_length)
        table.add_row("packed", f"into {counted(blocks, 'block')} of {counts.block_length:,} tokens")
    limit = f", at most {counts.limit:,} allowed" if counts.limit else ""
    table.add_row("longest row", f"{counts.longest:,} tokens{limit}")
    if counts.tokens_cut:
        cut = f"{counts.tokens_cut:,} tokens, {counts.learned_tokens_cut:,} of them to be learned"
        table.add_row("[yellow]left out[/yellow]", cut)
    table.add_row("model", Text(f"{result.model}, template {result.template}"))
    if result.new_tokens:
        table.add_row("new tokens", Text(" ".join(result.new_tokens)))
    for note in result.notes:
        table.add_row("[yellow]mind[/yellow]", Text(note))
    for problem in counts.problems:
        table.add_row("[red]faulty[/red]", Text(problem))
    return table
