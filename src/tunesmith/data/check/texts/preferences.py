"""Checks of preference pairs, of rated answers, and of graded steps."""

from collections import Counter
from collections.abc import Callable, Iterator, Sequence

from tunesmith.core.conversation import Example, Message
from tunesmith.core.similarity import normalise, text_hash
from tunesmith.core.stats import wilson
from tunesmith.data.check.port import Check, Context, Fact, Finding, Found
from tunesmith.data.check.texts.parts import excerpt, last_question
from tunesmith.data.check.texts.personal import hide
from tunesmith.data.corpus import CorpusRow

MIN_CONTAINED = 20
"""A shorter side stands in nearly every text."""
MIN_PAIRS, MIN_RATED = 20, 20
COPIED_WORDS = 12
SCORE_KEYS = (
    ("score_chosen", "score_rejected"),
    ("chosen_score", "rejected_score"),
    ("chosen_rating", "rejected_rating"),
)


def said(turns: Sequence[Message]) -> str:
    """All that a side says, tool calls included."""
    pieces = [turn.content or "" for turn in turns]
    pieces += [str(call["function"]) for turn in turns for call in turn.tool_calls]
    return "\n".join(piece for piece in pieces if piece)


def piece(text: str) -> str:
    """The beginning of a text, masked."""
    return excerpt(text, 0, 60)


def find_equal_sides(row: CorpusRow, threshold: float) -> Iterator[Found]:
    """Both answers are the same, but for case and spaces."""
    example = row.example
    chosen, rejected = said(example.chosen), said(example.rejected)
    if example.chosen and normalise(chosen) == normalise(rejected):
        how = "equal" if chosen == rejected else "equal but for case and spaces"
        yield Found("error", how, {"pointer": "/rejected", "text": piece(rejected)})


def find_contained_side(row: CorpusRow, threshold: float) -> Iterator[Found]:
    """One answer is the beginning or a piece of the other."""
    example = row.example
    if not example.chosen:
        return
    sides = {"chosen": said(example.chosen).strip(), "rejected": said(example.rejected).strip()}
    inner, outer = sorted(sides, key=lambda name: len(sides[name]))
    if len(sides[inner]) >= threshold and sides[inner] != sides[outer] and sides[inner] in sides[outer]:
        yield Found(
            "note", f"{inner} stands in {outer}", {"pointer": f"/{inner}", "text": piece(sides[inner])}
        )


def find_prompt_in_side(row: CorpusRow, threshold: float) -> Iterator[Found]:
    """An answer of a pair that begins with the prompt: the pair was written whole on both sides."""
    question = " ".join(last_question(row.example).split())
    if not row.example.chosen or len(question.split()) < threshold:
        return
    for name, turns in (("chosen", row.example.chosen), ("rejected", row.example.rejected)):
        text = " ".join(said(turns).split())
        if question in text[: 2 * len(question) + 40] and text != question:
            yield Found("warning", len(question.split()), {"pointer": f"/{name}", "text": piece(said(turns))})


def find_other_tools(row: CorpusRow, threshold: float) -> Iterator[Found]:
    """One answer calls a tool and the other does not, or they call different ones."""
    if not row.example.chosen:
        return
    names = [
        sorted({call["function"]["name"] for turn in turns for call in turn.tool_calls})
        for turns in (row.example.chosen, row.example.rejected)
    ]
    if names[0] != names[1]:
        shown = [hide(", ".join(side) or "none")[:80] for side in names]
        yield Found(
            "note",
            " / ".join(shown),
            {"pointer": "/chosen", "text": f"chosen {shown[0]}; rejected {shown[1]}"},
        )


def find_tied_scores(row: CorpusRow, threshold: float) -> Iterator[Found]:
    """The scores behind a pair are equal, or say the opposite."""
    if not row.example.chosen:
        return
    known = row.example.metadata
    for better, worse in SCORE_KEYS:
        left, right = known.get(better), known.get(worse)
        if not isinstance(left, int | float) or not isinstance(right, int | float):
            continue
        if left - right <= threshold:
            evidence = {"pointer": f"/metadata/{better}", "text": f"chosen {left}, rejected {right}"}
            yield Found("error" if left < right else "warning", round(left - right, 4), evidence)


