"""One question, several answers: what the model is to say is not settled."""

from collections import Counter
from collections.abc import Iterator
from typing import Any, Final

from tunesmith.data.check.port import Check, Context, Fact, Finding, Looked, Severity
from tunesmith.data.check.sets import near
from tunesmith.data.check.sets.columns import Coded, Columns, Ints, clusters_of, columns
from tunesmith.data.check.sets.duplicates import cluster_evidence, place, short
from tunesmith.data.check.sets.shown import shown_differences
from tunesmith.data.differences import differences
from tunesmith.data.vectors import answered, asked

SHORT_ANSWER_WORDS: Final = 5
"""Answers of at most so many words that differ cannot both be the one that is wanted."""
SHOWN_ANSWERS: Final = 4


def answer_labels(known: Columns) -> dict[str, Coded]:
    """The labels that are answers, or fields of answers."""
    return {
        name: coded for name, coded in known.labels.items() if name == "answer" or name.startswith("answer.")
    }


def conflicting_answers(ctx: Context, threshold: float) -> Iterator[Finding | Fact]:
    """Rows with the same question and another answer."""
    known = columns(ctx)
    is_label = "answer" in known.labels
    counts: Counter[str] = Counter()
    for members in clusters_of(known.asked, known.has_prompt & (known.asked_words > 0)):
        firsts = members[near.first_of_each(known.answered[members])]
        if len(firsts) < 2 or not same_standing(ctx, firsts):
            continue
        severity, why = judged(ctx, known, firsts, is_label=is_label)
        counts[severity] += 1
        answers = [short(answered(ctx.corpus.row(int(one)).example)) for one in firsts[:SHOWN_ANSWERS]]
        evidence: dict[str, Any] = {
            **cluster_evidence(ctx, members.tolist()),
            "text": short(asked(ctx.corpus.row(int(firsts[0])).example)),
            "answers": answers,
            "why": why,
        }
        for position in members.tolist():
            yield Finding(position, severity, len(firsts), evidence)
    yield Fact("conflicting_answers", {"prompts": sum(counts.values()), **counts})


def same_standing(ctx: Context, positions: Ints) -> bool:
    """Whether the rows are answers to learn from: pairs, and answers that are rated, may differ."""
    kinds = {ctx.corpus.row(int(position)).example.kind for position in positions[:SHOWN_ANSWERS]}
    return bool(kinds & {"conversation", "text"})


def judged(ctx: Context, known: Columns, firsts: Ints, *, is_label: bool) -> tuple[Severity, str]:
    """How bad it is that these rows answer differently, and why."""
    if is_label:
        return "error", "the answers are labels, and they differ"
    if all(known.answered_words[firsts] <= SHORT_ANSWER_WORDS):
        return "warning", "the answers are short, and they differ"
    texts = [answered(ctx.corpus.row(int(one)).example) for one in firsts[:SHOWN_ANSWERS]]
    apart = [differences(texts[0], other) for other in texts[1:]]
    if any(one.negations or one.numbers for one in apart):
        return "warning", "numbers or negations differ"
    return "note", "several answers in other words"


def label_conflicts(ctx: Context, threshold: float) -> Iterator[Finding | Fact | Looked]:
    """Rows with nearly the same question and another label."""
    known = columns(ctx)
    labels = answer_labels(known) or known.labels
    if not labels:
        yield Looked(0)
        return
    pairs = near.asked_pairs(ctx, threshold)
    found = 0
    for left, right, similarity in zip(*(column.tolist() for column in pairs), strict=True):
        differing = [
            name for name, coded in labels.items() if min(coded.codes[left], coded.codes[right]) >= 0
            and coded.codes[left] != coded.codes[right]
        ]  # fmt: skip
        if not differing:
            continue
        texts = [asked(ctx.corpus.row(position).example) for position in (left, right)]
        apart = differences(*texts)
        found += 1
        for position, other, text, its in ((left, right, *texts), (right, left, *reversed(texts))):
            evidence = {
                "row": place(ctx, other),
                "text": short(text),
                "other_text": short(its),
                "labels": {
                    name: [labels[name].name(position), labels[name].name(other)] for name in differing
                },
                "differs": shown_differences(*texts) if apart else {},
            }
            yield Finding(position, "note" if apart else "warning", round(similarity, 4), evidence)
    yield Fact("label_conflicts", {"pairs": found})


CHECKS: tuple[Check, ...] = (
    Check(
        "conflicting_answers",
        "One question has several answers, by how many: labels, short answers, numbers or negations that "
        "differ cannot all be right.",
        "duplicates",
        whole=conflicting_answers,
        threshold=2,
    ),
    Check(
        "label_conflicts",
        "Nearly the same question has another label, by the share of common runs of three words; other "
        "numbers, negations or names make it a note.",
        "labels",
        whole=label_conflicts,
        threshold=0.6,
    ),
)
