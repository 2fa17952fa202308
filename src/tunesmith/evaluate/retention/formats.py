"""The family about following a format: one to three demands that `rules` can check, and an answer to them.

A shape says what an answer looks like as a whole; extras are demands on its words.  The right answers are
plain sentences about the topic, put into the shape.
"""

import json
import random
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from tunesmith.evaluate.retention.port import Form, Item
from tunesmith.evaluate.retention.words import split

FAMILY = "formats"
TASKS = (
    "Write something about {topic}. {demands}",
    "Tell me about {topic}. {demands}",
    "Describe {topic} for a child. {demands}",
    "{demands} The topic is {topic}.",
    "Your topic: {topic}. {demands}",
)
TOPICS = (
    "the sea", "fresh bread", "bicycles", "cats", "rain", "school", "old trains", "football", "the moon",
    "coffee", "birthdays", "libraries", "bees", "volcanoes", "painting", "cooking", "forests", "snow",
)  # fmt: skip
FRAMES = (
    "Many people like to talk about {topic}",
    "There is a lot to learn about {topic}",
    "Some old stories tell us about {topic}",
    "A child may ask hard questions about {topic}",
    "Every year somebody writes a book about {topic}",
    "My friend knows many things about {topic}",
    "Not all that we hear about {topic} is true",
    "Few people think about {topic} every day",
    "A short talk about {topic} can be fun",
    "Nobody knows everything about {topic}",
)
KEYWORDS = split("river lamp winter garden bridge letter mountain window harbour candle blanket engine")
AVOIDED = split("very good nice great because important beautiful wonderful")

Write = Callable[[int], list[str]]
"""So many sentences about the topic."""


class Demand(NamedTuple):
    """What is asked for, and the rule that checks it."""

    phrase: str
    rule: Mapping[str, Any]


def demand(phrase: str, rule: str, **arguments: object) -> Demand:
    """A demand with its rule's arguments."""
    return Demand(phrase, {"rule": rule, **arguments})


class Shaped(NamedTuple):
    """Demands on the whole answer, and one that meets them."""

    demands: Sequence[Demand]
    answer: str


class Extra(NamedTuple):
    """A demand on the words: what goes into the first sentence for it, and what is done to the "
    "whole answer.
    """

    demand: Demand
    inside: str = ""
    change: Callable[[str], str] = str


Shape = Callable[[random.Random, Write], Shaped]


def some_sentences(rng: random.Random, write: Write) -> Shaped:
    """A number of sentences."""
    count = rng.randint(2, 5)
    phrase = rng.choice((f"Write exactly {count} sentences.", f"Your answer must have {count} sentences."))
    return Shaped([demand(phrase, "sentences", count=count)], " ".join(write(count)))


def some_lines(rng: random.Random, write: Write) -> Shaped:
    """A number of lines."""
    count = rng.randint(2, 5)
    return Shaped([demand(f"Write exactly {count} lines.", "lines", count=count)], "\n".join(write(count)))


def some_paragraphs(rng: random.Random, write: Write) -> Shaped:
    """A number of paragraphs."""
    count = rng.randint(2, 4)
    phrase = f"Write exactly {count} paragraphs with a blank line between them."
    return Shaped([demand(phrase, "paragraphs", count=count)], "\n\n".join(write(count)))


def some_bullets(rng: random.Random, write: Write) -> Shaped:
    """A list with bullets."""
    count = rng.randint(2, 6)
    phrase = rng.choice(
        (
            f'Give exactly {count} bullet points, each starting with "- ".',
            f"Make a list of {count} bullets (- ...).",
        )
    )
    return Shaped([demand(phrase, "bullets", count=count)], "\n".join(f"- {line}" for line in write(count)))


def some_numbers(rng: random.Random, write: Write) -> Shaped:
    """A numbered list."""
    count = rng.randint(2, 6)
    phrase = f"Write a numbered list from 1 to {count}, one entry a line (1. ...)."
    lines = [f"{number}. {line}" for number, line in enumerate(write(count), 1)]
    return Shaped([demand(phrase, "numbered", count=count)], "\n".join(lines))


def long_answer(rng: random.Random, write: Write) -> Shaped:
    """No fewer words than a number."""
    words = rng.randrange(15, 40, 5)
    phrase = rng.choice((f"Use at least {words} words.", f"Write no fewer than {words} words."))
    return Shaped([demand(phrase, "at_least_words", words=words)], " ".join(write(8)))


