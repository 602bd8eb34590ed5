"""MaxSkew@k and NDKL by hand, and against a second implementation that goes rank by rank."""

import math
from collections import Counter

import numpy as np
import pandas as pd
import pytest

from clipeval import stats
from clipeval.errors import DataError, ParameterError


def naive(scores, codes, target, k, *, floor, ties):
    """Both measures of one ranking in plain Python: pandas takes the images, and each rank is counted anew."""
    table = pd.DataFrame({"score": scores, "group": codes})
    taken = table.nlargest(k, "score", keep="all" if ties == "kept" else "first")["group"].tolist()
    skews = []
    for group, wanted in enumerate(target):
        count = taken.count(group)
        if count or floor:
            skews.append(math.log((count or 1) / k / wanted))
    total = 0.0
    for i in range(1, len(taken) + 1):
        counts = Counter(taken[:i])
        kl = sum(c / i * math.log(c / i / target[g]) for g, c in counts.items())
        total += kl / math.log2(i + 1)
    return max(skews), total / sum(1 / math.log2(i + 1) for i in range(1, k + 1))


def test_by_hand():
    # a, a, b, a: a has 3/4 of the four nearest; shares of a are 1, 1, 2/3, 3/4
    scores, codes = np.array([[0.9, 0.8, 0.7, 0.6, 0.1, 0.0]]), np.array([0, 0, 1, 0, 1, 1])
    half = stats.target_shares(codes, 2)
    assert half.tolist() == [0.5, 0.5]
    assert stats.max_skew(scores, codes, half, k=4)[0] == pytest.approx(math.log(1.5))
    assert stats.max_skew(scores, codes, half, k=6)[0] == 0
    third = 2 / 3 * math.log(4 / 3) + 1 / 3 * math.log(2 / 3)
    fourth = 3 / 4 * math.log(3 / 2) + 1 / 4 * math.log(1 / 2)
    terms = [math.log(2), math.log(2) / math.log2(3), third / 2, fourth / math.log2(5)]
    divisor = 1 + 1 / math.log2(3) + 1 / 2 + 1 / math.log2(5)
    assert stats.ndkl(scores, codes, half, k=4)[0] == pytest.approx(sum(terms) / divisor)


def test_a_floor_counts_an_absent_group_as_one_image():
    # one image in a hundred is of the second group, and none of them among the ten nearest
    scores, codes = np.arange(100.0)[None, ::-1], (np.arange(100) == 99).astype(int)
    target = stats.target_shares(codes, 2, "data")
    assert target.tolist() == [0.99, 0.01]
    assert stats.max_skew(scores, codes, target, k=10)[0] == pytest.approx(math.log(1 / 0.99))
    floored = stats.max_skew(scores, codes, target, k=10, floor=True)[0]
    assert floored == pytest.approx(math.log(0.1 / 0.01))


@pytest.mark.parametrize("ties", ["stable", "kept"])
@pytest.mark.parametrize("floor", [False, True])
def test_equals_a_second_implementation_on_rankings_with_ties(ties, floor):
    rng = np.random.default_rng(0)
    for groups, n, k in ((2, 40, 7), (3, 60, 20), (7, 90, 1), (9, 120, 120)):
        codes = np.r_[np.arange(groups), rng.integers(0, groups, n - groups)]
        scores = rng.integers(0, 12, (15, n)) / 8  # about as many images a score as there are ranks
        for kind in ("uniform", "data"):
            target = stats.target_shares(codes, groups, kind)
            wanted = [naive(row, codes, target, k, floor=floor, ties=ties) for row in scores]
            skew = stats.max_skew(scores, codes, target, k=k, floor=floor, ties=ties)
            np.testing.assert_allclose(skew, [w[0] for w in wanted], atol=1e-12)
            found = stats.ndkl(scores, codes, target, k=k, ties=ties)
            np.testing.assert_allclose(found, [w[1] for w in wanted], atol=1e-12)


def test_parts_that_bound_the_memory_change_nothing(monkeypatch):
    rng = np.random.default_rng(1)
    scores, codes = rng.random((9, 50)), rng.integers(0, 3, 50)
    target = stats.target_shares(codes, 3, "data")
    whole = [f(scores, codes, target, k=9) for f in (stats.max_skew, stats.ndkl)]
    monkeypatch.setattr("clipeval.stats.skew.CELLS", 100)
    parts = [f(scores, codes, target, k=9) for f in (stats.max_skew, stats.ndkl)]
    np.testing.assert_allclose(whole, parts, rtol=1e-12)


def test_images_of_one_score_stay_in_their_order():
    assert stats.nearest([[1.0, 3.0, 1.0, 3.0, 2.0]]).tolist() == [[1, 3, 4, 0, 2]]
    assert stats.nearest([[1.0, 3.0, 1.0]], 1).tolist() == [[1]]


def test_what_cannot_be_measured_is_refused():
    scores, codes, half = np.zeros((1, 4)), np.array([0, 1, 0, 1]), [0.5, 0.5]
    with pytest.raises(ParameterError, match="k is 5 and there are 4 images; choose k from 1 to 4"):
        stats.max_skew(scores, codes, half, k=5)
    with pytest.raises(DataError, match="leave out images without a group"):
        stats.max_skew(scores, [0, 1, -1, 1], half, k=2)
    with pytest.raises(DataError, match="4 images have scores and 3 a group"):
        stats.ndkl(scores, [0, 1, 0], half)
    with pytest.raises(DataError, match="leave out groups without images"):
        stats.ndkl(scores, codes, [1.0, 0.0])
    with pytest.raises(DataError, match="1 scores are missing"):
        stats.ndkl([[0.1, np.nan, 0, 0]], codes, half)
