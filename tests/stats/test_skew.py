"""MaxSkew@k and NDKL by hand, and against a second implementation that goes rank by rank."""

import math
from collections import Counter

import numpy as np
import pandas as pd
import pytest

from clipeval import stats
from clipeval.errors import DataError, ParameterError
from clipeval.stats.skew_draws import (
    around,
    measures,
    measures_of_each,
    over_prompts,
    redrawn,
    shuffled,
)


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


def test_an_order_at_hand_is_taken_in_place_of_sorting(monkeypatch):
    """Of the two nearest, by the scores one is of either group; by the reverse both are of the second."""
    scores, codes = np.tile([0.9, 0.8, 0.7, 0.6], (2, 1)), np.array([0, 1, 1, 1])
    order = np.array([[0, 1, 2, 3], [3, 2, 1, 0]])
    half = stats.target_shares(codes, 2)
    assert stats.max_skew(scores, codes, half, k=2).tolist() == [0, 0]
    found = stats.max_skew(scores, codes, half, k=2, order=order)
    assert found == pytest.approx([0, math.log(2)])
    monkeypatch.setattr("clipeval.stats.skew.CELLS", 4)  # one ranking at a time
    assert stats.max_skew(scores, codes, half, k=2, order=order) == pytest.approx([0, math.log(2)])
    # kept ties: three images share the score of the second, and are counted over k = 2
    tied = np.array([[0.5, 0.9, 0.5, 0.5]])
    found = stats.max_skew(tied, codes, half, k=2, ties="kept", order=np.array([[1, 0, 2, 3]]))
    assert found == pytest.approx([math.log(3 / 2 / 0.5)])


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


# -- how sure they are -----------------------------------------------------------------------------


def planted(rng, n=300, prompts=12, pull=0.6):
    """Scores of n images, half of them of group 0, which several prompts pull forward; and their groups."""
    codes = rng.integers(0, 2, n)
    liked = pull * (np.arange(prompts) % 2)[:, None] * (codes == 0)
    return rng.standard_normal((prompts, n)) + liked + 0.7 * rng.standard_normal(n), codes


def test_measures_at_several_k_equal_each_measure_alone():
    scores, codes = planted(np.random.default_rng(0))
    codes[:30] = 2
    targets = np.stack([stats.target_shares(codes, 3, kind) for kind in ("uniform", "data")])
    ks = [1, 10, 300]
    for floor in (False, True):
        near = stats.nearest(scores).T
        found = measures_of_each(codes, near, targets, ks, floor=floor)
        assert found.shape == (12, 2, 2, 3)
        together = measures(codes, near[..., None], targets, ks, floor=floor)
        np.testing.assert_allclose(together[0], found.mean(axis=0), atol=1e-12)
        for t, target in enumerate(targets):
            for i, k in enumerate(ks):
                skew = stats.max_skew(scores, codes, target, k=k, floor=floor)
                np.testing.assert_allclose(found[:, 0, t, i], skew, atol=1e-12)
                ndkl = stats.ndkl(scores, codes, target, k=k)
                np.testing.assert_allclose(found[:, 1, t, i], ndkl, atol=1e-12)


def test_a_redrawn_ranking_is_that_of_the_images_drawn():
    scores, _ = planted(np.random.default_rng(1), n=60, prompts=4)
    order = stats.nearest(scores)
    for k in (5, 60):
        [(positions, weights)] = redrawn(order, k, draws=40, seed=2)
        assert positions.shape == (k, 4, 40)
        for draw, often in enumerate(weights):
            assert often.sum() == 60
            drawn = np.repeat(np.arange(60), often)  # images again, sorted anew
            for row, found in zip(scores, positions[..., draw].T, strict=True):
                wanted = drawn[np.argsort(-row[drawn], kind="stable")][:k]
                np.testing.assert_array_equal(found, wanted)


