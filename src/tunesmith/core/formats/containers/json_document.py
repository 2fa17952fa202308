"""Rows in JSON that is not one row a line: an array, objects over several lines, a list inside an object."""

from collections.abc import Iterator
from typing import NamedTuple, NoReturn

from tunesmith.core.errors import DataError, nearest
from tunesmith.core.formats.containers.json_lines import ROW_SHAPE
from tunesmith.core.formats.containers.json_text import HalfWritten, Item, JsonText
from tunesmith.core.formats.containers.port import RawRow, Rows, Source, refused
from tunesmith.core.formats.problems import Problem, shorten

ROW_KEYS = frozenset(
    {"messages", "conversations", "conversation", "dialog", "turns", "prompt", "completion", "completions"}
    | {"instruction", "input", "output", "chosen", "rejected", "text", "question", "answer", "response"}
    | {"chosen_messages", "rejected_messages", "preferred_output", "non_preferred_output", "steps"}
    | {"preferred_output", "non_preferred_output", "tools", "history"}
)
"""An object with one of these is a row itself, whatever lists it holds."""

EMPTY_ARRAY = "the file is an empty array: it holds no row"


class Member(NamedTuple):
    """A list of objects inside the object that is the file."""

    key: str
    num_items: int


def read_array(source: Source) -> Rows:
    """The items of a JSON array.  Raises DataError when it is empty, not UTF-8, torn, or more follows it."""
    with source.open() as file:
        text = JsonText(file, source.name)
        text.take("[")
        yield from with_mark(counted_bytes(text, items(text, source, end=True)), text)


def read_sequence(source: Source) -> Rows:
    """JSON values one after the other, each over as many lines as it likes (see `read_array`)."""
    with source.open() as file:
        text = JsonText(file, source.name)
        yield from with_mark(counted_bytes(text, values(text, source)), text)


def read_member(source: Source) -> Rows:
    """The rows of one list inside the one object that is the file; or the object itself, as one row.

    Raises DataError when there are several lists and none was asked for.
    """
    members = find_members(source)
    if source.part is None and len(members) != 1:
        if members:
            refuse_several(source, members)
        yield from read_sequence(source)
        return
    wanted = source.part or members[0].key
    if wanted not in {member.key for member in members}:
        step = nearest(wanted, [member.key for member in members])
        raise DataError(
            "the object has no list of this name", where=source.name, value=wanted, next_step=step
        )
    with source.open() as file:
        text = JsonText(file, source.name)
        yield from with_mark(counted_bytes(text, member_items(text, source, wanted)), text)


def refuse_several(source: Source, members: list[Member]) -> NoReturn:
    """Ask which list is meant."""
    listed = ", ".join(f"{member.key} ({member.num_items:,})" for member in members)
    step = f"say which: {source.name}#{members[0].key}"
    raise DataError("the object holds several lists of rows", where=source.name, value=listed, next_step=step)


def find_members(source: Source) -> list[Member]:
    """The lists of objects in the object that is the file; none when it is a row itself."""
    found, keys = [], set()
    with source.open() as file:
        text = JsonText(file, source.name)
        text.take("{")
        for key in keys_of(text, source):
            keys.add(key)
            if text.peek() != "[":
                take_item(text, source)
                continue
            text.take("[")
            is_rows = text.peek() == "{"
            count = sum(1 for _ in items(text, source, end=False)) if text.peek() != "]" else 0
            if not count:
                text.take("]")
            if is_rows:
                found.append(Member(key, count))
        has_more = bool(text.peek())  # then these are rows, one after the other
    return [] if keys & ROW_KEYS or has_more else found


def keys_of(text: JsonText, source: Source) -> Iterator[str]:
    """The keys of an object whose bracket was taken; the caller takes each value before it goes on."""
    seen: set[str] = set()
    while not text.take("}"):
        key = take_item(text, source)
        if not isinstance(key.value, str) or not text.take(":"):
            refuse_rest(text, source, "not valid JSON: a key in quotes and a colon should stand here")
        if key.value in seen:
            what = f"the key {shorten(key.value)!r} stands twice in one object"
            raise DataError(what, where=source.name, next_step="keep one of them")
        seen.add(key.value)
        yield key.value
        if not text.take(",") and text.peek() != "}":
            refuse_half_or_rest(text, source, "not valid JSON: a comma or } should stand here")


