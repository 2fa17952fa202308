"""The family about dates, weekdays and the clock."""

import random
from calendar import monthrange
from datetime import date, timedelta

from tunesmith.evaluate.retention.port import WORDS, Form, Item
from tunesmith.evaluate.retention.words import MONTHS, WEEKDAYS

FAMILY = "dates"

DAY_AFTER = Form(
    FAMILY,
    "day-after",
    (
        "What day of the week comes right after {day}? Answer with one word.",
        "Today is {day}. What day is it tomorrow? Answer with one word.",
    ),
    WORDS,
)
DAY_BEFORE = Form(
    FAMILY,
    "day-before",
    (
        "What day of the week comes right before {day}? Answer with one word.",
        "Today is {day}. What day was it yesterday? Answer with one word.",
    ),
    WORDS,
)
MONTH_AFTER = Form(
    FAMILY,
    "month-after",
    (
        "Which month comes right after {month}? Answer with one word.",
        "Name the month that follows {month}. Write only the month.",
    ),
    WORDS,
)
MONTH_BEFORE = Form(
    FAMILY,
    "month-before",
    (
        "Which month comes right before {month}? Answer with one word.",
        "Name the month that {month} follows. Write only the month.",
    ),
    WORDS,
)
MONTH_NUMBER = Form(
    FAMILY,
    "month-number",
    (
        "Which number does {month} have among the months of the year? Answer with the number only.",
        "January is month 1. Which month number is {month}? Write just the number.",
    ),
)
MONTH_LENGTH = Form(
    FAMILY,
    "month-length",
    (
        "How many days does {month} have? Answer with the number only.",
        "What is the number of the last day of {month}? Write just the number.",
    ),
)
DAYS_LATER = Form(
    FAMILY,
    "days-later",
    (
        "Today is {day}. What day of the week will it be in {count} days? Answer with one word.",
        "Which day of the week is {count} days after a {day}? Write only the day.",
    ),
    WORDS,
)
YEARS = Form(
    FAMILY,
    "years",
    (
        "How many years lie between {x} and {y}, that is, from the one to the other? Answer with the "
        "number only.",
        "Somebody was born on 1 January {x}. How old did they become on 1 January {y}? Write just "
        "the number.",
    ),
)
CLOCK = Form(
    FAMILY,
    "clock",
    (
        "It is {clock}. What time is it {count} minutes later? Answer in the form HH:MM.",
        "A train leaves at {clock} and travels for {count} minutes. When does it arrive? Write only HH:MM.",
    ),
    WORDS,
)
DATE_LATER = Form(
    FAMILY,
    "date-later",
    (
        "What is the date {count} days after {date}? Answer in the form YYYY-MM-DD.",
        "A book was lent on {date} for {count} days. On which date is it due? Write only YYYY-MM-DD.",
    ),
    WORDS,
)
SAME_MONTH = Form(
    FAMILY,
    "same-month",
    (
        "Day {x} of a month is a {day}. What day of the week is day {y} of the same month? Answer "
        "with one word.",
        "If day {x} of this month falls on a {day}, on which weekday does day {y} fall? Write only the day.",
    ),
    WORDS,
)
LEAP = Form(
    FAMILY,
    "leap",
    (
        "Is {x} a leap year? Answer with yes or no only.",
        "Does the year {x} have a 29 February? Answer yes or no.",
    ),
    WORDS,
)


def dates(rng: random.Random, level: int) -> Item:
    """Neighbours in the week and the year; steps of some days, years, minutes; steps over their bounds."""
    return rng.choice(KINDS[level])(rng, level)


def neighbours(rng: random.Random, level: int) -> Item:
    """The day or month before or after."""
    form = rng.choice((DAY_AFTER, DAY_BEFORE, MONTH_AFTER, MONTH_BEFORE))
    names = WEEKDAYS if form in (DAY_AFTER, DAY_BEFORE) else MONTHS
    place = rng.randrange(len(names))
    step = 1 if form in (DAY_AFTER, MONTH_AFTER) else -1
    return form.ask(rng, level, names[(place + step) % len(names)], day=names[place], month=names[place])


def month_number(rng: random.Random, level: int) -> Item:
    """The place of a month in the year."""
    place = rng.randrange(12)
    return MONTH_NUMBER.ask(rng, level, place + 1, month=MONTHS[place])


def month_length(rng: random.Random, level: int) -> Item:
    """The days of a month other than February."""
    place = rng.choice([place for place in range(12) if MONTHS[place] != "February"])
    return MONTH_LENGTH.ask(rng, level, monthrange(2023, place + 1)[1], month=MONTHS[place])


def days_later(rng: random.Random, level: int) -> Item:
    """A weekday some days or weeks on."""
    start = rng.randrange(7)
    count = rng.randint(2, 6) if level == 2 else rng.randint(8, 60)
    return DAYS_LATER.ask(rng, level, WEEKDAYS[(start + count) % 7], day=WEEKDAYS[start], count=count)


def years(rng: random.Random, level: int) -> Item:
    """The years from one to another."""
    start, count = rng.randint(1900, 1980), rng.randint(5, 45)
    return YEARS.ask(rng, level, count, x=start, y=start + count)


def clock(rng: random.Random, level: int) -> Item:
    """A time some minutes on, on the same day."""
    start, count = rng.randint(10 * 60, 20 * 60), rng.randint(5, 90)
    return CLOCK.ask(rng, level, of_day(start + count), clock=of_day(start), count=count)


def of_day(minutes: int) -> str:
    """Minutes since midnight as HH:MM."""
    return f"{minutes // 60:02}:{minutes % 60:02}"


def date_later(rng: random.Random, level: int) -> Item:
    """A date in another month."""
    start = date(rng.randint(2001, 2030), rng.randint(1, 12), rng.randint(15, 28))
    count = rng.randint(17, 40)
    later = start + timedelta(days=count)
    return DATE_LATER.ask(rng, level, later.isoformat(), date=start.isoformat(), count=count)


def same_month(rng: random.Random, level: int) -> Item:
    """From one day of a month to a later one."""
    start, day = rng.randint(1, 10), rng.randrange(7)
    end = rng.randint(start + 8, 28)
    gold = WEEKDAYS[(day + end - start) % 7]
    return SAME_MONTH.ask(rng, level, gold, x=start, y=end, day=WEEKDAYS[day])


def leap(rng: random.Random, level: int) -> Item:
    """Leap years as often as others."""
    year = rng.randint(1901, 2030)
    if rng.random() < 0.5:
        year -= year % 4
    return LEAP.ask(rng, level, "no" if year % 4 or (year % 100 == 0 and year % 400) else "yes", x=year)


KINDS = {
    1: (neighbours, neighbours, month_number, month_length),
    2: (days_later, years, clock),
    3: (days_later, date_later, same_month, leap),
}
