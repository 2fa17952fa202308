"""The checks of the model's family."""

from collections.abc import Callable, Iterator, Mapping

import numpy as np

from tunesmith.data.check.histogram import histogram
from tunesmith.data.check.models.rendering import Faults
from tunesmith.data.check.port import Check, Context, Fact, Finding, Looked, Need, SetFunction
from tunesmith.data.check.texts.personal import opening

TOKENIZER: frozenset[Need] = frozenset({"tokenizer"})
MODEL: frozenset[Need] = frozenset({"tokenizer", "model"})
SHOWN_CHARACTERS = 200
FEWEST_ROWS = 20
"""With fewer rows there is no saying what is far from the others."""
MOST_USUAL_RATIO = 0.9
"""Where most answers cost nearly as much behind another row's prompt, the prompt says nothing of a pair."""


def told_by(part: Callable[[Faults], list[Finding]]) -> SetFunction:
    """A check that reports one kind of fault of the rendering."""

    def whole(context: Context, threshold: float) -> Iterator[Finding | Fact | Looked]:
        tokens = context.bench().tokens
        yield Looked(len(tokens.sample.positions))
        yield from sorted(part(tokens.faults), key=lambda finding: finding.position or 0)

    return whole


def find_cut_answers(context: Context, threshold: float) -> Iterator[Finding | Fact | Looked]:
    """Answers that the longest length cuts: each would teach to stop in the middle."""
    bench = context.bench()
    yield Looked(len(bench.tokens.sample.positions))
    for position, reading in sorted(bench.tokens.readings.items()):
        if reading.share_cut > threshold:
            text = (
                f"{reading.num_tokens:,} tokens, {bench.limit:,} allowed: {reading.share_cut:.0%} of what is "
                "learned lies beyond"
            )
            yield Finding(position, "error", round(reading.share_cut, 4), {"text": text})


def measure_tokens(context: Context, threshold: float) -> Iterator[Finding | Fact | Looked]:
    """Lengths in the model's own tokens; too many long rows are one finding."""
    bench = context.bench()
    readings = list(bench.tokens.readings.values())
    yield Looked(len(bench.tokens.sample.positions))
    if not readings:
        return
    lengths = np.array([reading.num_tokens for reading in readings])
    learned = sum(reading.num_learned for reading in readings)
    over = float((lengths > bench.limit).mean())
    yield Fact("histogram", histogram(lengths, unit="tokens", limit=bench.limit))
    yield Fact("limit", bench.limit)
    yield Fact("share_over_limit", over)
    yield Fact("share_learned", learned / max(1, int(lengths.sum())))
    levels = {"median": 0.5, "p95": 0.95, "p99": 0.99, "longest": 1.0}
    yield Fact("quantiles", {name: int(np.quantile(lengths, level)) for name, level in levels.items()})
    if over > threshold:
        longest = f"the longest has {lengths.max():,}"
        text = f"{over:.1%} of the rows are longer than {bench.limit:,} tokens; {longest}"
        yield Finding(None, "warning", round(over, 4), {"text": text})


def find_mismatched_pairs(context: Context, threshold: float) -> Iterator[Finding | Fact | Looked]:
    """IFD, loss(answer | prompt) / loss(answer), above 1 (Li et al. 2023, arXiv:2308.12032)."""
    losses = context.bench().losses
    yield Looked(len(losses.sample.positions))
    ratios = {}
    for position, found in sorted(losses.by_row.items()):
        if found.alone is None or found.alone <= 0:
            continue
        ratios[position] = ratio = found.given / found.alone
        if ratio > threshold:
            row = context.corpus.row(position).example
            evidence = {
                "text": f"the prompt makes the answer less likely: {found.given:.2f} nats a token with it, "
                f"{found.alone:.2f} without",
                "prompt": opening(row.prompt[-1].content or "", SHOWN_CHARACTERS) if row.prompt else "",
                "answer": opening(row.answer, SHOWN_CHARACTERS),
            }
            yield Finding(position, "warning", round(ratio, 4), evidence)
    yield Fact("rows_judged", len(ratios))
    yield Fact("rows_not_judged", len(losses.sample.positions) - len(ratios))
    if ratios:
        values = np.array(list(ratios.values()))
        yield Fact("median", float(np.median(values)))
        yield Fact("histogram", histogram(values, unit="IFD", limit=threshold))


