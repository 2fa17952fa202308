"""From a run folder to facts: recipe, losses, machine, and the tokens it trained on."""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tunesmith.evaluate.report import folders
from tunesmith.evaluate.report.facts import LossPoint, RunFacts, Token

SPECIAL = re.compile(r"<\|.+\|>|</?[A-Za-z_]+>|\[/?[A-Z_]+\]")
"""How the special tokens of the common tokenizers look; `tokens.json` need not name them."""
SHOWN_EXAMPLES = 3
SHOWN_TOKENS = 600


def run_facts(folder: Path) -> RunFacts:
    """What a run folder shows."""
    manifest = folders.opened(folder, "run", "--run")
    rows = folders.maybe_rows(folder / "metrics.jsonl")
    summary, recipe = manifest.summary, folders.maybe_yaml(folder / "recipe.yaml")
    lowest = summary["validation_loss"]
    return RunFacts(
        name=manifest.name,
        model=folders.public(summary["model"]),
        engine=str(recipe.get("engine", "ragged")),
        data_id=next((entry.id for entry in manifest.inputs if entry.kind == "data-set"), None),
        recipe=tuple(folders.leaves(recipe)),
        environment=environment(folders.maybe_json(folder / "environment.json")),
        train_loss=losses(rows, "loss"),
        validation_loss=losses(rows, "validation_loss"),
        best=LossPoint(summary["best_step"], lowest) if lowest is not None else None,
        num_trainable=summary["trainable_parameters"],
        num_steps=summary["steps"],
        num_epochs=summary["epochs"],
        num_tokens=summary["tokens"],
        num_supervised=summary["supervised_tokens"],
        tokens_per_second=summary["tokens_per_second"],
        seconds=summary["seconds"],
        memory_bytes=summary["peak_memory_bytes"],
        dtype=summary["dtype"],
        threads=summary["threads"],
        token_view=token_view(folders.maybe_json(folder / "tokens.json")),
    )


def environment(facts: Mapping[str, Any]) -> tuple[tuple[str, Any], ...]:
    """The machine and the variables that were set; versions stand with those of the other folders."""
    found = [(name, value) for name, value in folders.leaves(facts) if value != ""]
    machine = [pair for pair in found if "." not in pair[0]]
    variables = [pair for pair in found if pair[0].startswith("environment.")]
    return (*machine, *((name.removeprefix("environment."), value) for name, value in variables))


def losses(rows: Sequence[Mapping[str, Any]], name: str) -> tuple[LossPoint, ...]:
    """One curve; a step that was done again after a resume counts once, with its last value."""
    by_step = {row["step"]: row[name] for row in rows if row.get(name) is not None}
    return tuple(LossPoint(step, loss) for step, loss in sorted(by_step.items()))


def token_view(examples: Any) -> tuple[tuple[Token, ...], ...]:
    """The first few examples of `tokens.json`, each at most SHOWN_TOKENS long."""
    if not isinstance(examples, list):
        return ()
    shown = [example["tokens"][:SHOWN_TOKENS] for example in examples[:SHOWN_EXAMPLES]]
    return tuple(tuple(token(row) for row in rows) for rows in shown)


def token(row: Mapping[str, Any]) -> Token:
    """One token as `tokens.json` holds it."""
    text = str(row["text"])
    return Token(text, row.get("id"), bool(row["supervised"]), bool(SPECIAL.fullmatch(text)))
