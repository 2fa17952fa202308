"""US addresses with their fields, hand-labelled, out of the usaddress source distribution (MIT).

The label files hold one element a token: `<PlaceName>Los</PlaceName> <PlaceName>Osos,</PlaceName>`.
What is between two elements (their tail) is part of the address too.
"""

import json
import re
from collections.abc import Mapping
from typing import Any, NamedTuple
from xml.etree import ElementTree

from tunesmith.core.conversation import Example, chat
from tunesmith.core.errors import DataError
from tunesmith.core.packages import Package

PACKAGE = Package(
    name="usaddress",
    version="0.5.16",
    kind="sdist",
    file_name="usaddress-0.5.16.tar.gz",
    sha256="f7e614e2489c159cf85be1b6f86edbfaf329dbeedef4d002a025757afd1ec6c6",
    licence="MIT",
)
LABELLED = "usaddress-0.5.16/training/labeled.xml"
MESSY = "usaddress-0.5.16/training/us50_messiest_manual_label.xml"

INSTRUCTION = "Split the US address into JSON."
EDGE = " ,;\n"
"""Taken off both ends of a field, as usaddress's own `tag` does: separators are not part of a name."""


class Piece(NamedTuple):
    """One labelled token: its label and where it stands in the address."""

    label: str
    start: int
    stop: int


class Address(NamedTuple):
    """An address as written, and its labelled tokens in order."""

    text: str
    pieces: tuple[Piece, ...]


class SetAside(NamedTuple):
    """An address that cannot be one JSON object, and why."""

    position: int
    text: str
    reason: str


def parse_labels(xml: bytes, name: str) -> list[Address]:
    """Read a label file.

    Raises DataError when it is not UTF-8, not well-formed, of another shape, or declares entities.
    """
    try:
        text = xml.decode("utf-8")
    except UnicodeDecodeError as error:
        raise DataError("the label file is not UTF-8", where=name, value=str(error)) from None
    if "<!DOCTYPE" in text or "<!ENTITY" in text:
        raise DataError("the label file declares a document type: entities are not expanded", where=name)
    try:
        root = ElementTree.fromstring(text)  # noqa: S314  entities were refused above
    except ElementTree.ParseError as error:
        raise DataError("the label file is not well-formed XML", where=name, value=str(error)) from None
    if root.tag != "AddressCollection" or any(item.tag != "AddressString" for item in root):
        raise DataError("not a list of labelled addresses", where=name, value=root.tag)
    return [read_address(item) for item in root]


def read_address(item: ElementTree.Element) -> Address:
    """Join the tokens of one address and note where each stands.

    Line breaks inside tokens belong to the address; those between elements are the file's indentation.
    """
    text, pieces = "", []
    for element in item:
        token = element.text or ""
        bare = token.strip()
        pieces.append(Piece(element.tag, len(text), len(text) + len(bare)))
        after = "\n" if "\n" in token else token[len(token.rstrip()) :]
        text += bare + re.sub(r"\s*\n\s*|\s+", lambda gap: "\n" if gap[0].startswith("\n") else " ", after)
        tail = re.sub(r"\s+", " ", element.tail or "")
        text += tail.lstrip() if text[-1:].isspace() else tail
    return Address(text.rstrip(), tuple(pieces))


def fields(address: Address) -> dict[str, str] | str:
    """Label → text in order of appearance; neighbouring tokens of one label are one text of the address.

    A label that appears twice apart has no single text: then the reason comes back instead.
    """
    spans: dict[str, tuple[int, int]] = {}
    last = None
    for piece in address.pieces:
        if piece.label == last:
            spans[piece.label] = (spans[piece.label][0], piece.stop)
        elif piece.label in spans:
            return f"{piece.label} appears twice apart"
        else:
            spans[piece.label] = (piece.start, piece.stop)
        last = piece.label
    found = {label: address.text[start:stop].strip(EDGE) for label, (start, stop) in spans.items()}
    empty = [label for label, text in found.items() if not text]
    if not found:
        return "nothing is labelled"
    return f"{empty[0]} is empty" if empty else found


def answer(values: Mapping[str, str]) -> str:
    """The answer that a model learns to write; without spaces it has a fifth fewer tokens."""
    return json.dumps(values, ensure_ascii=False, separators=(",", ":"))


def to_example(text: str, values: Mapping[str, str]) -> Example:
    """One conversation: instruction, address, fields."""
    return chat([("system", INSTRUCTION), ("user", text), ("assistant", answer(values))])


def to_rows(addresses: list[Address]) -> tuple[list[dict[str, Any]], list[SetAside]]:
    """Rows in OpenAI's chat format, and the addresses set aside; together they are all addresses."""
    rows, aside = [], []
    for position, address in enumerate(addresses, start=1):
        values = fields(address)
        if isinstance(values, str):
            aside.append(SetAside(position, address.text, values))
        else:
            rows.append(to_example(address.text, values).to_json())
    return rows, aside
