"""How far groups of images are apart: intervals, one test for all groups, and a negative control.

Everything is computed from the images and hits of each group, so that a million images take as long
as a thousand.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd

from clipeval.errors import DataError, ParameterError
from clipeval.stats.bootstrap import check_draws
from clipeval.stats.differences import difference_ends, ratio_ends
from clipeval.stats.labels import chi2_of_counts, untested
from clipeval.stats.permuted import dealt, null_of, share_as_far
from clipeval.stats.picks import pairwise_ends, rate_ends
from clipeval.stats.rates import wilson


class GroupGaps(NamedTuple):
    """`groups`: one row a group; `largest`: one row, the largest gap between two groups."""

    groups: pd.DataFrame
    largest: pd.DataFrame


class Control(NamedTuple):
    """What chance alone makes of the gaps; `groups`: one row a group; `largest`: one row."""

    groups: pd.DataFrame
    largest: pd.DataFrame


def gaps_of_counts(
    counts: pd.DataFrame,
    *,
    by: Sequence[str],
    confidence: float = 0.95,
    n_boot: int = 10_000,
    seed: int = 0,
) -> GroupGaps:
    """How far groups are apart: each from the overall rate, and the largest gap between two.

    Parameters
    ----------
    counts : DataFrame, one row a group: columns of `by`, `n` and `count` (int), `n` above 0, as `group_counts`
        returns it with observed=True, or counted elsewhere, such as part by part
    by : sequence of str, grouping columns
    confidence : float in (0, 1), of every interval
    n_boot, seed : int, draws of the permutation test, and their seed

    Returns
    -------
    GroupGaps
        `groups`: columns of `by`, `n`, `count`, `percent`, `overall` (percent of all images),
        `from_overall` (percent - overall, percentage points), `ratio` (percent / overall; NaN if
        overall is 0), each of the last two with `_low` and `_high`.
        `largest`: `highest`, `lowest` (groups), `gap` (percentage points), `ci_low`, `ci_high`,
        `chi2`, `dof`, `p_chi2`, `min_expected` (independence of hit and group), `p_permutation`,
        `n_boot`, `seed`.

    Notes
    -----
    `from_overall` is the group's share of all other images times the difference to them, and `ratio`
    follows from the ratio to them: their intervals are Newcombe's and Donner and Zou's (`newcombe`,
    `ratio_ends`), group against rest. Simulated at group sizes of 44 to 5,792 of 540 to 10,954, 95 %
    intervals cover 94 to 98 % where at least one hit of the group is expected, and 85 to 97 % where
    fewer are, which `doubtful` marks.

    `p_permutation` is how often hits that are dealt out at random over all images give a chi-squared
    statistic as large as the one seen; that one counts as a draw, so that p is at least
    1 / (n_boot + 1). It needs no least expected count, as `p_chi2` does, and finds what chi-squared
    finds: each group's difference is scaled by the group's size. A test of the largest gap itself
    would be ruled by the smallest group. Where no image or every image is a hit there is nothing to
    test, and both p values are NaN.

    The interval of the largest gap is made from simultaneous intervals of all pairwise differences
    (`pairwise_ends`): its ends are the largest lower and the largest upper one, at least 0. It allows
    for the pair having been picked, and covers the true largest gap in at least `confidence` of
    samples (95 to 100 %). It holds 0 where no single pair can be told apart. The test asks another
    question, whether the groups are all alike: small differences of several groups can together make
    p small while the interval holds 0, and one pair that stands out among many groups can keep it
    above 0 while p is not small.

    Raises
    ------
    DataError  if there are fewer than two groups
    ParameterError  if there are too few draws
    """
    check_draws(n_boot)
    by = [by] if isinstance(by, str) else list(by)
    table = _two_groups(counts, by)
    n, count = table["n"].to_numpy(), table["count"].to_numpy()
    percent, overall = 100 * count / n, 100 * count.sum() / n.sum()
    low, high, ratio_low, ratio_high = against_all(count, n, confidence)
    gap_low, gap_high = largest_gap(count, n, confidence)
    test = chi2_of_counts(count[:, None], n)
    table = table.assign(
        percent=percent,
        overall=overall,
        from_overall=percent - overall,
        from_overall_low=100 * low,
        from_overall_high=100 * high,
        ratio=percent / overall if overall else np.nan,
        ratio_low=ratio_low,
        ratio_high=ratio_high,
    )
    names = [" x ".join(map(str, key)) for key in table[by].itertuples(index=False, name=None)]
    largest = {
        "highest": names[int(percent.argmax())],
        "lowest": names[int(percent.argmin())],
        "gap": percent.max() - percent.min(),
        "ci_low": 100 * gap_low,
        "ci_high": 100 * gap_high,
        "chi2": test.chi2[0],
        "dof": len(n) - 1,
        "p_chi2": test.p[0],
        "min_expected": test.least[0],
        "p_permutation": permutation_p(count, n, n_boot=n_boot, seed=seed),
        "n_boot": n_boot,
        "seed": seed,
    }
    return GroupGaps(table, pd.DataFrame([largest]))


def largest_skew(count, n, confidence: float = 0.95):
    """Interval of MaxSkew of the hits: the largest over groups of ln(share of the hits / share of all images).

    That is the logarithm of the largest ratio of a group's rate to that of all. A maximum is biased upward, and its
    bootstrap percentiles more so: where groups are alike they never hold 0. The ends here are the largest lower and
    the largest upper one of simultaneous intervals of all ratios (`against_all`, Bonferroni), which hold the truth in
    at least `confidence` of samples.

    Parameters
    ----------
    count, n : int arrays (groups,), hits and images of each group, n above 0
    confidence : float in (0, 1)

    Returns
    -------
    low, high : floats, in nats; low is not below 0. NaN where there is no hit.
    """
    count, n = np.asarray(count), np.asarray(n)
    if not count.sum():
        return np.nan, np.nan
    _, _, low, high = against_all(count, n, 1 - (1 - confidence) / len(n))
    return max(0.0, float(np.log(low.max()))) if low.max() > 0 else 0.0, float(np.log(high.max()))


def against_all(count, n, confidence: float = 0.95) -> tuple[np.ndarray, ...]:
    """Intervals of each group's rate against that of all images, which it is part of.

    Parameters
    ----------
    count, n : int arrays (k,), hits and images of each group, two or more, none empty
    confidence : float in (0, 1)

    Returns
    -------
    low, high, ratio_low, ratio_high : float arrays (k,): of the difference, fractions, and of the
    ratio; the latter NaN without any hit. Both follow from the comparison with all other images.
    """
    count, n = np.asarray(count), np.asarray(n)
    others, others_count, share = n.sum() - n, count.sum() - count, n / n.sum()
    rates, ends = count / n, wilson(count, n, confidence)
    rest, rest_ends = others_count / others, wilson(others_count, others, confidence)
    low, high = difference_ends(rates, ends, rest, rest_ends)
    ratios = np.full((2, len(n)), np.nan)
    if count.sum():
        with np.errstate(divide="ignore"):
            ratios = 1 / (share + (1 - share) / np.array(ratio_ends(rates, ends, rest, rest_ends)))
    return low * (1 - share), high * (1 - share), *ratios


def largest_gap(count, n, confidence: float = 0.95) -> tuple[float, float]:
    """Interval of the largest gap between two of k groups' rates, fractions; see `gaps_of_counts`."""
    rates = np.divide(count, n)
    low, high = pairwise_ends(rates, rate_ends(count, n), confidence)
    apart = ~np.eye(len(rates), dtype=bool)
    return max(0.0, float(low[apart].max())), min(1.0, float(high[apart].max()))


