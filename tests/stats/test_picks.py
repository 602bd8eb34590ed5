"""Picked extremes, doubtful rates, mean rates, power and crossed choices, against independent oracles."""

import itertools

import numpy as np
import pytest

from clipeval import stats
from clipeval.errors import DataError, ParameterError
from clipeval.stats.picks import pairwise_confidence, pairwise_ends, picked_confidence
from clipeval.stats.power import power_of
from clipeval.stats.rates import LEAST_EXPECTED

RACES = [2085, 1556, 1516, 1550, 1415, 1623, 1209]
AGES = [199, 1356, 1181, 3300, 2330, 1353, 796, 321, 118]
RACES_GENDERS = [1122, 963, 799, 757, 753, 763, 777, 773, 735, 680, 813, 396, 793, 830]


# --- intervals of one rate


@pytest.mark.parametrize("confidence", [0.8, 0.95, 0.999])
def test_clopper_pearson_equals_statsmodels(confidence):
    from statsmodels.stats.proportion import proportion_confint

    count, n = np.array([0, 1, 5, 118, 60, 9_999]), np.array([118, 118, 118, 118, 120, 10_000])
    found = stats.clopper_pearson(count, n, confidence)
    oracle = proportion_confint(count, n, alpha=1 - confidence, method="beta")
    for ours, theirs in zip(found, oracle, strict=True):
        np.testing.assert_allclose(ours, np.nan_to_num(theirs, nan=0.0), atol=1e-12)
    assert found[0][0] == 0 and found[1][3] == 1
    assert np.isnan(stats.clopper_pearson(0, 0)).all()
    with pytest.raises(ParameterError, match="outside 0..n"):
        stats.clopper_pearson(3, 2)


def test_a_wilson_interval_that_fails_is_marked():
    """Exact sums: unmarked, it misses the rate in up to 6.6 % of samples; without the mark in 16 %."""
    from scipy.stats import binom
    from statsmodels.stats.proportion import proportion_confint

    for n in (20, 118, 3_300):
        count = np.arange(n + 1)
        low, high = proportion_confint(count, n, method="wilson")
        marked = stats.doubtful(count, n)
        missed, unmarked = [], []
        for rate in np.concatenate([np.geomspace(1e-5, 0.5, 1_500), np.linspace(0.01, 0.5, 500)]):
            chance, outside = binom.pmf(count, n, rate), (rate < low) | (rate > high)
            missed.append(chance[outside].sum())
            unmarked.append(chance[outside & ~marked].sum())
        assert max(missed) > 0.15 and max(unmarked) <= 0.067, n


def test_doubtful_looks_at_counts_and_not_at_sizes():
    found = stats.doubtful([4, 5, 113, 114, 4, 9_995, 0], [118, 118, 118, 118, 10_000, 10_000, 0])
    assert found.tolist() == [True, False, False, True, True, False, True]
    assert LEAST_EXPECTED == 5


# --- mean of groups' rates


def test_mean_rate_by_hand():
    """Of groups alike in size, at the same rate, it is Wilson's interval of all images together."""
    mean, low, high = stats.mean_rate([50, 50], [1_000, 1_000])
    alone = stats.wilson(100, 2_000)
    assert mean == pytest.approx(0.05)
    assert (low, high) == pytest.approx([float(end) for end in alone], rel=0.006)
    # unequal rates: variance (0.1 x 0.9 / 100 + 0.5 x 0.5 / 400) / 4, normal for so many images
    mean, low, high = stats.mean_rate([1_000, 20_000, 0], [10_000, 40_000, 0])
    half = 1.959964 * np.sqrt((0.09 / 10_000 + 0.25 / 40_000) / 4)
    assert (mean, low, high) == pytest.approx((0.3, 0.3 - half, 0.3 + half), abs=2e-5)
    perfect = stats.mean_rate([50, 50], [50, 50])
    assert perfect[0] == perfect[2] == 1 and 0.95 < perfect[1] < 0.97
    assert np.isnan(stats.mean_rate([0], [0])).all()


