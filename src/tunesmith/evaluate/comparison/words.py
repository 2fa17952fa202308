"""Differences in words."""

from collections.abc import Sequence

from tunesmith.core.stats.judged import FEWEST_DISAGREEMENTS, FEWEST_HUMAN
from tunesmith.evaluate.comparison.schema import ByPeople, Candidate, Difference, Verdict


def sentence_of(
    verdict: Verdict,
    a: str,
    b: str,
    metric: str,
    difference: Difference,
    margin: float,
    *,
    people: ByPeople | None = None,
    candidates: int = 1,
) -> str:
    """The verdict in one sentence with difference, interval, n, method and what n could have seen."""
    kind = difference.kind
    claim = {
        "better": f"{b} is better than {a}",
        "worse": f"{b} is worse than {a}",
        "tied": f"{b} and {a} are tied within ±{points(margin, kind)}",
        "not enough data": f"There is not enough data to tell {b} from {a}",
    }[verdict]
    first, second = (shown(value, kind) for value in (difference.a, difference.b))
    more = ""
    if verdict == "not enough data" and difference.needed is not None:
        judged = " judged by people" if people is not None else ""
        more = f" A true difference of the size seen needs about {difference.needed:,} items{judged}."
    holm = f", {difference.adjusted_p:.2g} by Holm over {candidates} candidates" if candidates > 1 else ""
    return (
        f"{claim}: {'accepted by people' if people is not None else metric} {second} against {first},"
        f" a difference of {points(difference.value, kind, signed=True)} (95 % interval"
        f" {points(difference.low, kind, signed=True)} to {points(difference.high, kind, signed=True)},"
        f" p = {difference.p_value:.2g}{holm}) on {difference.n} items ({difference.test},"
        f" {difference.method}); so many items see a difference of {points(difference.detectable, kind)} or"
        f" more four times in five.{more}{on_people(people)}"
    )


def on_people(people: ByPeople | None) -> str:
    """What people's difference rests on, and what the judge adds; nothing when a score decides."""
    if people is None:
        return ""
    alone = people.alone
    ends = f"{points(alone.low, signed=True)} to {points(alone.high, signed=True)}"
    if people.weight > 0:
        change = "narrower" if people.narrower >= 0 else "wider"
        return (
            f" With {people.judge} the interval is {abs(people.narrower):.0%} {change} than that of the"
            f" {people.judged} items that people judged ({ends})."
        )
    return (
        f" {people.judge} is left out: that takes {FEWEST_HUMAN} independent items that people judged,"
        f" {FEWEST_DISAGREEMENTS} on which they tell the two apart, a judge that agrees with them, and items"
        " that it alone scored."
    )


def sentence_of_several(a: str, candidates: Sequence[Candidate], leader: Candidate) -> str:
    """How many candidates are better, then the foremost one's own sentence."""
    better = sum(one.verdict == "better" for one in candidates)
    verb = "is" if better == 1 else "are"
    head = f"{better or 'None'} of {len(candidates)} candidates {verb} better than {a}"
    return f"{head}. The foremost is {leader.role.upper()}: {leader.sentence}"


def shown(value: float, kind: str) -> str:
    """A share as a percentage, another number as it is."""
    return f"{value:.4g}" if kind == "number" else f"{value:.1%}"


def points(value: float, kind: str = "share", *, signed: bool = False) -> str:
    """A difference of shares as percentage points, of other numbers as it is."""
    sign = "+" if signed else ""
    return format(value, f"{sign}.3g") if kind == "number" else f"{format(100 * value, f'{sign}.1f')} points"
