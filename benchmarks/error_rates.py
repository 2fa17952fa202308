"""How often the intervals cover and the tests cry wolf, by simulation.

    python benchmarks/error_rates.py [--draws 4000]

Each row draws data whose truth is known, and counts.  A 95 % interval should cover 93 to 97 % of the time; a
test at 5 % should claim a difference that is not there at most 5 % of the time, plus two standard errors of
the counting itself; as many items as `tunesmith power` asks for should see the difference 80 % of the time.
Prints a Markdown table; the last one stands in benchmarks/README.md.
"""

import argparse
import time
from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from tunesmith.core import stats
from tunesmith.core.stats import ranking
from tunesmith.core.stats.planning import discordance

Generator = np.random.Generator
Hit = Callable[[Generator], bool]


class Case(NamedTuple):
    """One simulation: `hit` says whether the interval covered, or the test claimed."""

    name: str
    data: str
    aim: str
    hit: Hit
    share: float = 1.0
    """Of the draws: slow ones are drawn less often."""


COVERS, FALSE, SEES = "covers", "false claims", "sees it"


def covered(interval: stats.Interval, truth: float) -> bool:
    """Whether the truth lies inside."""
    return interval.low <= truth <= interval.high


def share_case(share: float, n: int) -> Hit:
    """Wilson's interval of a share."""
    return lambda generator: covered(stats.share_interval(generator.random(n) < share), share)


def grouped_shares(generator: Generator, groups: int, size: int) -> tuple[np.ndarray, list[int]]:
    """Items of a group share a level: intraclass correlation about 0.2 around 0.6."""
    level = generator.beta(2.4, 1.6, groups)
    values = (generator.random((groups, size)) < level[:, None]).astype(float).ravel()
    return values, np.repeat(np.arange(groups), size).tolist()


def grouped_share(generator: Generator) -> bool:
    """Wilson's interval at the effective number of items."""
    return covered(stats.share_interval(*grouped_shares(generator, 60, 5)), 0.6)


def piled_up(generator: Generator, n: int) -> np.ndarray:
    """Scores of which a third is 0, a third 1, the rest between; their mean is 0.5."""
    kind = generator.integers(3, size=n)
    return np.where(kind == 0, 0.0, np.where(kind == 1, 1.0, generator.random(n)))


def mean_case(n: int) -> Hit:
    """BCa bootstrap of a mean."""
    return lambda generator: covered(
        stats.bootstrap_mean(piled_up(generator, n), resamples=1000, seed=int(generator.integers(2**31))), 0.5
    )


def two_models(
    generator: Generator, n: int, first: float, second: float, same: float
) -> tuple[np.ndarray, np.ndarray]:
    """Right or wrong of two models that agree on a share `same` of the items beyond chance."""
    ease, own = generator.random(n), generator.random(n)
    other = np.where(generator.random(n) < same, ease, own)
    return (ease < first).astype(float), (other < second).astype(float)


def tango_case(n: int, first: float, second: float, same: float) -> Hit:
    """Tango's interval of a difference."""
    return lambda generator: covered(
        stats.share_difference(*two_models(generator, n, first, second, same)), second - first
    )


def mcnemar_case(n: int, share: float, same: float) -> Hit:
    """McNemar's mid-p on two equal models."""

    def claims(generator: Generator) -> bool:
        return stats.mcnemar(*stats.disagreements(*two_models(generator, n, share, share, same))) <= 0.05

    return claims


def sign_flips(generator: Generator) -> bool:
    """The sign-flip test over groups on two equal models that find the same groups hard."""
    level = generator.beta(2.4, 1.6, 40)
    first, second = ((generator.random((40, 4)) < level[:, None]).astype(float).ravel() for _ in range(2))
    groups = np.repeat(np.arange(40), 4).tolist()
    return stats.sign_flip(second - first, groups, resamples=999, seed=int(generator.integers(2**31))) <= 0.05


def non_inferiority(generator: Generator) -> bool:
    """`Not worse by 5 points` claimed of a model that is exactly 5 points worse: at most 2.5 %."""
    return stats.non_inferior(stats.share_difference(*two_models(generator, 200, 0.8, 0.75, 0.5)).low, 0.05)


