"""Values as JSON can hold them."""

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np


def plain(value: Any) -> Any:
    """Numbers of numpy as Python's, arrays as lists, paths as texts, what is not finite as None."""
    if isinstance(value, float | np.floating):
        return float(value) if math.isfinite(value) else None
    if isinstance(value, np.integer | np.bool_):
        return value.item()
    if isinstance(value, Mapping):
        return {str(name): plain(part) for name, part in value.items()}
    if isinstance(value, list | tuple | set | frozenset | np.ndarray):
        return [plain(part) for part in value]
    if isinstance(value, str):
        # Half a surrogate pair is no text that a file can hold.
        return value.encode("utf-8", "replace").decode("utf-8")
    return str(value) if isinstance(value, Path) else value
