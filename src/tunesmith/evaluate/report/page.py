"""From facts to the page: one template, one style sheet, both inlined."""

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, NamedTuple

from markupsafe import Markup, escape

from tunesmith.core import page
from tunesmith.core.page import diff, drawing, numbers
from tunesmith.evaluate.report import (
    answers,
    charts,
    charts_panels,
    notes,
    notes_judge,
    notes_repeats,
    notes_speed,
)
from tunesmith.evaluate.report.facts import Facts, Token
from tunesmith.evaluate.report.facts_models import Sample

HERE = Path(__file__).parent
SHOWN_WRONG, SHOWN_REGRESSIONS, SHOWN_FIXES, SHOWN_HARD = 10, 8, 4, 4


class Section(NamedTuple):
    """A part of the page: its anchor and its heading."""

    anchor: str
    heading: str


SECTIONS = (
    Section("models", "How the models compare"),
    Section("answers", "Right and wrong answers"),
    Section("speed", "Latency and cost"),
    Section("repeats", "Repeats"),
    Section("judge", "Judge and people"),
    Section("data", "The data"),
    Section("tokens", "What was trained"),
    Section("loss", "Loss curve"),
    Section("recipe", "Recipe"),
    Section("cost", "Time and memory"),
    Section("kept", "What was kept"),
    Section("hard", "Hard test set"),
    Section("validity", "Validity"),
    Section("provenance", "Provenance"),
    Section("reproduce", "Reproduce"),
)


def render(facts: Facts) -> str:
    """The whole page.  Every value is escaped by the template engine; charts escape their own."""
    shared = {
        "charts": charts,
        "drawing": drawing,
        "diff": diff,
        "numbers": numbers,
        "notes": notes,
        "judging": notes_judge,
        "costs": notes_speed,
        "again": notes_repeats,
        "panels": charts_panels,
        "answers": answers,
        "token_html": token_html,
        "split_parts": charts.split_parts,
        "account_parts": charts.account_parts,
    }
    return page.render(
        HERE,
        shared,
        facts=facts,
        sections=SECTIONS,
        primary=primary(facts),
        kinds={score.scorer: score.kind for model in (*facts.models, *facts.hard) for score in model.scores},
        wrong=wrong_answers(facts),
        regressions=notes.regressions(facts, limit=SHOWN_REGRESSIONS),
        fixes=notes.fixes(facts, limit=SHOWN_FIXES),
        hard_wrong=hard_answers(facts),
        pair=answers.named(facts.comparison, facts.models),
        versions=notes.versions(facts),
    )


def as_json(facts: Facts) -> dict[str, Any]:
    """The same facts for programs: only the answers that the page shows, by model."""
    row = asdict(facts)
    for group in ("models", "hard"):
        for model in row[group]:
            del model["samples"]
    row["verdict"] = notes.verdict(facts)
    row["validity"] = list(notes.validity(facts))
    shown = {
        "wrong": wrong_answers(facts),
        "regressions": notes.regressions(facts, limit=SHOWN_REGRESSIONS),
        "fixes": notes.fixes(facts, limit=SHOWN_FIXES),
        "hard_wrong": hard_answers(facts),
    }
    row["answers"] = {name: [asdict(sample) for sample in samples] for name, samples in shown.items()}
    return row


def wrong_answers(facts: Facts) -> list[Sample]:
    """The worst answers of the tuned model that are not regressions (those have their own list)."""
    model = facts.tuned or (facts.models[-1] if facts.models else None)
    if model is None:
        return []
    known = set(facts.comparison.regressions) if facts.comparison else set()
    return [part for part in answers.wrong(model, primary(facts)) if part.id not in known][:SHOWN_WRONG]


def hard_answers(facts: Facts) -> list[Sample]:
    """The worst answers of the last model on the hard set."""
    return answers.wrong(facts.hard[-1], facts.hard[-1].primary)[:SHOWN_HARD] if facts.hard else []


def primary(facts: Facts) -> str:
    """The scorer that decides: the comparison's, else the last report's own."""
    scored = {score.scorer for model in facts.models for score in model.scores}
    if facts.comparison is not None and (facts.comparison.primary in scored or not scored):
        return facts.comparison.primary  # people's verdicts are no score of the reports
    return facts.models[-1].primary if facts.models else ""


def token_html(tokens: Sequence[Token]) -> Markup:
    """A training example token by token: supervised ones tinted, special ones framed, whitespace visible."""
    parts = []
    for token in tokens:
        kinds = [name for name, on in (("s", token.supervised), ("x", token.special)) if on]
        kind = Markup(' class="{}"').format(" ".join(kinds)) if kinds else Markup("")
        title = Markup(' title="{}"').format(token.id) if token.id is not None else Markup("")
        ending = Markup("<br>") if "\n" in token.text else Markup("")
        parts.append(Markup("<i{}{}>{}</i>{}").format(kind, title, visible(token.text), ending))
    return Markup("").join(parts)


def visible(text: str) -> Markup:
    """Whitespace as marks that are paler than the text."""
    marks = {" ": "·", "\n": "↵", "\t": "→", "\r": "␍"}
    return Markup("").join(
        Markup("<u>{}</u>").format(marks[letter]) if letter in marks else escape(letter) for letter in text
    )
