"""The generated retention pack: what it promises, and its answers worked out again from the prompts alone."""

import json
import re
from collections import Counter
from datetime import date, datetime, timedelta
from decimal import Decimal
from fractions import Fraction
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tunesmith.core.conversation import chat
from tunesmith.core.errors import ConfigError
from tunesmith.core.scorers import Case, Reply, choose, texts
from tunesmith.core.scorers.rules import RULES, follows
from tunesmith.evaluate.retention import FAMILIES, pack
from tunesmith.evaluate.retention.facts import FACTS, known
from tunesmith.evaluate.retention.words import BLAME, CATEGORIES, LETTERED_WORDS, PRAISE, SENTENCES

ITEMS = pack(seed=1, per_family=120)
WEEK = [date(2024, 1, day).strftime("%A") for day in range(1, 8)]
YEAR = [date(2024, month, 1).strftime("%B") for month in range(1, 13)]


def kind_of(item):
    return item.group_id.removeprefix(f"{item.family}/").rpartition("-")[0]


def score(item, text):
    """What the item's own scorer gives a text."""
    return choose(item.scorer).score(
        Case(chat([("user", item.prompt), ("assistant", item.gold)]), Reply(text))
    )


def of_family(name):
    return [item for item in ITEMS if item.family == name]


# The pack


def test_the_same_seed_gives_the_same_pack_and_another_seed_another():
    assert pack(5, 6) == pack(5, 6)
    assert {item.prompt for item in pack(5, 6)} != {item.prompt for item in pack(6, 6)}


@settings(max_examples=40)
@given(st.integers(0, 10**9), st.sampled_from(sorted(FAMILIES)), st.integers(0, 7))
def test_a_familys_items_depend_neither_on_the_others_nor_on_how_many_are_asked_for(seed, family, fewer):
    alone = pack(seed, 8, [family])
    assert pack(seed, fewer, [family]) == alone[:fewer]
    beside = pack(seed, 8, ["facts", family, "logic"])
    assert [item for item in beside if item.family == family] == alone


@settings(max_examples=60)
@given(st.integers(0, 10**9), st.sampled_from(sorted(FAMILIES)))
def test_every_gold_gets_full_marks_from_its_own_scorer(seed, family):
    for item in pack(seed, 6, [family]):
        assert score(item, item.gold) == 1.0, item


def test_no_prompt_stands_in_the_pack_twice():
    assert len({item.prompt for item in ITEMS}) == len(ITEMS) == 120 * len(FAMILIES)


def test_at_least_14_families_have_every_level_equally_often_and_several_templates():
    assert len(FAMILIES) >= 14
    for name in FAMILIES:
        items = of_family(name)
        assert Counter(item.level for item in items) == {1: 40, 2: 40, 3: 40}
        assert len({item.group_id for item in items}) >= 3, name
        assert all(item.group_id.startswith(f"{name}/") for item in items)


def test_every_family_has_300_different_items():
    assert len(pack(seed=2, per_family=300)) == 300 * len(FAMILIES)


def test_a_family_that_is_not_known_is_refused_with_the_nearest_name():
    with pytest.raises(ConfigError, match="arithmetic"):
        pack(families=["arithmetics"])


def test_more_items_than_a_family_can_make_are_refused():
    with pytest.raises(ConfigError, match="no more different items"):
        pack(per_family=3000, families=["dates"])


def test_a_scorer_is_one_of_five_and_can_be_written_as_json():
    for item in ITEMS:
        assert item.scorer["type"] in {"normalised_exact", "contains", "numeric", "choice", "rules"}
        assert json.loads(json.dumps(item.scorer)) == item.scorer
    assert {item.scorer["type"] for item in ITEMS} == {
        "normalised_exact",
        "contains",
        "numeric",
        "choice",
        "rules",
    }


@pytest.mark.parametrize("family", sorted(set(FAMILIES) - {"formats"}))
def test_nothing_is_won_by_an_empty_answer_or_by_saying_the_prompt_again(family):
    for item in of_family(family):
        assert score(item, "") == 0, item
        if item.scorer["type"] != "numeric":
            assert score(item, item.prompt) == 0, item


@pytest.mark.parametrize("family", sorted(set(FAMILIES) - {"formats"}))
def test_no_constant_answer_wins_much(family):
    golds = Counter(texts.normalised(item.gold) for item in of_family(family))
    assert golds.most_common(1)[0][1] / 120 <= 0.4, golds.most_common(3)


