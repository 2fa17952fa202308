"""Retention: what fine-tuning must not take from a model, as generated items that need no download.

Enters: a seed, how many items of each family, and which families.  Leaves: items with a prompt, a right
answer, how it is scored, a level of difficulty and a group.
"""

from tunesmith.evaluate.retention.pack import FAMILIES, pack
from tunesmith.evaluate.retention.port import Family, Item

__all__ = ["FAMILIES", "Family", "Item", "pack"]
