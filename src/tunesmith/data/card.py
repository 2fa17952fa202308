"""The data card: what the rows are, where they come from, what was done, what is left to look at."""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tunesmith.core.errors import UserError
from tunesmith.core.workspace import Input, Manifest
from tunesmith.data.intake import Account, Contradictions
from tunesmith.data.measures import Measures
from tunesmith.data.nearest import Nearest

SMALL_TEST_ROWS = 50
LARGE_GROUP_SHARE = 0.2
MOSTLY = 0.9
MAX_LABELS = 40
SHOWN = 5
MOST_SHOWN_CHARACTERS = 20_000


@dataclass(frozen=True)
class Facts:
    """Everything the card says."""

    name: str
    settings: Mapping[str, Any]
    sources: Sequence[str]
    accounts: Mapping[str, Account]
    measures: Mapping[str, Measures]
    num_groups: int
    largest_group: int
    num_near: int
    contradictions: Contradictions
    fingerprint: str
    verb: str = "data prepare"
    is_frozen: bool = False
    notes: Sequence[str] = ()
    """What else a reader should know."""
    nearest: Sequence[Nearest] = ()
    """The most similar training row of rows that are tested on."""


def describe_sources(inputs: Iterable[Input]) -> list[str]:
    """One line a source: file, hash, and origin and licence when a fetched folder holds it."""
    lines = []
    for entry in inputs:
        path = Path(entry.path)
        line = f"`{path.name}` ({entry.role.replace('_', '-')}), sha256 `{entry.id[:16]}…`"
        try:
            summary = Manifest.read(path.resolve().parent).summary
        except UserError:
            summary = {}  # a file of the user's own, not from a folder that we made
        if "origin" in summary:
            line += f", from {summary['origin']}, licence {summary.get('licence', 'not stated')}"
        lines.append(line)
    return lines


