"""Families about numbers: arithmetic, comparing, sequences, units."""

import random
from decimal import Decimal

from tunesmith.evaluate.retention.port import WORDS, Form, Item
from tunesmith.evaluate.retention.words import NAMES, THINGS, WEEKDAYS

ONLY = "Answer with the number only."

PLUS = Form(
    "arithmetic",
    "plus",
    (
        f"What is {{x}} + {{y}}? {ONLY}",
        f"Add {{x}} and {{y}}. {ONLY}",
        "Work out the sum of {x} and {y}. Write just the number.",
        "Calculate: {x} + {y} =\nGive only the result.",
    ),
)
MINUS = Form(
    "arithmetic",
    "minus",
    (
        f"What is {{x}} - {{y}}? {ONLY}",
        f"What is left if you take {{y}} away from {{x}}? {ONLY}",
        "Calculate: {x} - {y} =\nGive only the result.",
    ),
)
TIMES = Form(
    "arithmetic",
    "times",
    (
        f"What is {{x}} times {{y}}? {ONLY}",
        f"Multiply {{x}} by {{y}}. {ONLY}",
        "Calculate: {x} * {y} =\nGive only the result.",
    ),
)
DIVIDED = Form(
    "arithmetic",
    "divided",
    (
        f"What is {{x}} divided by {{y}}? {ONLY}",
        f"{{x}} things are shared equally among {{y}} people. How many does each person get? {ONLY}",
    ),
)
BOUGHT = Form(
    "arithmetic",
    "bought",
    (
        f"{{name}} has {{x}} {{things}} and buys {{y}} more. How many {{things}} does {{name}} have "
        f"now? {ONLY}",
        f"There are {{x}} {{things}} in a box. {{name}} puts in another {{y}}. "
        f"How many {{things}} are in the box? {ONLY}",
    ),
)
GIVEN = Form(
    "arithmetic",
    "given",
    (
        f"{{name}} had {{x}} {{things}} and gave away {{y}}. How many {{things}} are left? {ONLY}",
        f"From {{x}} {{things}} {{name}} sold {{y}}. How many {{things}} remain? {ONLY}",
    ),
)
TWO_STEPS = Form(
    "arithmetic",
    "two-steps",
    (
        f"What is {{formula}}? {ONLY}",
        "Calculate {formula}. Write just the number.",
        f"Work out the value of {{formula}}. {ONLY}",
    ),
)
BOXES = Form(
    "arithmetic",
    "boxes",
    (
        f"{{name}} buys {{x}} boxes with {{y}} {{things}} in each and gives {{z}} {{things}} away. "
        f"How many {{things}} are left? {ONLY}",
        f"{{x}} children bring {{y}} {{things}} each, but {{z}} {{things}} get lost. "
        f"How many {{things}} do they still have? {ONLY}",
    ),
)


def arithmetic(rng: random.Random, level: int) -> Item:
    """Sums by level: up to 20, up to 500 with products, two steps."""
    if level == 3:
        return rng.choice((formula, boxes))(rng)
    if level == 2 and rng.random() < 0.5:
        return product(rng)
    low, high = (2, 20) if level == 1 else (30, 500)
    x, y = rng.randint(low, high), rng.randint(low, high)
    fields = {"name": rng.choice(NAMES), "things": rng.choice(THINGS)}
    if rng.random() < 0.5:
        return rng.choice((PLUS, PLUS, BOUGHT)).ask(rng, level, x + y, x=x, y=y, **fields)
    return rng.choice((MINUS, MINUS, GIVEN)).ask(rng, level, x, x=x + y, y=y, **fields)


def product(rng: random.Random) -> Item:
    """Two digits times one, or such a product divided."""
    x, y = rng.randint(11, 60), rng.randint(3, 9)
    if rng.random() < 0.6:
        return TIMES.ask(rng, 2, x * y, x=x, y=y)
    return DIVIDED.ask(rng, 2, x, x=x * y, y=y)


def formula(rng: random.Random) -> Item:
    """Two operations, one of them a product."""
    x, y, z = rng.randint(6, 25), rng.randint(3, 12), rng.randint(5, 60)
    shown, value = rng.choice(
        (
            (f"{x} * {y} + {z}", x * y + z),
            (f"{x * y + z} - {x} * {y}", z),
            (f"({x} + {z}) * {y}", (x + z) * y),
            (f"{x} * {y} - {min(z, x * y - 1)}", x * y - min(z, x * y - 1)),
        )
    )
    return TWO_STEPS.ask(rng, 3, value, formula=shown)


