"""Families about words and lists: ordering, counting, editing, copying."""

import random

from tunesmith.evaluate.retention.port import WORDS, Form, Item, exactly, listed
from tunesmith.evaluate.retention.words import (
    CATEGORIES,
    CITIES,
    LETTERED_WORDS,
    LONG_WORDS,
    MIDDLE_WORDS,
    NAMES,
    SENTENCES,
    SHORT_WORDS,
)

BY_LENGTH = {1: SHORT_WORDS, 2: MIDDLE_WORDS, 3: LONG_WORDS}

ASCENDING = Form(
    "ordering",
    "ascending",
    (
        "Sort these numbers from smallest to largest: {things}. Answer with the sorted list only, "
        "separated by commas.",
        "Put in ascending order: {things}\nWrite only the numbers with commas between them.",
        "Order the numbers {things} so that the lowest comes first. Give just the list, with commas.",
    ),
    WORDS,
)
DESCENDING = Form(
    "ordering",
    "descending",
    (
        "Sort these numbers from largest to smallest: {things}. Answer with the sorted list only, "
        "separated by commas.",
        "Put in descending order: {things}\nWrite only the numbers with commas between them.",
    ),
    WORDS,
)
ALPHABETICAL = Form(
    "ordering",
    "alphabetical",
    (
        "Sort these words alphabetically: {things}. Answer with the sorted list only, separated by commas.",
        "Put in alphabetical order: {things}\nWrite only the words with commas between them.",
    ),
    WORDS,
)
BACKWARDS = Form(
    "ordering",
    "backwards",
    (
        "Write this list in reverse order, the last word first: {things}. "
        "Answer with the list only, separated by commas.",
        "Turn the list around, so that it ends with its first word: {things}\n"
        "Write only the words with commas between them.",
    ),
    WORDS,
)


def ordering(rng: random.Random, level: int) -> Item:
    """Three, four or six numbers or words."""
    size = {1: 3, 2: 4, 3: 6}[level]
    kind = rng.choice((ASCENDING, DESCENDING, ALPHABETICAL, BACKWARDS))
    if kind in (ASCENDING, DESCENDING):
        numbers = rng.sample(range(1, 10 ** (level + 1)), size)
        right = [str(number) for number in sorted(numbers, reverse=kind is DESCENDING)]
        shown = [str(number) for number in numbers]
    else:
        shown = rng.sample(BY_LENGTH[level] + MIDDLE_WORDS * (level == 1), size)
        right = sorted(shown) if kind is ALPHABETICAL else shown[::-1]
    if right == shown:
        return ordering(rng, level)  # a list in order already asks for nothing
    return kind.ask(rng, level, listed(right), things=listed(shown))


ALL = Form(
    "counting",
    "all",
    (
        "How many words are in this list: {things}? Answer with the number only.",
        "Count the entries: {things}\nWrite just the number.",
        "Here is a list: {things}. How long is it? Answer with the number of words only.",
    ),
)
SAME = Form(
    "counting",
    "same",
    (
        'How many times does the word "{word}" occur in this list: {things}? Answer with the number only.',
        'List: {things}\nHow often does "{word}" appear? Write just the number.',
    ),
)
LETTER = Form(
    "counting",
    "letter",
    (
        'How many times does the letter "{letter}" occur in the word "{word}"? Answer with the number only.',
        'Count the letter {letter} in "{word}". Write just the number.',
    ),
)
KIND = Form(
    "counting",
    "kind",
    (
        "How many of these words name {kind}: {things}? Answer with the number only.",
        "List: {things}\nCount the words that name {kind}. Write just the number.",
    ),
)
KINDS = {
    "animal": "an animal",
    "fruit": "a fruit",
    "colour": "a colour",
    "tool": "a tool",
    "vehicle": "a vehicle",
}


def counting(rng: random.Random, level: int) -> Item:
    """Words of a short list; one word among others; letters, or members of a category."""
    if level == 1:
        things = rng.sample(SHORT_WORDS, rng.randint(2, 6))
        return ALL.ask(rng, level, len(things), things=listed(things))
    if level == 2:
        word, *others = rng.sample(SHORT_WORDS, 4)
        times = rng.randint(1, 4)
        things = [word] * times + rng.choices(others, k=rng.randint(3, 6))
        rng.shuffle(things)
        return SAME.ask(rng, level, times, word=word, things=listed(things))
    if rng.random() < 0.5:
        word = rng.choice(LETTERED_WORDS)
        letter = rng.choice(sorted(set(word)))
        return LETTER.ask(rng, level, word.count(letter), letter=letter, word=word)
    return of_a_kind(rng)


def of_a_kind(rng: random.Random) -> Item:
    """How many words of a list belong to a category, the others to two that it cannot be taken for."""
    kind = rng.choice(sorted(KINDS))
    far = rng.sample(["body part", "clothing", "instrument"], 2)
    count = rng.randint(2, 5)
    things = rng.sample(CATEGORIES[kind], count)
    things += rng.sample(CATEGORIES[far[0]], 2) + rng.sample(CATEGORIES[far[1]], rng.randint(1, 3))
    rng.shuffle(things)
    return KIND.ask(rng, 3, count, kind=KINDS[kind], things=listed(things))


