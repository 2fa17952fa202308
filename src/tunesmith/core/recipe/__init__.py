"""The recipe: what to train, on what, and how.  Importable without torch."""

from tunesmith.core.recipe.methods import (
    Adapter,
    Freeze,
    Full,
    InitFrom,
    Lora,
    Method,
    Peft,
    Qlora,
)
from tunesmith.core.recipe.objectives import FillInTheMiddle, Objective, Sft, Text
from tunesmith.core.recipe.optimisers import (
    Adafactor,
    AdamW,
    AdamW8bit,
    Muon,
    Optimiser,
    Sgd,
)
from tunesmith.core.recipe.recipe import Generation, Recipe, Source

__all__ = [
    "Adafactor",
    "AdamW",
    "AdamW8bit",
    "Adapter",
    "FillInTheMiddle",
    "Freeze",
    "Full",
    "Generation",
    "InitFrom",
    "Lora",
    "Method",
    "Muon",
    "Objective",
    "Optimiser",
    "Peft",
    "Qlora",
    "Recipe",
    "Sft",
    "Sgd",
    "Source",
    "Text",
]
