"""Families about finding things in what was given: tables, passages, JSON."""

import json
import random
from collections.abc import Sequence
from typing import Any, NamedTuple

from tunesmith.evaluate.retention.port import NUMBER, SAID, Form, Item, a
from tunesmith.evaluate.retention.words import ANIMALS, CITIES, COLOURS, JOBS, NAMES

TEXT_COLUMNS = {"City": CITIES, "Job": JOBS, "Pet": ANIMALS, "Colour": COLOURS}
NUMBER_COLUMNS = {"Age": (18, 80), "Points": (100, 999), "Books": (2, 60)}

Row = dict[str, Any]

CELL = Form(
    "tables",
    "cell",
    (
        '{table}\n\nWhat stands in the column "{column}" for {name}? Answer with the cell only.',
        'Read the table.\n\n{table}\n\nGive the entry under "{column}" in the row of {name}, and '
        "nothing else.",
        'Here is a table:\n\n{table}\n\nLook up {name}. Write only the value of "{column}".',
    ),
    SAID,
)
ROW = Form(
    "tables",
    "row",
    (
        '{table}\n\nWhose entry in the column "{column}" is {value}? Answer with the name only.',
        'Read the table.\n\n{table}\n\nWho has {value} under "{column}"? Write only the name.',
    ),
    SAID,
)
HIGHEST = Form(
    "tables",
    "highest",
    (
        '{table}\n\nWho has the highest number in the column "{column}"? Answer with the name only.',
        'Here is a table:\n\n{table}\n\nWhich person has the largest value of "{column}"? Write only '
        "the name.",
    ),
    SAID,
)
LOWEST = Form(
    "tables",
    "lowest",
    (
        '{table}\n\nWho has the lowest number in the column "{column}"? Answer with the name only.',
        'Here is a table:\n\n{table}\n\nWhich person has the smallest value of "{column}"? Write '
        "only the name.",
    ),
    SAID,
)
TOTAL = Form(
    "tables",
    "total",
    (
        '{table}\n\nWhat do {name} and {other} have together in the column "{column}"? Answer with '
        "the number only.",
        'Read the table.\n\n{table}\n\nAdd the values of "{column}" for {name} and {other}. Write '
        "only the sum.",
    ),
)
ABOVE = Form(
    "tables",
    "above",
    (
        '{table}\n\nHow many people have more than {limit} in the column "{column}"? Answer with the '
        "number only.",
        'Here is a table:\n\n{table}\n\nIn how many rows is "{column}" greater than {limit}? Write '
        "just the number.",
    ),
)


def rows_of(rng: random.Random, count: int, columns: Sequence[str]) -> list[Row]:
    """People with values that all differ within a column."""
    rows: list[Row] = [{"Name": name} for name in rng.sample(NAMES, count)]
    for column in columns:
        values: list[Any] = (
            rng.sample(TEXT_COLUMNS[column], count)
            if column in TEXT_COLUMNS
            else rng.sample(range(*NUMBER_COLUMNS[column]), count)
        )
        for row, value in zip(rows, values, strict=True):
            row[column] = value
    return rows


