"""Krippendorff's alpha of 20 people's ratings of Amazon reviews, as published tools give it."""

import io
import json
import tarfile

import numpy as np
import pytest

from tunesmith.core.agreement import alpha
from tunesmith.core.packages import Package, fetch_package, read_member
from tunesmith.core.progress import Silent

VADER = Package(
    name="vaderSentiment",
    version="0.5",
    kind="sdist",
    file_name="vaderSentiment-0.5.zip",
    sha256="5d97c37f3ef6e24eef331122e055dbedafeb6a56abfce0608b326701116ea49a",
    licence="MIT",
)
INNER = "vaderSentiment-0.5/additional_resources/hutto_ICWSM_2014.tar.gz"
RATINGS = "amazonReviewSnippets_anonDataRatings.txt"


def amazon_ratings():
    archive = read_member(fetch_package(VADER, Silent()), INNER)
    with tarfile.open(fileobj=io.BytesIO(archive)) as tar:
        name = next(name for name in tar.getnames() if name.endswith(RATINGS))
        lines = tar.extractfile(name).read().decode("latin-1").splitlines()
    return np.array([json.loads(line.split("\t")[-1]) for line in lines if line.strip()], dtype=float)


@pytest.mark.fetches
def test_alpha_of_the_amazon_ratings_is_that_of_the_reference():
    ratings = amazon_ratings()
    assert ratings.shape == (3708, 20)
    found = {metric: alpha(ratings, metric, resamples=100) for metric in ("interval", "ordinal", "nominal")}
    for metric, one in found.items():
        print(f"{metric} alpha {one.value:.4f}, 95 % interval {one.low:.4f} to {one.high:.4f}")
    assert found["interval"].value == pytest.approx(0.8204, abs=5e-5)
    assert found["ordinal"].value == pytest.approx(0.8292, abs=5e-5)