def find_odd_pairs(context: Context, threshold: float) -> Iterator[Finding | Fact | Looked]:
    """Answers that another row's prompt explains as well as their own, where prompts usually help."""
    losses = context.bench().losses
    ratios = {
        position: found.given / found.elsewhere
        for position, found in sorted(losses.by_row.items())
        if found.elsewhere
    }
    usual = float(np.median(list(ratios.values()))) if ratios else 1.0
    yield Fact("median", usual)
    if usual > MOST_USUAL_RATIO or len(ratios) < FEWEST_ROWS:
        yield Looked(0)
        return
    yield Looked(len(losses.sample.positions))
    yield Fact(
        "histogram", histogram(list(ratios.values()), unit="own prompt / other prompt", limit=threshold)
    )
    for position, ratio in ratios.items():
        if ratio > threshold:
            found, row = losses.by_row[position], context.corpus.row(position).example
            evidence = {
                "text": f"{found.given:.2f} nats a token behind its own prompt, {found.elsewhere:.2f} behind "
                f"another row's: {ratio:.2f} times as much, usual here is {usual:.2f}",
                "prompt": opening(row.prompt[-1].content or "", SHOWN_CHARACTERS),
                "answer": opening(row.answer, SHOWN_CHARACTERS),
            }
            yield Finding(position, "warning", round(ratio, 4), evidence)


def find_odd_answers(context: Context, threshold: float) -> Iterator[Finding | Fact | Looked]:
    """Answers that cost far more than the others do, in nats a token."""
    losses = context.bench().losses
    yield Looked(len(losses.sample.positions))
    if len(losses.by_row) < FEWEST_ROWS:
        return
    nats = {position: found.given for position, found in losses.by_row.items()}
    middle = float(np.median(list(nats.values())))
    yield Fact("median_loss", middle)
    yield Fact("histogram", histogram(list(nats.values()), unit="nats a token"))
    for position, value, z in above_the_others(nats, threshold):
        text = f"{value:.2f} nats a token, half of the rows cost less than {middle:.2f}"
        answer = opening(context.corpus.row(position).example.answer, SHOWN_CHARACTERS)
        evidence = {"text": text, "answer": answer}
        yield Finding(position, "note", round(z, 3), evidence)


def above_the_others(values: Mapping[int, float], threshold: float) -> Iterator[tuple[int, float, float]]:
    """Row, value and modified z-score (Iglewicz & Hoaglin 1993) of its logarithm, where that is above."""
    if len(values) < FEWEST_ROWS:
        return
    positions = sorted(values)
    logs = np.log(np.maximum([values[position] for position in positions], 1e-6))
    middle = float(np.median(logs))
    spread = float(np.median(np.abs(logs - middle)))
    if spread == 0:
        return
    for position, log in zip(positions, logs.tolist(), strict=True):
        z = 0.6745 * (log - middle) / spread
        if z > threshold:
            yield position, values[position], z


def rendered(name: str, about: str, part: Callable[[Faults], list[Finding]]) -> Check:
    """A check of one kind of fault of the rendering."""
    return Check(name, about, "model", whole=told_by(part), needs=TOKENIZER)


CHECKS: tuple[Check, ...] = (
    rendered(
        "not_renderable",
        "The model's chat template cannot write the row, or leaves out a part of it.",
        lambda faults: faults.render,
    ),
    rendered(
        "wrong_spans",
        "Two independent ways of finding the learned tokens disagree: the loss would fall on the wrong ones.",
        lambda faults: faults.spans,
    ),
    rendered(
        "end_not_learned",
        "The token that ends an answer is not learned: the model would run on.",
        lambda faults: faults.ends,
    ),
    rendered(
        "nothing_learned",
        "No token of the row is learned: training leaves it out.",
        lambda faults: faults.nothing,
    ),
    rendered(
        "special_tokens_in_text",
        "The text holds control tokens of this model: a turn would begin or end in the middle of it.",
        lambda faults: faults.special,
    ),
    rendered(
        "double_begin",
        "The begin-of-text token stands there twice.",
        lambda faults: faults.begins,
    ),
    Check(
        "answer_cut",
        "The longest length cuts the answer; the threshold is the share of learned tokens that may be lost.",
        "model",
        whole=find_cut_answers,
        needs=TOKENIZER,
    ),
    Check(
        "token_lengths",
        "Lengths in the model's own tokens; the threshold is the share of rows that may be too long.",
        "model",
        whole=measure_tokens,
        threshold=0.05,
        needs=TOKENIZER,
    ),
    Check(
        "mismatched_pairs",
        "The prompt makes the answer less likely (IFD above the threshold): they may not belong together.",
        "model",
        whole=find_mismatched_pairs,
        threshold=1.0,
        needs=MODEL,
    ),
    Check(
        "odd_pairs",
        "Another row's prompt explains the answer as well (loss behind its own prompt / the other's above "
        "the threshold) where prompts usually help: they may not belong together.",
        "model",
        whole=find_odd_pairs,
        threshold=0.95,
        needs=MODEL,
    ),
    Check(
        "odd_answers",
        "The answer costs the model far more than the others do (modified z-score above the threshold).",
        "model",
        whole=find_odd_answers,
        threshold=3.5,
        needs=MODEL,
    ),
)