# The answers, worked out again


def numbers(text):
    return [Decimal(number) for number in re.findall(r"(?<![\w.])-?\d+(?:\.\d+)?", text)]


def longest_list(text):
    return max(re.findall(r"\w+(?:, \w+)+", text), key=lambda found: found.count(",")).split(", ")


def quoted(text):
    return re.findall(r'"([^"]+)"', text)


def computed(formula):
    assert re.fullmatch(r"[\d+*() -]+|(?:True|False|and|or|not|[() ])+", formula)
    return eval(formula)


def arithmetic(item):
    kind, found = kind_of(item), numbers(item.prompt)
    if kind == "two-steps":
        return computed(re.search(r"[\d(][\d+*() -]+\d", item.prompt)[0])
    if kind == "boxes":
        return found[0] * found[1] - found[2]
    x, y = found
    return {
        "plus": x + y, "bought": x + y, "minus": abs(x - y), "given": x - y, "times": x * y, "divided": x / y,
    }[kind]  # fmt: skip


def comparing(item):
    found = numbers(item.prompt)
    if kind_of(item) == "greater":
        said = ("true", "false") if item.prompt.startswith("True") else ("yes", "no")
        return said[found[0] <= found[1]]
    return (max if kind_of(item) in ("larger", "largest") else min)(found)


def ordering(item):
    shown, kind = longest_list(item.prompt), kind_of(item)
    if kind == "backwards":
        return ", ".join(reversed(shown))
    key = str if kind == "alphabetical" else int
    return ", ".join(sorted(shown, key=key, reverse=kind == "descending"))


def counting(item):
    kind = kind_of(item)
    if kind == "letter":
        *_, word = quoted(item.prompt)
        return sum(each == re.search(r'letter "?(\w)\b', item.prompt)[1] for each in word)
    shown = longest_list(item.prompt)
    if kind == "same":
        return sum(each == quoted(item.prompt)[0] for each in shown)
    if kind == "kind":
        members = CATEGORIES[re.search(r"name an? (\w+)", item.prompt)[1]]
        return sum(each in members for each in shown)
    return len(shown)


def editing(item):
    kind, prompt, found = kind_of(item), item.prompt, quoted(item.prompt)
    if kind == "reverse":
        return "".join(reversed(found[0]))
    if kind == "upper":
        return (found[0] if found else re.search(r"case: (.*)\n", prompt)[1]).upper()
    if kind == "first":
        return found[0][: int(numbers(prompt)[0])]
    if kind == "without":
        letter = re.search(r'letter "?(\w)\b', prompt)[1]
        return re.sub(letter, "", next(word for word in found if len(word) > 1))
    text = max(re.findall(r"(?:^|: ?|sentence: )([a-z ]+)$", prompt, re.MULTILINE), key=len)
    if kind == "replace":
        old, new = found if "by" in prompt.splitlines()[0] else reversed(found)
        return re.sub(rf"\b{old}\b", new, text)
    if kind == "initials":
        return "".join(word[0] for word in text.split())
    return re.sub(r"^(\w+)( .* )(\w+)$", r"\3\2\1", text)


def copying(item):
    instruction = r"Copy this.*:\n|Repeat the.*\.\n\n|\n\nWrite the text above.*"
    return re.sub(instruction, "", item.prompt)


def tables(item):
    head, _, *rows = [
        [cell.strip() for cell in line.strip("|").split("|")]
        for line in item.prompt.splitlines()
        if line.startswith("|")
    ]
    question, kind = item.prompt.rpartition("|\n")[2], kind_of(item)
    place = head.index(quoted(question)[0])
    column = {row[0]: row[place] for row in rows}
    named = sorted((name for name in column if name in question), key=question.index)
    if kind == "cell":
        return column[named[0]]
    if kind == "row":
        return next(name for name, value in column.items() if re.search(rf"\b{value}\b", question))
    values = {name: int(value) for name, value in column.items()}
    assert len(set(values.values())) == len(values)
    if kind == "total":
        return values[named[0]] + values[named[1]]
    if kind == "above":
        return sum(value > numbers(question)[0] for value in values.values())
    return (max if kind == "highest" else min)(values, key=values.get)


