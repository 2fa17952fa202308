"""Families about simple reasoning: logic, and completing a pattern from examples."""

import random
from collections.abc import Callable
from itertools import pairwise

from tunesmith.evaluate.retention.facts import FACTS
from tunesmith.evaluate.retention.port import NUMBER, WORDS, Form, Item, a
from tunesmith.evaluate.retention.words import (
    BLAME,
    CATEGORIES,
    MIDDLE_WORDS,
    NAMES,
    NONSENSE,
    PRAISE,
    REVIEWED,
    SHORT_WORDS,
)

MEMBER = Form(
    "logic",
    "member",
    (
        "{facts} Is {name} {thing}? Answer with yes or no only.",
        "{facts} Must {name} then be {thing}? Answer yes or no.",
        "Suppose this is true: {facts}\nDoes it follow that {name} is {thing}? Answer with one word, "
        "yes or no.",
    ),
    WORDS,
)
FOLLOWS = Form(
    "logic",
    "follows",
    (
        "{facts} Does it follow that {name} is {thing}? Answer with yes or no only.",
        "{facts} From this alone, can we be sure that {name} is {thing}? Answer yes or no.",
    ),
    WORDS,
)
MOST = Form(
    "logic",
    "most",
    (
        "{facts} Who is the {most}? Answer with the name only.",
        "{facts}\nWhich of them is the {most}? Write only the name.",
    ),
    WORDS,
)
TRUTH = Form(
    "logic",
    "truth",
    (
        "What is the value of this logical expression: {formula}? Answer with True or False.",
        "Evaluate: {formula}\nWrite only True or False.",
    ),
    WORDS,
)
COMPARED = {
    "taller": ("tallest", "shortest"),
    "older": ("oldest", "youngest"),
    "faster": ("fastest", "slowest"),
    "richer": ("richest", "poorest"),
}


def logic(rng: random.Random, level: int) -> Item:
    """Kinds of kinds, who is the tallest, and/or/not: one step, two, three or a false conclusion."""
    return rng.choice((member, most, truth))(rng, level)


def member(rng: random.Random, level: int) -> Item:
    """All A are B, x is an A: is x a B?  Half of the answers are no: nothing of the last kind is one."""
    name, kinds = rng.choice(NAMES), rng.sample(NONSENSE, level + 1)
    links = list(pairwise(kinds))
    facts = [f"All {one}s are {other}s." for one, other in links]
    if level == 3 and rng.random() < 0.4:
        facts = [*facts[:2], f"{name} is {a(kinds[2])}."]
        return FOLLOWS.ask(rng, level, "no", facts=" ".join(facts), name=name, thing=a(kinds[0]))
    gold = rng.choice(("yes", "no")) if level < 3 else rng.choices(("yes", "no"), (5, 1))[0]
    if gold == "no":
        facts[-1] = "No {}s are {}s.".format(*links[-1])
    facts.append(f"{name} is {a(kinds[0])}.")
    return MEMBER.ask(rng, level, gold, facts=" ".join(facts), name=name, thing=a(kinds[-1]))


def most(rng: random.Random, level: int) -> Item:
    """Who stands first or last of an order that is told pair by pair."""
    word = rng.choice(sorted(COMPARED))
    people = rng.sample(NAMES, level + 1)
    pairs = list(pairwise(people))
    rng.shuffle(pairs)
    place = rng.randrange(2)
    facts = " ".join(f"{one} is {word} than {other}." for one, other in pairs)
    return MOST.ask(
        rng, level, people[0] if place == 0 else people[-1], facts=facts, most=COMPARED[word][place]
    )


def truth(rng: random.Random, level: int) -> Item:
    """And, or, not: with one, two or three operators beside the nots."""
    gold = rng.random() < 0.5
    for _ in range(100):
        shown, value = expression(rng, level)
        if value == gold:
            break
    return TRUTH.ask(rng, level, value, formula=shown)


def expression(rng: random.Random, depth: int) -> tuple[str, bool]:
    """A fully bracketed expression and its value."""
    if depth == 0:
        value = rng.random() < 0.5
        return (str(value), value) if rng.random() < 0.6 else (f"not {not value}", value)
    left, one = expression(rng, depth - 1)
    right, other = expression(rng, 0)
    left = f"({left})" if depth > 1 else left
    if rng.random() < 0.5:
        return f"{left} and {right}", one and other
    return f"{left} or {right}", one or other


Pairs = list[tuple[str, str]]