def judged(generator: Generator, human: int, others: int) -> tuple[stats.Verdicts, float]:
    """A judge that agrees with people on four of five items and is too kind on the rest."""
    truth = (generator.random(human + others) < 0.6).astype(float)
    kind = np.where(generator.random(len(truth)) < 0.8, truth, generator.random(len(truth)) < 0.9).astype(
        float
    )
    return stats.Verdicts.of(truth[:human], kind[:human], kind[human:]), 0.6


def ppi_case(human: int, others: int) -> Hit:
    """The judge's errors taken off."""

    def covers(generator: Generator) -> bool:
        verdicts, truth = judged(generator, human, others)
        return covered(stats.judged_mean(verdicts, shares=True), truth)

    return covers


def judged_pair(
    generator: Generator, human: int, others: int, shares: tuple[float, float], same: float
) -> tuple[stats.Verdicts, stats.Verdicts]:
    """Two models, and a judge that is too kind to the second; people judge the first `human` items."""
    sides = []
    for truth, kindness in zip(two_models(generator, human + others, *shares, same), (0.6, 0.9), strict=True):
        guess = (generator.random(len(truth)) < kindness).astype(float)
        said = np.where(generator.random(len(truth)) < 0.8, truth, guess)
        sides.append(stats.Verdicts.of(truth[:human], said[:human], said[human:]))
    return sides[0], sides[1]


def ppi_pair_case(human: int, others: int, shares: tuple[float, float], same: float) -> Hit:
    """The difference of two models with the judge's errors taken off."""

    def covers(generator: Generator) -> bool:
        found = stats.judged_difference(*judged_pair(generator, human, others, shares, same)).found
        return covered(found.interval, shares[1] - shares[0])

    return covers


def ppi_pair_claims(generator: Generator) -> bool:
    """The test that goes with it, on two equal models of which the judge favours one."""
    pair = judged_pair(generator, 60, 600, (0.6, 0.6), 0.5)
    return stats.judged_difference(*pair).found.p_value <= 0.05


def judge_alone_pair(generator: Generator) -> bool:
    """The difference that the same judge sees alone: shown for comparison."""
    first, second = judged_pair(generator, 100, 2000, (0.6, 0.6), 0.5)
    sides = (np.concatenate([side.judged, side.judged_only]) for side in (first, second))
    return covered(stats.share_difference(*sides), 0.0)


def judge_alone(generator: Generator) -> bool:
    """The same judge believed as it is: shown for comparison."""
    verdicts, truth = judged(generator, 100, 2000)
    return covered(stats.share_interval(np.concatenate([verdicts.judged, verdicts.judged_only])), truth)


def holm_family(generator: Generator) -> bool:
    """Any of ten claims about nothing, after Holm's correction."""
    return min(stats.holm(generator.random(10).tolist())) <= 0.05


def five_candidates(generator: Generator) -> bool:
    """Any claim about five candidates as good as the model that all are compared with."""
    ease = generator.random(200)
    sides = [(np.where(generator.random(200) < 0.5, ease, generator.random(200)) < 0.7) for _ in range(6)]
    p_values = [stats.mcnemar(*stats.disagreements(sides[0], one)) for one in sides[1:]]
    return min(stats.holm(p_values)) <= 0.05


def planned_case(difference: float, correlation: float) -> Hit:
    """The items that McNemar's test needs for a model of 70 %, and whether the verdict then sees it."""
    differing = discordance(0.7, 0.7 + difference, correlation)
    n = stats.required_items(difference, differing)
    chances = [(differing + difference) / 2, (differing - difference) / 2, 1 - differing]

    def sees(generator: Generator) -> bool:
        fixes, regressions, _ = generator.multinomial(n, chances)
        return stats.mcnemar(fixes, regressions) <= 0.05 and stats.tango(fixes, regressions, n)[0] > 0

    return sees


def strongest(generator: Generator) -> bool:
    """The interval of the strongest of three models."""
    truth = np.array([0.6, 0.0, -0.6])
    pairs = np.array([generator.choice(3, 2, replace=False) for _ in range(300)])
    chance = 1 / (1 + np.exp(truth[pairs[:, 1]] - truth[pairs[:, 0]]))
    played = ranking.Comparisons.of(pairs[:, 0], pairs[:, 1], generator.random(300) < chance)
    found = ranking.rank(played, 3, resamples=150, seed=int(generator.integers(2**31))).strengths[0]
    return found.low <= 0.6 <= found.high