@pytest.mark.parametrize("sizes", [RACES, [50] * 7, [20, 400, 50, 300, 30, 100, 60]])
def test_mean_rate_covers_near_one_hundred_percent(sizes):
    """Combined by squares, the groups' Wilson intervals cover 85 to 92 % here."""
    rng, errors = np.random.default_rng(0), np.array([0.25, 0.5, 0.75, 1, 1.25, 1.5, 1.75])
    for miss in (0.02, 0.005):
        rates = 1 - miss * errors
        ends = [stats.mean_rate(rng.binomial(sizes, rates), sizes) for _ in range(2_000)]
        inside = np.mean([low <= rates.mean() <= high for _, low, high in ends])
        assert 0.93 <= inside <= 0.985, (sizes, miss, inside)


# --- picked extremes


@pytest.mark.parametrize("groups", [2, 3, 7, 14])
@pytest.mark.parametrize("confidence", [0.9, 0.95])
def test_the_level_for_all_pairs_is_tukeys(groups, confidence):
    from scipy.stats import norm, studentized_range

    oracle = 2 * norm.cdf(studentized_range.ppf(confidence, groups, np.inf) / np.sqrt(2)) - 1
    assert pairwise_confidence(groups, confidence) == pytest.approx(oracle, abs=1e-7)


def test_extremes_by_hand():
    count, n = np.array([10, 60, 30, 55]), np.array([200, 200, 300, 200])
    found = stats.extreme_rates(count, n)
    assert (found.highest, found.lowest, found.differ) == (1, 0, True)
    assert found.difference == pytest.approx(0.25)
    assert found.maybe_highest.tolist() == [False, True, False, True]
    assert found.maybe_lowest.tolist() == [True, False, True, False]
    from scipy.stats import norm, studentized_range
    from statsmodels.stats.proportion import confint_proportions_2indep, proportion_confint

    z = studentized_range.ppf(0.95, 4, np.inf) / np.sqrt(2)
    pair = confint_proportions_2indep(60, 200, 10, 200, method="newcomb", alpha=2 * norm.sf(z))
    assert (found.ci_low, found.ci_high) == pytest.approx(pair, abs=1e-7)
    own = proportion_confint([60, 10], 200, alpha=0.05 / 4, method="beta")
    assert (found.highest_low, found.lowest_low) == pytest.approx(tuple(own[0]), abs=1e-9)
    assert (found.highest_high, found.lowest_high) == pytest.approx(tuple(own[1]), abs=1e-9)
    assert picked_confidence(4) == pytest.approx(1 - 0.05 / 4)


def test_two_groups_need_no_correction():
    found = stats.extreme_rates([30, 12], [200, 210])
    low, high = stats.newcombe(30, 200, 12, 210)
    assert (found.ci_low, found.ci_high) == pytest.approx((float(low), float(high)), abs=1e-9)


def test_all_pairs_are_the_differences_of_any_two():
    count, n = np.array([10, 60, 30]), np.array([200, 220, 300])
    low, high = pairwise_ends(count / n, lambda level: stats.wilson(count, n, level))
    level = pairwise_confidence(3)
    for i, j in itertools.permutations(range(3), 2):
        pair = stats.newcombe(count[i], n[i], count[j], n[j], level)
        assert (low[i, j], high[i, j]) == pytest.approx(tuple(map(float, pair)), abs=1e-12)


@pytest.mark.parametrize(
    "sizes", [RACES, AGES, RACES_GENDERS], ids=["race", "age", "race x gender"]
)
@pytest.mark.parametrize("rate", [0.01, 0.05, 0.15])
def test_equal_groups_are_rarely_said_to_differ(sizes, rate):
    """Whether two picked 95 % intervals overlap says so in 7 to 22 % of these data sets."""
    rng, rounds, differ, inside = np.random.default_rng(0), 1_500, 0, 0
    for _ in range(rounds):
        found = stats.extreme_rates(rng.binomial(sizes, rate), sizes)
        differ += found.differ
        inside += (found.highest_low <= rate <= found.highest_high) and (
            found.lowest_low <= rate <= found.lowest_high
        )
    assert differ / rounds <= 0.065
    assert inside / rounds >= 0.94


