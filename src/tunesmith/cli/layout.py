"""What several displays share: tables of facts and of figures, strangers' texts, the next commands."""

import unicodedata
from collections.abc import Sequence

from rich.console import Console
from rich.markup import escape
from rich.table import Table

ROLE_STYLES = {
    "system": "dim",
    "developer": "dim",
    "user": "cyan",
    "assistant": "green",
    "tool": "yellow",
    "text": "green",
    "chosen": "green",
    "rejected": "red",
    "step": "green",
    "right": "green",
    "wrong": "red",
    "rating": "dim",
}
"""Colour of who speaks, or of what is said about an answer."""
JOINERS = "\u200c\u200d"
"""Invisible, and part of ordinary writing: Persian and Indic words, composed emoji."""


def facts() -> Table:
    """Names on the left, values on the right; a long value goes on in its own column."""
    table = Table(show_header=False, box=None, padding=(0, 2, 0, 0))
    table.add_column(style="dim", no_wrap=True)
    table.add_column(overflow="fold")
    return table


def figures(first: str, *others: str) -> Table:
    """A column of names, then columns of figures under their headings."""
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="dim")
    table.add_column(first)
    for heading in others:
        table.add_column(heading, justify="right")
    return table


def show_commands(commands: Sequence[str], console: Console) -> None:
    """What can be pasted next, each on a line of its own however long it is."""
    for command in commands:
        console.print(f"  next: [bold]{escape(command)}[/bold]", soft_wrap=True)


def harmless(text: str) -> str:
    """A text without anything that a terminal obeys or that cannot be seen; lines and tabs stay.

    Escape is shown as ␛, other controls and formats by their code point, lone surrogates too.
    """
    return "".join(map(harmless_character, text))


def harmless_character(letter: str) -> str:
    """One character, or what stands for it."""
    if letter in "\n\t" or letter in JOINERS or letter.isprintable():
        return letter
    if ord(letter) < 0x20:
        return chr(0x2400 + ord(letter))
    if unicodedata.category(letter) == "Zs":
        return " "
    return f"⟨U+{ord(letter):04X}⟩"
