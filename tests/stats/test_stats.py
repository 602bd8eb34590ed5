"""Rates, paired changes, tests over labels and resampling, against independent oracles."""

import itertools
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
from paired import paired_change

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


@pytest.mark.parametrize("by", [["kind"], ["year"], ["place"], ["year", "kind"], ["kind", "age"]])
@pytest.mark.parametrize("observed", [False, True])
def test_groups_are_those_of_pandas_in_its_order(by, observed):
    rng, n = np.random.default_rng(3), 60
    frame = pd.DataFrame({"year": rng.choice([2021, 1999, 2003], n), "w": rng.integers(1, 9, n)})
    frame["place"] = rng.choice(["Ä", "b", "B"], n)
    frame["kind"] = pd.Categorical.from_codes(rng.integers(0, 3, n), ["z", "a", "m", "nobody"])
    frame["age"] = pd.Categorical.from_codes(rng.integers(1, 3, n), ["9", "10", "2"], ordered=True)
    frame["hit"] = rng.random(n) < 0.3
    frame.index = rng.permutation(n)
    mine = stats.group_counts(frame, "hit", by=by, observed=observed, images="w")
    parts = frame.assign(n=frame["w"], count=frame["w"] * frame["hit"])
    theirs = parts.groupby(by, observed=observed)[["n", "count"]].sum().reset_index()
    pd.testing.assert_frame_equal(mine, theirs)
    groups, counts = stats.hits_by_group(  # several kinds at once
        frame, [frame["hit"], ~frame["hit"]], by=by, observed=observed, images="w"
    )
    pd.testing.assert_frame_equal(groups, theirs.drop(columns="count"))
    np.testing.assert_array_equal(counts, [theirs["count"], theirs["n"] - theirs["count"]])


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
        "import sys, clipeval.stats, clipeval.published, clipeval.classify.probe;"
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
    result = paired_change(*answers(*cells))
    assert result["change"] == pytest.approx(change, abs=0.05)
    assert (result["ci_low"], result["ci_high"]) == pytest.approx((low, high), abs=0.05)
    swapped = paired_change(*answers(*cells)[::-1])
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
    from clipeval.stats.paired import newcombe_paired

    n = both + only_before + only_after + neither
    low, high = newcombe_paired(both, only_after, only_before, n, 0.95)
    return 100 * low, 100 * high


@pytest.mark.parametrize(
    "cells",
    [(3, 0, 0, 4), (10, 2, 9, 30), (100, 11, 13, 40), (100, 12, 13, 40), (900, 200, 150, 10)],
)
def test_mcnemar_equals_scipy(cells):
    from scipy.stats import binomtest, chi2

    result = paired_change(*answers(*cells))
    lost, won = cells[1:3]
    if lost + won == 0:
        p = np.nan
        assert result["test"] == "not tested: no image changed"
    elif lost + won < 25:
        p = binomtest(lost, lost + won).pvalue
        assert result["test"] == "McNemar exact"
    else:
        p = chi2.sf((lost - won) ** 2 / (lost + won), 1)
        assert result["test"] == "McNemar chi-squared"
    assert result["p"] == pytest.approx(p, abs=1e-12, nan_ok=True)
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
        assert row == pytest.approx(paired_change(part["hit"].to_numpy(), part["later"].to_numpy()))


def test_paired_answers_must_be_true_or_false():
    with pytest.raises(DataError, match="true or false"):
        paired_change(np.ones(3), np.ones(3))


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
    alone = paired_change(correct["a"].to_numpy(), correct["c"].to_numpy())
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
    from scipy.stats import chi2_contingency, fisher_exact

    rng = np.random.default_rng(levels)
    hits = rng.random((540, 300)) < rng.random(300) ** 2
    hits[:, 0], hits[:, 1] = False, True
    group = rng.integers(0, levels, 540).astype(str)
    table = stats.chi2_by_label(hits, group)
    assert table.loc[:1, ["p", "p_chi2", "p_adjusted"]].isna().all(axis=None)
    assert table.loc[:1, "test"].tolist() == ["not tested: no image", "not tested: every image"]
    for label in range(2, 300):
        if not 0 < hits[:, label].sum() < 540:
            continue
        cells = np.bincount(2 * group.astype(int) + hits[:, label], minlength=2 * levels)
        result = chi2_contingency(cells.reshape(levels, 2), correction=False)
        row = table.iloc[label]
        assert row["chi2"] == pytest.approx(result.statistic, abs=1e-9)
        assert row["p_chi2"] == pytest.approx(result.pvalue, abs=1e-9)
        if levels == 2 and row["min_expected"] < 5:
            assert row["test"] == "Fisher exact"
            exact = fisher_exact(cells.reshape(levels, 2))[1]
            assert row["p"] == pytest.approx(exact, rel=1e-9, abs=1e-15)
        elif row["min_expected"] < 5:
            assert row["test"] == "permuted chi-squared"
        else:
            assert (row["test"], row["p"]) == ("chi-squared", row["p_chi2"])
        assert row["dof"] == result.dof
        assert row["min_expected"] == pytest.approx(result.expected_freq.min())
    assert (table["test"] == "Fisher exact").any() == (levels == 2)
    assert (table["test"] == "permuted chi-squared").any() == (levels > 2)


