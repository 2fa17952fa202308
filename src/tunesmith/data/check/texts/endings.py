"""Checks for answers that stop before they are done."""

import json
import re
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Literal

from tunesmith.core.stats import wilson
from tunesmith.data.check.port import Check, Context, Fact, Finding, Found
from tunesmith.data.check.texts.parts import answers_of, found_at, show_piece
from tunesmith.data.corpus import CorpusRow

END = re.compile(
    r"[.!?…。！？।؟։;][\"'”’»)\]}>*_`~]{0,4}$|[)\]}>|*_`~\"”’»$=—☺-➿）】》」』〉]$|[\U0001F300-\U0001FAFF️]$"
    r"|https?://\S{1,300}$|#\w{1,60}$|= ?[-\d.,]{1,30} ?\S{0,3}$|[\"”'’] ?[-–—~] ?[A-Z][\w. ]{2,40}$"
)
"""A stop or closing sign, an emoji, a URL, a hashtag, a result, the name under a quotation."""
SENTENCE = re.compile(r"[.!?。！？]\s+[A-Z\"'“À-Þ]|[。！？][^\s”」』）]")
WIDE = re.compile("[\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af]")
LIST_LINE = re.compile(r"^\s{0,12}(?:[-*•+]|\d{1,3}[.)]|[A-Za-z][.)])\s")
LABEL_LINE = re.compile(
    r"[*_]{0,2}\w{1,20}(?: \w{1,20})?[*_]{0,2}: \S.{0,40}$|#\w|(?:[A-Z\[][\w.'’-]{0,20}\]?,?(?: |$)){1,4}$"
    r"|[-–—] ?[A-Z]"
)
"""A last line such as `Answer: Illinois`, a hashtag, a name under a letter or a quotation."""
TAIL = 400
PROSE_CHARACTERS = 80
PHRASE_WORDS = 7
MIN_ROWS = 20
"""A corpus of fewer answers of a form has no habit."""
MIN_CAP_CHARACTERS, MIN_CAP_WORDS = 100, 25
MIN_CAPPED = 5

Form = Literal["prose", "line", "list", "phrase"]
"""Several sentences; one line or sentence; a list at the end; a few words, or a label or name at the end."""


def form_of(text: str) -> Form:
    """What an answer looks like at its end, because each form has its own habit of ending."""
    last = text.rstrip()[-TAIL:].rsplit("\n", 1)[-1]
    if LIST_LINE.match(last):
        return "list"
    if num_words(text) < PHRASE_WORDS or LABEL_LINE.match(last):
        return "phrase"
    return "prose" if len(text) >= PROSE_CHARACTERS and SENTENCE.search(text) else "line"


