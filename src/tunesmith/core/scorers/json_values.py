"""Scorers of answers that are JSON."""

import json
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from tunesmith.core.errors import ConfigError
from tunesmith.core.files import canonical_json
from tunesmith.core.scorers.port import text_scorers
from tunesmith.core.scorers.texts import overlap_f1
from tunesmith.core.values import NotJSON, fields_of, first_json, parse_json, trimmed, unfenced

if TYPE_CHECKING:
    import jsonschema.protocols  # takes half a second: only a suite with a schema pays it


def exact_json(gold: str, output: str) -> float:
    """1 when both are the same JSON value: order of keys ignored, texts trimmed, a code block taken off."""
    try:
        right, said = trimmed(parse_json(gold)), trimmed(parse_json(unfenced(output)))
        return float(canonical_json(right) == canonical_json(said))
    except NotJSON:
        return 0.0


def field_f1(gold: str, output: str) -> float:
    """F1 of the fields (key with its value) of the right answer and of the first JSON value in the output."""
    try:
        return overlap_f1(fields_of(trimmed(parse_json(gold))), fields_of(trimmed(first_json(output))))
    except NotJSON:
        return 0.0


def json_valid(gold: str, output: str) -> float:
    """1 when the whole output is one JSON value of the right answer's kind (object, list, …)."""
    try:
        return float(type(parse_json(output)) is type(parse_json(gold)))
    except NotJSON:
        return 0.0


def json_schema(gold: str, output: str, *, accepts: dict[str, Any]) -> float:
    """1 when the whole output, a code block around it apart, is JSON that the JSON Schema `accepts`."""
    try:
        value = parse_json(unfenced(output))
    except NotJSON:
        return 0.0
    return float(validator(canonical_json(accepts)).is_valid(value))


@lru_cache(maxsize=64)
def validator(schema: str) -> "jsonschema.protocols.Validator":
    """The validator of a schema's own draft; ConfigError when the schema is none."""
    import jsonschema

    value = json.loads(schema)
    kind = jsonschema.validators.validator_for(value, default=jsonschema.Draft202012Validator)
    try:
        kind.check_schema(value)
    except jsonschema.SchemaError as error:
        raise ConfigError("not a JSON Schema", value=error.message, where="accepts") from None
    return kind(value)


SCORERS = (
    *text_scorers(exact_json, json_valid, json_schema, kind="share"),
    *text_scorers(field_f1, kind="unit"),
)