def passages(item):
    story = max(item.prompt.split("\n\n")[:2], key=len)
    working = re.findall(r"(\w+) lives in (\w+) and works as an? (\w+)\.", story)
    earning = re.findall(r"In (\w+) lives (\w+), who earns a living as an? (\w+)\.", story)
    lives = working + [(name, city, job) for city, name, job in earning]
    pets = dict(re.findall(r"(?:At home )?(\w+) (?:keeps|has) an? (\w+)", story))
    people = [{"name": name, "city": city, "job": job, "pet": pets[name]} for name, city, job in lives]
    question = item.prompt.rpartition("\n\n")[2]
    known, asked = {
        "where": ("name", "city"), "job": ("name", "job"), "pet": ("name", "pet"),
        "who-lives": ("city", "name"), "who-works": ("job", "name"), "pet-of-job": ("job", "pet"),
        "city-of-pet": ("pet", "city"), "job-in-city": ("city", "job"),
    }[kind_of(item)]  # fmt: skip
    [person] = [one for one in people if re.search(rf"\b{one[known]}\b", question)]
    return person[asked]


def picked(item):
    value, end = json.JSONDecoder().raw_decode(item.prompt[item.prompt.index("{") :])
    question = item.prompt[item.prompt.index("{") + end :]
    if kind_of(item) == "entries":
        return len(value["pets"])
    if kind_of(item) == "in-list":
        [person] = [one for one in value["people"] if re.search(rf"\b{one['name']}\b", question)]
        return person[next(word for word in quoted(question) if word in person and word != "name")]
    key, *outer = quoted(question)
    return value[outer[0]][key] if outer else value[key]


def roman(text):
    values = [dict(zip("IVXLCDM", (1, 5, 10, 50, 100, 500, 1000), strict=True))[letter] for letter in text]
    return sum(-one if one < other else one for one, other in pairwise([*values, 0]))


def facts(item):
    if kind_of(item) == "roman":
        return roman(re.search(r"numeral ([IVXLCDM]+)", item.prompt)[1])
    table = known(kind_of(item), item.level).items()
    right = {gold for key, gold in table if re.search(rf"\b{re.escape(key)}\b", item.prompt)}
    assert item.gold in right
    return item.gold


def dates(item):
    kind, found = kind_of(item), [int(number) for number in re.findall(r"\d+", item.prompt)]
    day = next((WEEK.index(word) for word in re.findall(r"\w+", item.prompt) if word in WEEK), None)
    month = next((YEAR.index(word) for word in re.findall(r"\w+", item.prompt) if word in YEAR), None)
    if kind.startswith("day-"):
        return WEEK[(day + (1 if kind == "day-after" else -1)) % 7]
    if kind == "month-number":
        *_, last = (word for word in re.findall(r"\w+", item.prompt) if word in YEAR)
        return 1 + YEAR.index(last)
    if kind == "month-length":
        return (date(2023 + (month == 11), (month + 1) % 12 + 1, 1) - timedelta(days=1)).day
    if kind.startswith("month-"):
        return YEAR[(month + (1 if kind == "month-after" else -1)) % 12]
    if kind == "days-later":
        return (date(2024, 1, 1) + timedelta(days=day + found[0])).strftime("%A")
    if kind == "years":
        start, end = [year for year in found if year > 1000]
        return end - start
    if kind == "clock":
        hour, minute, count = found
        return (datetime(2024, 1, 1, hour, minute) + timedelta(minutes=count)).strftime("%H:%M")
    if kind == "date-later":
        start = date.fromisoformat(re.search(r"\d+-\d+-\d+", item.prompt)[0])
        count = int(re.search(r"(\d+) days", item.prompt)[1])
        return str(start + timedelta(days=count))
    if kind == "same-month":
        first = date(2024, 1, 1) + timedelta(days=day)
        return (first + timedelta(days=found[1] - found[0])).strftime("%A")
    year = found[-1] if found[-1] > 1000 else found[0]
    return "yes" if (date(year, 3, 1) - timedelta(days=1)).day == 29 else "no"


SIZES = {
    "millimetres": Fraction(1, 1000), "centimetres": Fraction(1, 100), "metres": 1, "kilometres": 1000,
    "grams": 1, "kilograms": 1000, "tonnes": 1_000_000, "millilitres": 1, "litres": 1000,
    "seconds": 1, "minutes": 60, "hours": 3600, "days": 86_400, "weeks": 604_800,
    "months": 1, "years": 12, "inches": 1, "feet": 12, "yards": 36, "pieces": 1, "dozens": 12,
}  # fmt: skip