def test_intervals_cover_what_samples_have_on_average():
    """80 planted data sets: 95 % intervals hold the mean of 800 others' measures, MaxSkew and NDKL."""
    rng, half, k = np.random.default_rng(3), [[0.5, 0.5]], 40

    def measured(positions, codes):
        return measures(codes, positions, half, [k])[:, :, 0, 0]

    others = (planted(rng) for _ in range(800))
    ranked = np.stack([codes[stats.nearest(scores, k)].T for scores, codes in others], axis=-1)
    truth, inside = measured(ranked, [0, 1]).mean(axis=0), []  # groups in place of images
    for seed in range(80):
        scores, codes = planted(rng)
        order = stats.nearest(scores)
        [(positions, _)] = redrawn(order, k, draws=60, seed=seed)
        [point] = measured(order.T[..., None], codes)
        low, high = around(point, measured(positions, codes))
        inside.append((low <= truth) & (truth <= high))
    covered = np.mean(inside, axis=0)
    assert (covered >= 0.87).all(), covered  # 95 % less three standard errors


def test_draws_that_are_all_alike_give_no_interval():
    draws = np.array([[0.1, 0.5], [0.1, 0.7], [0.1, 0.6]])
    low, high = around(np.array([0.1, 0.6]), draws)
    reach = 1.959964 * 0.1  # the draws' standard deviation is 0.1
    np.testing.assert_allclose([low, high], [[np.nan, 0.6 - reach], [np.nan, 0.6 + reach]])


def test_intervals_over_prompts_cover_the_mean_over_all_concepts_and_templates():
    rng, inside = np.random.default_rng(4), []
    for seed in range(200):
        concepts, templates = rng.normal(0, 0.1, 29), rng.normal(0, 0.05, 11)
        values = 0.5 + concepts[:, None] + templates + rng.normal(0, 0.05, (29, 11))
        low, high = over_prompts(values, n_boot=200, seed=seed)
        inside.append(low <= 0.5 <= high)
    assert 0.9 <= np.mean(inside) <= 1
    assert np.isnan(over_prompts([[0.3]])).all()
    assert over_prompts([[0.3, 0.3]]) == (0.3, 0.3)
    with pytest.raises(DataError, match="no prompt to draw from"):
        over_prompts(np.empty((0, 3)))


@pytest.mark.parametrize("shape", [(5, 1), (8, 1), (8, 5), (29, 11)])
def test_intervals_over_few_prompts_are_wide_enough(shape):
    """Unexpanded they cover 82 to 91 % here."""
    rng, (concepts, templates), sets = np.random.default_rng(6), shape, 600
    of_template = rng.normal(0, templates > 1, (1, templates, sets))  # of one alone nothing is said
    noise = rng.normal(0, 0.5, (concepts, templates, sets))
    values = rng.normal(0, 1, (concepts, 1, sets)) + of_template + noise
    low, high = over_prompts(values, n_boot=400)
    assert 0.89 <= np.mean((low <= 0) & (high >= 0)) <= 0.99


def test_shuffled_labels_show_what_chance_makes(monkeypatch):
    """Against scipy's hypergeometric: how many of k images drawn at random are of a group."""
    from scipy.stats import hypergeom

    rng = np.random.default_rng(5)
    codes, order = (np.arange(200) < 60).astype(int), stats.nearest(rng.random((30, 200)))
    target = stats.target_shares(codes, 2, "data")
    found = shuffled(order, codes, target, [20], draws=100, seed=1)
    assert found.shape == (100, 2, 1, 1)
    monkeypatch.setattr("clipeval.stats.skew_draws.HELD", 2000)  # a few draws at a time
    parts = shuffled(order, codes, target, [20], draws=100, seed=1)
    np.testing.assert_allclose(parts, found, atol=1e-12)
    hits = np.arange(21)
    skews = np.log(np.maximum(hits / 20 / 0.3, (20 - hits) / 20 / 0.7))
    expected = (hypergeom(200, 60, 20).pmf(hits) * skews).sum()
    assert found[:, 0].mean() == pytest.approx(expected, abs=0.008)