def boxes(rng: random.Random) -> Item:
    """A product and a difference in words."""
    x, y = rng.randint(3, 12), rng.randint(4, 25)
    z = rng.randint(2, x * y - 2)
    fields = {"name": rng.choice(NAMES), "things": rng.choice(THINGS)}
    return BOXES.ask(rng, 3, x * y - z, x=x, y=y, z=z, **fields)


LARGER = Form(
    "comparing",
    "larger",
    (
        f"Which number is larger, {{x}} or {{y}}? {ONLY}",
        "Of {x} and {y}, write only the greater number.",
        f"Here are two numbers: {{x}} and {{y}}. Which one is bigger? {ONLY}",
    ),
)
SMALLER = Form(
    "comparing",
    "smaller",
    (
        f"Which number is smaller, {{x}} or {{y}}? {ONLY}",
        "Of {x} and {y}, write only the lesser number.",
    ),
)
LARGEST = Form(
    "comparing",
    "largest",
    (
        f"Which of these numbers is the largest: {{numbers}}? {ONLY}",
        "Find the highest of {numbers}. Write just it.",
    ),
)
SMALLEST = Form(
    "comparing",
    "smallest",
    (
        f"Which of these numbers is the smallest: {{numbers}}? {ONLY}",
        "Find the lowest of {numbers}. Write just it.",
    ),
)
GREATER = Form(
    "comparing",
    "greater",
    (
        "Is {x} greater than {y}? Answer with yes or no only.",
        "True or false? {x} > {y}. Answer with one word.",
    ),
    WORDS,
)


def comparing(rng: random.Random, level: int) -> Item:
    """Numbers of unlike length, of like length, and below zero or with decimals."""
    kind = rng.choice((LARGER, SMALLER, LARGEST, SMALLEST, GREATER))
    if kind in (LARGEST, SMALLEST):
        numbers = unlike(rng, level, 2 + level)
        gold = max(numbers) if kind is LARGEST else min(numbers)
        shown = "; ".join(map(str, numbers))  # a comma would look like part of a number
        return kind.ask(rng, level, gold, numbers=shown)
    x, y = unlike(rng, level, 2)
    if kind is GREATER:
        asked = GREATER.ask(rng, level, "yes" if x > y else "no", x=x, y=y)
        words = {"yes": "true", "no": "false"}
        return asked._replace(gold=words[asked.gold]) if asked.prompt.startswith("True") else asked
    return kind.ask(rng, level, max(x, y) if kind is LARGER else min(x, y), x=x, y=y)


def unlike(rng: random.Random, level: int, count: int) -> list[Decimal]:
    """So many different numbers: up to 99, of one hundred, or below zero or with one or two decimals."""
    if level == 1:
        return [Decimal(number) for number in rng.sample(range(1, 100), count)]
    if level == 2:
        hundred = 100 * rng.randint(1, 9)
        return [Decimal(hundred + number) for number in rng.sample(range(100), count)]
    if rng.random() < 0.4:
        return [Decimal(-number) for number in rng.sample(range(2, 60), count)]
    whole = rng.randint(1, 20)
    tails = rng.sample([str(tail) for tail in range(1, 60) if tail % 10], count)
    numbers = [Decimal(f"{whole}.{tail}") for tail in tails]
    return numbers if len(set(numbers)) == count else unlike(rng, level, count)


NEXT = Form(
    "sequences",
    "next",
    (
        f"What number comes next: {{terms}}, ...? {ONLY}",
        f"Continue the sequence with one number: {{terms}}, ... {ONLY}",
        "Each list of numbers follows a simple rule. Write only the next number.\n{terms}, ?",
    ),
)
MISSING = Form(
    "sequences",
    "missing",
    (
        f"Which number is missing: {{terms}}? {ONLY}",
        f"Fill the gap in this sequence: {{terms}}. {ONLY}",
    ),
)
LETTERS = Form(
    "sequences",
    "letters",
    (
        "Which letter comes next: {terms}, ...? Answer with one letter.",
        "Continue with one letter: {terms}, ...\nWrite only the letter.",
    ),
    WORDS,
)
CYCLE = Form(
    "sequences",
    "cycle",
    (
        "Which word comes next: {terms}, ...? Answer with one word.",
        "Continue the pattern with one word: {terms}, ...\nWrite only the word.",
    ),
    WORDS,
)


def sequences(rng: random.Random, level: int) -> Item:
    """Equal steps; steps down, doubling, letters and cycles; growing steps and sums."""
    if level == 2 and rng.random() < 0.5:
        return rng.choice((letters, cycle))(rng)
    if level == 3 and rng.random() < 0.3:
        start, step = rng.randint(1, 90), rng.randint(2, 15)
        terms = [start + step * place for place in range(7)]
        hole = rng.randint(2, 5)
        shown = ", ".join("?" if place == hole else str(term) for place, term in enumerate(terms))
        return MISSING.ask(rng, level, terms[hole], terms=shown)
    *terms, gold = rng.choice(NUMBER_RULES[level])(rng)
    return NEXT.ask(rng, level, gold, terms=", ".join(map(str, terms)))