CONTINUE = Form(
    "patterns",
    "continue",
    (
        "Complete the last line in the same way. Write only what is missing.\n\n{lines}",
        "Follow the pattern of these examples. Answer with the missing part only.\n\n{lines}",
        "{lines}\n\nWhat belongs at the end of the last line? Write nothing else.",
    ),
    WORDS,
)
ARROWS = (" -> ", ": ", " => ")


def patterns(rng: random.Random, level: int) -> Item:
    """Names of categories and changed words; feelings and last letters; labels without a meaning."""
    kind = rng.choice(PATTERNS[level])
    *shown, (last, gold) = kind(rng)
    arrow = rng.choice(ARROWS)
    lines = [f"{one}{arrow}{other}" for one, other in shown] + [f"{last}{arrow}".rstrip()]
    name = kind.__name__.replace("_", "-")
    form = Form(CONTINUE.family, name, CONTINUE.wordings, NUMBER if gold.isdecimal() else WORDS)
    return form.ask(rng, level, gold, lines="\n".join(lines))


def labelled(rng: random.Random, groups: dict[str, list[str]], each: int) -> Pairs:
    """`each` members of each group with its label, mixed, and one more."""
    drawn = {label: rng.sample(members, each + 1) for label, members in groups.items()}
    pairs = [(one, label) for label, members in drawn.items() for one in members[:each]]
    rng.shuffle(pairs)
    label = rng.choice(sorted(groups))
    return [*pairs, (drawn[label][each], label)]


def categories(rng: random.Random) -> Pairs:
    """Words and the names of their categories."""
    names = rng.sample(sorted(CATEGORIES), 2)
    return labelled(rng, {name: CATEGORIES[name] for name in names}, 3)


def plurals(rng: random.Random) -> Pairs:
    """Words and their regular plurals."""
    words = [word for word in rng.sample(SHORT_WORDS + MIDDLE_WORDS, 12) if word[-1] not in "sxhf"]
    return [(word, f"{word}s") for word in words[:5]]


def opposites(rng: random.Random) -> Pairs:
    """Words and their opposites."""
    return rng.sample(sorted((FACTS["opposite"][1] | FACTS["opposite"][2]).items()), 5)


def feelings(rng: random.Random) -> Pairs:
    """Short reviews, positive or negative."""
    groups = {
        label: [
            f"The {thing} was {word}."
            for thing, word in zip(rng.sample(REVIEWED, 4), rng.sample(words, 4), strict=True)
        ]
        for label, words in (("positive", PRAISE), ("negative", BLAME))
    }
    return labelled(rng, groups, 3)


def last_letters(rng: random.Random) -> Pairs:
    """Words and their last letters, all of them different."""
    last = {word[-1]: word for word in rng.sample(MIDDLE_WORDS, len(MIDDLE_WORDS))}
    return [(last[letter], letter) for letter in rng.sample(sorted(last), 5)]


def doubles(rng: random.Random) -> Pairs:
    """Numbers and their doubles."""
    return [(str(number), str(2 * number)) for number in rng.sample(range(3, 50), 5)]


def labels(rng: random.Random) -> Pairs:
    """Categories with labels that mean nothing."""
    names, marks = rng.sample(sorted(CATEGORIES), 2), rng.sample(NONSENSE, 2)
    return labelled(rng, {mark: CATEGORIES[name] for mark, name in zip(marks, names, strict=True)}, 4)


def three_labels(rng: random.Random) -> Pairs:
    """Three categories under letters."""
    names = rng.sample(sorted(CATEGORIES), 3)
    return labelled(rng, {mark: CATEGORIES[name] for mark, name in zip("XYZ", names, strict=True)}, 3)


def backwards(rng: random.Random) -> Pairs:
    """Short words and the same backwards."""
    return [(word, word[::-1]) for word in rng.sample([word for word in SHORT_WORDS if len(word) == 3], 5)]


def parity(rng: random.Random) -> Pairs:
    """Even and odd numbers under two labels, neither of which has the smaller numbers."""
    marks = rng.sample(NONSENSE, 2)
    while True:
        sides = [rng.sample(range(start, 100, 2), 5) for start in (10, 11)]
        seen = [side[:4] for side in sides]
        if min(seen[0]) < min(seen[1]) < max(seen[0]) < max(seen[1]):
            break
    pairs = [(str(number), mark) for side, mark in zip(seen, marks, strict=True) for number in side]
    rng.shuffle(pairs)
    asked = rng.randrange(2)
    return [*pairs, (str(sides[asked][4]), marks[asked])]


PATTERNS: dict[int, tuple[Callable[[random.Random], Pairs], ...]] = {
    1: (categories, plurals, doubles),
    2: (opposites, feelings, last_letters, labels),
    3: (three_labels, backwards, parity),
}