def markdown(rows: Sequence[Row]) -> str:
    """The rows as a Markdown table."""
    head = list(rows[0])
    lines = [head, ["---"] * len(head), *([str(row[column]) for column in head] for row in rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def tables(rng: random.Random, level: int) -> Item:
    """A cell, or whose cell it is; the highest of a column; sums and counts over rows."""
    texts = rng.sample(sorted(TEXT_COLUMNS), level)
    numbers = rng.sample(sorted(NUMBER_COLUMNS), 1 + (level == 3))
    columns = texts + numbers
    rng.shuffle(columns)
    rows = rows_of(rng, 1 + 2 * level, columns)
    kinds = {1: (CELL, ROW), 2: (CELL, ROW, HIGHEST, LOWEST), 3: (HIGHEST, LOWEST, TOTAL, ABOVE)}
    kind = rng.choice(kinds[level])
    if kind in (CELL, ROW):
        column, row = rng.choice(columns if kind is CELL else texts), rng.choice(rows)
        gold = row[column] if kind is CELL else row["Name"]
        shown = {"name": row["Name"], "value": row[column], "table": markdown(rows)}
        return kind.ask(rng, level, gold, column=column, **shown)
    return over_rows(rng, level, kind, rows, rng.choice(numbers))


def over_rows(rng: random.Random, level: int, kind: Form, rows: Sequence[Row], column: str) -> Item:
    """Questions for which several rows have to be read."""
    ordered = sorted(rows, key=lambda row: int(row[column]))
    one, other = rng.sample(list(rows), 2)
    above = rng.randint(1, len(rows) - 1)
    golds = {
        "highest": ordered[-1]["Name"],
        "lowest": ordered[0]["Name"],
        "total": one[column] + other[column],
        "above": above,
    }
    shown = {"name": one["Name"], "other": other["Name"], "limit": ordered[-above - 1][column]}
    return kind.ask(rng, level, golds[kind.kind], column=column, table=markdown(rows), **shown)


class Person(NamedTuple):
    """Somebody in a passage."""

    name: str
    city: str
    job: str
    pet: str


LIVES = ("{name} lives in {city} and works as {job}.", "In {city} lives {name}, who earns a living as {job}.")
KEEPS = ("{name} keeps {pet} at home.", "At home {name} has {pet}.")
ASIDES = (
    "It rained a lot that year.",
    "The winter was long and mild.",
    "They all met once at a wedding.",
    "None of them likes to fly.",
    "Letters between them take a week.",
)
NAME_ONLY, WORD_ONLY = "Answer with the name only.", "Answer with one word."
CITY_ONLY = "Answer with the name of the city only."


def about(kind: str, *questions: str) -> Form:
    """Questions about a passage that stands before them."""
    openings = ("{passage}\n\n", "Read the text and answer the question.\n\n{passage}\n\nQuestion: ")
    wordings = tuple(opening + question for question in questions for opening in openings)
    return Form("passages", kind, wordings, SAID)


WHERE = about(
    "where", f"Where does {{p.name}} live? {CITY_ONLY}", f"In which city is {{p.name}} at home? {CITY_ONLY}"
)
WHAT_JOB = about(
    "job", f"What is {{p.name}}'s job? {WORD_ONLY}", f"As what does {{p.name}} work? {WORD_ONLY}"
)
WHAT_PET = about("pet", f"What animal does {{p.name}} have? {WORD_ONLY}")
WHO_LIVES = about(
    "who-lives", f"Who lives in {{p.city}}? {NAME_ONLY}", f"Whose home is {{p.city}}? {NAME_ONLY}"
)
WHO_WORKS = about("who-works", f"Who works as {{job}}? {NAME_ONLY}", f"Which person is {{job}}? {NAME_ONLY}")
PET_OF_JOB = about("pet-of-job", f"What animal does the {{p.job}} keep? {WORD_ONLY}")
CITY_OF_PET = about("city-of-pet", f"In which city does the person live who has {{pet}}? {CITY_ONLY}")
JOB_IN_CITY = about("job-in-city", f"What is the job of the person from {{p.city}}? {WORD_ONLY}")
PASSAGE_KINDS = {
    1: ((WHERE, "city"), (WHAT_JOB, "job"), (WHAT_PET, "pet")),
    2: ((WHO_LIVES, "name"), (WHO_WORKS, "name"), (WHAT_PET, "pet"), (WHERE, "city")),
    3: ((PET_OF_JOB, "pet"), (CITY_OF_PET, "city"), (JOB_IN_CITY, "job")),
}


def passages(rng: random.Random, level: int) -> Item:
    """Two people and a fact; three and who it is; five, with a fact that leads to another."""
    people = people_of(rng, {1: 2, 2: 3, 3: 5}[level])
    form, asked = rng.choice(PASSAGE_KINDS[level])
    person = rng.choice(people)
    return form.ask(
        rng,
        level,
        person._asdict()[asked],
        passage=passage(rng, people),
        p=person,
        job=a(person.job),
        pet=a(person.pet),
    )


def people_of(rng: random.Random, count: int) -> list[Person]:
    """People who share nothing."""
    parts = (rng.sample(words, count) for words in (NAMES, CITIES, JOBS, ANIMALS))
    return [Person(*values) for values in zip(*parts, strict=True)]


def passage(rng: random.Random, people: Sequence[Person]) -> str:
    """What there is to know of them, in no order, with a sentence that says nothing."""
    told = [
        sentence.format(name=one.name, city=one.city, job=a(one.job), pet=a(one.pet))
        for one in people
        for sentence in (rng.choice(LIVES), rng.choice(KEEPS))
    ]
    told.append(rng.choice(ASIDES))
    rng.shuffle(told)
    return " ".join(told)


VALUE = Form(
    "json",
    "value",
    (
        '{json}\n\nWhat is the value of "{key}"? Answer with the value only.',
        'Here is a JSON object:\n{json}\nWrite only the value that belongs to the key "{key}".',
    ),
    SAID,
)
INNER = Form(
    "json",
    "inner",
    (
        '{json}\n\nWhat is the value of "{key}" inside "{outer}"? Answer with the value only.',
        'Here is a JSON object:\n{json}\nWrite only the value of "{key}" in the object "{outer}".',
    ),
    SAID,
)
IN_LIST = Form(
    "json",
    "in-list",
    (
        '{json}\n\nWhat is the "{key}" of the person whose "name" is "{name}"? Answer with the value only.',
        'Here is a JSON document:\n{json}\nFind the entry with the name {name}. Write only its "{key}".',
    ),
    SAID,
)
ENTRIES = Form(
    "json",
    "entries",
    (
        '{json}\n\nHow many entries does the list "{key}" have? Answer with the number only.',
        'Here is a JSON object:\n{json}\nCount the elements of "{key}". Write just the number.',
    ),
    NUMBER,
)


def picking(rng: random.Random, level: int) -> Item:
    """A key; a key of an inner object or a list's length; an entry of a list of people."""
    if level == 1:
        record = person_record(rng)
        return pick(rng, level, VALUE, record, record)
    if level == 3:
        return from_people(rng)
    if rng.random() < 0.3:
        tags = rng.sample(ANIMALS, rng.randint(1, 6))
        shown = {"name": rng.choice(NAMES), "pets": tags, "age": rng.randint(18, 80)}
        return ENTRIES.ask(rng, level, len(tags), key="pets", json=json.dumps(shown))
    inner = {outer: person_record(rng) for outer in rng.sample(["sender", "receiver", "owner", "guest"], 2)}
    outer = rng.choice(sorted(inner))
    return pick(rng, level, INNER, inner, inner[outer], outer=outer)


def person_record(rng: random.Random) -> Row:
    """A flat object about somebody."""
    record: Row = {
        "name": rng.choice(NAMES),
        "city": rng.choice(CITIES),
        "job": rng.choice(JOBS),
        "age": rng.randint(18, 80),
        "colour": rng.choice(COLOURS),
    }
    keys = rng.sample(sorted(record), 4)
    return {key: record[key] for key in keys}


def pick(rng: random.Random, level: int, form: Form, whole: Row, part: Row, **fields: object) -> Item:
    """A question for one key of a part of an object."""
    key = rng.choice(sorted(part))
    shown = json.dumps(whole, indent=rng.choice((None, 2)))
    return form.ask(rng, level, part[key], key=key, json=shown, **fields)


def from_people(rng: random.Random) -> Item:
    """A value of one of several people in a list."""
    people = [one._asdict() for one in people_of(rng, 4)]
    person = rng.choice(people)
    key = rng.choice(["city", "job", "pet"])
    shown = json.dumps({"people": people}, indent=rng.choice((None, 2)))
    return IN_LIST.ask(rng, 3, person[key], key=key, name=person["name"], json=shown)
