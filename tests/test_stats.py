"""Rates, paired changes, tests over labels and resampling, against independent oracles."""

import subprocess
import sys
import time

import numpy as np
import pandas as pd
import pytest

from clipeval import stats
from clipeval.errors import DataError, ParameterError

AGES = ["0-2", "3-9", "10-19"]


def people(n=600, seed=0):
    rng = np.random.default_rng(seed)
    frame = pd.DataFrame(
        {
            "age": pd.Categorical(rng.choice(AGES, n), AGES, ordered=True),
            "gender": rng.choice(["Male", "Female"], n),
            "hit": rng.random(n) < 0.2,
        }
    )
    return frame


# --- rates


@pytest.mark.parametrize("confidence", [0.8, 0.95, 0.999])
def test_wilson_equals_statsmodels(confidence):
    from statsmodels.stats.proportion import proportion_confint

    rng = np.random.default_rng(0)
    n = rng.integers(1, 20_000, 500)
    count = rng.binomial(n, rng.random(500))
    count[:20], count[20:40] = 0, n[20:40]
    low, high = stats.wilson(count, n, confidence)
    expected = proportion_confint(count, n, alpha=1 - confidence, method="wilson")
    assert np.abs(low - expected[0]).max() < 1e-12
    assert np.abs(high - expected[1]).max() < 1e-12
    assert (low[:20] == 0).all() and (high[20:40] == 1).all()


def test_wilson_by_hand():
    low, high = stats.wilson(0, 10)
    z2 = 1.959963984540054**2
    assert low == 0 and high == pytest.approx(z2 / (10 + z2), abs=1e-14)
    assert np.isnan(stats.wilson(0, 0)).all()
    low, high = stats.wilson([5, 50], [10, 100])
    assert low == pytest.approx([0.236593, 0.403832], abs=1e-6)
    assert high == pytest.approx([0.763407, 0.596168], abs=1e-6)


def test_wilson_refuses_what_is_no_proportion():
    with pytest.raises(ParameterError, match="outside 0..n"):
        stats.wilson(11, 10)
    with pytest.raises(ParameterError, match="confidence is 95"):
        stats.wilson(1, 10, confidence=95)


@pytest.mark.parametrize("by", [["age"], ["gender"], ["age", "gender"]])
def test_group_rates_equal_fairlearn_and_statsmodels(by):
    from fairlearn.metrics import MetricFrame, count, selection_rate
    from statsmodels.stats.proportion import proportion_confint

    frame = people()
    table = stats.group_rates(frame, "hit", by=by, metric="flagged").set_index(by)
    oracle = MetricFrame(
        metrics={"percent": selection_rate, "n": count},
        y_true=frame["hit"],
        y_pred=frame["hit"],
        sensitive_features=frame[by].astype(str),
    ).by_group
    assert len(table) == len(oracle)
    for key, row in table.iterrows():
        expected = oracle.loc[key]
        assert row["n"] == expected["n"]
        assert row["percent"] == pytest.approx(100 * expected["percent"], abs=1e-9)
        low, high = proportion_confint(row["count"], row["n"], method="wilson")
        assert (row["ci_low"], row["ci_high"]) == pytest.approx((100 * low, 100 * high), abs=1e-9)
    assert table["n"].sum() == len(frame) and table["count"].sum() == frame["hit"].sum()


def test_group_rates_keep_order_and_empty_groups():
    frame = people().query("age != '3-9'")
    table = stats.group_rates(frame, "hit", by=["age"], metric="flagged")
    assert list(table) == ["age", "n", "count", "metric", "percent", "ci_low", "ci_high"]
    assert list(table["age"]) == AGES
    empty = table.iloc[1]
    assert (empty["n"], empty["count"]) == (0, 0)
    assert np.isnan([empty["percent"], empty["ci_low"], empty["ci_high"]]).all()
    assert list(stats.group_rates(frame, "hit", by="age", metric="m", observed=True)["n"] > 0) == [
        True,
        True,
    ]
    crossed = stats.group_rates(frame, "hit", by=["age", "gender"], metric="flagged")
    assert list(zip(crossed["age"], crossed["gender"], strict=True)) == [
        (age, gender) for age in AGES for gender in ("Female", "Male")
    ]