def test_extremes_of_paired_changes_allow_for_picking():
    """As class design compares groups: the same change in nine ages, and one that stands out."""
    from clipeval.stats.paired import newcombe_paired

    rng, n = np.random.default_rng(0), np.array(AGES)
    chances = np.array([[0.05, 0.03, 0.05, 0.87]] * 9)  # both, after only, before only, neither

    def found(chances):
        both, won, lost, _ = np.array(
            [rng.multinomial(m, c) for m, c in zip(n, chances, strict=True)]
        ).T
        return stats.extremes(
            (won - lost) / n, lambda level: newcombe_paired(both, won, lost, n, level)
        )

    alike = [found(chances) for _ in range(600)]
    assert np.mean([f.differ for f in alike]) <= 0.065
    inside = [
        f.highest_low <= -0.02 <= f.highest_high and f.lowest_low <= -0.02 <= f.lowest_high
        for f in alike
    ]
    assert np.mean(inside) >= 0.93
    chances[1] = [0.05, 0.03, 0.15, 0.77]
    apart = [found(chances) for _ in range(50)]
    assert np.mean([f.differ and f.lowest == 1 for f in apart]) > 0.9


@pytest.mark.parametrize(
    "sizes, rate", [([2, 2], 0.5), ([3, 20], 0.3), ([5] * 14, 0.5), ([1, *[100] * 6], 0.1)]
)
def test_groups_of_few_images_are_rarely_said_to_differ(sizes, rate):
    """By formula 9 to 12 % of these are, but for the second."""
    rng, n = np.random.default_rng(0), np.array(sizes)
    found = [stats.extreme_rates(rng.binomial(n, rate), n).differ for _ in range(600)]
    assert np.mean(found) <= 0.065


@pytest.mark.parametrize("groups, size", [(5, 1), (5, 2), (14, 5), (14, 20)])
def test_changes_of_few_images_are_rarely_said_to_differ(groups, size):
    """As often won as lost in every group: Newcombe's intervals tell 9 to 68 % of these apart."""
    rng, n, told = np.random.default_rng(1), np.full(groups, size), []
    for _ in range(400):
        both, won, lost, _ = rng.multinomial(size, [0.1, 0.3, 0.3, 0.3], size=groups).T
        ends = stats.change_ends(both, won, lost, n)
        told.append(stats.extremes((won - lost) / n, ends).differ)
    assert np.mean(told) <= 0.065


def test_intervals_of_few_images_are_exact():
    """Clopper and Pearson's by statsmodels; of a change those of both shares, each at half the error."""
    from statsmodels.stats.proportion import proportion_confint

    for n, method in ((29, "beta"), (30, "wilson")):
        ends = np.array(stats.rate_ends([3], [n])(0.99)).ravel()
        oracle = proportion_confint(3, n, alpha=0.01, method=method)
        assert ends.tolist() == pytest.approx(list(oracle), abs=1e-9)
    won, lost = (proportion_confint(x, 20, alpha=0.01 / 2, method="beta") for x in (7, 2))
    low, high = stats.change_ends([4], [7], [2], [20])(0.99)
    assert (low[0], high[0]) == pytest.approx((won[0] - lost[1], won[1] - lost[0]), abs=1e-9)


def test_extremes_need_two_groups_with_images():
    with pytest.raises(DataError, match="need two groups or more"):
        stats.extreme_rates([1], [10])
    with pytest.raises(DataError, match="1 missing"):
        stats.extreme_rates([1, 0], [10, 0])


# --- power


@pytest.mark.parametrize(("sizes", "group"), [(RACES, 1), ([5792, 5162], 1), (AGES, 1), (AGES, 8)])
@pytest.mark.parametrize("base", [0.01, 0.05, 0.15])
def test_the_smallest_difference_is_found_in_eighty_percent(sizes, group, base):
    from scipy.stats import chi2

    rng, n = np.random.default_rng(0), np.array(sizes)
    rates = np.full(len(n), base)
    rates[group] += stats.smallest_difference(n, base)[group] / 100
    count = rng.binomial(n, rates, size=(20_000, len(n)))
    pooled = count.sum(axis=1, keepdims=True) / n.sum()
    squares = (count - n * pooled) ** 2 / (n * pooled * (1 - pooled))
    found = squares.sum(axis=1) > chi2.isf(0.05, len(n) - 1)
    assert found.mean() == pytest.approx(0.8, abs=0.02)