def bounded_answer(rng: random.Random, write: Write) -> Shaped:
    """A number of words between two bounds."""
    low = rng.randrange(5, 15)
    asked = [
        demand(f"Use at least {low} words", "at_least_words", words=low),
        demand(f"and at most {low + 25} words.", "at_most_words", words=low + 25),
    ]
    return Shaped(asked, " ".join(write(3 if low > 9 else 2)))


def opened(rng: random.Random, write: Write) -> Shaped:
    """Given first words."""
    start = rng.choice(
        ("To be honest", "Once upon a time", "Here is what I know", "Good morning", "In short")
    )
    phrase = f'Begin your answer with the words "{start}".'
    return Shaped([demand(phrase, "starts_with", start=start)], f"{start}: {' '.join(write(2))}")


def closed(rng: random.Random, write: Write) -> Shaped:
    """Given last words."""
    end = rng.choice(("That is all", "Ask me for more", "Thank you for reading", "See you soon", "The end"))
    phrase = f'End your answer with the words "{end}".'
    return Shaped([demand(phrase, "ends_with", end=end)], f"{' '.join(write(2))} {end}.")


def titled(_rng: random.Random, write: Write) -> Shaped:
    """A title."""
    phrase = "Give it a title in double angle brackets, such as <<my title>>."
    return Shaped([demand(phrase, "title")], f"<<A few words>>\n{' '.join(write(2))}")


def quoted(rng: random.Random, write: Write) -> Shaped:
    """Double quotation marks around everything."""
    phrase = rng.choice(
        ("Wrap your whole answer in double quotes.", 'Put your whole answer between " and ".')
    )
    return Shaped([demand(phrase, "double_quotes")], f'"{" ".join(write(2))}"')


def with_postscript(_rng: random.Random, write: Write) -> Shaped:
    """A postscript."""
    *body, last = write(3)
    phrase = "Add a postscript at the end, on a line that starts with P.S."
    return Shaped([demand(phrase, "postscript")], f"{' '.join(body)}\nP.S. {last}")


def in_parts(rng: random.Random, write: Write) -> Shaped:
    """Parts with asterisks between them."""
    count = rng.randint(2, 3)
    phrase = f"Write {count} parts and put *** between them, nowhere else."
    return Shaped([demand(phrase, "parts", count=count)], "\n***\n".join(write(count)))


def with_highlights(rng: random.Random, write: Write) -> Shaped:
    """Passages between asterisks."""
    count = rng.randint(1, 3)
    phrase = f"Highlight at least {count} passage{'s' * (count > 1)} with asterisks, like *this*."
    return Shaped([demand(phrase, "highlights", count=count)], " ".join(f"*{line}*" for line in write(count)))


def with_placeholders(rng: random.Random, write: Write) -> Shaped:
    """Places to fill in."""
    count = rng.randint(1, 3)
    phrase = (
        f"Leave at least {count} place{'s' * (count > 1)} to fill in, each in square brackets, like [name]."
    )
    first, *_ = write(1)
    places = " and ".join(("[name]", "[town]", "[day]")[:count])
    return Shaped([demand(phrase, "placeholders", count=count)], f"{first} Ask {places}.")


def as_json(rng: random.Random, write: Write) -> Shaped:
    """A JSON object with given keys."""
    keys = rng.sample(["summary", "question", "reason", "example", "advice"], rng.randint(2, 3))
    named = ", ".join(f'"{key}"' for key in keys)
    phrase = f"Answer with nothing but a JSON object with the keys {named}."
    answer = json.dumps(dict(zip(keys, write(len(keys)), strict=True)))
    return Shaped([demand(phrase, "json_object", keys=keys)], answer)


def repeated(rng: random.Random, write: Write) -> Shaped:
    """The request again, then the answer."""
    request = rng.choice(
        (
            "What do you think of this topic?",
            "Why do people talk about it?",
            "What is there to know about it?",
        )
    )
    phrase = f'First repeat this question word for word, then answer it: "{request}" Do not write the quotes.'
    return Shaped([demand(phrase, "repeats", request=request)], f"{request} {write(1)[0]}")


def one_phrase(rng: random.Random, _write: Write) -> Shaped:
    """One of some phrases."""
    answers = rng.choice(
        (
            ["My answer is yes.", "My answer is no.", "My answer is maybe."],
            ["I like it.", "I do not like it.", "I cannot say."],
        )
    )
    named = " or ".join(f'"{answer}"' for answer in answers)
    phrase = f"Do you like this topic? Answer with exactly one of these: {named}."
    return Shaped([demand(phrase, "one_of", answers=answers)], rng.choice(answers))


