"""The family of questions with lettered choices."""

import random
from collections.abc import Sequence

from tunesmith.evaluate.retention.facts import known
from tunesmith.evaluate.retention.port import Form, Item, a
from tunesmith.evaluate.retention.words import CATEGORIES, LONG_WORDS, MIDDLE_WORDS

ENDS = ("Answer with the letter only.", "Write only the letter of the right answer.")
STYLES = ("{letter}) {choice}", "{letter}. {choice}", "({letter}) {choice}")

QUESTIONS = {
    "member": ("Which of these is {key}?", "Only one of these words names {key}. Which one?"),
    "even": ("Which of these numbers is even?",),
    "capital": ("What is the capital of {key}?", "Which city is the capital of {key}?"),
    "country": ("{key} is the capital of which country?",),
    "colour": ("What is the colour of {key}?",),
    "young": ("What is a young {key} called?",),
    "element": ("For which chemical element does the symbol {key} stand?",),
    "author": ("Who is the author of {key}?",),
    "plural": ('Which is the right plural of "{key}"?',),
    "odd": (
        "Which of these words does not belong with the others?",
        "Four of these belong together. Which one does not?",
    ),
    "first": (
        "Which of these words comes first in the alphabet?",
        "Which of these words would a dictionary list first?",
    ),
}
FORMS = {
    kind: Form("choices", kind, tuple(f"{text}\n{{choices}}\n{end}" for text in texts for end in ENDS))
    for kind, texts in QUESTIONS.items()
}
KINDS = {
    1: ("member", "even", "capital", "colour"),
    2: ("capital", "colour", "young", "element", "plural", "member"),
    3: ("capital", "country", "element", "author", "plural", "odd", "first"),
}


def choices(rng: random.Random, level: int) -> Item:
    """Three, four or five choices."""
    kind, size = rng.choice(KINDS[level]), 2 + level
    drawn = {"member": member, "odd": odd, "even": even, "first": first}
    if kind in drawn:
        key, right, wrong = drawn[kind](rng, size)
    else:
        key, right = rng.choice(sorted(known(kind, level).items()))
        wrong = misspelt(key, right) if kind == "plural" else others(kind, right)
        wrong = rng.sample(wrong, min(size - 1, len(wrong)))
    return lettered(rng, level, FORMS[kind], right, wrong, key)


def lettered(rng: random.Random, level: int, form: Form, right: str, wrong: Sequence[str], key: str) -> Item:
    """The item with its choices in any order; the right answer is a letter."""
    texts = [right, *wrong]
    rng.shuffle(texts)
    style = rng.choice(STYLES)
    letters = "ABCDE"[: len(texts)]
    shown = "\n".join(
        style.format(letter=letter, choice=text) for letter, text in zip(letters, texts, strict=True)
    )
    scorer = {"type": "choice", "choices": texts}
    return form.scored(scorer).ask(rng, level, letters[texts.index(right)], key=key, choices=shown)


def others(kind: str, right: str) -> list[str]:
    """All other answers to questions of this kind."""
    every = {answer for level in (1, 2, 3) for answer in known(kind, level).values()}
    return sorted(every - {right})


def misspelt(word: str, plural: str) -> list[str]:
    """Plurals that are none."""
    found = {f"{word}es", f"{plural}s", f"{word}en", f"{plural}es"}
    if not word.endswith("on"):
        found.add(f"{word}s")  # some dictionaries list criterions and phenomenons
    return sorted(found - {plural})


def member(rng: random.Random, size: int) -> tuple[str, str, list[str]]:
    """One word of a category among words of others."""
    kind, *far = rng.sample(sorted(CATEGORIES), size)
    # "a clothing" is no English
    name = kind if kind == "clothing" else a(kind)
    return name, rng.choice(CATEGORIES[kind]), [rng.choice(CATEGORIES[other]) for other in far]


def odd(rng: random.Random, size: int) -> tuple[str, str, list[str]]:
    """One word of another category."""
    kind, other = rng.sample(sorted(CATEGORIES), 2)
    return "", rng.choice(CATEGORIES[other]), rng.sample(CATEGORIES[kind], size - 1)


def even(rng: random.Random, size: int) -> tuple[str, str, list[str]]:
    """One even number."""
    return "", str(rng.randrange(10, 100, 2)), [str(odd) for odd in rng.sample(range(11, 100, 2), size - 1)]


def first(rng: random.Random, size: int) -> tuple[str, str, list[str]]:
    """The word with the smallest spelling."""
    right, *wrong = sorted(rng.sample(MIDDLE_WORDS + LONG_WORDS, size))
    return "", right, wrong
