"""What a review found, in words: for the terminal and for the data set's card."""

from collections.abc import Iterator

from tunesmith.core.progress import counted
from tunesmith.data.review.schema import Agreed, Rate, ReviewResult


def verdict_words(result: ReviewResult) -> str:
    """How many rows were asked about, and what was said of them."""
    counts = {
        "accepted": result.accepted,
        "edited": result.edited,
        "rejected": result.rejected,
        "in conflict": result.conflicts,
        "open": result.open,
    }
    parts = " + ".join(f"{count:,} {name}" for name, count in counts.items() if count)
    skipped = f"  ({result.skipped:,} skipped)" if result.skipped else ""
    return f"{result.queued:,}{' = ' if parts else ''}{parts}{skipped}"


def rate_words(rate: Rate) -> str:
    """The share of wrong rows and what it says about all of them."""
    if not rate.rows:
        return f"nothing decided yet of a sample of {rate.undecided:,}"
    still = f"; {rate.undecided:,} of the sample still open" if rate.undecided else ""
    return (
        f"{rate.value:.1%}: {rate.errors:,} of {rate.rows:,} random rows, 95 % interval {rate.low:.1%} to "
        f"{rate.high:.1%} (exact {rate.exact_low:.1%} to {rate.exact_high:.1%}); below {rate.below:.2%} with "
        f"95 % confidence{still}"
    )


def together_words(agreed: Agreed) -> str:
    """Agreement between people on the rows that two of them judged."""
    alpha = "undefined (one kind of verdict)"
    if agreed.alpha is not None:
        given = agreed.alpha_low is not None
        ends = f" ({agreed.alpha_low:.2f} to {agreed.alpha_high:.2f})" if given else ""
        alpha = f"{agreed.alpha:.2f}{ends}"
    kappa = f", kappa {agreed.kappa:.2f}" if agreed.kappa is not None else ""
    return f"{agreed.percent:.0%} of {counted(agreed.rows, 'row')}, alpha {alpha}{kappa}"


def review_lines(result: ReviewResult) -> Iterator[str]:
    """A review for those who get the data: no reviewer is named but the one who signed."""
    yield f"{counted(result.total, 'row')}, in review {verdict_words(result)}"
    if result.sample is not None:
        yield f"error rate {rate_words(result.sample)}"
    if result.agreement is not None and result.agreement.rows:
        yield f"agreement where two people judged: {together_words(result.agreement)}"
    yield f"signed off by {result.signed_off}" if result.signed_off else "not signed off"
