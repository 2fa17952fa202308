"""What pydantic found wrong, in the words of somebody who writes a file or a command line.

One complaint for each value, with file and line, the key as it stands in the file, and what would be right:
pydantic's own paths name the members of unions, and its own messages speak of types of Python.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from difflib import get_close_matches
from types import MappingProxyType, UnionType
from typing import Annotated, Any, Final, Literal, NamedTuple, Union, get_args, get_origin

from pydantic import BaseModel
from pydantic.fields import FieldInfo
from pydantic_core import ErrorDetails

from tunesmith.core.errors import nearest

Path = tuple[str | int, ...]
Model = type[BaseModel]
LONGEST_SHOWN: Final = 80


@dataclass(frozen=True)
class Places:
    """Where the values of a configuration stand."""

    source: str
    """The file, or whatever else they came from."""
    line_of: Callable[[Sequence[str | int]], int | None]
    """Line of a path in it, if it has lines."""
    options: Mapping[str, str] = field(default_factory=dict)
    """Dotted key → command line option, for keys that came from one."""

    def of(self, path: Path) -> str:
        """`file:line`, or the option that the value, what it is part of, or a part of it came from."""
        name, line = dotted(path), self.line_of(path)
        for key, option in self.options.items():
            if name == key or name.startswith(f"{key}.") or (line is None and key.startswith(f"{name}.")):
                return option
        return self.source if line is None else f"{self.source}:{line}"


class Choice(NamedTuple):
    """A tagged union on the way to a value, and which member the file chose."""

    path: Path
    """Of the section."""
    tag_key: str
    tag: str
    members: Mapping[str, Model]


@dataclass(frozen=True)
class Fault:
    """One thing that pydantic found, at the place where the file has it."""

    path: Path
    model: Model | None
    """The section that the last key stands in."""
    choice: Choice | None
    """The tagged union that this section is a member of."""
    detail: ErrorDetails


def complaints(schema: Model, details: Sequence[ErrorDetails], places: Places) -> list[str]:
    """A line for each wrong value: where, which key, what is wrong with which value, what would be right."""
    by_path: dict[Path, list[Fault]] = {}
    for detail in details:
        fault = located(schema, detail)
        by_path.setdefault(fault.path, []).append(fault)
    needless = {
        path
        for path, faults in by_path.items()
        if is_misspelt(faults[0], by_path) or only_wrong_items(path, faults, by_path)
    }
    return [complaint(schema, faults, places) for path, faults in by_path.items() if path not in needless]


def only_wrong_items(path: Path, faults: Sequence[Fault], found: Iterable[Path]) -> bool:
    """Whether a list is called too short only because its wrong items were not counted."""
    short = all(fault.detail["type"] == "too_short" for fault in faults)
    return short and any(other[: len(path)] == path and other != path for other in found)


def is_misspelt(fault: Fault, found: Iterable[Path]) -> bool:
    """Whether a missing key is most likely one that stands beside its place under a name like it."""
    if fault.detail["type"] != "missing":
        return False
    siblings = {str(path[-1]) for path in found if path and path[:-1] == fault.path[:-1]}
    return bool(get_close_matches(str(fault.path[-1]), siblings - {str(fault.path[-1])}))


def located(schema: Model, detail: ErrorDetails) -> Fault:
    """Walk pydantic's path through the types, leaving out the names of union members on the way."""
    path: Path = ()
    annotation: Any = schema
    tag_key: str | None = None
    model: Model | None = None
    choice: Choice | None = None
    for part in detail["loc"]:
        annotation, tag_key = plain(annotation, tag_key)
        members = union_members(annotation)
        if tag_key is not None:
            choice = Choice(path, tag_key, str(part), tagged(members, tag_key))
            annotation, tag_key = choice.members.get(str(part)), None
            continue
        if members:  # the part says which member of a plain union pydantic tried
            annotation = next((member for member in members if is_named(member, part)), None)
            continue
        path = (*path, part)
        model = annotation if is_model(annotation) else None
        if choice is not None and (model is None or model not in choice.members.values()):
            choice = None
        annotation, tag_key = below(annotation, part)
    return Fault((*path, *tag_of(detail)), model, choice, detail)


