"""The scorer of answers that are labels; what follows for a whole set is in `core.stats.classification`."""

from tunesmith.core.scorers.port import Case, Scorer
from tunesmith.core.values import normalised


def label(case: Case) -> float:
    """1 when the answer is the right label, normalised; a sentence around a label is another answer."""
    return float(any(normalised(gold) == normalised(case.reply.text) for gold in case.golds))


SCORERS = (Scorer("label", label, "share"),)