def member_items(text: JsonText, source: Source, wanted: str) -> Rows:
    """The rows of the wanted list; `find_members` has seen that the object is whole."""
    text.take("{")
    for key in keys_of(text, source):
        if key == wanted:
            text.take("[")
            yield from items(text, source, end=False)
        else:
            take_item(text, source, skip=True)


def take_item(text: JsonText, source: Source, *, skip: bool = False) -> Item:
    """The next value, of which the whole must be there; a faulty one is refused unless it is skipped."""
    try:
        item = text.item()
    except HalfWritten:
        refuse_half_written(text, source, "a value")
    if item.problem and not skip and not item.problem.startswith("the row is longer"):
        where = f"{source.name} (byte {item.offset})"
        raise DataError(
            item.problem, where=where, value=item.excerpt, next_step="mend the file at this place"
        )
    return item


def items(text: JsonText, source: Source, *, end: bool) -> Rows:
    """The items of an array whose bracket was taken; with `end`, the file must end with it.

    A row is given away only when what follows it was seen, so that a comma too many can be said of it.
    """
    number = 0
    if text.peek() == "]":
        raise DataError(EMPTY_ARRAY, where=source.name, next_step=ROW_SHAPE)
    while True:
        number += 1
        row = one_row(text, source, number)
        if text.take(","):
            if text.peek() != "]":
                yield row
                continue
            reason = "a comma before the closing bracket left out"
            row = row._replace(changes=(*row.changes, Problem(number, "", reason, ",]")))
        if not text.take("]"):
            what = f"a comma or ] should stand after item {number}"
            refuse_half_or_rest(text, source, what, before=row)
        if end and text.peek():
            refuse_rest(text, source, "after the array there is more")
        yield row
        return


def values(text: JsonText, source: Source) -> Rows:
    """Values up to the end of the file."""
    number = 0
    while text.peek():
        number += 1
        row = one_row(text, source, number)
        if text.peek() == ",":
            refuse_rest(text, source, f"a comma stands after item {number}, outside any array")
        yield row
    if number == 0:
        raise DataError("the file holds only white space", where=source.name, next_step=ROW_SHAPE)


def one_row(text: JsonText, source: Source, number: int) -> RawRow:
    """The next value as a row."""
    try:
        item = text.item()
    except HalfWritten:
        refuse_half_written(text, source, f"item {number}")
    if item.problem:
        return refused(number, item.problem, item.excerpt)._replace(offset=item.offset)
    return RawRow(number, item.value, offset=item.offset)


def counted_bytes(text: JsonText, rows: Rows) -> Rows:
    """Rows with how far the file was read for each; the last one takes what is left of the file."""
    before, waiting = 0, None
    for row in rows:
        if waiting is not None:
            yield waiting
        waiting = row._replace(num_bytes=text.offset - before)
        before = text.offset
    while text.more() or text.at < len(text.text):
        text.at = len(text.text)
    if waiting is not None:
        yield waiting._replace(num_bytes=waiting.num_bytes + text.offset - before)


def with_mark(rows: Rows, text: JsonText) -> Rows:
    """Rows, of which the first says that a byte order mark stood before it."""
    for row in rows:
        if text.has_mark and row.line == 1:
            row = row._replace(changes=(Problem(1, "", "byte order mark removed", "U+FEFF"), *row.changes))
        yield row


def refuse_half_written(text: JsonText, source: Source, where: str) -> NoReturn:
    """The file ends too early: it is a torn copy, and more rows may be missing."""
    raise DataError(
        f"the file is half-written: it ends inside {where}",
        where=source.name,
        value="…" + (text.tail + text.text)[-60:],
        next_step="copy or write the file again",
    )


def refuse_rest(text: JsonText, source: Source, what: str) -> NoReturn:
    """Something stands where nothing or something else should."""
    place = text.offset
    raise DataError(
        f"{what} (byte offset {place})",
        where=source.name,
        value=shorten(text.text[text.at : text.at + 60]),
        next_step="one array of rows, or one row a line: mend the file at this place",
    )


def refuse_half_or_rest(text: JsonText, source: Source, what: str, before: RawRow | None = None) -> NoReturn:
    """The end of the file, or something else, stands where the text should go on."""
    if not text.peek():
        what = f"the array, after item {before.line}" if before else "an object"
        refuse_half_written(text, source, what)
    refuse_rest(text, source, what)
