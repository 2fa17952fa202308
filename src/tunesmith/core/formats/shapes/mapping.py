"""A user's own mapping: which columns of a table, or keys of rows, mean what."""

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from pydantic import Field, model_validator

from tunesmith.core.config import Lines, Schema, build, read_mapping
from tunesmith.core.conversation import Example, Message, Role
from tunesmith.core.errors import ConfigError
from tunesmith.core.formats.problems import Findings, shorten
from tunesmith.core.formats.shapes.keys import read_label, read_metadata
from tunesmith.core.formats.shapes.messages import read_messages
from tunesmith.core.formats.shapes.pairs import Side, read_pair
from tunesmith.core.formats.shapes.port import Row
from tunesmith.core.formats.shapes.tools import check_calls, read_tools
from tunesmith.core.formats.shapes.turns import settle

SLOT = re.compile(r"\{([^{}]+)\}")
"""A column inside a template."""
ROLES: Mapping[str, Role] = {
    "prompt": "user",
    "answer": "assistant",
    "chosen": "assistant",
    "rejected": "assistant",
}
MISSING = object()


class MappingConfig(Schema):
    """What each column is.  A value is a column (dots go into objects), or a template with {column}s."""

    prompt: str | None = None
    """What is asked: a text (it becomes the user's turn), or a list of messages."""
    system: str | None = None
    """The system prompt."""
    answer: str | None = None
    """What is to be said: a text or a list of messages."""
    chosen: str | None = None
    """The better answer of a pair."""
    rejected: str | None = None
    """The worse answer of a pair."""
    label: str | None = None
    """Whether the answer is wanted: true or false, or a word that `label_names` explains."""
    label_names: dict[str, str | bool] = Field(default_factory=dict)
    """What the values of `label` mean (true or false); without `label`, what the values of `answer` are
    written as, such as {"0": "negative", "1": "positive"}.  Quote words that YAML takes for true and false
    ("yes", "no", "on", "off")."""
    text: str | None = None
    """Plain text, learned verbatim; alone, or behind `prompt`, which is then verbatim too and not learned."""
    messages: str | None = None
    """A list of messages, alone or before `answer`, or `chosen` and `rejected`."""
    tools: str | None = None
    """Tools that the conversation offers."""
    group: str | None = None
    """Rows with one value stay in one split."""
    metadata: list[str] | dict[str, str] = Field(default_factory=list)
    """Columns to keep beside the row, under their own names or under others (name: column)."""

    @model_validator(mode="after")
    def _teaches_something(self) -> "MappingConfig":
        pair = self.chosen is not None and self.rejected is not None
        if (self.chosen is None) != (self.rejected is None):
            raise ValueError("a pair needs both chosen and rejected")
        if not (pair or self.answer or self.text or self.messages):
            raise ValueError("nothing to learn is named: give answer, text, messages, or chosen and rejected")
        if pair + bool(self.answer) + bool(self.text) > 1:
            raise ValueError("give one of: answer; text; chosen and rejected")
        if (pair or self.answer) and not (self.prompt or self.messages):
            raise ValueError("nothing is asked: give prompt or messages")
        if self.prompt and self.messages:
            raise ValueError("give one of prompt and messages")
        if self.text and (self.messages or self.system or self.tools):
            raise ValueError("plain text has no messages, system prompt or tools")
        if self.label and (pair or self.text):
            raise ValueError("a label is the verdict on one answer: give it with answer or messages alone")
        if self.label_names and not (self.label or self.answer):
            raise ValueError("label_names explains label or answer, and neither is given")
        return self


