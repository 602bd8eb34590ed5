"""Gaps between groups, their test and their negative control, against scipy, statsmodels and fairlearn."""

import itertools

import numpy as np
import pandas as pd
import pytest

from clipeval import stats
from clipeval.errors import DataError, ParameterError
from clipeval.stats.differences import newcombe, ratio_ends
from clipeval.stats.gaps import against_all, largest_gap, permutation_p

#: images of FairFace's validation split: White, Black, Indian, East Asian, Southeast Asian,
#: Latino_Hispanic, Middle Eastern; and by age, 0-2 to more than 70
RACES = [2085, 1556, 1516, 1550, 1415, 1623, 1209]
AGES = [199, 1356, 1181, 3300, 2330, 1353, 796, 321, 118]


def grouped(counts):
    """A frame with given (hits, images) by group."""
    rows = [(g, i < hits) for g, (hits, n) in counts.items() for i in range(n)]
    return pd.DataFrame(rows, columns=["race", "hit"])


def counted(count, n):
    return pd.DataFrame({"race": [f"g{i}" for i in range(len(n))], "n": n, "count": count})


def gaps(frame, by="race", **how):
    counts = stats.group_counts(frame, "hit", by=[by], observed=True)
    return stats.gaps_of_counts(counts, by=by, **how)


def control(frame, by="race", **how):
    counts = stats.group_counts(frame, "hit", by=[by], observed=True)
    return stats.control_of_counts(counts, by=by, **how)


# --- each group against all


def test_group_gaps_by_hand():
    frame = grouped({"A": (10, 100), "B": (30, 100), "C": (20, 200)})
    groups, largest = gaps(frame)
    assert groups["percent"].tolist() == [10, 30, 10]
    assert groups["overall"].tolist() == [15, 15, 15]
    assert groups["from_overall"].tolist() == [-5, 15, -5]
    assert groups["ratio"].tolist() == pytest.approx([2 / 3, 2, 2 / 3])
    row = largest.iloc[0]
    assert (row["highest"], row["lowest"], row["gap"]) == ("B", "A", 20)
    assert 0 < row["ci_low"] < 20 < row["ci_high"]
    again = gaps(frame)
    pd.testing.assert_frame_equal(again.largest, largest)
    pd.testing.assert_frame_equal(again.groups, groups)


def test_gaps_equal_fairlearn():
    from fairlearn.metrics import MetricFrame

    rng = np.random.default_rng(0)
    race = rng.choice(["A", "B", "C"], 900, p=[0.6, 0.3, 0.1])
    frame = pd.DataFrame({"race": race, "hit": rng.random(900) < np.where(race == "A", 0.1, 0.3)})
    mean = MetricFrame(
        metrics=lambda y_true, y_pred: np.mean(y_pred),
        y_true=frame["hit"],
        y_pred=frame["hit"].astype(float),
        sensitive_features=frame["race"],
    )
    groups, largest = gaps(frame)
    assert largest["gap"].iloc[0] == pytest.approx(
        100 * mean.difference("between_groups"), abs=1e-9
    )
    away = groups["from_overall"].abs().max()
    assert away == pytest.approx(100 * mean.difference("to_overall"), abs=1e-9)
    expected = (mean.by_group / mean.overall).to_numpy()
    assert groups["ratio"].to_numpy() == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("confidence", [0.8, 0.95, 0.99])
@pytest.mark.parametrize(
    "cells", [(56, 70, 48, 80), (9, 10, 3, 10), (0, 10, 0, 12), (7, 118, 540, 10836)]
)
def test_newcombe_equals_statsmodels(cells, confidence):
    from statsmodels.stats.proportion import confint_proportions_2indep

    low, high = newcombe(*cells, confidence)
    oracle = confint_proportions_2indep(*cells, method="newcomb", alpha=1 - confidence)
    assert (low, high) == pytest.approx(oracle, abs=1e-9)


def test_newcombe_equals_his_published_examples():
    """Newcombe 1998, table II, method 10, to the four digits printed there."""
    for cells, expected in {
        (56, 70, 48, 80): (0.0524, 0.3339),
        (9, 10, 3, 10): (0.1705, 0.8090),
        (5, 56, 0, 29): (-0.0381, 0.1926),
        (10, 10, 0, 20): (0.6791, 1.0000),
    }.items():
        assert newcombe(*cells) == pytest.approx(expected, abs=5e-5)