def rising(rng: random.Random) -> list[int]:
    """Equal steps up."""
    start, step = rng.randint(1, 30), rng.randint(1, 10)
    return [start + step * place for place in range(6)]


def falling(rng: random.Random) -> list[int]:
    """Equal steps down, above zero."""
    step = rng.randint(2, 12)
    end = rng.randint(1, 60)
    return [end + step * place for place in range(5, -1, -1)]


def doubling(rng: random.Random) -> list[int]:
    """Each twice the one before."""
    start = rng.randint(1, 15)
    return [start * 2**place for place in range(6)]


def growing(rng: random.Random) -> list[int]:
    """Steps that grow by one each time."""
    terms, step = [rng.randint(1, 40)], rng.randint(1, 6)
    for more in range(6):
        terms.append(terms[-1] + step + more)
    return terms


def adding(rng: random.Random) -> list[int]:
    """Each the sum of the two before."""
    first = rng.randint(1, 9)
    terms = [first, first + rng.randint(1, 9)]
    while len(terms) < 7:
        terms.append(terms[-1] + terms[-2])
    return terms


NUMBER_RULES = {1: (rising,), 2: (falling, doubling), 3: (growing, adding)}


def letters(rng: random.Random) -> Item:
    """Letters of the alphabet in equal steps."""
    step = rng.randint(1, 4)
    start = rng.randint(0, 25 - 5 * step)
    *terms, gold = [chr(ord("A") + start + step * place) for place in range(6)]
    return LETTERS.ask(rng, 2, gold, terms=", ".join(terms))


def cycle(rng: random.Random) -> Item:
    """Words or days that come round again."""
    words = rng.sample([*WEEKDAYS, "left", "right", "up", "down", "in", "out"], rng.randint(2, 3))
    length = 2 * len(words) + rng.randrange(len(words))
    return CYCLE.ask(
        rng,
        2,
        words[length % len(words)],
        terms=", ".join(words[place % len(words)] for place in range(length)),
    )


CONVERT = Form(
    "units",
    "convert",
    (
        f"How many {{small}} are {{amount}} {{large}}? {ONLY}",
        f"Convert {{amount}} {{large}} to {{small}}. {ONLY}",
        f"{{amount}} {{large}} = ? {{small}}\n{ONLY}",
    ),
)
BACK = Form(
    "units",
    "back",
    (
        f"How many {{large}} are {{amount}} {{small}}? {ONLY}",
        f"Convert {{amount}} {{small}} to {{large}}. {ONLY}",
    ),
)
MIXED = Form(
    "units",
    "mixed",
    (
        f"How many {{small}} are {{amount}} {{large}} and {{rest}} {{small}} together? {ONLY}",
        f"Something takes up {{amount}} {{large}} plus {{rest}} {{small}}. How many {{small}} is "
        f"that? {ONLY}",
    ),
)
UNITS = {
    1: (("metres", "centimetres", 100), ("kilograms", "grams", 1000), ("kilometres", "metres", 1000),
        ("hours", "minutes", 60), ("centimetres", "millimetres", 10), ("litres", "millilitres", 1000)),
    2: (("minutes", "seconds", 60), ("days", "hours", 24), ("weeks", "days", 7), ("dozens", "pieces", 12),
        ("years", "months", 12), ("tonnes", "kilograms", 1000), ("yards", "feet", 3), ("feet", "inches", 12)),
}  # fmt: skip


def units(rng: random.Random, level: int) -> Item:
    """Small whole amounts; less round units; decimals, back again, or two units together."""
    if level < 3:
        large, small, factor = rng.choice(UNITS[level])
        amount = rng.randint(2, 12 * level)
        return CONVERT.ask(rng, level, amount * factor, amount=amount, large=large, small=small)
    large, small, factor = rng.choice(UNITS[1] + UNITS[2])
    form = rng.choice((BACK, MIXED))
    if form is MIXED:
        amount, rest = rng.randint(2, 9), rng.randint(1, factor - 1)
        return MIXED.ask(rng, 3, amount * factor + rest, amount=amount, rest=rest, large=large, small=small)
    # quarters of round units, whole numbers of the others: the answer has few decimals
    quarters = Decimal(rng.randint(5, 60)) / (4 if factor % 100 == 0 else 1)
    shown = f"{(quarters * factor).normalize():f}"
    return BACK.ask(rng, 3, f"{quarters:f}", amount=shown, large=large, small=small)