def card(facts: Facts) -> str:
    """The whole card, Markdown."""
    parts = [
        f"# {facts.name}",
        opening(facts),
        "## Sources\n\n" + "\n".join(f"- {line}" for line in facts.sources),
        "## Splits\n\n" + splits_table(facts),
        "## Rows\n\n" + rows_table(facts) + reasons(facts),
        "## Groups\n\n" + groups(facts),
        "## Nearest training rows\n\n" + nearest_table(facts.nearest),
        "## Answers\n\n" + answers(facts),
        "## An example\n\n" + example(facts),
        "## Look at this before training\n\n"
        + ("\n".join(f"- {line}" for line in find(facts)) or "Nothing was found."),
        "## How it was made\n\n" + how(facts),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def opening(facts: Facts) -> str:
    """Two sentences."""
    used = sum(measure.rows for name, measure in facts.measures.items() if name != "held_out")
    return (
        f"{used:,} {noun(facts)} in {facts.num_groups:,} groups. "
        f"No two splits share a row or a group. Fingerprint `{facts.fingerprint[:16]}`."
    )


def noun(facts: Facts) -> str:
    """What the rows are."""
    first = facts.measures["train"].first
    if first is None or not first.is_text:
        return "conversations"
    return "prompts with a completion" if first.prompt else "documents"


def table(head: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """A Markdown table; every column but the first is aligned right."""
    lines = ["| " + " | ".join(head) + " |", "|---|" + "---:|" * (len(head) - 1)]
    lines += ["| " + " | ".join(cell(value) for value in row) + " |" for row in rows]
    return "\n".join(lines)


def cell(value: object) -> str:
    """A value inside a table; what would break the table is escaped."""
    if isinstance(value, int):
        return f"{value:,}"
    return str(value).replace("\\", "\\\\").replace("|", "\\|").replace("\n", " ")


def splits_table(facts: Facts) -> str:
    """Rows and lengths of each split."""
    head = ("split", "rows", "prompt, characters", "answer, characters")
    rows = [
        (name, measure.rows, lengths(measure.prompt_lengths), lengths(measure.answer_lengths))
        for name, measure in facts.measures.items()
    ]
    return table(head, rows) + "\n\nLengths: median / 95 % / longest. The system prompt counts as prompt."


def lengths(values: Sequence[int]) -> str:
    """Median, 95th percentile and longest."""
    if not values:
        return "–"
    ordered = sorted(values)
    return " / ".join(f"{ordered[int(share * (len(ordered) - 1))]:,}" for share in (0.5, 0.95, 1))


def rows_table(facts: Facts) -> str:
    """What became of every row of every file."""
    head = ("file", "rows", "kept", "changed", "refused", "duplicates", "near", "withheld")
    rows = [
        (
            f"{entry.file} ({role.replace('_', '-')})",
            *(
                entry.rows,
                entry.kept,
                entry.changed,
                entry.refused,
                entry.duplicate,
                entry.near_duplicate,
                entry.withheld,
            ),
        )
        for role, entry in facts.accounts.items()
    ]
    layouts = "".join(f"\n- {one.file}, read as {one.layout['evidence']}" for one in facts.accounts.values())
    return f"{table(head, rows)}\n{layouts}"


def reasons(facts: Facts) -> str:
    """Why rows were refused or changed."""
    lines = [
        f"- {entry.file}, {word} {count:,}: {reason}"
        for entry in facts.accounts.values()
        for word, counter in (("refused", entry.refusals), ("changed", entry.changes))
        for reason, count in counter.most_common()
    ]
    return "\n\n" + "\n".join(lines) if lines else ""


def groups(facts: Facts) -> str:
    """What was kept together and why."""
    threshold = facts.settings["near_duplicates"]
    near = f"or nearly one prompt (Jaccard similarity of {threshold:g} or more) " if threshold else ""
    return (
        f"Rows with one prompt {near}or one named group stay in one split: {facts.num_groups:,} groups, "
        f"the largest of {facts.largest_group:,} rows. "
        f"{facts.num_near:,} rows share a group with a prompt that is worded differently."
    )


def nearest_table(found: Sequence[Nearest]) -> str:
    """How similar the most similar training row is, over the rows that are tested on."""
    if not found:
        return "Nothing was compared: near-duplicates are off, or nothing is tested on."
    head = ("split", "rows compared", "median", "90 %", "99 %", "highest")
    rows = []
    for name in dict.fromkeys(row.split for row in found):
        values = sorted(row.similarity for row in found if row.split == name)
        shares = [f"{values[int(share * (len(values) - 1))]:.2f}" for share in (0.5, 0.9, 0.99, 1)]
        rows.append((name, len(values), *shares))
    about = (
        "Jaccard similarity of prompts (runs of 4 characters) to the most similar training prompt; each row"
    )
    return f"{table(head, rows)}\n\n{about} is listed in nearest.jsonl."


def answers(facts: Facts) -> str:
    """Keys of JSON answers, or the labels when there are few, by split."""
    train = facts.measures["train"]
    if train.documents == train.rows:
        return "The rows are plain text: there is nothing that they answer."
    if is_json(train):
        names = [name for name, measure in facts.measures.items() if measure.rows]
        rows = [
            (
                f"`{key}`",
                *(f"{facts.measures[name].keys[key] / facts.measures[name].rows:.1%}" for name in names),
            )
            for key, _ in train.keys.most_common(MAX_LABELS)
        ]
        keys = table(("key", *names), rows)
        return f"Answers are JSON objects. Share of answers that hold each key:\n\n{keys}"
    if is_labels(train):
        names = list(facts.measures)
        counts = [
            (f"`{label[:80]}`", *(facts.measures[name].answers[label] for name in names))
            for label, _ in train.answers.most_common()
        ]
        return f"Answers are {len(train.answers)} labels:\n\n{table(('label', *names), counts)}"
    return f"Free text: {train.num_answers:,} different answers in {train.rows:,} training rows."


def is_json(measure: Measures) -> bool:
    """Whether nearly all answers are JSON objects."""
    return measure.json_answers >= MOSTLY * measure.rows


def is_labels(measure: Measures) -> bool:
    """Whether the answers are few and each comes back."""
    return len(measure.answers) <= MAX_LABELS and measure.rows >= 2 * len(measure.answers)


def example(facts: Facts) -> str:
    """The first training row."""
    first = facts.measures["train"].first
    text = json.dumps(first.to_json() if first else {}, indent=2, ensure_ascii=False)
    if len(text) > MOST_SHOWN_CHARACTERS:
        text = f"{text[:MOST_SHOWN_CHARACTERS]}…\n(the first of {len(text):,} characters)"
    return f"````json\n{text}\n````"


def how(facts: Facts) -> str:
    """The settings that make the same data set again."""
    listed = "\n".join(f"- `{name}`: {setting(value)}" for name, value in facts.settings.items())
    return f"`tunesmith {facts.verb}` with\n\n{listed}"


def setting(value: object) -> str:
    """A setting as a reader would write it: whole numbers without a point."""
    return f"{value:g}" if isinstance(value, float) else json.dumps(value, ensure_ascii=False)


def find(facts: Facts) -> list[str]:
    """What a reader should look at, one sentence each."""
    return [*find_in_rows(facts), *facts.notes, *find_in_splits(facts), *find_unseen(facts)]


def find_in_rows(facts: Facts) -> list[str]:
    """Refused, repeated, withheld and contradicting rows."""
    found = []
    for account in facts.accounts.values():
        found += [f"{account.file}: {line}" for line in account.layout["findings"]]
        found += [f"{account.file}: {plural(n, 'row')}: {note}" for note, n in account.notes.most_common()]
        if account.refused:
            found.append(f"{account.file}: {plural(account.refused, 'row')} refused (rejects.jsonl)")
        if account.duplicate:
            found.append(
                f"{account.file}: {plural(account.duplicate, 'exact duplicate')} dropped (dropped.jsonl)"
            )
        if account.near_duplicate:
            rows = plural(account.near_duplicate, "near-duplicate")
            found.append(f"{account.file}: {rows} of rows that stay left out (dropped.jsonl)")
        if account.withheld:
            rows = plural(account.withheld, "row")
            found.append(f"{account.file}: {rows} withheld, too like a held-out row (dropped.jsonl)")
    if facts.contradictions.number:
        shown = "; ".join(", ".join(map(str, lines)) for lines in facts.contradictions.lines)
        what = plural(facts.contradictions.number, "prompt")
        found.append(f"{what} answered in more than one way, each in one group (lines {shown})")
    return found


def find_in_splits(facts: Facts) -> list[str]:
    """Splits that came out small or short of what was asked, and a group that outweighs the rest."""
    found = []
    total = sum(measure.rows for name, measure in facts.measures.items() if name != "held_out")
    for name in ("validation", "test"):
        asked, rows = facts.settings[name], facts.measures[name].rows
        if not facts.is_frozen and asked >= 1 and rows < asked:
            found.append(f"{name} has {rows} rows, {int(asked)} were asked for: no group fits the rest")
    if 0 < facts.measures["test"].rows < SMALL_TEST_ROWS:
        found.append(f"test has only {plural(facts.measures['test'].rows, 'row')}: intervals will be wide")
    if facts.largest_group > max(1, LARGE_GROUP_SHARE * total):
        share = f"{facts.largest_group / total:.0%}"
        found.append(f"one group holds {share} of the rows: it cannot be divided between splits")
    return found


def find_unseen(facts: Facts) -> list[str]:
    """Keys or labels that are tested but never learned."""
    train, found = facts.measures["train"], []
    for name, measure in facts.measures.items():
        if is_json(train):
            unseen, kind = measure.keys.keys() - train.keys.keys(), "keys"
        elif is_labels(train):
            unseen, kind = measure.answers.keys() - train.answers.keys(), "labels"
        else:
            continue
        if unseen:
            found.append(f"{name} has {kind} that train has not: {', '.join(sorted(unseen)[:SHOWN])}")
    return found


def plural(count: int, noun: str) -> str:
    """'1 row', '2 rows'."""
    return f"{count:,} {noun}" + ("" if count == 1 else "s")