def first_word(text: str) -> str:
    """The first word in small letters."""
    return next(iter(text[:80].lower().split()), "")


def sign(left: float, right: float) -> int:
    """1, 0 or -1 as left is greater than, equal to or less than right."""
    return (left > right) - (left < right)


RULES: dict[str, Callable[[str, str], int]] = {
    "the longer answer": lambda a, b: sign(len(a), len(b)),
    "the answer with more lines": lambda a, b: sign(a.count("\n"), b.count("\n")),
    "the answer with a list or headings": lambda a, b: sign(
        *(("\n- " in t) + ("\n1." in t) + ("\n#" in t) + ("**" in t) for t in (a, b))
    ),
    "the answer that ends with a stop": lambda a, b: sign(*(t.rstrip()[-1:] in ".!?" for t in (a, b))),
    "the answer with more digits": lambda a, b: sign(*(sum(map(t.count, "0123456789")) for t in (a, b))),
}
"""Rules that need no meaning: 1 says chosen, -1 rejected, 0 nothing."""


def find_length_bias(context: Context, threshold: float) -> Iterator[Finding | Fact]:
    """Whether the chosen answer is the longer one so often that length alone would be learned."""
    longer = unequal = 0
    ratios: list[float] = []
    for row in context.corpus:
        if row.example.chosen:
            chosen, rejected = len(said(row.example.chosen)), len(said(row.example.rejected))
            longer, unequal = longer + (chosen > rejected), unequal + (chosen != rejected)
            ratios.append(chosen / max(1, rejected))
    if not unequal:
        return
    low, high = wilson(longer, unequal)
    ratio = sorted(ratios)[len(ratios) // 2]
    yield Fact(
        "chosen_longer",
        {"share": longer / unequal, "low": low, "high": high, "pairs": unequal, "median_ratio": ratio},
    )
    if unequal >= MIN_PAIRS and (low > threshold or high < 1 - threshold):
        which = "longer" if low > threshold else "shorter"
        text = f"chosen is the {which} answer in {longer / unequal:.0%} of {unequal} pairs ({low:.0%} to "
        f"{high:.0%})"
        yield Finding(
            None,
            "warning",
            round(longer / unequal, 4),
            {
                "text": text.replace(
                    f"{longer / unequal:.0%}", f"{max(longer, unequal - longer) / unequal:.0%}", 1
                )
                if which == "shorter"
                else text
            },
        )


def find_separable(context: Context, threshold: float) -> Iterator[Finding | Fact]:
    """Rules without meaning that tell chosen from rejected nearly always."""
    votes = {name: Counter[int]() for name in RULES}
    firsts, pairs = Counter[tuple[str, str]](), 0
    for row in context.corpus:
        if not row.example.chosen:
            continue
        chosen, rejected = said(row.example.chosen), said(row.example.rejected)
        pairs += 1
        for name, rule in RULES.items():
            votes[name][rule(chosen, rejected)] += 1
        for side, text in (("chosen", chosen), ("rejected", rejected)):
            key = (side, first_word(text))
            if key in firsts or len(firsts) < 2 * 2_000:
                firsts[key] += 1
    if pairs < MIN_PAIRS:
        return
    shares = {name: max(vote[1], vote[-1]) / pairs for name, vote in votes.items()}
    for (side, word), count in firsts.most_common(20):
        other = "rejected" if side == "chosen" else "chosen"
        only = max(0, count - firsts[other, word]) / pairs
        shares[f"{side} begins with {hide(word)!r}"] = only
    yield Fact(
        "rules_that_separate", {name: round(share, 4) for name, share in shares.items() if share >= 0.5}
    )
    for name, share in shares.items():
        if share >= threshold:
            yield Finding(
                None, "warning", round(share, 4), {"text": f"{name} tells {share:.0%} of {pairs} pairs apart"}
            )


def find_one_class(context: Context, threshold: float) -> Iterator[Finding | Fact]:
    """Ratings that are nearly all good or nearly all bad."""
    labels = Counter(row.example.label for row in context.corpus if row.example.label is not None)
    total = labels.total()
    if not total:
        return
    yield Fact("ratings", {"wanted": labels[True], "unwanted": labels[False]})
    share = max(labels.values()) / total
    if total >= MIN_RATED and share >= threshold:
        which = "wanted" if labels[True] > labels[False] else "unwanted"
        yield Finding(
            None,
            "error" if share == 1 else "warning",
            round(share, 4),
            {"text": f"{share:.1%} of {total} answers are {which}"},
        )


def find_contradicting_ratings(context: Context, threshold: float) -> Iterator[Finding | Fact]:
    """The same answer to the same prompt, wanted in one row and unwanted in another.

    Of each rated row 16 bytes of hash stay in memory.
    """
    seen: dict[bytes, int] = {}
    for row in context.corpus:
        if row.example.label is not None:
            key = rating_key(row.example)
            seen[key] = seen.get(key, 0) | (1 if row.example.label else 2)
    both = {key for key, labels in seen.items() if labels == 3}
    if not both:
        return
    for row in context.corpus:
        if row.example.label is not None and rating_key(row.example) in both:
            evidence = {"pointer": "/label", "text": piece(row.example.answer)}
            yield Finding(row.position, "error", str(row.example.label).lower(), evidence)


def rating_key(example: Example) -> bytes:
    """Hash of all that is rated, but for case and spaces."""
    texts = [f"{turn.role}\0{said((turn,))}" for turn in example.messages]
    return bytes.fromhex(text_hash("\0".join(texts)))


def find_flat_steps(context: Context, threshold: float) -> Iterator[Finding | Fact]:
    """Steps that are all right, or all wrong, in nearly every row."""
    kinds = Counter[str]()
    for row in context.corpus:
        if row.example.steps:
            right = {step.is_right for step in row.example.steps}
            kinds["mixed" if len(right) == 2 else "all right" if True in right else "all wrong"] += 1
    total = kinds.total()
    if not total:
        return
    yield Fact("graded_steps", dict(kinds))
    for kind in ("all right", "all wrong"):
        if total >= MIN_RATED and kinds[kind] / total >= threshold:
            text = f"the steps are {kind} in {kinds[kind]} of {total} rows"
            yield Finding(None, "warning", round(kinds[kind] / total, 4), {"text": text})


CHECKS = (
    Check(
        "equal_sides",
        "Chosen and rejected are the same, but for case and spaces: the pair teaches nothing.",
        "preferences",
        row=find_equal_sides,
    ),
    Check(
        "contained_side",
        "One answer of a pair stands inside the other, from this many characters on: often one was cut off.",
        "preferences",
        row=find_contained_side,
        threshold=MIN_CONTAINED,
    ),
    Check(
        "prompt_in_side",
        "An answer of a pair begins by repeating the prompt, when that has at least this many words.",
        "preferences",
        row=find_prompt_in_side,
        threshold=COPIED_WORDS,
    ),
    Check(
        "different_tools",
        "The two answers of a pair call different tools.",
        "preferences",
        row=find_other_tools,
    ),
    Check(
        "tied_scores",
        "The scores in the metadata of a pair differ by no more than this, or rank the answers the other way "
        "round.",
        "preferences",
        row=find_tied_scores,
    ),
    Check(
        "length_bias",
        "The chosen answer is the longer (or the shorter) one in more than this share of the pairs, judged "
        "by the near "
        "end of a 95 % interval: DPO then learns length.",
        "preferences",
        whole=find_length_bias,
        threshold=0.65,
    ),
    Check(
        "separable_pairs",
        "A rule without meaning (length, lines, first word …) tells chosen from rejected in at least this "
        "share of pairs.",
        "preferences",
        whole=find_separable,
        threshold=0.95,
    ),
    Check(
        "one_sided_ratings",
        "At least this share of the rated answers has the same rating; KTO needs both.",
        "preferences",
        whole=find_one_class,
        threshold=0.95,
    ),
    Check(
        "contradicting_ratings",
        "The same answer to the same prompt is wanted in one row and unwanted in another.",
        "preferences",
        whole=find_contradicting_ratings,
    ),
    Check(
        "flat_steps",
        "The steps are all right, or all wrong, in at least this share of the rows; a reward model needs "
        "both.",
        "preferences",
        whole=find_flat_steps,
        threshold=0.95,
    ),
)