def test_smallest_differences_at_the_published_sizes():
    """In percentage points at a base rate of 5 %, from an independent simulation of chi-squared."""
    assert stats.smallest_difference(RACES, 0.05)[1] == pytest.approx(2.3, abs=0.15)
    assert stats.smallest_difference([5792, 5162], 0.05)[1] == pytest.approx(1.25, abs=0.1)
    ages = stats.smallest_difference(AGES, 0.05)
    assert ages[[1, 8]] == pytest.approx([2.6, 8.8], abs=0.2)


@pytest.mark.parametrize("sizes", [[430, 110], [5000, 40, 300], [9, 60, 7, 500], RACES])
@pytest.mark.parametrize("base", [0.005, 0.02, 0.4])
def test_no_smaller_difference_has_the_power(sizes, base):
    found = stats.smallest_difference(sizes, base) / 100
    known = ~np.isnan(found)
    assert known.any()
    enough, less = (
        power_of(sizes, base, base + np.where(known, d, 0))[known] for d in (found, found - 1e-9)
    )
    assert (enough >= 0.8).all() and (less < 0.8).all()


@pytest.mark.parametrize(("men", "women"), [(0.05, 0.188), (0.2, 0.415), (0.5, 0.741)])
def test_smallest_difference_of_three_hundred_labels(men, women):
    """430 men, 110 women, p below 0.05 / 300: against exact sums over all tables of chi-squared."""
    from scipy.stats import binom, chi2

    found = men + stats.smallest_difference([430, 110], men, tests=300)[1] / 100
    assert found == pytest.approx(women, abs=0.005)
    a, b = np.arange(431)[:, None], np.arange(111)[None]
    pooled = (a + b) / 540
    with np.errstate(invalid="ignore", divide="ignore"):
        square = (a / 430 - b / 110) ** 2 / (pooled * (1 - pooled) * (1 / 430 + 1 / 110))
    rejected = np.nan_to_num(square) > chi2.isf(0.05 / 300, 1)
    power = binom.pmf(a[:, 0], 430, men) @ rejected @ binom.pmf(b[0], 110, found)
    assert power == pytest.approx(0.8, abs=0.05)


def test_high_rates_mirror_low_ones_and_some_differences_are_out_of_reach():
    low, high = (stats.smallest_difference(RACES, base) for base in (0.05, 0.95))
    assert low == pytest.approx(high)
    assert np.isnan(stats.smallest_difference([3, 4], 0.5)).all()
    once, corrected = (stats.smallest_difference([20, 20], 0.2, tests=t) for t in (1, 10**7))
    assert (once < 50).all() and np.isnan(corrected).all()
    assert stats.smallest_difference(RACES, 0.05, tests=9)[1] > low[1] + 0.4
    assert power_of(np.array([50, 60]), 0.1, 0.1, 0.05) == pytest.approx([0.05, 0.05], abs=1e-3)
    for wrong in ([10], [10, 0]):
        with pytest.raises(DataError, match="needs two groups"):
            stats.smallest_difference(wrong, 0.05)
    with pytest.raises(ParameterError, match="must lie between 0 and 1"):
        stats.smallest_difference([10, 10], 5)


# --- crossed choices


def factorial(rng, shape, effects):
    """Normal noise, and for each factor an effect that rises evenly over its levels."""
    values = rng.normal(size=shape)
    for axis, effect in enumerate(effects):
        level = effect * np.linspace(-1, 1, shape[axis])
        values += np.expand_dims(level, [a for a in range(len(shape)) if a != axis])
    return values


def test_factor_tests_equal_statsmodels():
    import pandas as pd
    from statsmodels.formula.api import ols
    from statsmodels.stats.anova import anova_lm
    from statsmodels.stats.multitest import multipletests

    values = factorial(np.random.default_rng(0), (4, 3, 2), (2, 0.6, 0))
    index = pd.MultiIndex.from_product([range(n) for n in values.shape], names=list("abc"))
    frame = pd.Series(values.ravel(), index, name="value").reset_index()
    anova = anova_lm(ols("value ~ C(a) + C(b) + C(c)", data=frame).fit())
    found = stats.factor_tests(values, list("abc")).set_index("factor")
    names = {"a": "C(a)", "b": "C(b)", "c": "C(c)", "interactions": "Residual"}
    total, noise = anova["sum_sq"].sum(), anova.loc["Residual", "mean_sq"]
    for factor, name in names.items():
        row, oracle = found.loc[factor], anova.loc[name]
        assert row["dof"] == oracle["df"]
        assert row["sum_sq"] == pytest.approx(oracle["sum_sq"], rel=1e-9)
        assert row["share"] == pytest.approx(100 * oracle["sum_sq"] / total, rel=1e-9)
        if factor != "interactions":
            assert (row["f"], row["p"]) == pytest.approx((oracle["F"], oracle["PR(>F)"]), rel=1e-9)
            omega = (oracle["sum_sq"] - oracle["df"] * noise) / (total + noise)
            assert row["excess"] == pytest.approx(100 * omega, rel=1e-9)
    holm = multipletests(found["p"].dropna(), method="holm")[1]
    assert found["p_adjusted"].dropna().to_numpy() == pytest.approx(holm)
    assert stats.leading_factor(found.reset_index())["factor"] == "a"