def test_rare_labels_of_three_groups_have_the_exact_p_of_all_tables():
    """The sum of the chances of all tables, hits dealt out at random, whose chi-squared is as large."""
    from scipy.stats import chi2_contingency, multivariate_hypergeom

    size, hits = np.array([9, 6, 2]), np.array([[4, 0, 0], [0, 1, 2], [1, 1, 1], [0, 0, 1]])
    columns = [
        np.concatenate([np.arange(n) < k for n, k in zip(size, row, strict=True)]) for row in hits
    ]
    table = stats.chi2_by_label(np.column_stack(columns), np.repeat(list("abc"), size))
    for row, p in zip(hits, table["p"], strict=True):

        def far(counts):
            return chi2_contingency([counts, size - counts], correction=False).statistic

        tables = [np.array(t) for t in itertools.product(*(range(n + 1) for n in size))]
        tables = [t for t in tables if t.sum() == row.sum()]
        as_far = [t for t in tables if far(t) >= far(row) - 1e-9]
        exact = multivariate_hypergeom.pmf(as_far, size, row.sum()).sum()
        assert p == pytest.approx(exact, abs=4 * np.sqrt(exact * (1 - exact) / 10_000) + 1e-4)


def false_families(group, rounds: int, rarest: float) -> tuple[float, float]:
    """Shares of rounds in which any of 60 rare labels is below 0.05 though none differs: p as it is, chi-squared's."""
    rng, found, by_chi2 = np.random.default_rng(0), 0, 0
    for _ in range(rounds):
        hits = rng.random((len(group), 60)) < rng.uniform(rarest, 0.02, 60)
        table = stats.chi2_by_label(hits, group)
        found += table["p_adjusted"].min() < 0.05
        by_chi2 += np.nanmin(stats.adjust(table["p_chi2"])) < 0.05
    return found / rounds, by_chi2 / rounds


def test_rare_labels_are_not_found_where_nothing_differs_between_three_groups():
    """One group of five images among 540: chi-squared finds a label in most families."""
    found, by_chi2 = false_families(np.repeat(np.arange(3), [280, 255, 5]), 60, 0.004)
    assert found < 0.1 < 0.7 < by_chi2


def test_a_rare_label_that_one_of_three_groups_has_alone_is_found_among_many():
    """The least p value that draws can give, times the number of labels, stays below 0.05."""
    group = np.repeat(np.arange(3), [280, 255, 5])
    hits = np.random.default_rng(0).random((540, 1_200)) < 0.01
    hits[:, 0] = group == 2
    for correction in ("fdr_bh", "holm"):
        table = stats.chi2_by_label(hits, group, correction=correction)
        assert table.loc[0, "p_adjusted"] < 0.05 and table.loc[0, "test"] == "permuted chi-squared"


def test_fisher_of_lopsided_and_larger_tables_equals_scipy():
    from scipy.stats import fisher_exact

    from clipeval.stats.labels import _fisher

    rng = np.random.default_rng(0)
    for size, n in ((1, 2), (3, 40), (110, 540), (39, 40), (4_000, 10_954)):
        hits = rng.integers(0, min(n, 60) + 1, 40)
        first = rng.hypergeometric(size, n - size, hits)
        found = _fisher(first, hits, size, n)
        for k, total, p in zip(first, hits, found, strict=True):
            cells = [[k, size - k], [total - k, n - size - total + k]]
            assert p == pytest.approx(fisher_exact(cells)[1], rel=1e-7), (cells, p)