def num_words(text: str) -> int:
    """Words, at most about `PHRASE_WORDS`; two signs of Chinese or Japanese count as one."""
    words = len(text.split(None, PHRASE_WORDS))
    return words if text.isascii() else max(words, len(WIDE.findall(text[:100])) // 2)


def is_ended(text: str) -> bool:
    """Whether a text ends with a sign that ends something: a stop, a closing sign, a URL, an emoji."""
    return END.search(text.rstrip()[-TAIL:]) is not None


def find_cut_structures(row: CorpusRow, threshold: float) -> Iterator[Found]:
    """Answers with an open code fence, or JSON that stops in the middle."""
    for part in answers_of(row.example):
        text = part.text.strip()
        if text.startswith(("{", "[")) and part.role != "step":
            if fault := json_fault(text):
                yield found_at(part, max(0, len(part.text) - 60), len(part.text), "error", fault)
        elif (
            part.text.count("```") % 2
            and sum(line.lstrip().startswith("```") for line in part.text.split("\n")) % 2
        ):
            start = part.text.rindex("```")
            yield found_at(part, start, start + 60, "error", "open code fence")
        elif (bracket := open_bracket(text)) is not None and not is_ended(text):
            start = len(part.text) - len(part.text.lstrip()) + bracket
            yield found_at(part, start, start + 60, "warning", "open bracket at the end")


def json_fault(text: str) -> str | None:
    """Why a text that starts as a JSON object or list is none; None when it is one or only looks like one.

    `[1] …` and `{x : x > 0}` start like JSON and are not: what counts is a quoted key, or an inner value.
    """
    if not re.match(r"\{\s*(?:\"[^\"\n]{0,100}(?:\"\s*:|$)|$)|\[\s*(?:[{\[]\s*(?:[\"\[{\d]|$)|\"|$)", text):
        return None
    try:
        json.loads(text)
    except RecursionError:
        return None
    except json.JSONDecodeError as error:
        rest = text[error.pos :]
        if error.msg == "Extra data":
            return "JSON that cannot be read" if rest[:1] in ("}", "]", ",") else None
        at_end = error.pos >= len(text.rstrip()) - 1 or error.msg.startswith("Unterminated")
        return "JSON cut off" if at_end else "JSON that cannot be read"
    except ValueError:
        # a number of more digits than int() takes
        return "JSON that cannot be read"
    return None


def open_bracket(text: str) -> int | None:
    """Place of a bracket in the last 200 characters that is opened and not closed."""
    tail = text[-200:]
    start = max(tail.rfind("("), tail.rfind("["), tail.rfind("{"))
    if start < 0 or any(sign in tail[start:] for sign in ")]}"):
        return None
    return len(text) - len(tail) + start if tail[start - 1 : start] not in (":", ";", "8", "=") else None


def find_unfinished(context: Context, threshold: float) -> Iterator[Finding | Fact]:
    """Answers without an end, of a form that ends properly in at least this share of the corpus."""
    totals, ended = Counter[Form](), Counter[Form]()
    loose: list[int] = []
    for row in context.corpus:
        for part in answers_of(row.example):
            form = form_of(part.text)
            totals[form] += 1
            ended[form] += is_ended(part.text)
            if not is_ended(part.text) and (not loose or loose[-1] != row.position):
                loose.append(row.position)
    habits = {form: (ended[form], total) for form, total in totals.items()}
    yield Fact(
        "answers_that_end",
        {form: {"ended": done, "answers": total} for form, (done, total) in habits.items()},
    )
    judged = {
        form
        for form, (done, total) in habits.items()
        if total >= MIN_ROWS and wilson(done, total)[0] >= threshold
    }
    for position in loose if judged else ():
        for part in answers_of(context.corpus.row(position).example):
            if form_of(part.text) in judged and not is_ended(part.text) and not open_bracket_found(part.text):
                start = max(0, len(part.text.rstrip()) - 60)
                evidence = show_piece(part, start, len(part.text), {"form": form_of(part.text)})
                yield Finding(position, "warning", part.text.rstrip()[-1:], evidence)


def open_bracket_found(text: str) -> bool:
    """Whether `cut_structures` already says this of the answer."""
    stripped = text.strip()
    if stripped.startswith(("{", "[")):
        return json_fault(stripped) is not None
    return open_bracket(stripped) is not None


def words(text: str) -> int:
    """Number of words between spaces."""
    return len(text.split())


MEASURES: tuple[tuple[str, Callable[[str], int], int], ...] = (
    ("characters", len, MIN_CAP_CHARACTERS),
    ("words", words, MIN_CAP_WORDS),
)


def find_capped(context: Context, threshold: float) -> Iterator[Finding | Fact]:
    """Answers at a common greatest length, where many more stand than around it and few beyond."""
    lengths = {name: Counter[int]() for name, _, _ in MEASURES}
    for row in context.corpus:
        for part in answers_of(row.example):
            for name, measure, _ in MEASURES:
                lengths[name][measure(part.text)] += 1
    caps = {name: find_cap(lengths[name], least, threshold) for name, _, least in MEASURES}
    if not any(caps.values()):
        return
    yield Fact("answer_caps", {name: cap for name, cap in caps.items() if cap})
    texts: set[int] = set()
    hits: list[Finding] = []
    for row in context.corpus:
        for part in answers_of(row.example):
            for name, measure, _ in MEASURES:
                if caps[name] and measure(part.text) == caps[name]:
                    texts.add(hash(part.text))
                    start = max(0, len(part.text) - 60)
                    evidence = show_piece(part, start, len(part.text), {"measure": name})
                    hits.append(Finding(row.position, "warning", measure(part.text), evidence))
                    break
    if len(texts) * 2 > len(hits):
        yield from hits


def find_cap(lengths: Counter[int], least: int, threshold: float) -> int | None:
    """A length of at least `least` with `threshold` times the answers of its neighbours, and few beyond it.

    Neighbours are the lengths up to a tenth shorter; at most one answer in fifty may be longer.
    """
    total, beyond = sum(lengths.values()), 0
    for length in sorted(lengths, reverse=True):
        here = lengths[length]
        if length < least or beyond > total / 50:
            return None
        below = range(length - max(3, length // 10), length)
        usual = sum(lengths[near] for near in below) / len(below)
        if here >= MIN_CAPPED and here >= threshold * max(usual, 0.2):
            return length
        beyond += here
    return None


CHECKS = (
    Check(
        "cut_structures",
        "Answers that break off inside JSON, a code fence or a bracket: the model learns to stop in the "
        "middle.",
        "answers",
        row=find_cut_structures,
    ),
    Check(
        "unfinished_answers",
        "Answers that end without a stop or a closing sign, where at least this share of the corpus's "
        "answers of that "
        "form (prose, one line, list, phrase) has one; where most have none it is no fault.",
        "answers",
        whole=find_unfinished,
        threshold=0.8,
    ),
    Check(
        "capped_answers",
        "A pile of answers at one greatest length in characters or words, this many times what stands around "
        "it: a "
        "limit cut them.",
        "answers",
        whole=find_capped,
        threshold=8.0,
    ),
)
