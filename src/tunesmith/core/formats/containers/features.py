"""What `datasets` writes about its columns into an Arrow schema: class names, values that are JSON text."""

import json
from collections.abc import Callable
from typing import Any

from tunesmith.core.formats.strict_json import MAX_DEPTH, BadJson, parse_json

KEY = b"huggingface"
CLASS_NAMES = "class numbers read as the names that the file gives them"

Decode = Callable[[Any], Any]


def decoders(metadata: dict[bytes, bytes] | None) -> dict[str, Decode]:
    """Column → how its values become what they mean; columns that mean what they are have none."""
    features = features_of(metadata)
    found = {name: decoder(feature, 0) for name, feature in features.items()}
    return {name: decode for name, decode in found.items() if decode is not None}


def has_class_names(metadata: dict[bytes, bytes] | None) -> frozenset[str]:
    """Columns of class numbers, at their top level."""
    features = features_of(metadata).items()
    return frozenset(name for name, entry in features if isinstance(entry, dict) and class_names(entry))


def features_of(metadata: dict[bytes, bytes] | None) -> dict[str, Any]:
    """The description of the columns; empty when there is none, or it cannot be read."""
    try:
        described = json.loads((metadata or {}).get(KEY, b"{}"))
        features = described["info"]["features"]
    except (ValueError, KeyError, TypeError, RecursionError):
        return {}
    return features if isinstance(features, dict) else {}


def class_names(feature: dict[str, Any]) -> list[str]:
    """Names of a feature's classes; empty for any other feature."""
    names = feature.get("names") if feature.get("_type") == "ClassLabel" else None
    return [str(name) for name in names] if isinstance(names, list) else []


def decoder(feature: Any, depth: int) -> Decode | None:
    """How values of a feature are decoded; None when they are what they are."""
    if depth > MAX_DEPTH:
        return None
    if isinstance(feature, list):
        return over_items(decoder(feature[0], depth + 1)) if len(feature) == 1 else None
    if not isinstance(feature, dict):
        return None
    if names := class_names(feature):
        return lambda value: names[value] if is_index(value, len(names)) else value
    if feature.get("_type") == "Json":
        return from_json
    if feature.get("_type") in ("List", "LargeList", "Sequence"):
        return over_items(decoder(feature.get("feature"), depth + 1))
    if isinstance(feature.get("_type"), str):
        return None
    parts = {name: decoder(below, depth + 1) for name, below in feature.items()}
    return over_keys({name: decode for name, decode in parts.items() if decode is not None})


def is_index(value: Any, count: int) -> bool:
    """Whether a number stands for one of so many names (-1 is `datasets`' word for no label)."""
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value < count


def from_json(value: Any) -> Any:
    """A value that is kept as JSON text; what is no JSON stays text."""
    try:
        return parse_json(value) if isinstance(value, str) else value
    except BadJson:
        return value


def over_items(decode: Decode | None) -> Decode | None:
    """Decode the items of a list."""
    if decode is None:
        return None
    return lambda value: [decode(item) for item in value] if isinstance(value, list) else value


def over_keys(parts: dict[str, Decode]) -> Decode | None:
    """Decode some keys of a struct."""
    if not parts:
        return None

    def decode(value: Any) -> Any:
        if not isinstance(value, dict):
            return value
        return {key: parts[key](entry) if key in parts else entry for key, entry in value.items()}

    return decode