def test_rare_labels_are_not_found_where_nothing_differs():
    """False families: any label below 0.05 after correction, though none differs by gender."""
    found, by_chi2 = false_families(np.arange(540) < 110, 150, 0.002)
    assert found < 0.05 < 0.1 < by_chi2


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
    # labels that nobody or everybody has are no part of the family
    more = hits.assign(none=False, every=True)
    again = stats.chi2_by_label(more, np.where(women, "Female", "Male"))
    assert again["p_adjusted"].tolist()[:51] == table["p_adjusted"].tolist()
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
    with pytest.raises(ParameterError, match="not a multiple-testing correction"):
        stats.chi2_by_label(hits, list("abab"), correction="wishful")


# --- bootstrap


def test_cluster_bootstrap_equals_scipy_on_equal_clusters():
    from scipy.stats import bootstrap, norm, t

    rng = np.random.default_rng(0)
    means = rng.beta(2, 5, 60)
    clusters = np.repeat([f"person {i}" for i in range(60)], 20)
    values = rng.random(1_200) < np.repeat(means, 20)
    result = stats.cluster_bootstrap(values, clusters)
    by_person = pd.Series(values).groupby(clusters).mean().to_numpy()
    # expanded percentiles (Hesterberg 2015): the level that Student's t asks for at 60 clusters
    level = 1 - 2 * norm.cdf(-np.sqrt(60 / 59) * t.ppf(0.975, 59))
    how = {"n_resamples": 10_000, "method": "percentile", "confidence_level": level}
    oracle = bootstrap((by_person,), np.mean, rng=1, **how)
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
    assert few.few and few.ci_low < 31 and few.ci_high == 100  # all draws, and Wilson's 3 of 4
    one = stats.cluster_bootstrap(values, list("aaaa"))
    assert one.percent == 75 and np.isnan(one.ci_low) and np.isnan(one.ci_high)
    with pytest.raises(DataError, match="1 images have no cluster"):
        stats.cluster_bootstrap(values, ["a", None, "b", "b"])
    with pytest.raises(DataError, match="4 images and 3 clusters"):
        stats.cluster_bootstrap(values, list("abc"))


def test_cluster_interval_is_hesterbergs_where_it_is_the_wider():
    """Expanded percentiles, by their formula from scipy, of the same draws."""
    from scipy.stats import norm, t

    from clipeval.stats.bootstrap import cluster_codes, cluster_sums, resample

    rng = np.random.default_rng(4)
    clusters = np.repeat(np.arange(12), 20)
    values = rng.random(240) < np.repeat(rng.beta(2, 2, 12), 20)
    codes, count = cluster_codes(clusters, 240)
    draws = resample(cluster_sums(codes, count, [values, np.ones(240)]), 10_000, 0)
    tail = norm.cdf(-np.sqrt(12 / 11) * t.ppf(0.975, 11))
    assert 0.010 < tail < 0.011  # 2.5 % for the plain interval
    low, high = np.quantile(100 * draws[:, 0] / draws[:, 1], [tail, 1 - tail])
    found = stats.cluster_bootstrap(values, clusters)
    assert found.ci_low <= low + 1e-9 and found.ci_high >= high - 1e-9
    assert (found.ci_low, found.ci_high) == pytest.approx((low, high), abs=1.5)


def test_groups_drawn_together_have_the_totals_that_each_has_alone():
    """Two groups with as many clusters and one with more, each beside a plain bootstrap of its own clusters."""
    from clipeval.stats.bootstrap import resample_each

    rng = np.random.default_rng(7)
    parts = [rng.integers(0, 90, (count, 2)).astype(float) for count in (30, 41, 30)]
    parts.append(np.repeat([[3.0, 4.0]], 41, axis=0))  # all of one kind
    for sums, totals in zip(parts, resample_each(parts, 200, 5), strict=True):
        picks = np.random.default_rng(5).integers(0, len(sums), (200, len(sums)))
        assert np.array_equal(totals, sums[picks].sum(axis=1))