def test_the_interval_of_the_excess_is_where_the_noncentral_f_has_its_tails():
    from scipy.stats import ncf

    values = factorial(np.random.default_rng(1), (5, 4), (1.5, 0))
    row = stats.factor_tests(values, ["a", "b"]).iloc[0]
    means = values.mean(axis=1)
    square = 4 * ((means - values.mean()) ** 2).sum()
    total = ((values - values.mean()) ** 2).sum()
    noise = square / row["f"] / 4  # mean square of the interactions
    others = (total - square) / noise + 5
    for end, tail in ((row["excess_low"], 0.975), (row["excess_high"], 0.025)):
        noncentrality = end / 100 / (1 - end / 100) * others
        assert ncf.cdf(row["f"], 4, 12, noncentrality) == pytest.approx(tail, abs=1e-4)
    assert row["excess_low"] < row["excess"] < row["excess_high"]


@pytest.mark.parametrize("shape", [(4, 4), (2, 4), (5, 4, 2)])
def test_a_choice_is_rarely_named_where_none_matters(shape):
    """The choice with the largest share beyond its chance share is named in 71 to 73 % of these."""
    rng, rounds = np.random.default_rng(0), 400
    tables = [
        stats.factor_tests(rng.normal(size=shape), list("abc")[: len(shape)]) for _ in range(rounds)
    ]
    named = np.mean([stats.leading_factor(table) is not None for table in tables])
    assert named <= 0.05 + 3 * np.sqrt(0.05 * 0.95 / rounds)
    excess = np.array([table["excess"].iloc[0] for table in tables])
    assert abs(excess.mean()) < 3 * excess.std() / np.sqrt(rounds)  # unbiased about nothing
    held = [table["excess_low"].iloc[0] <= 0 for table in tables]
    assert np.mean(held) >= 0.93


def test_a_choice_that_matters_is_named():
    rng = np.random.default_rng(0)
    found = [
        stats.leading_factor(stats.factor_tests(factorial(rng, (4, 4), (2.5, 0)), ["a", "b"]))
        for _ in range(50)
    ]
    assert np.mean([f is not None and f["factor"] == "a" for f in found]) > 0.9


def test_crossed_choices_without_noise_or_variation():
    exact = stats.factor_tests(np.add.outer(np.arange(3.0), np.zeros(4)), ["a", "b"])
    exact = exact.set_index("factor")
    assert exact.loc["a", ["share", "excess", "p"]].tolist() == [100, 100, 0]
    assert exact.loc["b", "share"] == 0 and exact.loc["b", ["f", "p", "p_adjusted"]].isna().all()
    flat = stats.factor_tests(np.full((3, 4), 50.0), ["a", "b"])
    assert flat[["share", "excess", "p", "p_adjusted"]].isna().all(axis=None)
    assert stats.leading_factor(flat) is None
    alone = stats.factor_tests(np.arange(4.0), ["a"])  # nothing to hold a single choice against
    assert alone["share"].tolist() == [100] and alone["p"].isna().all()
    one = stats.factor_tests(np.arange(4.0)[:, None], ["a", "b"])
    assert one["factor"].tolist() == ["a"]
    with pytest.raises(DataError, match="one axis a factor"):
        stats.factor_tests(np.ones((2, 2)), ["a"])
    with pytest.raises(DataError, match="1 missing"):
        stats.factor_tests(np.array([[1.0, np.nan], [1, 2]]), ["a", "b"])