def tag_of(detail: ErrorDetails) -> Path:
    """The key of the tag, for a complaint about it: pydantic names the section only."""
    if detail["type"] not in ("union_tag_invalid", "union_tag_not_found"):
        return ()
    return (str(detail["ctx"]["discriminator"]).strip("'"),)


def plain(annotation: Any, tag_key: str | None) -> tuple[Any, str | None]:
    """A type without its annotations and without None, and the key of its tag if it is a tagged union."""
    while get_origin(annotation) is Annotated:
        annotation, *notes = get_args(annotation)
        tag_key = next(
            (str(note.discriminator) for note in notes if isinstance(note, FieldInfo) and note.discriminator),
            tag_key,
        )
    kinds = [kind for kind in union_members(annotation) if kind is not type(None)]
    if len(kinds) == 1:  # `X | None` leaves no trace in pydantic's path
        return plain(kinds[0], tag_key)
    return annotation, tag_key


def union_members(annotation: Any) -> tuple[Any, ...]:
    """The members of a union; nothing for another type."""
    return get_args(annotation) if get_origin(annotation) in (Union, UnionType) else ()


def is_model(annotation: Any) -> bool:
    """Whether a type is a section."""
    return isinstance(annotation, type) and issubclass(annotation, BaseModel)


def is_named(annotation: Any, part: str | int) -> bool:
    """Whether pydantic calls this union member so."""
    return is_model(annotation) and annotation.__name__ == part


def tagged(members: Iterable[Any], tag_key: str) -> dict[str, Model]:
    """Members of a tagged union by their tag."""
    return {
        str(tag): member
        for member in members
        if is_model(member)
        for tag in get_args(member.model_fields[tag_key].annotation)
    }


def below(annotation: Any, part: str | int) -> tuple[Any, str | None]:
    """The type of a section's key, a list's entry or a mapping's value, and its tag key."""
    if is_model(annotation):
        known = annotation.model_fields.get(str(part))
        if known is None:
            return None, None
        return known.annotation, None if known.discriminator is None else str(known.discriminator)
    inner = get_args(annotation)
    if get_origin(annotation) is dict and inner:
        return inner[1], None
    return (inner[0], None) if inner and get_origin(annotation) in (tuple, list) else (None, None)


def dotted(path: Path) -> str:
    """A path as `--set` takes it."""
    return ".".join(map(str, path))


IN_WORDS: Final = MappingProxyType({
    "model_type": "should be a section of keys and values",
    "model_attributes_type": "should be a section of keys and values",
    "dict_type": "should be a section of keys and values",
    "tuple_type": "should be a list",
    "list_type": "should be a list",
    "int_type": "should be a whole number",
    "int_parsing": "should be a whole number",
    "int_from_float": "should be a whole number",
    "float_type": "should be a number",
    "float_parsing": "should be a number",
    "bool_type": "should be true or false",
    "bool_parsing": "should be true or false",
    "string_type": "should be a text",
    "path_type": "should be a path",
    "finite_number": "should be a finite number",
    "greater_than": "should be greater than {gt:g}",
    "greater_than_equal": "should be at least {ge:g}",
    "less_than": "should be less than {lt:g}",
    "less_than_equal": "should be at most {le:g}",
    "too_short": "has too few entries (at least {min_length})",
    "too_long": "has too many entries (at most {max_length})",
    "string_pattern_mismatch": "should match the pattern {pattern}",
    "invalid_key": "is no name of a key",
})  # fmt: skip
"""What is wrong with a value, by pydantic's name of the fault and with its figures."""


def complaint(schema: Model, faults: Sequence[Fault], places: Places) -> str:
    """One line about one value."""
    fault = faults[0]
    place, kind = places.of(fault.path), fault.detail["type"]
    if kind == "extra_forbidden":
        return f"{place}: {unknown_key(schema, fault, places)}"
    if kind in ("missing", "union_tag_not_found"):
        return f"{place}: {missing(fault)}"
    said_by_place = not fault.path or (place.startswith("--") and place != "--set")
    named = "" if said_by_place else f"{dotted(fault.path)}: "
    if kind == "value_error":  # a rule about several keys
        return f"{place}: {named}{fault.detail['msg'].removeprefix('Value error, ')}"
    value = fault.detail["input"]
    if kind == "union_tag_invalid":
        value = value[fault.path[-1]]
    return f"{place}: {named}{expected(faults)}, got {shown(value)}{closest(faults, value)}"