@pytest.mark.parametrize(
    "cells", [(5, 118, 500, 10836), (30, 100, 10, 100), (3, 12, 3, 12), (40, 41, 9, 30)]
)
def test_ratio_ends_are_where_the_difference_to_a_multiple_is_nothing(cells):
    """first / second is r where first - r second is 0: its interval by squares touches 0 at either end."""
    from scipy.optimize import brentq
    from statsmodels.stats.proportion import proportion_confint

    x, n, y, m = cells
    (a, b), (c, d) = (proportion_confint(*pair, method="wilson") for pair in ((x, n), (y, m)))
    p, q = x / n, y / m
    low, high = ratio_ends(p, (a, b), q, (c, d))

    def below(r):
        return p - r * q - np.sqrt((p - a) ** 2 + r**2 * (d - q) ** 2)

    def above(r):
        return p - r * q + np.sqrt((b - p) ** 2 + r**2 * (q - c) ** 2)

    assert low == pytest.approx(brentq(below, 1e-9, p / q), rel=1e-9)
    assert high == pytest.approx(brentq(above, p / q, 1e6), rel=1e-9)


def test_intervals_against_all_images_come_from_the_rest():
    """A rate less the overall rate is the share of all others times the difference to these."""
    from statsmodels.stats.proportion import confint_proportions_2indep

    n, count = np.array(AGES), np.array([14, 101, 80, 145, 90, 65, 42, 12, 16])
    groups = stats.gaps_of_counts(counted(count, n), by=["race"]).groups
    others, hits = n.sum() - n, count.sum() - count
    for i, row in groups.iterrows():
        oracle = confint_proportions_2indep(count[i], n[i], hits[i], others[i], method="newcomb")
        ends = 100 * np.array(oracle) * others[i] / n.sum()
        assert (row["from_overall_low"], row["from_overall_high"]) == pytest.approx(ends, abs=1e-9)
        # Koopman's score interval, another way to the same ratio
        score = confint_proportions_2indep(
            count[i], n[i], hits[i], others[i], compare="ratio", method="score", correction=False
        )
        share = n[i] / n.sum()
        score = [1 / (share + (1 - share) / ratio) for ratio in score]
        assert (row["ratio_low"], row["ratio_high"]) == pytest.approx(score, rel=0.03)
        # both intervals say the same of whether the group differs at all
        assert (row["from_overall_low"] > 0) == (row["ratio_low"] > 1)
        assert (row["from_overall_high"] < 0) == (row["ratio_high"] < 1)


def test_gaps_of_rates_that_are_all_zero():
    frame = grouped({"A": (0, 10), "B": (0, 12)})
    groups, largest = gaps(frame)
    assert groups["ratio"].isna().all() and groups["from_overall"].tolist() == [0, 0]
    row = largest.iloc[0]
    assert (row["gap"], row["ci_low"]) == (0, 0)
    assert row[["p_chi2", "p_permutation"]].isna().all()  # nothing to test, of the control neither
    assert control(frame).largest["below"].isna().all()
    # none of 10 and none of 12 still allow for rates, and a gap, of many percent
    assert 15 < row["ci_high"] < 35
    assert groups["ratio_low"].isna().all() and groups["ratio_high"].isna().all()
    assert (groups["from_overall_low"] <= 0).all() and (groups["from_overall_high"] > 5).all()


def test_a_group_without_hits_has_an_interval():
    """0 of 118: Wilson's upper end, 3.84 / 121.84, over the rate of the others, 5 %."""
    frame = grouped({"old": (0, 118), "others": (5_000, 100_000)})
    old = gaps(frame).groups.set_index("race").loc["old"]
    end = 1.959964**2 / (118 + 1.959964**2)
    assert old["ratio"] == old["ratio_low"] == 0
    assert old["ratio_high"] == pytest.approx(end / 0.05, rel=0.005)
    assert old["from_overall_high"] - old["from_overall"] == pytest.approx(100 * end, rel=0.005)
    only = gaps(grouped({"A": (3, 10), "B": (0, 30)})).groups
    a = only.set_index("race").loc["A"]
    assert a["ratio"] == a["ratio_high"] == pytest.approx(4) and 1 < a["ratio_low"] < 4