REVERSE = Form(
    "editing",
    "reverse",
    (
        'Spell the word "{word}" backwards. Write only the result, as one word.',
        'Reverse the letters of "{word}". Answer with the reversed word only.',
    ),
    WORDS,
)
UPPER = Form(
    "editing",
    "upper",
    (
        'Write "{text}" in capital letters. Answer with the result only.',
        "Change every letter to upper case: {text}\nWrite nothing but the result.",
    ),
)
FIRST = Form(
    "editing",
    "first",
    (
        'What are the first {count} letters of the word "{word}"? Answer with these letters only.',
        'Keep just the first {count} letters of "{word}". Write only what is left.',
    ),
    WORDS,
)
WITHOUT = Form(
    "editing",
    "without",
    (
        'Remove every letter "{letter}" from the word "{word}". Answer with what is left only.',
        'Write the word "{word}" without the letter {letter}. Answer with the result only.',
    ),
    WORDS,
)
REPLACE = Form(
    "editing",
    "replace",
    (
        'Replace the word "{old}" by "{new}" in this sentence: {text}\nWrite only the new sentence.',
        'Sentence: {text}\nWrite it again with "{new}" in the place of "{old}". Answer with the '
        "sentence only.",
    ),
    WORDS,
)
INITIALS = Form(
    "editing",
    "initials",
    (
        "Write the first letter of each word as one word: {text}\nAnswer with these letters only.",
        "Join the first letters of these words without spaces: {text}\nAnswer with the joined letters only.",
    ),
    WORDS,
)
SWAP = Form(
    "editing",
    "swap",
    (
        "Exchange the first and the last word of this sentence: {text}\nWrite only the new sentence.",
        "Sentence: {text}\nLet its first and last word change places. Answer with the sentence only.",
    ),
    WORDS,
)


def editing(rng: random.Random, level: int) -> Item:
    """Single words; letters taken out and words replaced; long words and whole sentences."""
    return rng.choice(EDITS[level])(rng, level)


def reverse(rng: random.Random, level: int) -> Item:
    """A word backwards."""
    word = rng.choice(BY_LENGTH[level])
    return REVERSE.ask(rng, level, word[::-1], word=word)


def upper(rng: random.Random, level: int) -> Item:
    """A word, or at level 2 a sentence, in capitals."""
    text = rng.choice(SENTENCES if level == 2 else SHORT_WORDS + MIDDLE_WORDS)
    return UPPER.scored(exactly(text.upper())).ask(rng, level, text.upper(), text=text)


def first(rng: random.Random, level: int) -> Item:
    """The first letters of a word."""
    word, count = rng.choice(MIDDLE_WORDS), rng.randint(2, 4)
    return FIRST.ask(rng, level, word[:count], word=word, count=count)


def without(rng: random.Random, level: int) -> Item:
    """A word without one of its letters: a short one, or one where it comes several times."""
    word = rng.choice(MIDDLE_WORDS if level == 2 else LETTERED_WORDS)
    often = [letter for letter in sorted(set(word)) if level == 2 or word.count(letter) > 1]
    letter = rng.choice(often)
    return WITHOUT.ask(rng, level, word.replace(letter, ""), word=word, letter=letter)


def replace(rng: random.Random, level: int) -> Item:
    """One word of a sentence by another."""
    words = rng.choice(SENTENCES).split()
    old = rng.choice([word for word in words if words.count(word) == 1 and len(word) > 2])
    new = rng.choice([word for word in LONG_WORDS if word not in words])
    gold = " ".join(new if word == old else word for word in words)
    return REPLACE.ask(rng, level, gold, old=old, new=new, text=" ".join(words))


def initials(rng: random.Random, level: int) -> Item:
    """The first letters of some words."""
    words = rng.sample(SHORT_WORDS + MIDDLE_WORDS, 3 + level)
    return INITIALS.ask(rng, level, "".join(word[0] for word in words), text=" ".join(words))


def swap(rng: random.Random, level: int) -> Item:
    """The first and the last word of a sentence change places."""
    start, *middle, end = rng.choice(SENTENCES).split()
    return SWAP.ask(rng, level, " ".join([end, *middle, start]), text=" ".join([start, *middle, end]))


EDITS = {
    1: (reverse, upper, first),
    2: (reverse, upper, without, replace),
    3: (reverse, without, initials, swap),
}

COPY = Form(
    "copying",
    "copy",
    (
        "Copy this text exactly and write nothing else:\n{text}",
        "Repeat the following word for word, with the same capitals and punctuation, and add "
        "nothing.\n\n{text}",
        "{text}\n\nWrite the text above again, exactly as it stands. Give no comment.",
    ),
)


def copying(rng: random.Random, level: int) -> Item:
    """A code, a sentence with a name and a number, several lines of uneven form."""
    text = {1: code, 2: note, 3: notes}[level](rng)
    return COPY.scored(exactly(text)).ask(rng, level, text, text=text)


def code(rng: random.Random) -> str:
    """Letters and digits without sense."""
    return "-".join("".join(rng.choices("ABCDEFGHJKLMNPQRSTUVWXYZ23456789", k=3)) for _ in range(2))


def note(rng: random.Random) -> str:
    """A sentence that nobody has written before."""
    name, city, number = rng.choice(NAMES), rng.choice(CITIES), rng.randint(2, 999)
    return rng.choice(
        (
            f"{name} paid {number} crowns in {city}; nobody asked why.",
            f"Room {number}, {city}: please wake {name} at six!",
            f"Is {name} still waiting at gate {number} in {city}?",
        )
    )


def notes(rng: random.Random) -> str:
    """Lines with capitals, signs and numbers that a careless copy would mend."""
    word = rng.choice(LONG_WORDS)
    strange = "".join(rng.choice((letter, letter.upper())) for letter in word[:-1]) + word[-1].upper()
    return f"{note(rng)}\n[{code(rng)}] {strange} = {rng.randint(10, 99)}%\n{rng.choice(SENTENCES)}"