def units(item):
    given = [(Fraction(number), unit) for number, unit in re.findall(r"(\d[\d.]*) (\w+)", item.prompt)]
    asked = re.search(r"How many (\w+)|to (\w+)\.|\? (\w+)\n", item.prompt)
    total = sum(number * SIZES[unit] for number, unit in given)
    return float(total / SIZES[next(filter(None, asked.groups()))])


def number_rules(terms):
    """What every simple rule that fits the terms says of the next one."""
    steps = [after - before for before, after in pairwise(terms)]
    if len(set(steps)) == 1:
        yield terms[-1] + steps[0]
    if all(after == 2 * before for before, after in pairwise(terms)):
        yield 2 * terms[-1]
    if all(after - before == 1 for before, after in pairwise(steps)):
        yield terms[-1] + steps[-1] + 1
    if all(terms[place] == terms[place - 1] + terms[place - 2] for place in range(2, len(terms))):
        yield terms[-1] + terms[-2]


def sequences(item):
    kind = kind_of(item)
    if kind == "next":
        [after] = set(number_rules([int(number) for number in numbers(item.prompt)]))
        return after
    if kind == "missing":
        shown = re.search(r"\d+(?:, (?:\d+|\?))+", item.prompt)[0].split(", ")
        hole = shown.index("?")
        return (int(shown[hole - 1]) + int(shown[hole + 1])) / 2
    shown = longest_list(item.prompt)
    if kind == "letters":
        return chr(ord(shown[-1]) + ord(shown[1]) - ord(shown[0]))
    period = next(size for size in range(1, 9) if shown[size:] == shown[: len(shown) - size])
    return shown[len(shown) - period]


def category(word):
    [name] = [name for name, members in CATEGORIES.items() if word in members]
    return name


def patterns(item):
    lines = re.findall(
        r"^(.+?)(?: ->|:| =>) ?(.*)$", re.sub(r"Complete.*|Follow.*|What.*", "", item.prompt), re.MULTILINE
    )
    *shown, (last, nothing) = lines
    assert nothing == ""
    assert last not in dict(shown)
    features = {
        "categories": category,
        "labels": category,
        "three-labels": category,
        "parity": lambda number: int(number) % 2,
        "feelings": lambda text: bool(set(re.findall(r"\w+", text)) & set(PRAISE)),
        "plurals": None, "doubles": None, "last-letters": None, "backwards": None, "opposites": None,
    }  # fmt: skip
    if feature := features[kind_of(item)]:
        labels = {feature(one): label for one, label in shown}
        assert all(labels[feature(one)] == label for one, label in shown)
        return labels[feature(last)]
    work = {
        "plurals": lambda word: word + "s",
        "doubles": lambda number: str(2 * int(number)),
        "last-letters": lambda word: word[-1],
        "backwards": lambda word: word[::-1],
        "opposites": (FACTS["opposite"][1] | FACTS["opposite"][2]).get,
    }[kind_of(item)]
    assert all(work(one) == other for one, other in shown)
    return work(last)


def logic(item):
    kind, prompt = kind_of(item), item.prompt
    if kind == "truth":
        return computed(re.search(r"(?:expression|Evaluate): (.*?)[?\n]", prompt)[1])
    if kind == "most":
        pairs = re.findall(r"(\w+) is \w+ than (\w+)\.", prompt)
        first = re.search(r"the (\w+)\?", prompt)[1] in ("tallest", "oldest", "fastest", "richest")
        ends = {pair[0 if first else 1] for pair in pairs} - {pair[1 if first else 0] for pair in pairs}
        [person] = ends
        return person
    name, is_a = re.search(r"(\w+) is an? (\w+)\.", prompt).groups()
    links = dict(re.findall(r"All (\w+)s are (\w+)s\.", prompt))
    nothing = dict(re.findall(r"No (\w+)s are (\w+)s\.", prompt))
    kinds = [is_a]
    while kinds[-1] in links:
        kinds.append(links[kinds[-1]])
    asked = re.findall(rf"{name} (?:then be|is)? ?an? (\w+)", prompt)[-1]
    assert asked in kinds or asked in {nothing.get(one) for one in kinds} or asked in links
    return "yes" if asked in kinds else "no"


