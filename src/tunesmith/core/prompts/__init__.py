"""Prompts: shapes of what stands before a question, and the ones that training rows suggest."""

from tunesmith.core.prompts.covering import few_shot, most_covering, similar_shot
from tunesmith.core.prompts.shape import AS_IS, PromptShape
from tunesmith.core.prompts.wording import flat_object, with_labels

__all__ = [
    "AS_IS",
    "PromptShape",
    "few_shot",
    "flat_object",
    "most_covering",
    "similar_shot",
    "with_labels",
]