SHARES = ((0.1, 50), (0.5, 30), (0.85, 100), (0.95, 100))
DIFFERENCES = ((0.6, 0.6, 50), (0.5, 0.7, 100), (0.05, 0.5, 40))
VERDICTS = ((20, 600), (40, 400), (100, 2000))
PAIRED_VERDICTS = (
    (20, 600, (0.6, 0.7), 0.5),
    (40, 400, (0.6, 0.6), 0.5),
    (100, 2000, (0.6, 0.7), 0.8),
    (100, 2000, (0.9, 0.95), 0.8),
    (300, 1000, (0.95, 0.96), 0.8),
)
PLANNED = ((0.1, 0.0), (0.1, 0.5), (0.05, 0.5))
EQUALS = ((0.5, 100), (0.9, 200))

CASES = (
    *(Case("Wilson", f"share {p:g}, {n} items", COVERS, share_case(p, n)) for p, n in SHARES),
    Case("Wilson, effective items", "60 groups of 5", COVERS, grouped_share),
    *(
        Case("BCa bootstrap", f"{n} scores piled up at 0 and 1", COVERS, mean_case(n), 0.25)
        for n in (20, 100)
    ),
    *(
        Case("Tango", f"{a:g} against {b:g}, {n} items", COVERS, tango_case(n, a, b, 0.5))
        for a, b, n in DIFFERENCES
    ),
    *(Case("PPI++", f"{h} human verdicts, {o} others", COVERS, ppi_case(h, o)) for h, o in VERDICTS),
    Case("the judge alone (for comparison)", "2,100 verdicts of the same judge", COVERS, judge_alone),
    *(
        Case(
            "PPI++, paired",
            f"{a:g} against {b:g}, {h} items judged by people, {o} others",
            COVERS,
            ppi_pair_case(h, o, (a, b), same),
        )
        for h, o, (a, b), same in PAIRED_VERDICTS
    ),
    Case(
        "the judge alone, paired (for comparison)",
        "two equal models, 2,100 items, the judge kinder to one",
        COVERS,
        judge_alone_pair,
    ),
    Case("Bradley–Terry", "300 comparisons of 3 models", COVERS, strongest, 0.05),
    *(
        Case("McNemar mid-p", f"two equal models, share {p:g}, {n} items", FALSE, mcnemar_case(n, p, 0.5))
        for p, n in EQUALS
    ),
    Case("PPI++, paired", "two equal models, the judge kinder to one, 60 of 660", FALSE, ppi_pair_claims),
    Case("sign flips over groups", "two equal models, 40 groups of 4", FALSE, sign_flips, 0.25),
    Case("non-inferiority", "5 points worse, margin 5 points (nominal 2.5 %)", FALSE, non_inferiority),
    Case("Holm, any of ten", "nothing to find", FALSE, holm_family),
    Case("Holm, any of five candidates", "six equal models, share 0.7, 200 items", FALSE, five_candidates),
    *(
        Case("items needed", f"0.7 against {0.7 + d:g}, correlation {c:g}", SEES, planned_case(d, c))
        for d, c in PLANNED
    ),
)


def main() -> None:
    """Simulate every case and print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--draws", type=int, default=4000)
    draws = parser.parse_args().draws
    started = time.monotonic()
    print("| method | data | | share | ± 2 s.e. | draws |\n|---|---|---|---|---|---|")
    for number, case in enumerate(CASES):
        generator = np.random.default_rng(number)
        count = max(1, int(draws * case.share))
        share = sum(case.hit(generator) for _ in range(count)) / count
        error = 2 * (share * (1 - share) / count) ** 0.5
        row = f"| {case.name} | {case.data} | {case.aim} | {share:.1%} | {error:.1%} | {count:,} |"
        print(row, flush=True)
    print(f"\n{time.monotonic() - started:.0f} seconds")


if __name__ == "__main__":
    main()