def choices(item):
    offered = re.findall(r"^\(?([A-E])[).] (.+)$", item.prompt, re.MULTILINE)
    assert [text for _, text in offered] == item.scorer["choices"]
    assert len({text for _, text in offered}) == len(offered) == 2 + item.level
    kind, question = kind_of(item), item.prompt.partition("\n")[0]
    if kind == "even":
        return next(letter for letter, text in offered if text[-1] in "02468")
    if kind == "first":
        return min(offered, key=lambda pair: pair[1])[0]
    if kind == "odd":
        kinds = Counter(category(text) for _, text in offered)
        assert sorted(kinds.values()) == [1, 4]
        return next(letter for letter, text in offered if kinds[category(text)] == 1)
    if kind == "member":
        return next(letter for letter, text in offered if re.search(rf"\b{category(text)}\b", question))
    table = known(kind, item.level).items()
    right = {gold for key, gold in table if re.search(rf"\b{re.escape(key)}\b", question)}
    [letter] = [letter for letter, text in offered if text in right]
    return letter


WORKED_OUT = {
    "arithmetic": arithmetic, "comparing": comparing, "ordering": ordering, "counting": counting,
    "editing": editing, "copying": copying, "tables": tables, "passages": passages, "json": picked,
    "facts": facts, "dates": dates, "units": units, "sequences": sequences, "patterns": patterns,
    "logic": logic, "choices": choices,
}  # fmt: skip


def same(gold, found):
    return str(found) == gold or (not isinstance(found, str) and float(gold) == float(found))


@pytest.mark.parametrize("family", sorted(WORKED_OUT))
def test_answers_worked_out_from_the_prompt_alone_are_the_golds(family):
    for item in of_family(family):
        found = WORKED_OUT[family](item)
        assert same(item.gold, found), (item, found)


def test_only_formats_have_no_answer_to_work_out():
    assert set(FAMILIES) - set(WORKED_OUT) == {"formats"}


def test_what_a_format_asks_for_in_words_is_what_its_rules_check():
    counts = {
        "sentences",
        "lines",
        "paragraphs",
        "bullets",
        "parts",
        "numbered",
        "highlights",
        "placeholders",
    }
    for item in of_family("formats"):
        assert len(item.scorer["rules"]) >= item.level or kind_of(item) in ("loud-word", "as-json")
        for rule in item.scorer["rules"]:
            shown = [value for key, value in rule.items() if key != "rule" and not isinstance(value, list)]
            shown += [one for value in rule.values() if isinstance(value, list) for one in value]
            assert all(str(value) in item.prompt for value in shown), item
            assert rule["rule"] not in counts or str(rule["count"]) in re.findall(r"\d+", item.prompt)


def test_a_plainly_wrong_answer_breaks_a_rule_of_every_format():
    for item in (item for item in ITEMS if item.scorer["type"] == "rules"):
        assert all(follows(item.gold, item.scorer["rules"])), item
        assert not all(follows("no", item.scorer["rules"])), item
        assert not any(follows("", item.scorer["rules"])), item


# The vocabulary


def test_the_categories_share_no_word_and_repeat_none():
    words = [word for members in CATEGORIES.values() for word in members]
    assert len(words) == len(set(words))


def test_the_facts_have_one_answer_each_and_capitals_one_country():
    for kind, levels in FACTS.items():
        keys = [key for table in levels.values() for key in table]
        assert len(keys) == len(set(keys)), kind
    cities = [city for table in FACTS["capital"].values() for city in table.values()]
    assert len(cities) == len(set(cities))
    assert sum(len(table) for levels in FACTS.values() for table in levels.values()) >= 300


def test_every_sentence_to_edit_has_words_that_stand_in_it_once_and_every_lettered_word_a_double_letter():
    assert all(Counter(text.split()).most_common(1)[0][1] <= 2 for text in SENTENCES)
    assert all(Counter(word).most_common(1)[0][1] >= 2 for word in LETTERED_WORDS)
    assert not set(PRAISE) & set(BLAME)


# The rules