@dataclass(frozen=True)
class Mapped:
    """A mapping and where it stands; reads rows by it."""

    config: MappingConfig
    source: str
    lines: Lines | None = None

    def columns(self) -> Iterable[tuple[tuple[str, ...], str]]:
        """Every column that is named, with the key of the mapping that names it."""
        for key, value in self.config:
            if key == "label_names" or not value:
                continue
            entries = [("", value)] if isinstance(value, str) else entries_of(value)
            for below, text in entries:
                path = (key,) if below == "" else (key, below)
                for column in [text] if key == "metadata" else slots(text) or [text]:
                    yield path, column

    def check_columns(self, rows: Iterable[object], file: str) -> None:
        """Raise ConfigError for a column that no row has, with its line and the nearest one."""
        dicts = [row for row in rows if isinstance(row, dict)]
        if not dicts:
            return
        known = sorted({str(key) for row in dicts for key in row})
        for path, column in self.columns():
            if all(find(row, column) is MISSING for row in dicts):
                line = self.lines.of(path) if self.lines is not None else None
                near = get_close_matches(column, known, n=1, cutoff=0.5)
                step = f"did you mean {near[0]!r}?" if near else f"columns of the file: {', '.join(known)}"
                where = f"{self.source}:{line}" if line else self.source
                what = (
                    f"{'.'.join(path)} names a column that none of the first {len(dicts)} rows of {file} has"
                )
                raise ConfigError(what, value=column, where=where, next_step=step)

    def read(self, row: object, found: Findings) -> Example | None:
        """One row to its example."""
        config = self.config
        if not isinstance(row, dict):
            found.refuse("", "a row must be an object with columns", row)
            return None
        before = len(found.problems)
        shared = {"metadata": self._metadata(row), "group": self._value(config.group, row)}
        metadata = read_metadata({key: value for key, value in shared.items() if value is not None}, found)
        if config.text is not None:
            return self._plain(row, metadata, found)
        start = self._start(row, found)
        tools = read_tools(self._value(config.tools, row), found, wrap=True)
        if config.chosen is not None:
            sides = [Side(pointer(str(name)), self._turns(key, row, found)) for key, name in self._answers()]
            if len(found.problems) > before:
                return None
            return read_pair(Side("", start), sides, found, tools=tools, metadata=metadata)
        answer = self._turns("answer", row, found) if config.answer is not None else ()
        label = self._label(row, found)
        if len(found.problems) > before:
            return None
        turns = settle((*start, *answer), "", found)
        check_calls(turns, tools, "", found)
        return Example(turns, tools, metadata, label=label)

    def _plain(self, row: Row, metadata: Mapping[str, Any], found: Findings) -> Example | None:
        """A document, or a text behind a prompt."""
        text = self._text("text", row, found)
        prompt = self._text("prompt", row, found) if self.config.prompt is not None else None
        before = () if prompt is None else (Message("text", prompt, weight=0.0),)
        return None if text is None else Example((*before, Message("text", text)), metadata=metadata)

    def _answers(self) -> tuple[tuple[str, str | None], ...]:
        return (("chosen", self.config.chosen), ("rejected", self.config.rejected))

    def _start(self, row: Row, found: Findings) -> tuple[Message, ...]:
        """System prompt and question, or the messages."""
        turns = self._turns("messages" if self.config.messages else "prompt", row, found)
        if self.config.system is None or not (said := self._value(self.config.system, row)):
            return turns
        if not isinstance(said, str):
            found.refuse(pointer(self.config.system), "system must be a text", said)
            return turns
        return (Message("system", said), *turns)

    def _turns(self, key: str, row: Row, found: Findings) -> tuple[Message, ...]:
        """A list of messages as it is; a text as one turn."""
        template = str(field_of(self.config, key))
        value = self._value(template, row)
        if isinstance(value, list):
            return read_messages(value, pointer(template), found)
        if key == "messages":
            found.refuse(pointer(template), "messages must be a list", value)
            return ()
        text = self._text(key, row, found)
        return () if text is None else (Message(ROLES[key], text),)

    def _text(self, key: str, row: Row, found: Findings) -> str | None:
        """The text of a column or a template; numbers become text, labels their names."""
        template = str(field_of(self.config, key))
        value = self._value(template, row)
        if isinstance(value, bool | int | float) and not slots(template):
            value = json.dumps(value)
        names = self.config.label_names
        if key == "answer" and names and self.config.label is None and isinstance(value, str):
            if value not in names:
                found.refuse(pointer(template), f"label_names does not explain {shorten(value)!r}", value)
                return None
            value = str(names[value])
        if not isinstance(value, str):
            found.refuse(pointer(template), f"{key} must be a text", value)
            return None
        if not value.strip():
            found.refuse(pointer(template), f"empty {key}", value)
            return None
        return value

    def _label(self, row: Row, found: Findings) -> bool | None:
        if self.config.label is None:
            return None
        value = self._value(self.config.label, row)
        plain = value if isinstance(value, str) else json.dumps(value)
        return read_label(self.config.label_names.get(plain, value), pointer(self.config.label), found)

    def _metadata(self, row: Row) -> dict[str, Any] | None:
        given = self.config.metadata
        columns = given if isinstance(given, dict) else {name: name for name in given}
        values = {name: find(row, column) for name, column in columns.items()}
        return {name: value for name, value in values.items() if value is not MISSING} or None

    def _value(self, template: str | None, row: Row) -> object:
        """What a column holds; of a template, the text with its columns filled in."""
        if template is None:
            return None
        if not slots(template):
            value = find(row, template)
            return None if value is MISSING else value
        return SLOT.sub(lambda slot: spoken(find(row, slot[1])), template)


def entries_of(value: Mapping[str, str] | list[str]) -> list[tuple[str, str]]:
    """Names or places, and columns."""
    if isinstance(value, Mapping):
        return list(value.items())
    return [(str(place), column) for place, column in enumerate(value)]


def field_of(config: MappingConfig, key: str) -> object:
    """A field by its name."""
    return dict(config)[key]


def slots(template: str) -> list[str]:
    """Columns that a template mentions."""
    return SLOT.findall(template)


def spoken(value: object) -> str:
    """A value inside a template: texts as they are, nothing as nothing, the rest as JSON."""
    if value is None or value is MISSING:
        return ""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def pointer(column: str) -> str:
    """A column as a JSON pointer."""
    return "" if slots(column) else f"/{column.replace('.', '/')}"


def find(row: Row, column: str) -> object:
    """What stands under a column: its own name first, then dots as steps into objects and lists."""
    if column in row:
        return row[column]
    value: object = row
    for part in column.split("."):
        if isinstance(value, Mapping) and part in value:
            value = value[part]
        elif isinstance(value, list) and part.isdecimal() and len(part) < 10 and int(part) < len(value):
            value = value[int(part)]
        else:
            return MISSING
    return value


def load_mapping(path: Path) -> Mapped:
    """Read a mapping from a YAML file.  Raises ConfigError with file, line and key."""
    value, lines = read_mapping(path)
    names = value.get("label_names")
    if isinstance(names, list):
        value["label_names"] = {str(place): name for place, name in enumerate(names)}
    elif isinstance(names, dict):
        value["label_names"] = {
            key if isinstance(key, str) else json.dumps(key, default=str): name for key, name in names.items()
        }
    return Mapped(build(MappingConfig, value, source=str(path), lines=lines), str(path), lines)
