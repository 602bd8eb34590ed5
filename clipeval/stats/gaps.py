"""How far groups of images are apart, with bootstrap intervals and tests."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd

from clipeval.errors import DataError
from clipeval.stats.bootstrap import (
    CHUNK,
    FEW_CLUSTERS,
    cluster_codes,
    cluster_sums,
    percentiles,
    resample,
)
from clipeval.stats.labels import chi2_by_label
from clipeval.stats.rates import check_groups, group_counts, hits_of

__all__ = ["GroupGaps", "group_gaps"]


class GroupGaps(NamedTuple):
    """`groups`: one row a group; `largest`: one row, the largest gap between two groups."""

    groups: pd.DataFrame
    largest: pd.DataFrame


def group_gaps(
    frame: pd.DataFrame,
    hit: str,
    *,
    by: Sequence[str],
    confidence: float = 0.95,
    n_boot: int = 10_000,
    seed: int = 0,
    clusters: str | None = None,
) -> GroupGaps:
    """How far groups are apart: each from the overall rate, and the largest gap between two.

    Parameters
    ----------
    frame : DataFrame, one row an image
    hit : str, name of a bool column
    by : sequence of str, grouping columns; groups without images are left out
    n_boot, seed : int, draws of the bootstrap and of the permutation test, and their seed
    clusters : str or None, column of the sequence or person of each image. None resamples images
        within each group (stratified); otherwise whole clusters are resampled

    Returns
    -------
    GroupGaps
        `groups`: columns of `by`, `n`, `count`, `percent`, `overall` (percent of all images),
        `from_overall` (percent - overall, percentage points), `ratio` (percent / overall; NaN if
        overall is 0), each of the last two with `_low` and `_high` (bootstrap percentile interval).
        `largest`: `highest`, `lowest` (groups), `gap` (percentage points), `ci_low`, `ci_high`,
        `chi2`, `dof`, `p_chi2`, `min_expected` (independence of hit and group), `p_permutation`
        (how often shuffled groups are as far apart), `clusters` (number or 0), `few_clusters`,
        `n_boot`, `seed`. The interval is gap -+ q, cut at 0, where q bounds the errors of all
        pairwise differences at once (bootstrap quantile of their largest). A plain percentile
        interval of the largest gap lies too high: the largest of several differences is above 0
        even where groups do not differ, and it would never hold 0. This one covers the true gap
        at the stated confidence or more. With clusters the chi-squared test, which takes images for
        independent, is left NaN, and whole clusters are shuffled; p_permutation is NaN if a cluster
        spans several groups.

    Raises
    ------
    DataError  if fewer than two groups have images, or a group or cluster value is missing
    """
    by = [by] if isinstance(by, str) else list(by)
    check_groups(frame, [*by, clusters] if clusters else by)
    table = group_counts(frame, hit, by=by, observed=True)
    if len(table) < 2:
        raise DataError(f"a gap needs two groups with images; {by} makes {len(table)}.")
    hits = hits_of(frame, hit)
    groups = frame.groupby(by, observed=True, sort=True).ngroup().to_numpy()
    n, count = table["n"].to_numpy(), table["count"].to_numpy()
    if clusters is None:
        draws = np.random.default_rng(seed).binomial(n, count / n, size=(n_boot, len(n)))
        sizes, number = np.broadcast_to(n, draws.shape), 0
        shuffled = _shuffled_images(n, count, n_boot, seed)
        test = chi2_by_label(hits[:, None], groups).iloc[0]
        chi2, p_chi2, min_expected = test["chi2"], test["p"], test["min_expected"]
    else:
        codes, number = cluster_codes(frame[clusters], len(frame))
        members = np.eye(len(n), dtype=bool)[groups]
        sums = cluster_sums(codes, number, [*(members & hits[:, None]).T, *members.T])
        draws, sizes = np.split(resample(sums, n_boot, seed), 2, axis=1)
        shuffled = _shuffled_clusters(sums, n_boot, seed)
        chi2 = p_chi2 = min_expected = float("nan")
    rates = 100 * count / n
    overall = 100 * count.sum() / n.sum()
    with np.errstate(invalid="ignore", divide="ignore"):
        drawn = 100 * draws / sizes
        drawn_overall = (100 * draws.sum(axis=1) / sizes.sum(axis=1))[:, None]
        ratio = rates / overall if overall else np.full(len(n), np.nan)
        ratio_draws = np.where(drawn_overall > 0, drawn / drawn_overall, np.nan)
    from_low, from_high = percentiles(drawn - drawn_overall, confidence)
    ratio_low, ratio_high = percentiles(ratio_draws, confidence)
    gap = rates.max() - rates.min()
    errors = drawn - rates
    reach = float(np.quantile(np.nanmax(errors, axis=1) - np.nanmin(errors, axis=1), confidence))
    p = float("nan")
    if shuffled is not None:
        # the observed arrangement counts as one of the shuffles: p is never 0
        p = (1 + int((_spread(shuffled) >= gap - 1e-9).sum())) / (n_boot + 1)
    table = table.assign(percent=rates, overall=overall, from_overall=rates - overall)
    table = table.assign(from_overall_low=from_low, from_overall_high=from_high, ratio=ratio)
    table = table.assign(ratio_low=ratio_low, ratio_high=ratio_high)
    names = [" x ".join(map(str, key)) for key in table[by].itertuples(index=False, name=None)]
    largest = {
        "highest": names[int(rates.argmax())],
        "lowest": names[int(rates.argmin())],
        "gap": gap,
        "ci_low": max(0.0, gap - reach),
        "ci_high": min(100.0, gap + reach),
        "chi2": chi2,
        "dof": len(n) - 1,
        "p_chi2": p_chi2,
        "min_expected": min_expected,
        "p_permutation": p,
        "clusters": number,
        "few_clusters": clusters is not None and number < FEW_CLUSTERS,
        "n_boot": n_boot,
        "seed": seed,
    }
    return GroupGaps(table, pd.DataFrame([largest]))


def _shuffled_images(n: np.ndarray, count: np.ndarray, n_boot: int, seed: int) -> np.ndarray:
    """Rates (n_boot, groups), percent, when the hits are dealt out over the images at random."""
    rng = np.random.default_rng([seed, 1])
    dealt = rng.multivariate_hypergeometric(n, int(count.sum()), size=n_boot, method="marginals")
    return 100 * dealt / n


def _shuffled_clusters(sums: np.ndarray, n_boot: int, seed: int) -> np.ndarray | None:
    """Rates (n_boot, groups), percent, when whole clusters change groups; None if not nested."""
    groups = sums.shape[1] // 2
    hits, sizes = sums[:, :groups], sums[:, groups:]
    if ((sizes > 0).sum(axis=1) > 1).any():
        return None
    labels = sizes.argmax(axis=1)
    totals = np.column_stack([hits.sum(axis=1), sizes.sum(axis=1)])
    rng = np.random.default_rng([seed, 1])
    step, parts = max(1, CHUNK // len(labels)), []
    for start in range(0, n_boot, step):
        shape = (min(step, n_boot - start), len(labels))
        order = rng.permuted(np.broadcast_to(labels, shape), axis=1)
        moved = np.stack([(order == g) @ totals for g in range(groups)], axis=1)
        parts.append(100 * moved[..., 0] / moved[..., 1])
    return np.concatenate(parts)


def _spread(rates: np.ndarray) -> np.ndarray:
    return rates.max(axis=1) - rates.min(axis=1)
