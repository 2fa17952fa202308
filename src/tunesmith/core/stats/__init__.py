"""Intervals and paired tests for scores of models on the same items.

Items of one group (near-duplicates, one document, one user) are not independent, so every function
takes `groups` and counts groups, not items, where the two differ.  A score lies between 0 and 1.

Which interval, and why:

* a share of 0/1 scores: Wilson's interval; with groups of more than one item at the effective number of
  items (Kish; compared by Franco et al. 2019), because a bootstrap of all-right answers has no width;
* the mean of other scores: a bootstrap over groups, BCa (Efron 1987) because scores pile up at 0 and 1;
* the difference of two shares on the same items: Tango's score interval (1998), which holds its level for
  few items and few disagreements and inverts McNemar's own statistic; with larger groups at the effective
  number of items, as for one share;
* the difference of two means on the same items: the bootstrap of the per-item differences over groups;
* a judge's verdicts with some human ones: prediction-powered inference (`judged`);
* more than two models: Bradley and Terry's strengths, bootstrapped over prompts (`ranking`).

Checked against scipy, statsmodels, truescore and choix, and by simulation of coverage and false positives, in
`tests/fast/test_stats*.py`, `tests/proof/test_simulations.py` and `benchmarks/error_rates.py`.
"""

from tunesmith.core.stats.calibration import Bin, Calibration, calibration
from tunesmith.core.stats.intervals import (
    Floats,
    Groups,
    Interval,
    bootstrap_mean,
    cluster_error,
    group_sums,
    share_interval,
    wilson,
    z_of,
)
from tunesmith.core.stats.judged import (
    JudgedDifference,
    Verdicts,
    corrected_mean,
    judge_weight,
    judged_difference,
    judged_mean,
)
from tunesmith.core.stats.many import benjamini_hochberg, holm
from tunesmith.core.stats.paired import (
    PairedDifference,
    detectable_difference,
    disagreements,
    mcnemar,
    mcnemar_exact,
    non_inferior,
    paired_difference,
    required_items,
    share_difference,
    sign_flip,
    tango,
    tango_score,
)
from tunesmith.core.stats.repeats import Variance, pass_all, pass_at, variance_of

__all__ = [
    "Bin",
    "Calibration",
    "Floats",
    "Groups",
    "Interval",
    "JudgedDifference",
    "PairedDifference",
    "Variance",
    "Verdicts",
    "benjamini_hochberg",
    "bootstrap_mean",
    "calibration",
    "cluster_error",
    "corrected_mean",
    "detectable_difference",
    "disagreements",
    "group_sums",
    "holm",
    "judge_weight",
    "judged_difference",
    "judged_mean",
    "mcnemar",
    "mcnemar_exact",
    "non_inferior",
    "paired_difference",
    "pass_all",
    "pass_at",
    "required_items",
    "share_difference",
    "share_interval",
    "sign_flip",
    "tango",
    "tango_score",
    "variance_of",
    "wilson",
    "z_of",
]
