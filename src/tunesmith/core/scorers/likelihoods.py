"""Scorers of how likely texts are for a model: nothing is generated, so they vary little and cost little.

Miller, arXiv:2411.00640, recommends probabilities over sampled answers where a task allows it.
"""

from math import exp, log

from tunesmith.core.scorers.port import Case, Faulty, Likelihood, Scorer

LEVELS = {
    "none": lambda one: one.logprob,
    "byte": lambda one: one.logprob / max(1, one.bytes),
    "token": lambda one: one.logprob / max(1, one.tokens),
}
"""What choices of unequal length are compared by (lm-eval's acc, acc_norm, and by tokens)."""


def measured(case: Case) -> Likelihood:
    """The likelihood of the right answer."""
    if case.reply.likelihood is None:
        raise Faulty("the likelihood of the right answer was not measured")
    return case.reply.likelihood


def multiple_choice(case: Case, *, per: str = "byte") -> float:
    """1 when the right choice is the likeliest of the item's `choices`, by bytes, by tokens, or as it is."""
    if per not in LEVELS:
        raise Faulty(f"choices are compared per {', '.join(LEVELS)}, not per {per}")
    choices = choices_of(case)
    if len(case.reply.choices) != len(choices):
        raise Faulty(f"{len(case.reply.choices)} of {len(choices)} choices were measured")
    levels = [LEVELS[per](one) for one in case.reply.choices]
    best = [choice for choice, level in zip(choices, levels, strict=True) if level == max(levels)]
    return float(best == [case.golds[0]])  # of equals none is chosen


def choices_of(case: Case) -> list[str]:
    """The item's choices, the right answer among them."""
    choices = case.example.metadata.get("choices")
    if not isinstance(choices, list | tuple) or not all(isinstance(choice, str) for choice in choices):
        raise Faulty("the item's metadata have no list of texts named choices")
    if list(choices).count(case.golds[0]) != 1:
        raise Faulty("the right answer does not stand in choices exactly once")
    return list(choices)


def gold_logprob(case: Case) -> float:
    """Log-likelihood of the right answer, in nats for each of its tokens, over all tokens of the set."""
    one = measured(case)
    return one.logprob / max(1, one.tokens)


def perplexity(case: Case) -> float:
    """Perplexity of the right answers: exp of the mean negative log-likelihood of their tokens."""
    return -gold_logprob(case)


def bits_per_byte(case: Case) -> float:
    """Bits that each byte of the right answers costs; it does not depend on the tokenizer."""
    one = measured(case)
    return -one.logprob / (log(2) * max(1, one.bytes))


def num_tokens(case: Case) -> float:
    """Tokens of the right answer."""
    return float(max(1, measured(case).tokens))


def num_bytes(case: Case) -> float:
    """Bytes of the right answer."""
    return float(max(1, measured(case).bytes))


SCORERS = (
    Scorer("multiple_choice", multiple_choice, "share", needs="choices"),
    Scorer("gold_logprob", gold_logprob, "number", needs="likelihood", weight=num_tokens),
    Scorer(
        "perplexity",
        perplexity,
        "number",
        needs="likelihood",
        better="lower",
        weight=num_tokens,
        shown=exp,
    ),
    Scorer("bits_per_byte", bits_per_byte, "number", needs="likelihood", better="lower", weight=num_bytes),
)