def test_cluster_rates_of_counts_are_those_of_images():
    rng = np.random.default_rng(8)
    frame = pd.DataFrame(
        {"cluster": rng.integers(0, 40, 900), "group": rng.choice(["a", "b"], 900)}
    )
    frame["hit"] = rng.random(900) < rng.random(40)[frame["cluster"]]
    frame["cluster"] = pd.Categorical(frame["cluster"])
    how = {"clusters": "cluster", "metric": "rate", "n_boot": 200}
    counts = stats.counted(frame, ["group", "cluster", "hit"])
    for by in ([], ["group"]):
        found = stats.cluster_rates(counts, "hit", by=by, images=stats.IMAGES, **how)
        for row in found.to_dict("records"):
            rows = frame[frame["group"] == row["group"]] if by else frame
            alone = stats.cluster_bootstrap(rows["hit"], rows["cluster"], n_boot=200)
            mine = [
                row[name] for name in ("percent", "cluster_low", "cluster_high", "n", "clusters")
            ]
            assert mine == pytest.approx(list(alone[:5]), rel=1e-12)
            assert row["percent"] == pytest.approx(100 * rows["hit"].mean())


def test_tail_of_chi_squared_is_scipys():
    from scipy.stats import chi2

    from clipeval.stats.power import _chi2_tail

    x = np.array([0, 1e-9, 0.3, 2, 8, 40, 300, 1e5, np.inf])
    for dof in (1, 2, 3, 6, 7, 13, 50, 60):
        assert _chi2_tail(dof, x) == pytest.approx(chi2.sf(x, dof), rel=1e-10, abs=1e-250)


@pytest.mark.parametrize("hits", [0, 1])
def test_cluster_interval_of_none_or_all_is_wilsons_of_the_clusters(hits):
    low, high = stats.wilson(12 * hits, 12)
    found = stats.cluster_bootstrap(np.full(500, bool(hits)), np.arange(500) % 12)
    assert (found.ci_low, found.ci_high) == pytest.approx((100 * low, 100 * high))


def test_cluster_interval_is_never_narrower_than_wilsons_of_the_images():
    rng = np.random.default_rng(0)
    for clusters in (2, 5, 40):
        for rate in (0.02, 0.5, 0.9):
            values = rng.random(80) < rate  # every cluster alike: draws vary less than images
            found = stats.cluster_bootstrap(values, np.arange(80) % clusters, n_boot=200)
            low, high = stats.wilson(values.sum(), 80)
            assert found.ci_low <= 100 * low + 1e-9 and found.ci_high >= 100 * high - 1e-9


@pytest.mark.parametrize(
    ("clusters", "rate", "least"),
    [(12, 0.9, 0.88), (12, 0.5, 0.91), (30, 0.9, 0.92), (30, 0.5, 0.92)],
)
def test_cluster_interval_covers(clusters, rate, least):
    """Intra-cluster correlation 0.3, 20 images a cluster; the plain percentiles: 84 % in the first."""
    rng, rounds, inside = np.random.default_rng(1), 300, 0
    alpha = rate * (1 - 0.3) / 0.3, (1 - rate) * (1 - 0.3) / 0.3
    names = np.repeat(np.arange(clusters), 20)
    for seed in range(rounds):
        values = rng.random(len(names)) < np.repeat(rng.beta(*alpha, clusters), 20)
        found = stats.cluster_bootstrap(values, names, n_boot=300, seed=seed)
        inside += found.ci_low <= 100 * rate <= found.ci_high
    assert least <= inside / rounds <= 0.99


@pytest.mark.parametrize("bootstrap", ["cluster", "paired"])
def test_bootstraps_refuse_missing_values_and_few_draws(bootstrap):
    values, names = np.array([1.0, 0.0, np.nan, 1.0]), list("aabb")

    def call(values, **how):
        if bootstrap == "cluster":
            return stats.cluster_bootstrap(values, names, **how)
        return stats.paired_bootstrap(np.ones(4), values, clusters=names, **how)

    with pytest.raises(DataError, match=r"1 of 4 values are missing \(NaN\)"):
        call(values)
    for n_boot in (0, 1, 39):
        with pytest.raises(ParameterError, match=f"n_boot is {n_boot}; 40 draws or more"):
            call(np.nan_to_num(values), n_boot=n_boot)
    for wrong in (
        [2, -1, 0.5, 0.5],
        [-0.1, 0, 0, 1],
        [0, 0, 50, 0],
    ):  # their means lie in 0-1, or not
        with pytest.raises(ParameterError, match="each must lie between 0 and 1"):
            call(np.array(wrong))