def loud_word(rng: random.Random, _write: Write) -> Shaped:
    """Yes or no, in capitals."""
    asked = [
        demand(
            "Do you know anything about this topic? Answer only yes or no,", "one_of", answers=["yes", "no"]
        ),
        demand("and write your answer in capital letters.", "capitals"),
    ]
    return Shaped(asked, rng.choice(("YES", "NO")))


WORDS, CASE, SIGNS = "words", "case", "signs"


def extra(rng: random.Random, group: str) -> Extra:
    """One of a group of demands on the words."""
    return rng.choice(EXTRAS[group])(rng)


def with_word(rng: random.Random) -> Extra:
    """A word that has to be there."""
    word = rng.choice(KEYWORDS)
    return Extra(demand(f'Use the word "{word}".', "mentions", word=word), f" near the {word}")


def with_word_times(rng: random.Random) -> Extra:
    """A word that has to be there so many times."""
    word, times = rng.choice(KEYWORDS), rng.randint(2, 3)
    phrase = f'Use the word "{word}" exactly {times} times.'
    inside = f" near the {word}" + f" and another {word}" * (times - 1)
    return Extra(demand(phrase, "word_times", word=word, times=times), inside)


def without_word(rng: random.Random) -> Extra:
    """A word that must not be there."""
    word = rng.choice(AVOIDED)
    return Extra(demand(f'Do not use the word "{word}".', "avoids", word=word))


def in_lower_case(_rng: random.Random) -> Extra:
    """No capitals."""
    return Extra(demand("Use small letters only, no capitals.", "lower_case"), change=str.lower)


def in_capitals(_rng: random.Random) -> Extra:
    """Capitals only."""
    return Extra(demand("Write everything in capital letters.", "capitals"), change=str.upper)


def without_commas(_rng: random.Random) -> Extra:
    """No commas."""
    return Extra(demand("Use no commas.", "no_commas"))


def without_digits(_rng: random.Random) -> Extra:
    """No digits."""
    return Extra(demand("Use no digits.", "no_digits"))


EXTRAS: Mapping[str, Sequence[Callable[[random.Random], Extra]]] = {
    WORDS: (with_word, with_word_times, without_word),
    CASE: (in_lower_case, in_capitals),
    SIGNS: (without_commas, without_digits),
}
ANY = (WORDS, CASE, SIGNS)
SHAPES: Mapping[Shape, tuple[Sequence[int], Sequence[str]]] = {
    some_sentences: ((1, 2, 3), ANY),
    some_lines: ((1, 2, 3), ANY),
    some_paragraphs: ((1, 2, 3), ANY),
    some_bullets: ((1, 2, 3), ANY),
    some_numbers: ((1, 2, 3), (WORDS, CASE)),
    long_answer: ((1, 2, 3), ANY),
    bounded_answer: ((2, 3), ANY),
    opened: ((1, 2, 3), ANY),
    closed: ((1, 2, 3), ANY),
    titled: ((1, 2, 3), ANY),
    quoted: ((1, 2, 3), ANY),
    with_postscript: ((1, 2, 3), (WORDS, SIGNS)),
    in_parts: ((1, 2, 3), ANY),
    with_highlights: ((1, 2, 3), ANY),
    with_placeholders: ((1, 2, 3), ANY),
    as_json: ((1, 2), (WORDS,)),
    repeated: ((1, 2, 3), (WORDS, SIGNS)),
    one_phrase: ((1,), ()),
    loud_word: ((2,), ()),
}
"""Each shape's levels, and the extras that go with it."""


def formats(rng: random.Random, level: int) -> Item:
    """A shape, with an extra for each level above the first."""
    shape = rng.choice([shape for shape, (levels, _) in SHAPES.items() if level in levels])
    groups = SHAPES[shape][1]
    extras = [extra(rng, group) for group in rng.sample(groups, min(level - 1, len(groups)))]
    topic = rng.choice(TOPICS)
    shaped = shape(rng, writer(rng, topic, "".join(one.inside for one in extras)))
    demands = [*shaped.demands, *(one.demand for one in extras)]
    answer = shaped.answer
    for one in extras:
        answer = one.change(answer)
    scorer = {"type": "rules", "rules": [dict(one.rule) for one in demands]}
    form = Form(FAMILY, shape.__name__.replace("_", "-"), TASKS, scorer)
    asked = " ".join(one.phrase for one in demands)
    return form.ask(rng, level, answer, topic=topic, demands=asked)


def writer(rng: random.Random, topic: str, inside: str) -> Write:
    """Writes sentences about a topic, the first of them with `inside` at its end."""

    def write(count: int) -> list[str]:
        first, *others = (frame.format(topic=topic) for frame in rng.sample(FRAMES, count))
        return [f"{first}{inside}.", *(f"{other}." for other in others)]

    return write