def missing(fault: Fault) -> str:
    """A key that has to be there, or an entry of a list of fixed length."""
    last = fault.path[-1]
    if isinstance(last, int):
        section = dotted(fault.path[:-1])
        return f"{section}: has too few entries, got {shown(fault.detail['input'])}"
    return f"the key {dotted(fault.path)!r} is missing; add `{last}: …`"


def expected(faults: Sequence[Fault]) -> str:
    """What the value should be; the ways of a union are joined by "or"."""
    words = []
    for fault in faults:
        choices = allowed(fault)
        if len(choices) > 1:
            words.append(f"should be one of {', '.join(choices)}")
        elif choices:
            words.append(f"should be {choices[0]}")
        else:
            known = IN_WORDS.get(fault.detail["type"])
            context = fault.detail.get("ctx", {})
            words.append(known.format(**context) if known else lowered(fault.detail["msg"]))
    first, *others = dict.fromkeys(words)
    return " or ".join([first, *(other.removeprefix("should be ") for other in others)])


def lowered(message: str) -> str:
    """Pydantic's own words, behind a key."""
    return message.replace("Input should", "should")


def allowed(fault: Fault) -> list[str]:
    """The words that would be right, where there is a list of them."""
    kind, context = fault.detail["type"], fault.detail.get("ctx", {})
    if kind not in ("union_tag_invalid", "literal_error"):
        return []
    listed = str(context["expected_tags"] if kind == "union_tag_invalid" else context["expected"])
    return [word.strip("'") for word in listed.replace(" or ", ", ").split(", ")]


def closest(faults: Sequence[Fault], value: object) -> str:
    """The allowed word that is most like what was given."""
    words = [word for fault in faults for word in allowed(fault)]
    close = get_close_matches(value, words, n=1) if isinstance(value, str) else []
    return f"; did you mean {close[0]!r}?" if close else ""


def shown(value: object) -> str:
    """A value as a file has it, short."""
    if value is None:
        return "nothing"
    if isinstance(value, bool):
        return str(value).lower()
    text = repr(list(value)) if isinstance(value, tuple) else repr(value)
    return text if len(text) <= LONGEST_SHOWN else f"{text[: LONGEST_SHOWN - 1]}…"


def unknown_key(schema: Model, fault: Fault, places: Places) -> str:
    """A key that the section does not have: of another member, of another section, or misspelt."""
    key = str(fault.path[-1])
    said = f"unknown key {dotted(fault.path)!r}"
    if fault.choice is not None:
        if elsewhere := of_other_members(key, fault.choice, places):
            return f"{said}; {elsewhere}"
        own = set(fault.choice.members[fault.choice.tag].model_fields)
    else:
        own = set(fault.model.model_fields) if fault.model is not None else set()
    if not get_close_matches(key, own) and (section := section_of(schema, key)):
        return f"{said}; did you mean {section!r}?"
    return f"{said}; {nearest(key, own)}"


def of_other_members(key: str, choice: Choice, places: Places) -> str:
    """Which kinds of the union know the key; empty when none does."""
    kinds = [tag for tag, member in choice.members.items() if key in member.model_fields]
    if not kinds:
        return ""
    section, plural = dotted(choice.path), "s" if len(kinds) > 1 else ""
    option = places.options.get(f"{section}.{choice.tag_key}")
    said = f" (which {option} asks for)" if option else ""
    listed = " and ".join(filter(None, [", ".join(kinds[:-1]), kinds[-1]]))
    return f"it belongs to {section} {choice.tag_key}{plural} {listed}, not {choice.tag}{said}"


def section_of(schema: Model, key: str) -> str:
    """Where else a configuration has a key of this name, as `section.key`; empty when nowhere."""
    for name, known in schema.model_fields.items():
        if any(key in member.model_fields for member in models_in(known.annotation)):
            return f"{name}.{key}"
    return ""


def models_in(annotation: Any) -> Iterable[Model]:
    """Sections mentioned in a type, not those below them."""
    if is_model(annotation):
        yield annotation
    elif get_origin(annotation) is not Literal:
        for part in get_args(annotation):
            yield from models_in(part)