def test_rates_over_clusters_are_marked_by_the_images_that_they_are_worth():
    """3,000 images of 100 people: where each person's are alike, they are worth 100 images."""
    people = np.repeat(np.arange(100), 30)
    alike = stats.cluster_bootstrap(people < 5, people, n_boot=200)
    assert alike.effective == pytest.approx(100, rel=0.06) and not alike.few and alike.doubtful
    more = stats.cluster_bootstrap(people < 15, people, n_boot=200)
    assert more.effective == pytest.approx(100, rel=0.06) and not more.doubtful
    assert stats.cluster_bootstrap(people >= 5, people, n_boot=200).doubtful  # few misses
    apart = stats.cluster_bootstrap(np.arange(3_000) % 20 == 0, people, n_boot=200)
    assert apart.effective > 1_000 and not apart.doubtful
    few = stats.cluster_bootstrap(np.arange(3_000) % 2 == 0, people // 10, n_boot=200)
    assert few.few and few.doubtful
    frame = pd.DataFrame({"who": people, "rare": people < 5, "more": people < 15})
    for hit in ("rare", "more"):  # tables say so too
        table = stats.cluster_rates(frame, hit, clusters="who", metric="rate", n_boot=200)
        assert table["few_clusters"].tolist() == [hit == "rare"] and table["clusters"][0] == 100


def test_paired_bootstrap_without_a_change_has_an_interval():
    """No image changed: Newcombe's interval for as many images as there are clusters."""
    a = np.arange(60) < 30
    for clusters, k in ((None, 60), (np.arange(60) % 6, 6)):
        found = stats.paired_bootstrap(a, a, clusters=clusters)
        oracle = paired_change(*answers(k // 2, 0, 0, k // 2))
        assert (found.ci_low, found.ci_high) == pytest.approx((oracle["ci_low"], oracle["ci_high"]))
        assert found.difference == 0 and found.ci_low < 0 < found.ci_high
    one = stats.paired_bootstrap(a, ~a, clusters=["same"] * 60)
    assert np.isnan(one.ci_low) and np.isnan(one.ci_high)


def test_paired_bootstrap_covers():
    rng, rounds, inside = np.random.default_rng(0), 300, 0
    for seed in range(rounds):  # 15 clusters of 10 images; b is better by 10 points
        taste = np.repeat(rng.beta(3, 3, 15), 10)
        a, lift = rng.random(150) < taste, rng.random(150)
        b = np.where(a, lift < 0.95, lift < 0.25)
        found = stats.paired_bootstrap(a, b, clusters=np.arange(150) // 10, n_boot=300, seed=seed)
        inside += found.ci_low <= 100 * (0.5 * 0.95 + 0.5 * 0.25 - 0.5) <= found.ci_high
    assert 0.92 <= inside / rounds <= 0.99


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
    result, oracle = stats.paired_bootstrap(a, b), paired_change(a, b)
    assert result.difference == pytest.approx(oracle["change"]) == pytest.approx(4.0)
    assert result.ci_low == pytest.approx(oracle["ci_low"], abs=0.1)
    assert result.ci_high == pytest.approx(oracle["ci_high"], abs=0.1)
    # in clusters of identical images there is less to learn: the interval widens by about sqrt(10)
    wide = stats.paired_bootstrap(a, b, clusters=np.arange(5_000) // 10)
    widening = (wide.ci_high - wide.ci_low) / (result.ci_high - result.ci_low)
    assert widening == pytest.approx(np.sqrt(10), rel=0.1)


# --- corrections


@pytest.mark.parametrize("correction", ["fdr_bh", "holm"])
def test_own_corrections_equal_statsmodels(correction):
    from statsmodels.stats.multitest import multipletests

    rng = np.random.default_rng(3)
    for m in (1, 2, 311):
        p = rng.random(m) ** 4
        p[: m // 3] = p[0]  # ties
        expected = multipletests(p, method=correction)[1]
        np.testing.assert_allclose(stats.adjust(p, correction), expected, rtol=0, atol=1e-15)


@pytest.mark.parametrize("correction", ["fdr_bh", "holm"])
def test_missing_p_values_are_no_tests(correction):
    p = np.array([0.01, np.nan, 0.04, 0.03, np.nan])
    found = stats.adjust(p, correction)
    assert np.isnan(found).tolist() == [False, True, False, False, True]
    known = ~np.isnan(p)
    np.testing.assert_allclose(found[known], stats.adjust(p[known], correction), atol=1e-15)
    assert np.isnan(stats.adjust([np.nan, np.nan], correction)).all()
