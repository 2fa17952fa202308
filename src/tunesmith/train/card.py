"""The model card of a run: what it is, from what, how, how it went, and what it is not."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from tunesmith.core.config import load
from tunesmith.core.progress import duration
from tunesmith.core.recipe import Recipe
from tunesmith.core.workspace import Input
from tunesmith.train.choices import RECIPE, flat

LEARNED = {
    "assistant": "assistant turns and their end-of-turn token",
    "last": "the last assistant turn and its end-of-turn token",
    "all": "every token",
}


def card(folder: Path, summary: Mapping[str, Any], inputs: Mapping[str, Input]) -> str:
    """Markdown for people who find the result without the rest."""
    recipe = load(folder / RECIPE, Recipe)
    parts = [
        f"# {recipe.name}\n",
        table([("", ""), *facts(recipe, summary, inputs)]),
        "\n## Data\n",
        table([SOURCE_HEADINGS, *sources(summary, inputs)]),
        "\n## How it went\n",
        table([("", ""), *outcome(recipe, summary)]),
    ]
    if summary["proofs"]:
        parts += ["\n## Pre-flight\n", table([("proof", "outcome", "evidence"), *proofs(summary)])]
    limits = "\n".join(f"- {line}" for line in limits_of(recipe, summary))
    return "\n".join([*parts, "\n## Limits\n", limits]) + "\n"


def table(rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table; the first row is its heading."""
    lines = [
        "| " + " | ".join(cell.replace("|", "\\|").replace("\n", " ") for cell in row) + " |" for row in rows
    ]
    return "\n".join([lines[0], "|" + "---|" * len(rows[0]), *lines[1:]])


SOURCE_HEADINGS = ("source", "weight", "items", "content", "fingerprint", "training loss", "validation loss")


def facts(
    recipe: Recipe, summary: Mapping[str, Any], inputs: Mapping[str, Input]
) -> Iterator[tuple[str, str]]:
    """What it is, and how it was made."""
    optimiser = recipe.optimiser
    size = f"{recipe.step_tokens:,} tokens" if recipe.step_tokens else f"{recipe.step_examples} examples"
    yield (
        "base model",
        f"{recipe.model} (content `{inputs['model'].id[:16]}`), computed in {summary['dtype']}",
    )
    if recipe.init_from is not None:
        start = inputs["init_from"]
        yield "begun from", f"{Path(start.path).name} (content `{start.id[:16]}`), {recipe.init_from.mode}"
    learned = f"{summary['trainable_parameters']:,} parameters with float32 masters"
    yield "method", f"{summary['method']}: {settings(recipe.method.to_json())}; {learned}"
    yield "objective", f"{recipe.objective.kind}: {settings(recipe.objective.to_json())}"
    if recipe.objective.kind == "sft":
        yield "learned from", LEARNED[recipe.objective.learn]
    yield "template", recipe.template
    yield "optimiser", f"{optimiser.kind}: {settings(optimiser.to_json())}; {size} a step"
    yield "published", published(recipe, summary)
    yield "seed", str(recipe.seed)


def settings(section: Mapping[str, Any]) -> str:
    """A section's settings in one line, those that are off left out."""
    shown = {
        key: value
        for key, value in flat(section).items()
        if key != "kind" and value not in (None, [], {}, 0, "")
    }
    return ", ".join(f"{key} {value}" for key, value in shown.items()) or "nothing to set"


def published(recipe: Recipe, summary: Mapping[str, Any]) -> str:
    """Which state became the result, and why."""
    loss = summary["validation_loss"]
    if recipe.publish == "last" or loss is None:
        measured = "" if loss is None else f", validation loss {loss:.4f}"
        return f"the last step, {summary['best_step']}{measured}"
    return f"step {summary['best_step']}, lowest validation loss {loss:.4f}"


def sources(summary: Mapping[str, Any], inputs: Mapping[str, Input]) -> Iterator[tuple[str, ...]]:
    """The data sets by content, with their losses."""
    ids = {role: entry.id for role, entry in inputs.items() if role.startswith("data")}
    for source in summary["sources"]:
        content = ids.get("data") or ids[f"data.{source['name']}"]
        yield (
            source["name"],
            f"{source['weight']:g}",
            f"{source['examples']:,}",
            f"`{content[:16]}`",
            f"`{source['fingerprint'][:16]}`",
            number(source["training_loss"]),
            number(source["validation_loss"]),
        )


def number(value: float | None) -> str:
    """A loss, or a dash."""
    return "–" if value is None else f"{value:.4f}"


def outcome(recipe: Recipe, summary: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Steps, losses, scores and cost."""
    early = " (stopped early)" if summary["steps"] < summary["planned_steps"] else ""
    yield (
        "length",
        f"{summary['steps']} steps{early}, {summary['epochs']:g} epochs, {summary['tokens']:,} tokens "
        f"({summary['supervised_tokens']:,} learned)",
    )
    yield "training loss", f"{summary['first_loss']:.4f} at first, {summary['last_loss']:.4f} at the end"
    yield "validation loss", number(summary["validation_loss"])
    for name, value in summary["generation"].items():
        yield f"generated answers, {name}", f"{value:.3f} ({recipe.generation.prompts} validation prompts)"
    yield (
        "cost",
        f"{duration(summary['seconds'])}, {summary['tokens_per_second']:,.0f} tokens/s on "
        f"{summary['threads']} threads, {summary['peak_memory_bytes'] / 1e9:.1f} GB",
    )


def proofs(summary: Mapping[str, Any]) -> Iterator[tuple[str, str, str]]:
    """What was proved before the first step."""
    for proof in summary["proofs"]:
        yield proof["name"], proof["outcome"], proof["evidence"]


def limits_of(recipe: Recipe, summary: Mapping[str, Any]) -> Iterator[str]:
    """What this result does not say, in sentences."""
    longest = recipe.objective.block_length if recipe.objective.kind == "text" else recipe.max_length
    yield f"It learned from examples of at most {longest:,} tokens; nothing is known about longer ones."
    if summary["validation_loss"] is None:
        yield "No validation loss was measured, so nothing here says how it does on other rows."
    else:
        yield (
            "The validation loss was used to choose the published state: measure it on a test split "
            "(`tunesmith evaluate`)."
        )
    yield "What it knew before and may have forgotten was not measured here."
    yield f"The licence and the limits of its base model, {recipe.model}, hold for it too."
    for proof in summary["proofs"]:
        if proof["outcome"] == "waived":
            yield f"The proof `{proof['name']}` failed and was waived: {proof['evidence']}"
