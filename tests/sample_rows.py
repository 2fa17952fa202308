"""A small task that the fake model can learn: which word is the count, the colour, the thing."""

import json
from pathlib import Path

COLOURS = ("red", "green", "blue", "grey", "white", "black")
THINGS = ("lamps", "chairs", "tables", "shelves", "beds", "desks", "stools", "benches", "couches", "rugs")


def row(question: str, answer: str) -> str:
    """One line of a JSONL file in OpenAI's chat format."""
    turns = [{"role": "user", "content": question}, {"role": "assistant", "content": answer}]
    return json.dumps({"messages": turns})


def colour_rows(num_rows: int = 240) -> list[str]:
    """Rows whose answers are flat JSON; no two questions are alike."""
    rows = []
    for number in range(num_rows):
        colour, thing = COLOURS[number % 6], THINGS[(number // 6) % 10]
        count = str(1000 + 37 * number)
        answer = json.dumps({"count": count, "colour": colour, "thing": thing})
        rows.append(row(f"{count} {colour} {thing}", answer))
    return rows


def write_rows(path: Path, num_rows: int = 240) -> Path:
    """The rows as a file."""
    path.write_text("\n".join(colour_rows(num_rows)) + "\n", encoding="utf-8")
    return path