EXAMPLES = {
    "at_most_words": ({"words": 3}, "It's well-known here.", "One two three four."),
    "at_least_words": ({"words": 3}, "One two three.", "One, two."),
    "sentences": ({"count": 2}, 'It costs 3.50 euros. "Fine!"', "Only one."),
    "lines": ({"count": 2}, "one\n\ntwo\n", "one"),
    "paragraphs": ({"count": 2}, "one\nstill one\n\n \ntwo", "one\ntwo"),
    "bullets": ({"count": 2}, "Here:\n- one\n* two", "- one\n-two"),
    "numbered": ({"count": 2}, "Here:\n1. one\n2) two", "2. two\n1. one"),
    "lower_case": ({}, "all small, été 12.", "Not all small."),
    "capitals": ({}, "ALL LARGE 12.", "ALL LARGe"),
    "capital_words": ({"count": 2}, "Some ARE VERY large.", "I am LARGE."),
    "starts_with": ({"start": "Good morning"}, "good morning, all", "Good mornings"),
    "ends_with": ({"end": "That is all."}, "Well, that is ALL!", "That is all I know."),
    "mentions": ({"word": "river"}, "The River.", "Rivers."),
    "avoids": ({"word": "river"}, "Rivers.", "The River."),
    "word_times": ({"word": "river", "times": 2}, "River by river, rivers.", "A river."),
    "letter_times": ({"letter": "z", "times": 2}, "Zigzag.", "Zero."),
    "json_object": ({"keys": ["a", "b"]}, '```json\n{"b": 1, "a": []}\n```', '{"a": 1, "b": 2, "c": 3}'),
    "double_quotes": ({}, ' "yes" ', '"yes".'),
    "no_commas": ({}, "None here; none.", "One, two."),
    "no_digits": ({}, "None here.", "Only 1."),
    "title": ({}, "<<My day>>\nIt rained.", "<My day> << >>"),
    "placeholders": ({"count": 2}, "Dear [name], see you in [town].", "Dear [name] []"),
    "highlights": ({"count": 2}, "*one* and **two**", "* one\n* two *three*"),
    "one_of": ({"answers": ["yes", "no"]}, "Yes.", "Yes, sure."),
    "is_exactly": ({"text": " As It Is. "}, "As It Is.\n", "as it is."),
    "repeats": ({"request": "Why?"}, "Why? For fun.", "Why?"),
    "postscript": ({}, "Bye.\n\np.s. Write soon.", "P.S. Write soon.\nBye."),
    "parts": ({"count": 2}, "one\n***\ntwo", "one\n***\n"),
}


def test_every_rule_has_examples_and_says_what_it_asks():
    assert set(EXAMPLES) == set(RULES)
    assert len(RULES) >= 15
    assert all(rule.what.endswith(".") for rule in RULES.values())


@pytest.mark.parametrize("name", sorted(EXAMPLES))
def test_a_rule_passes_and_fails(name):
    arguments, passing, failing = EXAMPLES[name]
    assert follows(passing, [{"rule": name, **arguments}]) == [True]
    assert follows(failing, [{"rule": name, **arguments}]) == [False]
    assert follows(" \n", [{"rule": name, **arguments}]) == [False]


def test_there_is_a_verdict_for_each_rule_in_its_order():
    rules = [{"rule": "no_commas"}, {"rule": "at_least_words", "words": 9}, {"rule": "lower_case"}]
    assert follows("short, but small", rules) == [False, False, True]
    assert follows("short", []) == []


@given(st.text(max_size=60))
def test_no_text_breaks_a_rule(text):
    verdicts = follows(text, [{"rule": name, **arguments} for name, (arguments, *_) in EXAMPLES.items()])
    assert all(isinstance(verdict, bool) for verdict in verdicts)


def test_json_with_endless_brackets_is_no_object():
    assert follows("[" * 100_000, [{"rule": "json_object", "keys": ["a"]}]) == [False]


@pytest.mark.parametrize(
    ("spec", "complaint"),
    [
        ({"rule": "at_most_word", "words": 3}, "at_most_words"),
        ({"words": 3}, "unknown rule"),
        ({"rule": ["lines"]}, "unknown rule"),
        ({"rule": "lines"}, "count"),
        ({"rule": "lines", "count": 0}, "count"),
        ({"rule": "lines", "count": "3"}, "count"),
        ({"rule": "lines", "count": True}, "count"),
        ({"rule": "lines", "counts": 3}, "counts"),
        ({"rule": "mentions", "word": ""}, "word"),
        ({"rule": "one_of", "answers": []}, "answers"),
        ({"rule": "letter_times", "letter": "zz", "times": 1}, "letter"),
        ({"rule": "no_commas", "count": 1}, "count"),
    ],
)
def test_a_rule_that_is_not_known_or_has_wrong_arguments_is_refused(spec, complaint):
    with pytest.raises(ConfigError, match=complaint):
        follows("", [spec])
