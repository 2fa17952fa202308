"""The model card of a run: what it is, from what, how, and how it went."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tunesmith.core.progress import duration
from tunesmith.core.recipe import Recipe


def card(recipe: Recipe, summary: Mapping[str, Any], fingerprint: str) -> str:
    """Markdown for people who find the adapter without the rest."""
    method, optimiser = recipe.method, recipe.optimiser
    scale = "alpha/√rank" if method.rslora else "alpha/rank"
    validation = summary["validation_loss"]
    chosen = (
        "last step"
        if validation is None
        else f"step {summary['best_step']}, lowest validation loss {validation:.4f}"
    )
    rows = {
        "base model": f"{recipe.model} ({summary['dtype']})",
        "data": f"{summary['examples']:,} training examples, fingerprint `{fingerprint[:16]}`",
        "learned from": "assistant turns and their end-of-turn token",
        "method": f"LoRA rank {method.rank}, alpha {method.alpha:g} ({scale}), "
        f"{summary['trainable_parameters']:,} parameters in float32",
        "optimiser": f"AdamW, {optimiser.learning_rate:g}, {optimiser.schedule}, "
        f"warm-up {optimiser.warmup_share:.0%}, {recipe.step_examples} examples a step",
        "length": f"{summary['steps']} steps, {summary['epochs']:g} epochs, {summary['tokens']:,} tokens "
        f"({summary['supervised_tokens']:,} learned)",
        "published": chosen,
        "training loss": f"{summary['first_loss']:.4f} at first, {summary['last_loss']:.4f} at the end",
        "cost": f"{duration(summary['seconds'])}, {summary['tokens_per_second']:,.0f} tokens/s on "
        f"{summary['threads']} threads, {summary['peak_memory_bytes'] / 1e9:.1f} GB",
        "seed": str(recipe.seed),
    }
    table = "\n".join(f"| {name} | {value} |" for name, value in rows.items())
    return f"# {recipe.name}\n\n| | |\n|---|---|\n{table}\n"