@pytest.mark.parametrize(
    ("sizes", "rates"),
    [
        ((118, 1000), (0.03, 0.05)),
        ((40, 40), (0.85, 0.89)),
        ((5, 200), (0.3, 0.1)),
        ((1500, 1415, 1200, 118), (0.144, 0.019, 0.02, 0.05)),
    ],
)
def test_gap_intervals_cover_small_groups_and_rates_near_the_ends(sizes, rates):
    rng, rounds = np.random.default_rng(0), 1_000
    n, true = np.array(sizes), 100 * np.array(rates)
    overall = (n * true).sum() / n.sum()
    inside = {"gap": 0, "from_overall": 0, "ratio": 0}
    for _ in range(rounds):
        count = rng.binomial(n, rates)
        low, high = largest_gap(count, n)
        inside["gap"] += low <= np.ptp(true) / 100 <= high
        # the first group is one in question
        low, high, ratio_low, ratio_high = (ends[0] for ends in against_all(count, n))
        inside["from_overall"] += low <= (true[0] - overall) / 100 <= high
        inside["ratio"] += ratio_low <= true[0] / overall <= ratio_high
    assert min(inside.values()) / rounds >= 0.93, inside


# --- the test of all groups


def test_chi_squared_equals_scipys():
    from scipy.stats import chi2_contingency

    frame = grouped({"A": (10, 100), "B": (30, 100), "C": (20, 200)})
    row = gaps(frame).largest.iloc[0]
    oracle = chi2_contingency([[10, 90], [30, 70], [20, 180]], correction=False)
    assert row["chi2"] == pytest.approx(oracle.statistic, abs=1e-9)
    assert row["p_chi2"] == pytest.approx(oracle.pvalue, abs=1e-12)
    assert row["dof"] == oracle.dof
    assert row["min_expected"] == pytest.approx(oracle.expected_freq.min())


def test_permutation_p_of_two_groups_equals_fishers():
    from scipy.stats import fisher_exact

    frame = grouped({"A": (4, 40), "B": (9, 40)})
    row = gaps(frame, n_boot=100_000).largest.iloc[0]
    # two groups of one size: shuffling hits is Fisher's two-sided test
    assert row["p_permutation"] == pytest.approx(fisher_exact([[4, 36], [9, 31]])[1], abs=0.005)


def test_permutation_p_equals_the_sum_over_all_tables():
    """Every way to deal 9 hits to groups of 5, 12 and 30, weighed by its chance, ordered by chi-squared."""
    from scipy.stats import chi2_contingency, multivariate_hypergeom

    n, seen = np.array([5, 12, 30]), np.array([3, 2, 4])

    def chi2(count):
        return chi2_contingency([count, n - count], correction=False).statistic

    at_least = 0.0
    for a, b in itertools.product(range(6), range(10)):
        count = np.array([a, b, 9 - a - b])
        if (count >= 0).all() and chi2(count) >= chi2(seen) - 1e-9:
            at_least += multivariate_hypergeom.pmf(count, n, 9)
    p = stats.gaps_of_counts(counted(seen, n), by="race", n_boot=100_000).largest["p_permutation"]
    assert 0.01 < at_least < 0.2
    assert p.iloc[0] == pytest.approx(at_least, abs=0.003)


def test_permutation_p_is_never_zero():
    frame = grouped({"A": (90, 100), "B": (1, 100)})
    for draws in (100, 2_500):
        row = gaps(frame, n_boot=draws).largest.iloc[0]
        assert row["p_permutation"] == pytest.approx(1 / (draws + 1), rel=1e-12)


def test_the_test_finds_what_chi_squared_finds():
    """Ages of 5 %, 20-29 at 8 %: permuting the largest raw gap found it in 11 % of data sets."""
    from scipy.stats import chi2_contingency

    rng, n = np.random.default_rng(0), np.array(AGES)
    rates = np.full(9, 0.05)
    rates[3] = 0.075
    ours = theirs = 0
    for seed in range(200):
        count = rng.binomial(n, rates)
        ours += permutation_p(count, n, n_boot=999, seed=seed) < 0.05
        theirs += chi2_contingency([count, n - count], correction=False).pvalue < 0.05
    assert theirs > 180 and abs(ours - theirs) <= 10, (ours, theirs)  # of 200


