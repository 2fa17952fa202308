"""The page: what the checks found, with evidence, drawings and the rows themselves, in one file.

Rows are strangers' text: every value is escaped by the template engine, drawings escape their own.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tunesmith.core import page
from tunesmith.core.conversation import Example, Message
from tunesmith.core.page import diff, drawing, numbers
from tunesmith.data.check import charts
from tunesmith.data.check.charts import Map, map_of
from tunesmith.data.check.port import Context
from tunesmith.data.check.run import Shown, Tally
from tunesmith.data.check.schema import CheckOutcome, CheckResult
from tunesmith.data.check.summary import place_in_words
from tunesmith.data.check.texts.personal import mask_example
from tunesmith.data.corpus import Corpus

HERE = Path(__file__).parent
FIRST = 5
"""Checks that are named at the top."""
TURN_CHARACTERS = 600
MOST_TURNS = 6
HIDDEN_ROWS = frozenset({"privacy"})
"""Families whose rows are not shown: the evidence is masked, the row is not."""
NOT_EVIDENCE = frozenset({"row", "cluster", "text", "other_text"})
"""Shown otherwise: as the rows themselves, or in the headline of the finding."""

FAMILIES: Mapping[str, str] = {
    "format": "Format",
    "answers": "Answers",
    "consistency": "Consistency",
    "duplicates": "Duplicates",
    "labels": "Labels",
    "balance": "Balance",
    "coverage": "Coverage and diversity",
    "privacy": "Personal data and secrets",
    "safety": "Safety",
    "preferences": "Preferences",
    "leakage": "Leakage",
    "model": "With the model",
}


@dataclass(frozen=True)
class Case:
    """One finding as the page shows it."""

    place: str
    severity: str
    value: str
    text: str
    evidence: Sequence[tuple[str, str]]
    turns: Sequence[tuple[str, str]]
    """Role and text of the row's turns; empty where the row is not shown."""
    partner: str
    """Place of the row that it is compared with."""
    pieces: tuple[Sequence[diff.Piece], Sequence[diff.Piece]] | None
    """Both rows, with what differs marked."""


@dataclass(frozen=True)
class Part:
    """One check on the page."""

    outcome: CheckOutcome
    cases: Sequence[Case]


@dataclass(frozen=True)
class Drawn:
    """A measured fact that is drawn."""

    check: str
    name: str
    value: Any


@dataclass(frozen=True)
class Facts:
    """All that the page says."""

    result: CheckResult
    families: Sequence[tuple[str, str, Sequence[Part]]]
    first: Sequence[CheckOutcome]
    histograms: Sequence[Drawn]
    balances: Sequence[Drawn]
    coverage: Sequence[Drawn]
    tables: Sequence[tuple[str, Sequence[tuple[str, str]]]]
    map: Map | None


def gather(result: CheckResult, tallies: Sequence[Tally], context: Context) -> Facts:
    """Read what is shown out of the corpus."""
    outcomes = {outcome.check: outcome for outcome in result.checks}
    ran = [tally for tally in tallies if not tally.reason]
    partners = find_places(context.corpus, [shown for tally in ran for shown in tally.worst])
    parts = [
        Part(
            outcomes[tally.check.name],
            [case_of(shown, tally, context.corpus, partners) for shown in tally.worst],
        )
        for tally in ran
    ]
    drawn = [Drawn(tally.check.name, name, value) for tally in ran for name, value in tally.facts.items()]
    return Facts(
        result=result,
        families=[
            (family, title, [part for part in parts if part.outcome.family == family])
            for family, title in FAMILIES.items()
            if any(part.outcome.family == family for part in parts)
        ],
        first=most_pressing(result.checks),
        histograms=[part for fact in drawn for part in histograms_in(fact)],
        balances=rows_in(drawn, "values"),
        coverage=rows_in(drawn, "slices"),
        tables=tables_of(drawn),
        map=next((map_of(fact.value) for fact in drawn if fact.name == "map"), None),
    )


def most_pressing(outcomes: Sequence[CheckOutcome]) -> list[CheckOutcome]:
    """What to look at first: errors before warnings, then by rows."""
    order = {"error": 0, "warning": 1}
    found = [part for part in outcomes if part.severity in order]
    return sorted(found, key=lambda part: (order[part.severity], -part.rows))[:FIRST]


def histograms_in(fact: Drawn) -> Iterator[Drawn]:
    """Every {"edges": […], "counts": […]} of a fact, wherever it stands."""
    if not isinstance(fact.value, dict):
        return
    if {"edges", "counts"} <= fact.value.keys():
        if fact.value["counts"]:
            yield fact
        return
    for name, value in fact.value.items():
        title = fact.name if name == "histogram" else f"{fact.name}, {name}"
        yield from histograms_in(Drawn(fact.check, title, value))


def rows_in(drawn: Sequence[Drawn], key: str) -> list[Drawn]:
    """Facts that list something under a key, with at least one entry."""
    return [fact for fact in drawn if isinstance(fact.value, dict) and fact.value.get(key)]


