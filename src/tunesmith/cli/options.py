"""Options and arguments of a verb, made from its schema."""

import types
from collections.abc import Callable
from inspect import cleandoc
from pathlib import Path
from typing import Annotated, Any, Literal, Union, get_args, get_origin

import click
from pydantic.fields import FieldInfo

from tunesmith.cli.verbs import Verb, load
from tunesmith.core.config import Schema, build, is_argument, read_mapping, schemas_in

COMMON = ("config", "out", "workspace", "json", "quiet")
"""Options that every verb has beside its own."""


METAVARS = {int: "NUMBER", float: "NUMBER", str: "TEXT", Path: "PATH"}


class Shape:
    """How the command line takes a field: kind of value, whether it repeats, allowed words."""

    def __init__(self, annotation: Any) -> None:
        self.many = False
        if get_origin(annotation) in (Union, types.UnionType):
            annotation = next(part for part in get_args(annotation) if part is not type(None))
        if get_origin(annotation) in (list, tuple):
            self.many = True
            annotation = get_args(annotation)[0]
        if get_origin(annotation) is Annotated:  # a number with a limit
            annotation = get_args(annotation)[0]
        self.choices = (
            [str(word) for word in get_args(annotation)] if get_origin(annotation) is Literal else []
        )
        self.flag = annotation is bool
        self.path = isinstance(annotation, type) and issubclass(annotation, Path)
        self.metavar = METAVARS.get(annotation)

    def click_type(self) -> Any:
        """What click may complete; pydantic does the checking, so that messages are the same everywhere."""
        if self.choices:
            return click.Choice(self.choices)
        return click.Path() if self.path else click.STRING


def command_for(verb: Verb, run: Callable[[Verb, dict[str, Any], dict[str, Any]], None]) -> click.Command:
    """The click command of a verb."""
    schema: type[Schema] = load(verb.schema)

    def callback(**values: Any) -> None:
        common = {name: values.pop(name, None) for name in COMMON}
        run(verb, given(values), common)

    word = verb.name.split()[-1]
    return click.Command(
        word, params=parameters(verb, schema), callback=callback, help=long_help(verb, schema)
    )


def long_help(verb: Verb, schema: type[Schema]) -> str:
    """The summary, then the schema's own docstring."""
    own = cleandoc(schema.__doc__ or "")
    return f"{verb.summary}\n\n{own}" if own else verb.summary


def parameters(verb: Verb, schema: type[Schema]) -> list[click.Parameter]:
    """Arguments, then the verb's options, then the common ones."""
    arguments: list[click.Parameter] = []
    options: list[click.Parameter] = []
    for name, field in schema.model_fields.items():
        if is_argument(field):
            arguments.append(argument_for(name, field))
        elif not list(schemas_in(field.annotation)):
            options.append(option_for(name, field))
    return [*arguments, *options, *common_options(verb)]


def argument_for(name: str, field: FieldInfo) -> click.Argument:
    """A field given by position; never required by click, because `--config` may hold it."""
    shape = Shape(field.annotation)
    settings: dict[str, Any] = {"nargs": -1} if shape.many else {}
    return click.Argument([name], type=shape.click_type(), required=False, metavar=name.upper(), **settings)


def option_for(name: str, field: FieldInfo) -> click.Option:
    """A field given by name; its docstring is the help text, its default is shown."""
    shape = Shape(field.annotation)
    flag = "--" + kebab(name)
    help_text = " ".join((field.description or "").split())
    if shape.flag:
        return click.Option([f"{flag}/--no-{flag[2:]}", name], default=None, help=help_text)
    default = (
        field.get_default(call_default_factory=True, validated_data={}) if not field.is_required() else None
    )
    shown = "" if default in (None, "", (), []) else f"  [default: {plain(default)}]"
    settings: dict[str, Any] = {"multiple": shape.many, "metavar": None if shape.choices else shape.metavar}
    return click.Option([flag, name], type=shape.click_type(), help=help_text + shown, **settings)


def plain(value: object) -> str:
    """A default as a user would type it."""
    if isinstance(value, list | tuple):
        return " ".join(str(part) for part in value)
    return str(value)


def common_options(verb: Verb) -> list[click.Parameter]:
    """--config, --out (where a folder is made), --workspace, --json, --quiet."""
    options = [
        click.Option(
            ["--config"], type=click.Path(), help="YAML or JSON file with these settings; options win."
        ),
        click.Option(["--workspace"], type=click.Path(), help="Where folders go.  [default: .tunesmith]"),
        click.Option(
            ["--json"], is_flag=True, help="One JSON object on standard output, nothing else there."
        ),
        click.Option(["--quiet"], is_flag=True, help="No progress on standard error."),
    ]
    if verb.makes is not None:
        options.insert(1, click.Option(["--out"], type=click.Path(), help=f"Folder for the {verb.makes}."))
    return [*options]


def given(values: dict[str, Any]) -> dict[str, Any]:
    """Only what the user typed."""
    return {name: value for name, value in values.items() if value is not None and value != ()}


def configuration(verb: Verb, values: dict[str, Any], file: str | None) -> Schema:
    """The verb's configuration from its file, with what the user typed on top."""
    schema: type[Schema] = load(verb.schema)
    source, lines, merged = "command line", None, dict(values)
    if file is not None:
        below, lines = read_mapping(Path(file))
        source, merged = file, {**below, **values}
    missing = [
        name for name, field in schema.model_fields.items() if field.is_required() and name not in merged
    ]
    if missing and file is None:
        names = " ".join(spoken(schema, name) for name in missing)
        raise click.UsageError(f"missing: {names}\n  → tunesmith {verb.name} --help")
    return build(
        schema, merged, source=source, lines=lines, places={name: spoken(schema, name) for name in values}
    )


def kebab(name: str) -> str:
    """A field's name in a command; `as_` is `as`, which Python keeps for itself."""
    return name.rstrip("_").replace("_", "-")


def spoken(schema: type[Schema], name: str) -> str:
    """A field as the user typed it: --kebab-case, or the argument's name."""
    return name.upper() if is_argument(schema.model_fields[name]) else "--" + kebab(name)