def test_group_rates_overall():
    frame = pd.DataFrame({"hit": [True, False, False, True]})
    table = stats.group_rates(frame, "hit", metric="m")
    assert table[["n", "count", "percent"]].to_numpy().tolist() == [[4, 2, 50.0]]
    none = stats.group_rates(frame.iloc[:0], "hit", metric="m")
    assert none["n"].tolist() == [0] and none["percent"].isna().all()


def test_group_rates_refuse_gaps_in_the_data():
    frame = people(20)
    with pytest.raises(DataError, match='no group column "race"'):
        stats.group_rates(frame, "hit", by=["race"], metric="m")
    with pytest.raises(DataError, match='no column "hits"'):
        stats.group_rates(frame, "hits", metric="m")
    with pytest.raises(DataError, match='1 of 20 images have no value of "age"'):
        stats.group_rates(
            frame.assign(age=frame["age"].where(frame.index != 3)), "hit", by=["age"], metric="m"
        )
    with pytest.raises(DataError, match="must be true or false"):
        stats.group_rates(frame.assign(hit=1.0), "hit", metric="m")
    with pytest.raises(DataError, match="with 1 missing"):
        missing = frame["hit"].astype("boolean").where(frame.index != 0)
        stats.group_rates(frame.assign(hit=missing), "hit", metric="m")