def test_gap_interval_holds_zero_without_a_gap_and_finds_a_planted_one():
    rng = np.random.default_rng(0)
    n = np.array([300, 400, 200, 350])
    flat = planted = 0
    for _ in range(200):
        flat += largest_gap(rng.binomial(n, 0.1), n)[0] == 0
        low, high = largest_gap(rng.binomial(n, [0.05, 0.1, 0.15, 0.1]), n)
        planted += low <= 0.1 <= high
    assert flat >= 182 and planted >= 182  # 95 % of 200, minus nearly three standard errors


def test_the_interval_of_the_largest_gap_agrees_with_the_test():
    """The cards' non-human rates by age: by the old interval, ruled by the 118 oldest, 2.0 to 17.7."""
    count = [14, 101, 80, 145, 90, 65, 42, 12, 16]
    row = stats.gaps_of_counts(counted(count, AGES), by="race").largest.iloc[0]
    assert row["p_permutation"] < 0.001 < row["ci_low"] < row["gap"] < row["ci_high"]
    # two groups: the interval is Newcombe's, on either side of no difference
    from statsmodels.stats.proportion import confint_proportions_2indep

    row = stats.gaps_of_counts(counted([30, 12], [200, 210]), by="race").largest.iloc[0]
    low, high = confint_proportions_2indep(30, 200, 12, 210, method="newcomb")
    assert (row["ci_low"], row["ci_high"]) == pytest.approx((100 * low, 100 * high), abs=1e-8)
    row = stats.gaps_of_counts(counted([30, 29], [200, 210]), by="race").largest.iloc[0]
    low, high = confint_proportions_2indep(30, 200, 29, 210, method="newcomb")
    assert row["ci_low"] == 0 and low < 0
    assert row["ci_high"] == pytest.approx(100 * max(high, -low), abs=1e-8)


def test_gaps_need_two_groups():
    with pytest.raises(DataError, match="needs two groups"):
        gaps(grouped({"A": (1, 3)}))
    with pytest.raises(DataError, match="needs two groups"):
        control(grouped({"A": (1, 3)}))


# --- negative control


def test_the_control_equals_shuffling_the_rows():
    frame = grouped({"A": (60, 300), "B": (20, 400), "C": (2, 30)})
    found = control(frame, shuffles=4_000, n_boot=2_000)
    rng, hits = np.random.default_rng(5), frame["hit"].to_numpy(float)
    codes, n = frame["race"].map({"A": 0, "B": 1, "C": 2}).to_numpy(), np.array([300, 400, 30])
    rates = np.array([np.bincount(rng.permutation(codes), hits) for _ in range(4_000)]) / n * 100
    gaps = np.ptp(rates, axis=1)
    row = found.largest.iloc[0]
    assert row["median"] == pytest.approx(np.median(gaps), abs=0.2)
    assert row["p95"] == pytest.approx(np.percentile(gaps, 95), abs=0.5)
    assert row["below"] == pytest.approx(5, abs=1.5) and row["shuffles"] == 4_000
    away = np.abs(rates - 100 * hits.mean())
    assert found.groups["median"].to_numpy() == pytest.approx(np.median(away, axis=0), abs=0.2)
    assert found.groups["p95"].to_numpy() == pytest.approx(np.percentile(away, 95, axis=0), abs=0.8)


def test_the_control_is_seeded_and_drawn_apart_from_the_test():
    frame = grouped({"A": (60, 300), "B": (20, 400)})
    once = control(frame)
    again = control(frame)
    pd.testing.assert_frame_equal(once.largest, again.largest)
    other = control(frame, seed=1)
    assert not once.largest.equals(other.largest)
    assert list(once.largest) == ["shuffles", "median", "p95", "below", "seed"]
    assert once.largest["p95"].iloc[0] < gaps(frame).largest["gap"][0]
    # were they the test's own draws, p values would be ranks, and the share of small ones 4.9 % for any seed
    frame = grouped({"A": (300, 3_000), "B": (390, 4_000), "C": (260, 2_500)})
    options = {"shuffles": 1_000, "n_boot": 1_000}
    shares = [control(frame, seed=seed, **options).largest["below"].iloc[0] for seed in range(6)]
    assert np.ptp(shares) > 0.5 and np.mean(shares) == pytest.approx(5, abs=1)


def test_the_control_needs_a_shuffle():
    with pytest.raises(ParameterError, match="needs one or more"):
        control(grouped({"A": (1, 3), "B": (1, 4)}), shuffles=0)
