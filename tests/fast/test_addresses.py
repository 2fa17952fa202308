"""Labelled addresses: tokens join, separators go, what cannot be one object is set aside."""

import json

import pytest

from tunesmith.core.errors import DataError
from tunesmith.data import FetchConfig, addresses, fetch
from tunesmith.data.addresses import fields, parse_labels, to_rows


def parse(*items):
    body = "".join(f"<AddressString>{item}</AddressString>\n" for item in items)
    return parse_labels(f"<AddressCollection>\n{body}</AddressCollection>".encode(), "labels.xml")


def one(item):
    (address,) = parse(item)
    return address.text, fields(address)


def test_neighbouring_tokens_of_one_label_are_one_text_without_its_separator():
    text, values = one(
        "<AddressNumber>1085</AddressNumber> <StreetName>Santa</StreetName> <StreetName>Paula</StreetName> "
        "<StreetNamePostType>Ave.,</StreetNamePostType> "
        "<PlaceName>Los</PlaceName> <PlaceName>Osos</PlaceName>"
    )
    assert text == "1085 Santa Paula Ave., Los Osos"
    assert values == {
        "AddressNumber": "1085",
        "StreetName": "Santa Paula",
        "StreetNamePostType": "Ave.",
        "PlaceName": "Los Osos",
    }


def test_punctuation_between_elements_belongs_to_the_address_only():
    text, values = one(
        "<USPSBoxType>Box</USPSBoxType># <USPSBoxID>63</USPSBoxID>, <PlaceName>Cordova</PlaceName>"
    )
    assert text == "Box# 63, Cordova"
    assert values == {"USPSBoxType": "Box", "USPSBoxID": "63", "PlaceName": "Cordova"}


def test_line_breaks_of_the_address_stay_and_those_of_the_file_go():
    text, values = one(
        "<Recipient>JOE</Recipient> <Recipient>DOE\n\n</Recipient> <AddressNumber>77</AddressNumber>\n    "
        "<StreetName>A </StreetName> <StreetName>B\n</StreetName>\n"
    )
    assert text == "JOE DOE\n77 A B"
    assert values == {"Recipient": "JOE DOE", "AddressNumber": "77", "StreetName": "A B"}


def test_marks_that_carry_meaning_stay():
    assert one(
        "<OccupancyIdentifier>#</OccupancyIdentifier> <OccupancyIdentifier>2510,</OccupancyIdentifier>"
    )[1] == {"OccupancyIdentifier": "# 2510"}
    assert one(
        "<StreetName>PEACE</StreetName> <StreetName>&amp;</StreetName> <StreetName>PLENTY</StreetName>"
    )[1] == {"StreetName": "PEACE & PLENTY"}


def test_every_address_becomes_a_row_or_is_set_aside_with_its_reason():
    twice = "<StreetName>12th</StreetName> <PlaceName>X</PlaceName> <StreetName>Oak</StreetName>"
    empty = "<StreetName>Oak</StreetName> <PlaceName>,</PlaceName>"
    rows, aside = to_rows(parse(twice, "<StreetName>Oak</StreetName>", empty, ""))
    assert [(item.position, item.reason) for item in aside[:2]] == [
        (1, "StreetName appears twice apart"),
        (3, "PlaceName is empty"),
    ]
    assert (len(rows), len(aside)) == (1, 3)
    system, user, assistant = rows[0]["messages"]
    assert (system["content"], user["content"]) == (addresses.INSTRUCTION, "Oak")
    assert json.loads(assistant["content"]) == {"StreetName": "Oak"}


@pytest.mark.parametrize(
    ("xml", "message"),
    [
        (b'<!DOCTYPE x [<!ENTITY a "b">]><AddressCollection/>', "document type"),
        (b"<AddressCollection>", "not well-formed"),
        (b"<Other/>", "not a list of labelled addresses"),
        (b"<AddressCollection><a/></AddressCollection>", "not a list of labelled addresses"),
        ("<AddressCollection/>".encode("utf-16"), "not UTF-8"),
    ],
)
def test_other_xml_is_refused(xml, message):
    with pytest.raises(DataError, match=message):
        parse_labels(xml, "labels.xml")


def test_fetching_writes_rows_messy_rows_and_the_accounting(monkeypatch, job, tmp_path):
    oslo = b"<AddressString><PlaceName>Oslo</PlaceName></AddressString>"
    files = {
        addresses.LABELLED: b"<AddressCollection>" + oslo + b"</AddressCollection>",
        addresses.MESSY: b"<AddressCollection></AddressCollection>",
    }
    monkeypatch.setattr("tunesmith.data.source.fetch_package", lambda package, progress: tmp_path)
    monkeypatch.setattr("tunesmith.data.source.read_member", lambda archive, member: files[member])
    result = fetch(FetchConfig(name="addresses"), job)
    assert (result.rows, result.messy, result.set_aside, result.licence) == (1, 0, 0, "MIT")
    assert json.loads((result.folder / "accounting.json").read_text())["rows"]["read"] == 1
    assert len((result.folder / "rows.jsonl").read_text().splitlines()) == 1