def test_statistics_import_without_heavy_libraries():
    code = (
        "import sys, clipeval.stats, clipeval.published, clipeval.probe;"
        "heavy = {'torch', 'scipy', 'statsmodels', 'sklearn', 'fairlearn'} & set(sys.modules);"
        "assert not heavy, heavy"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


# --- paired


def answers(both, only_before, only_after, neither):
    counts = [both, only_before, only_after, neither]
    return (
        np.repeat([True, True, False, False], counts),
        np.repeat([True, False, True, False], counts),
    )


@pytest.mark.parametrize(
    "cells, change, low, high",
    [
        # Bentur et al. 2009, worked in Fagerland, Lydersen and Laake 2014: -0.507 to -0.026
        ((1, 7, 1, 12), -28.6, -50.7, -2.6),
        # Altman et al. 2000, Statistics with Confidence, table 6.2: 0.011 to 0.226
        ((14, 0, 5, 22), 12.2, 1.1, 22.6),
    ],
)
def test_paired_interval_equals_published_examples(cells, change, low, high):
    result = stats.paired_change(*answers(*cells))
    assert result["change"] == pytest.approx(change, abs=0.05)
    assert (result["ci_low"], result["ci_high"]) == pytest.approx((low, high), abs=0.05)
    swapped = stats.paired_change(*answers(*cells)[::-1])
    assert (swapped["ci_low"], swapped["ci_high"]) == pytest.approx(
        (-result["ci_high"], -result["ci_low"]), abs=1e-12
    )


def test_paired_interval_covers():
    rng = np.random.default_rng(0)
    chances, inside, rounds = [0.1, 0.12, 0.05, 0.73], 0, 1_000
    for cells in rng.multinomial(200, chances, size=rounds):
        low, high = paired_bounds(*cells)
        inside += low <= 100 * (chances[2] - chances[1]) <= high
    assert 0.93 < inside / rounds < 0.98


def paired_bounds(both, only_before, only_after, neither):
    from clipeval.stats.paired import _newcombe_paired

    n = both + only_before + only_after + neither
    low, high = _newcombe_paired(both, only_after, only_before, n, 0.95)
    return 100 * low, 100 * high


@pytest.mark.parametrize(
    "cells",
    [(3, 0, 0, 4), (10, 2, 9, 30), (100, 11, 13, 40), (100, 12, 13, 40), (900, 200, 150, 10)],
)
def test_mcnemar_equals_scipy(cells):
    from scipy.stats import binomtest, chi2

    result = stats.paired_change(*answers(*cells))
    lost, won = cells[1:3]
    if lost + won < 25:
        p = binomtest(lost, lost + won).pvalue if lost + won else 1.0
        assert result["test"] == "McNemar exact"
    else:
        p = chi2.sf((lost - won) ** 2 / (lost + won), 1)
        assert result["test"] == "McNemar chi-squared"
    assert result["p"] == pytest.approx(p, abs=1e-12)
    assert (result["only_before"], result["only_after"]) == (lost, won)
    assert result["before"] == pytest.approx(100 * (cells[0] + lost) / sum(cells))
    assert result["after"] == pytest.approx(100 * (cells[0] + won) / sum(cells))


def test_paired_changes_within_groups_equal_each_alone():
    frame = people().assign(later=np.random.default_rng(1).random(600) < 0.3)
    frame = frame.query("age != '0-2'")
    table = stats.paired_changes(frame, "hit", "later", by=["age"])
    assert table["n"].tolist()[0] == 0 and np.isnan(table["change"][0]) and np.isnan(table["p"][0])
    for row in table.iloc[1:].to_dict("records"):
        part = frame[frame["age"] == row.pop("age")]
        assert row == pytest.approx(
            stats.paired_change(part["hit"].to_numpy(), part["later"].to_numpy())
        )


def test_paired_change_refuses_other_images():
    with pytest.raises(DataError, match="join them on the image id"):
        stats.paired_change(np.ones(3, bool), np.ones(4, bool))
    with pytest.raises(DataError, match="true or false"):
        stats.paired_change(np.ones(3), np.ones(3))


def test_models_are_compared_in_pairs():
    rng = np.random.default_rng(0)
    correct = pd.DataFrame(
        {name: rng.random(2_000) < p for name, p in {"a": 0.8, "b": 0.8, "c": 0.9}.items()}
    )
    table = stats.mcnemar_models(correct)
    assert list(zip(table["model_a"], table["model_b"], strict=True)) == [
        ("a", "b"),
        ("a", "c"),
        ("b", "c"),
    ]
    alone = stats.paired_change(correct["a"].to_numpy(), correct["c"].to_numpy())
    row = table.iloc[1]
    assert row["difference"] == alone["change"] and row["p"] == alone["p"]
    assert row["percent_b"] == pytest.approx(100 * correct["c"].mean())
    ordered = table.sort_values("p")  # Holm by hand: the smallest times 3, then times 2, then 1
    holm = np.minimum(np.maximum.accumulate(ordered["p"].to_numpy() * [3, 2, 1]), 1)
    assert ordered["p_adjusted"].to_numpy() == pytest.approx(holm, rel=1e-12)
    with pytest.raises(DataError, match="needs two or more"):
        stats.mcnemar_models(correct[["a"]])


# --- labels


@pytest.mark.parametrize("levels", [2, 3, 7])
def test_chi2_by_label_equals_scipy(levels):
    from scipy.stats import chi2_contingency

    rng = np.random.default_rng(levels)
    hits = rng.random((540, 300)) < rng.random(300) ** 2
    hits[:, 0], hits[:, 1] = False, True
    group = rng.integers(0, levels, 540).astype(str)
    table = stats.chi2_by_label(hits, group)
    assert (table.loc[:1, ["chi2", "p"]].to_numpy() == [[0, 1], [0, 1]]).all()
    for label in range(2, 300):
        if not 0 < hits[:, label].sum() < 540:
            continue
        cells = np.bincount(2 * group.astype(int) + hits[:, label], minlength=2 * levels)
        result = chi2_contingency(cells.reshape(levels, 2), correction=False)
        row = table.iloc[label]
        assert row["chi2"] == pytest.approx(result.statistic, abs=1e-9)
        assert row["p"] == pytest.approx(result.pvalue, abs=1e-9)
        assert row["dof"] == result.dof
        assert row["min_expected"] == pytest.approx(result.expected_freq.min())


def test_chi2_by_label_corrects_for_the_number_of_labels():
    rng = np.random.default_rng(0)
    women = np.arange(540) < 110
    hits = pd.DataFrame({f"label {i}": rng.random(540) < 0.1 for i in range(50)})
    hits["nanny"] = rng.random(540) < np.where(women, 0.5, 0.1)
    table = stats.chi2_by_label(hits, np.where(women, "Female", "Male"))
    assert list(table["label"]) == list(hits)
    p = np.sort(table["p"].to_numpy())
    by_hand = np.minimum(np.minimum.accumulate((p * 51 / np.arange(1, 52))[::-1])[::-1], 1)
    assert np.sort(table["p_adjusted"].to_numpy()) == pytest.approx(by_hand, rel=1e-12)
    assert table.loc[table["p"].idxmin(), "label"] == "nanny"
    holm = stats.chi2_by_label(hits, women, correction="holm")
    assert holm["p_adjusted"].min() == pytest.approx(51 * p[0], rel=1e-9)


def test_chi2_by_label_refusals():
    hits = np.zeros((4, 2), bool)
    with pytest.raises(DataError, match="one group"):
        stats.chi2_by_label(hits, ["a"] * 4)
    with pytest.raises(DataError, match="1 images have no group"):
        stats.chi2_by_label(hits, ["a", "b", None, "a"])
    with pytest.raises(DataError, match="4 images and 3 labels"):
        stats.chi2_by_label(hits, list("abab"), labels=list("xyz"))
    with pytest.raises(ParameterError, match="no correction"):
        stats.chi2_by_label(hits, list("abab"), correction="wishful")


# --- bootstrap


def test_cluster_bootstrap_equals_scipy_on_equal_clusters():
    from scipy.stats import bootstrap

    rng = np.random.default_rng(0)
    means = rng.beta(2, 5, 60)
    clusters = np.repeat([f"person {i}" for i in range(60)], 20)
    values = rng.random(1_200) < np.repeat(means, 20)
    result = stats.cluster_bootstrap(values, clusters)
    by_person = pd.Series(values).groupby(clusters).mean().to_numpy()
    oracle = bootstrap((by_person,), np.mean, n_resamples=10_000, method="percentile", rng=1)
    assert result.percent == pytest.approx(100 * values.mean())
    assert result.ci_low == pytest.approx(100 * oracle.confidence_interval.low, abs=0.3)
    assert result.ci_high == pytest.approx(100 * oracle.confidence_interval.high, abs=0.3)
    low, high = stats.wilson(values.sum(), len(values))
    assert result.ci_high - result.ci_low > 1.5 * 100 * (high - low)
    assert (result.n, result.clusters, result.few) == (1_200, 60, False)
    assert stats.cluster_bootstrap(values, clusters) == result
    assert stats.cluster_bootstrap(values, clusters, seed=1) != result


def test_cluster_bootstrap_of_single_images_approaches_wilson():
    values = np.arange(5_000) < 400
    result = stats.cluster_bootstrap(values, np.arange(5_000))
    low, high = stats.wilson(400, 5_000)
    assert (result.ci_low, result.ci_high) == pytest.approx((100 * low, 100 * high), abs=0.15)


def test_cluster_bootstrap_flags_few_clusters_and_one():
    values = np.array([True, False, True, True])
    few = stats.cluster_bootstrap(values, list("aabb"))
    assert few.few and few.ci_low == 50 and few.ci_high == 100
    one = stats.cluster_bootstrap(values, list("aaaa"))
    assert one.percent == 75 and np.isnan(one.ci_low) and np.isnan(one.ci_high)
    with pytest.raises(DataError, match="1 images have no cluster"):
        stats.cluster_bootstrap(values, ["a", None, "b", "b"])
    with pytest.raises(DataError, match="4 images and 3 clusters"):
        stats.cluster_bootstrap(values, list("abc"))


def test_cluster_bootstrap_is_fast():
    rng = np.random.default_rng(0)
    values, clusters = rng.random(20_000), rng.integers(0, 2_000, 20_000)
    start = time.process_time()
    stats.cluster_bootstrap(values, clusters, n_boot=10_000)
    assert time.process_time() - start < 3  # 0.6 s alone on one core


def test_cluster_rates_are_each_groups_own_bootstrap():
    frame = people().assign(person=np.arange(600) // 4)
    frame.index = np.arange(600)[::-1]  # rows are found by position, whatever the index
    frame = frame[frame["age"] != "3-9"]
    table = stats.cluster_rates(frame, "hit", clusters="person", by=["age"], metric="m")
    assert table["clusters"].tolist()[1] == 0 and np.isnan(table["cluster_low"][1])
    part = frame[frame["age"] == "10-19"]
    alone = stats.cluster_bootstrap(part["hit"], part["person"])
    assert table["cluster_low"][2] == alone.ci_low and table["cluster_high"][2] == alone.ci_high
    crossed = stats.cluster_rates(
        frame, "hit", clusters="person", by=["age", "gender"], metric="m", n_boot=500
    )
    assert (crossed["n"] >= crossed["clusters"]).all() and crossed["n"].sum() == len(frame)
    alone = stats.cluster_bootstrap(frame["hit"], frame["person"])
    whole = stats.cluster_rates(frame, "hit", clusters="person", metric="m")
    assert whole["cluster_low"][0] == alone.ci_low


def test_paired_bootstrap_agrees_with_newcombe():
    a, b = answers(3_000, 300, 500, 1_200)
    result, oracle = stats.paired_bootstrap(a, b), stats.paired_change(a, b)
    assert result.difference == pytest.approx(oracle["change"]) == pytest.approx(4.0)
    assert result.ci_low == pytest.approx(oracle["ci_low"], abs=0.1)
    assert result.ci_high == pytest.approx(oracle["ci_high"], abs=0.1)
    # in clusters of identical images there is less to learn: the interval widens by about sqrt(10)
    wide = stats.paired_bootstrap(a, b, clusters=np.arange(5_000) // 10)
    widening = (wide.ci_high - wide.ci_low) / (result.ci_high - result.ci_low)
    assert widening == pytest.approx(np.sqrt(10), rel=0.1)


# --- gaps


def grouped(counts):
    """A frame with given (hits, images) by group."""
    rows = [(g, i < hits) for g, (hits, n) in counts.items() for i in range(n)]
    return pd.DataFrame(rows, columns=["race", "hit"])


def test_group_gaps_by_hand():
    frame = grouped({"A": (10, 100), "B": (30, 100), "C": (20, 200)})
    groups, largest = stats.group_gaps(frame, "hit", by=["race"])
    assert groups["percent"].tolist() == [10, 30, 10]
    assert groups["overall"].tolist() == [15, 15, 15]
    assert groups["from_overall"].tolist() == [-5, 15, -5]
    assert groups["ratio"].tolist() == pytest.approx([2 / 3, 2, 2 / 3])
    inside = groups["from_overall_low"].lt(groups["from_overall"])
    assert (inside & groups["from_overall"].lt(groups["from_overall_high"])).all()
    assert (groups["ratio_low"] < groups["ratio"]).all()
    row = largest.iloc[0]
    assert (row["highest"], row["lowest"], row["gap"]) == ("B", "A", 20)
    assert 0 < row["ci_low"] < 20 < row["ci_high"]

    from scipy.stats import chi2_contingency

    oracle = chi2_contingency([[10, 90], [30, 70], [20, 180]], correction=False)
    assert row["chi2"] == pytest.approx(oracle.statistic, abs=1e-9)
    assert row["p_chi2"] == pytest.approx(oracle.pvalue, abs=1e-12)
    assert row["p_permutation"] < 0.001
    again = stats.group_gaps(frame, "hit", by=["race"])
    pd.testing.assert_frame_equal(again.largest, largest)
    pd.testing.assert_frame_equal(again.groups, groups)


def test_permutation_p_equals_scipys():
    from scipy.stats import fisher_exact

    frame = grouped({"A": (4, 40), "B": (9, 40)})
    row = stats.group_gaps(frame, "hit", by=["race"], n_boot=100_000).largest.iloc[0]
    # two groups of one size: shuffling hits is Fisher's two-sided test
    assert row["p_permutation"] == pytest.approx(fisher_exact([[4, 36], [9, 31]])[1], abs=0.005)


def test_gap_interval_holds_zero_without_a_gap_and_finds_a_planted_one():
    rng = np.random.default_rng(0)
    sizes = {"A": 300, "B": 400, "C": 200, "D": 350}
    flat = planted = 0
    for _ in range(100):
        none = grouped({g: (rng.binomial(n, 0.1), n) for g, n in sizes.items()})
        row = stats.group_gaps(none, "hit", by=["race"], n_boot=400).largest.iloc[0]
        flat += row["ci_low"] == 0
        rates = dict(zip(sizes, [0.05, 0.1, 0.15, 0.1], strict=True))
        some = grouped({g: (rng.binomial(n, rates[g]), n) for g, n in sizes.items()})
        row = stats.group_gaps(some, "hit", by=["race"], n_boot=400).largest.iloc[0]
        planted += row["ci_low"] <= 10 <= row["ci_high"]
    assert flat >= 89 and planted >= 89  # 95 % of 100, less nearly three standard errors


def test_gaps_with_clusters():
    rng = np.random.default_rng(0)
    person = np.repeat(np.arange(60), 10)
    taste = rng.random(60) < 0.3  # a person's images are alike
    frame = pd.DataFrame(
        {"person": person, "hit": taste[person], "gender": np.where(person < 30, "Male", "Female")}
    )
    alone = stats.group_gaps(frame, "hit", by=["gender"]).largest.iloc[0]
    row = stats.group_gaps(frame, "hit", by=["gender"], clusters="person").largest.iloc[0]
    assert row["gap"] == alone["gap"] and row["clusters"] == 60 and not row["few_clusters"]
    width, narrow = row["ci_high"] - row["gap"], alone["ci_high"] - alone["gap"]
    assert width / narrow == pytest.approx(np.sqrt(10), rel=0.15)
    assert np.isnan(row["p_chi2"]) and row["p_permutation"] > alone["p_permutation"]
    # shuffling whole persons of one size is Fisher's test on persons
    from scipy.stats import fisher_exact

    persons = frame.drop_duplicates("person")
    table = pd.crosstab(persons["gender"], persons["hit"])
    assert row["p_permutation"] == pytest.approx(fisher_exact(table)[1], abs=0.02)
    crossing = frame.assign(gender=rng.choice(["Male", "Female"], 600))
    row = stats.group_gaps(crossing, "hit", by=["gender"], clusters="person").largest.iloc[0]
    assert np.isnan(row["p_permutation"]) and row["ci_high"] > row["gap"]


def test_gaps_of_rates_that_are_all_zero():
    frame = grouped({"A": (0, 10), "B": (0, 12)})
    groups, largest = stats.group_gaps(frame, "hit", by=["race"])
    assert groups["ratio"].isna().all() and groups["from_overall"].tolist() == [0, 0]
    row = largest.iloc[0]
    assert (row["gap"], row["ci_low"], row["p_chi2"], row["p_permutation"]) == (0, 0, 1, 1)


def test_gaps_need_two_groups():
    with pytest.raises(DataError, match="needs two groups"):
        stats.group_gaps(grouped({"A": (1, 3)}), "hit", by=["race"])


@pytest.mark.parametrize("correction", ["fdr_bh", "holm"])
def test_own_corrections_equal_statsmodels(correction):
    from statsmodels.stats.multitest import multipletests

    rng = np.random.default_rng(3)
    for m in (1, 2, 311):
        p = rng.random(m) ** 4
        p[: m // 3] = p[0]  # ties
        expected = multipletests(p, method=correction)[1]
        np.testing.assert_allclose(stats.adjust(p, correction), expected, rtol=0, atol=1e-15)
