"""YAML → typed configuration, with file, line and key in every complaint.

A schema is a pydantic model that derives from `Schema`; the docstring under each field feeds `--help`,
the reference pages and, later, the web forms.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar, get_args

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from tunesmith.core.complaints import Places, complaints
from tunesmith.core.errors import ConfigError

S = TypeVar("S", bound="Schema")

GIVE_YAML = "give a YAML file of keys and values, such as those in recipes/"
SET_EXAMPLE = "write it like --set optimiser.learning_rate=0.001"


class Schema(BaseModel):
    """Base of every configuration and result: frozen, unknown keys refused, docstrings under the fields."""

    model_config = ConfigDict(
        extra="forbid",
        frozen=True,
        use_attribute_docstrings=True,
        validate_default=True,
        allow_inf_nan=False,  # JSON has no word for them, and no setting means anything by them
    )

    def to_json(self) -> dict[str, Any]:
        """The resolved values as JSON can hold them."""
        return self.model_dump(mode="json")


def argument(default: Any = ..., **constraints: Any) -> Any:
    """A field that the command line takes by position instead of as an option."""
    return Field(default, json_schema_extra={"positional": True}, **constraints)


def default_kind(kind: str) -> Callable[[Any], Any]:
    """A validator for a tagged union: a section without `kind` means this one, a bare word is the kind."""

    def fill_in(value: Any) -> Any:
        if isinstance(value, str):
            return {"kind": value}
        return {"kind": kind, **value} if isinstance(value, Mapping) and "kind" not in value else value

    return fill_in


def is_argument(field: Any) -> bool:
    """Whether a pydantic field was declared with `argument`."""
    return isinstance(field.json_schema_extra, dict) and bool(field.json_schema_extra.get("positional"))


class Lines:
    """Line numbers of every key of a YAML document, by path; `twice` holds keys that stand there again."""

    def __init__(self, text: str) -> None:
        self.by_path: dict[tuple[str | int, ...], int] = {}
        self.twice: list[tuple[str, int]] = []
        node = yaml.compose(text, Loader=yaml.SafeLoader)
        if node is not None:
            self._walk(node, ())

    def _walk(self, node: yaml.Node, path: tuple[str | int, ...]) -> None:
        self.by_path.setdefault(path, node.start_mark.line + 1)
        if isinstance(node, yaml.MappingNode):
            for key, value in node.value:
                below = (*path, str(key.value))
                if below in self.by_path:
                    self.twice.append((".".join(map(str, below)), key.start_mark.line + 1))
                self.by_path[below] = key.start_mark.line + 1
                self._walk(value, below)
        if isinstance(node, yaml.SequenceNode):
            for position, value in enumerate(node.value):
                self._walk(value, (*path, position))

    def of(self, path: Sequence[str | int]) -> int | None:
        """The line of the deepest known part of a path (a missing key has its parent's line)."""
        for length in range(len(path), -1, -1):
            if (line := self.by_path.get(tuple(path[:length]))) is not None and length > 0:
                return line
        return None


def load(path: Path, schema: type[S], *, overrides: Sequence[str] = ()) -> S:
    """Read a YAML (or JSON) file as `schema`, with `key=value` overrides applied on top.

    Raises ConfigError naming file, line, key and the nearest known name.
    """
    value, lines = read_mapping(path)
    for override in overrides:
        apply_override(value, override)
    places = {override.split("=")[0].strip(): "--set" for override in overrides}
    return build(schema, value, source=str(path), lines=lines, places=places)


def read_mapping(path: Path) -> tuple[dict[str, Any], Lines]:
    """Read a YAML (or JSON) file of keys and values, with the line of each key."""
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (FileNotFoundError, NotADirectoryError):
        raise ConfigError("no such file", value=str(path), next_step=GIVE_YAML) from None
    except IsADirectoryError:
        raise ConfigError("this is a folder, not a file", where=path, next_step=GIVE_YAML) from None
    except PermissionError:
        step = "check its permissions"
        raise ConfigError("this file cannot be read", where=path, next_step=step) from None
    except UnicodeDecodeError:
        raise ConfigError("the file is not UTF-8", where=path, next_step=GIVE_YAML) from None
    return parse_mapping(text, source=str(path))


def parse_mapping(text: str, *, source: str) -> tuple[dict[str, Any], Lines]:
    """Parse YAML text of keys and values; `source` names it in messages."""
    try:
        value = yaml.safe_load(text)
        lines = Lines(text)
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 1
        what = f"not valid YAML: {error.problem}"
        raise ConfigError(what, where=f"{source}:{line}", next_step=GIVE_YAML) from None
    except yaml.YAMLError as error:
        raise ConfigError(f"not valid YAML: {error}", where=source, next_step=GIVE_YAML) from None
    if value is None:
        value = {}
    if not isinstance(value, dict):
        kind = type(value).__name__
        raise ConfigError("expected keys and values", where=source, value=kind, next_step=GIVE_YAML)
    if lines.twice:
        key, line = lines.twice[0]
        step = "keep one of the two: only the last would count"
        raise ConfigError("the key stands there twice", where=f"{source}:{line}", value=key, next_step=step)
    return value, lines


def apply_override(value: dict[str, Any], override: str) -> None:
    """Set one `a.b=value` in place; the value is read as YAML."""
    key, equals, text = override.partition("=")
    if not equals or not key:
        raise ConfigError("expected key=value", where="--set", value=override, next_step=SET_EXAMPLE)
    *parents, last = key.strip().split(".")
    for parent in parents:
        below = value.setdefault(parent, {})
        if not isinstance(below, dict):
            what = f"{parent!r} is not a section"
            raise ConfigError(what, where="--set", value=override, next_step=SET_EXAMPLE)
        value = below
    try:
        value[last] = yaml.safe_load(text)
    except yaml.YAMLError as error:
        problem = error.problem if isinstance(error, yaml.MarkedYAMLError) else error
        what = f"not a valid value ({problem})"
        raise ConfigError(what, where="--set", value=override, next_step=SET_EXAMPLE) from None


def build(
    schema: type[S],
    value: Mapping[str, Any],
    *,
    source: str,
    lines: Lines | None = None,
    places: Mapping[str, str] | None = None,
) -> S:
    """Validate a mapping as `schema`; every complaint becomes a line of one ConfigError.

    `places` says where single keys came from when that is not the file (dotted key → option).
    """
    try:
        return schema.model_validate(value)
    except ValidationError as error:
        where = Places(source, lines.of if lines is not None else no_lines, places or {})
        raise ConfigError("\n".join(complaints(schema, error.errors(), where))) from None


def no_lines(path: Sequence[str | int]) -> int | None:
    """For what does not come from a file."""
    return None


def schemas_in(annotation: Any) -> Iterable[type[Schema]]:
    """Schemas mentioned in a type annotation."""
    if isinstance(annotation, type) and issubclass(annotation, Schema):
        yield annotation
    for part in get_args(annotation):
        yield from schemas_in(part)