def permutation_p(count, n, *, n_boot: int = 10_000, seed: int = 0) -> float:
    """p value that k groups have one rate, by permuted chi-squared; see `gaps_of_counts`."""
    count, n = np.asarray(count), np.asarray(n)
    return float(_p_value(count, n, null_of(tuple(n), int(count.sum()), n_boot, seed))[0])


def control_of_counts(
    counts: pd.DataFrame,
    *,
    by: Sequence[str],
    shuffles: int = 200,
    n_boot: int = 10_000,
    seed: int = 0,
) -> Control:
    """The gaps and p values of `gaps_of_counts` when the images' groups are shuffled, many times.

    Between shuffled groups there is no difference: what is left is chance, at the run's own group
    sizes and its own number of hits. A gap is remarkable where it is larger than nearly all of these.
    The share of p values below 0.05 must be about 5 %.

    Parameters
    ----------
    counts, by : as in `gaps_of_counts`
    shuffles : int, how often the groups are shuffled
    n_boot, seed : int, draws of each shuffle's permutation test; seed of the shuffles and of these,
        which are drawn apart

    Returns
    -------
    Control
        `groups`: columns of `by`, `n`, `median`, `p95`: median and 95th percentile of the distance
        of the group's rate from the overall rate (percentage points, without sign).
        `largest`: `shuffles`, `median`, `p95` (of the largest gap, percentage points), `below`
        (percent of the shuffles with p_permutation < 0.05; NaN without a test), `seed`.

    Raises
    ------
    DataError  if there are fewer than two groups
    ParameterError  if there is no shuffle, or there are too few draws
    """
    check_draws(n_boot)
    if shuffles < 1:
        raise ParameterError(f"shuffles is {shuffles}; a control needs one or more, e.g. 200.")
    table = _two_groups(counts, by)
    n, count = table["n"].to_numpy(), table["count"].to_numpy()
    hits = dealt(n, int(count.sum()), shuffles, [seed, 2])
    rates = 100 * hits / n
    away = np.abs(rates - 100 * count.sum() / n.sum())
    gaps = rates.max(axis=1) - rates.min(axis=1)
    p = _p_value(hits, n, null_of(tuple(n), int(count.sum()), n_boot, seed))
    median, high = np.percentile(away, [50, 95], axis=0)
    groups = table.drop(columns="count").assign(median=median, p95=high)
    median, high = np.percentile(gaps, [50, 95])
    largest = {
        "shuffles": shuffles,
        "median": median,
        "p95": high,
        "below": 100 * np.where(np.isnan(p), np.nan, p < 0.05).mean(),
    }
    return Control(groups, pd.DataFrame([largest | {"seed": seed}]))


def _two_groups(table: pd.DataFrame, by: Sequence[str]) -> pd.DataFrame:
    if len(table) < 2:
        raise DataError(f"a gap needs two groups with images; {by} makes {len(table)}.")
    return table


def _p_value(count: np.ndarray, n: np.ndarray, null: np.ndarray) -> np.ndarray:
    """`share_as_far`; NaN where no image or every image is a hit."""
    there = untested(np.atleast_2d(count).sum(axis=1), n.sum()) == ""
    return np.where(there, share_as_far(count, n, null), np.nan)
