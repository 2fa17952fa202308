"""The pack: items of every family, the same for the same seed, no two alike."""

import random
from collections.abc import Mapping, Sequence

from tunesmith.core.errors import ConfigError, nearest
from tunesmith.evaluate.retention.choices import choices
from tunesmith.evaluate.retention.dates import dates
from tunesmith.evaluate.retention.facts import facts
from tunesmith.evaluate.retention.formats import formats
from tunesmith.evaluate.retention.numbers import arithmetic, comparing, sequences, units
from tunesmith.evaluate.retention.port import Family, Item
from tunesmith.evaluate.retention.reading import passages, picking, tables
from tunesmith.evaluate.retention.reasoning import logic, patterns
from tunesmith.evaluate.retention.texts import copying, counting, editing, ordering

LEVELS = 3
MOST_DRAWS = 2000
"""After so many draws without a new prompt there is none left worth looking for."""

FAMILIES: Mapping[str, Family] = {
    family.name: family
    for family in (
        Family(
            "arithmetic", "Sums, products and quotients of whole numbers, bare or in a story.", arithmetic
        ),
        Family("comparing", "Which number is the larger or the smaller.", comparing),
        Family("ordering", "Numbers and words in a given order.", ordering),
        Family(
            "counting", "How many things, repeats, letters or members of a category a list has.", counting
        ),
        Family("editing", "Words and sentences changed letter by letter or word by word.", editing),
        Family("copying", "A text repeated to the letter.", copying),
        Family("tables", "Questions about a Markdown table.", tables),
        Family("passages", "Questions about a short text on made-up people.", passages),
        Family("json", "Values picked out of a JSON object.", picking),
        Family("facts", "Capitals, opposites, plurals, colours and other things that school teaches.", facts),
        Family("dates", "Weekdays, months, dates and times.", dates),
        Family("units", "Amounts converted from one unit to another.", units),
        Family("sequences", "The next or the missing part of a sequence.", sequences),
        Family("patterns", "A rule or a classification learnt from examples in the prompt.", patterns),
        Family("logic", "What follows from a few statements.", logic),
        Family("choices", "Questions answered by the letter of a choice.", choices),
        Family("formats", "Instructions on the form of an answer that a program can check.", formats),
    )
}


def pack(seed: int = 0, per_family: int = 20, families: Sequence[str] | None = None) -> list[Item]:
    """`per_family` items of each of the families (None: all), levels 1, 2, 3 in turn, no prompt twice.

    A family's items depend on the seed alone: asking for more, or for other families, changes none of them.
    Raises ConfigError for a family that is not known, or that has not so many different items.
    """
    found: list[Item] = []
    for name in dict.fromkeys(FAMILIES if families is None else families):
        if name not in FAMILIES:
            step = nearest(name, FAMILIES)
            raise ConfigError("unknown family of the retention pack", value=name, next_step=step)
        found += items_of(FAMILIES[name], seed, per_family)
    return found


def items_of(family: Family, seed: int, count: int) -> list[Item]:
    """The first `count` items of a family."""
    found: dict[str, Item] = {}
    for index in range(count):
        rng = random.Random(f"{seed}/{family.name}/{index}")
        for _ in range(MOST_DRAWS):
            item = family.make(rng, index % LEVELS + 1)
            if item.prompt not in found:
                break
        else:
            step = f"ask for at most {index} items of a family"
            raise ConfigError(
                "no more different items", value=family.name, where="per_family", next_step=step
            )
        found[item.prompt] = item
    return list(found.values())