def tables_of(drawn: Sequence[Drawn]) -> list[tuple[str, list[tuple[str, str]]]]:
    """Plain numbers that were measured, by check and, where a fact holds several, by its name."""
    found: dict[str, list[tuple[str, str]]] = {}
    for fact in drawn:
        inner = fact.value if isinstance(fact.value, dict) else {fact.name: fact.value}
        title = fact.check if inner is not fact.value or fact.name == fact.check else fact.name
        rows = [
            (name.replace("_", " "), numbers.plain(value))
            for name, value in inner.items()
            if isinstance(value, int | float | str) and value != ""
        ]
        if rows and not {"values", "slices", "points", "edges"} & inner.keys():
            found.setdefault(title, []).extend(rows)
    return list(found.items())


def partner_of(shown: Shown) -> tuple[str, int] | None:
    """Split and line of the row that a finding compares with, if its evidence names one."""
    row = shown.line["evidence"].get("row")
    return (row.get("split", ""), row["line"]) if isinstance(row, dict) and "line" in row else None


def find_places(corpus: Corpus, shown: Sequence[Shown]) -> dict[tuple[str, int], int]:
    """Where the named rows stand in the corpus: one pass, when there are any."""
    wanted = {place for finding in shown if (place := partner_of(finding)) is not None}
    if not wanted:
        return {}
    return {(row.split, row.line): row.position for row in corpus if (row.split, row.line) in wanted}


def case_of(shown: Shown, tally: Tally, corpus: Corpus, places: Mapping[tuple[str, int], int]) -> Case:
    """One finding with its row, and the row that it is compared with."""
    line = shown.line
    hidden = tally.check.family in HIDDEN_ROWS or shown.position is None
    example = None if hidden or shown.position is None else safe(corpus, shown.position)
    other = places.get(partner_of(shown) or ("", -1)) if example is not None else None
    pieces = None
    if example is not None and other is not None:
        pieces = diff.word_diff(flat(example), flat(safe(corpus, other)))
    evidence = line["evidence"]
    partner = evidence.get("row")
    return Case(
        place=place_in_words(line["row"]) or "the whole set",
        severity=line["severity"],
        value=numbers.plain(line["value"]),
        text=str(evidence.get("text") or ""),
        evidence=[
            (name.replace("_", " "), diff.clipped(numbers.plain(value)))
            for name, value in evidence.items()
            if name not in NOT_EVIDENCE and value not in (None, "", [], {})
        ],
        turns=() if example is None or pieces else turns_of(example),
        partner=place_in_words(partner) if isinstance(partner, dict) and "line" in partner else "",
        pieces=pieces,
    )


def safe(corpus: Corpus, position: int) -> Example:
    """A row with personal data and secrets masked: the page may be passed on."""
    return mask_example(corpus.row(position).example).example


def flat(example: Example) -> str:
    """A row as one text: what is asked, and what is answered."""
    return "\n".join(text for _, text in turns_of(example))


def turns_of(example: Example) -> list[tuple[str, str]]:
    """Role and text of the first turns, clipped; of a pair both answers."""
    turns: list[tuple[str, str]] = [(message.role, said(message)) for message in example.messages]
    turns += [("chosen", said(message)) for message in example.chosen]
    turns += [("rejected", said(message)) for message in example.rejected]
    turns += [("right" if step.is_right else "wrong step", step.text) for step in example.steps]
    more = len(turns) - MOST_TURNS
    shown = [(role, clip(text)) for role, text in turns[:MOST_TURNS]]
    return [*shown, ("", f"… {more} more turns")] if more > 0 else shown


def said(message: Message) -> str:
    """What a turn says, its calls included."""
    return "\n".join(
        part
        for part in (
            message.reasoning or "",
            message.content or "",
            *(numbers.plain(dict(call)) for call in message.tool_calls),
        )
        if part
    )


def clip(text: str) -> str:
    """The start of a long text."""
    return text if len(text) <= TURN_CHARACTERS else f"{text[:TURN_CHARACTERS]} …"


def render(facts: Facts) -> str:
    """The whole page."""
    shared = {"charts": charts, "drawing": drawing, "numbers": numbers, "title_case": title_case}
    return page.render(
        HERE,
        shared,
        facts=facts,
        result=facts.result,
        headline=headline(facts.result),
        sentence=sentence(facts.result),
    )


def title_case(text: str) -> str:
    """The first letter large, the others as they are."""
    return text[:1].upper() + text[1:]


def headline(result: CheckResult) -> str:
    """A few words."""
    if result.errors:
        return "Mend this first"
    if result.warnings:
        return "Worth a look"
    return "Nothing stands against training" if not result.not_run else "Nothing found by what ran"


def sentence(result: CheckResult) -> str:
    """What was found, in one sentence."""
    total = result.rows + result.unreadable
    rows = f"{numbers.count(total)} {'row' if total == 1 else 'rows'}"
    if result.errors:
        share = numbers.percent(result.rows_with_errors / max(1, total))
        bad = f"{numbers.count(result.rows_with_errors)} of {rows} ({share})"
        return (
            f"{bad} have a finding that does harm."
            if result.rows_with_errors
            else f"The set as a whole has a fault that does harm ({rows})."
        )
    if result.warnings:
        return f"No finding among {rows} does harm; {numbers.count(result.warnings)} should be looked at."
    return f"No check found anything that matters in {rows}."
