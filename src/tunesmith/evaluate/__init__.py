"""Evaluate: how good a model's answers are, and which of two models is better.

Enters: a data set folder (or a JSONL file) and a model, or reports.  Leaves: a folder of kind "report" with
every sample and every score with its interval, or one of kind "comparison" with a verdict.
"""

from typing import Any

__all__ = ["CompareConfig", "CompareResult", "EvaluateConfig", "EvaluateResult", "compare", "evaluate"]


def __getattr__(name: str) -> Any:
    """Import a name when it is first used, so that importing the room costs nothing."""
    if name == "evaluate":
        from tunesmith.evaluate.run import evaluate

        return evaluate
    if name == "compare":
        from tunesmith.evaluate.comparison.door import compare

        return compare
    if name in __all__:
        from tunesmith.evaluate import schema
        from tunesmith.evaluate.comparison import schema as comparison

        found: dict[str, Any] = {
            "CompareConfig": comparison.CompareConfig,
            "CompareResult": comparison.CompareResult,
            "EvaluateConfig": schema.EvaluateConfig,
            "EvaluateResult": schema.EvaluateResult,
        }
        return found[name]
    raise AttributeError(name)
