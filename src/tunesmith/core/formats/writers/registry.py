"""Every layout that is written, by name; and the proof that a written row holds all of its example."""

from collections.abc import Mapping
from typing import Any

from tunesmith.core.conversation import Example
from tunesmith.core.formats.problems import Findings
from tunesmith.core.formats.shapes.detect import read_any
from tunesmith.core.formats.shapes.registry import SHAPES
from tunesmith.core.formats.writers import chat, flat
from tunesmith.core.formats.writers.port import JsonRow, Unfit, Writer

WRITERS: Mapping[str, Writer] = {writer.name: writer for family in (chat, flat) for writer in family.WRITERS}


def write_row(example: Example, writer: Writer) -> JsonRow:
    """A row of the writer's layout, read again and found equal.

    Raises Unfit when the layout cannot hold the example.
    """
    row = writer.write(example)
    found = Findings()
    shape = SHAPES.get(writer.shape)
    again = read_any(row, found) if shape is None else shape.read(row, found)
    if found.problems or again is None:
        why = found.problems[0].reason if found.problems else "nothing is in it"
        raise Unfit(f"it would not be read again: {why}")
    if again != (levelled := writer.level(example)):
        raise Unfit(f"{difference(levelled.to_json(), again.to_json())} would be lost")
    return row


def difference(left: Any, right: Any, pointer: str = "") -> str:
    """JSON pointer of the first place where two values differ, with numbers left out."""
    if isinstance(left, dict) and isinstance(right, dict):
        for key in (*left, *right):
            if left.get(key) != right.get(key):
                return difference(left.get(key), right.get(key), f"{pointer}/{key}")
    if isinstance(left, list) and isinstance(right, list) and len(left) == len(right):
        for one, other in zip(left, right, strict=True):
            if one != other:
                return difference(one, other, f"{pointer}/*")
    return pointer or "something"
