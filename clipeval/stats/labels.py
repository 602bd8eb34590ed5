"""Many labels at once: which go with a grouping of the images, corrected for their number."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd

from clipeval.errors import DataError, ParameterError
from clipeval.stats.permuted import null_of, share_as_far
from clipeval.stats.rates import LEAST_EXPECTED


def chi2_by_label(
    hits, group, *, labels: Sequence[str] | None = None, correction: str = "fdr_bh"
) -> pd.DataFrame:
    """Chi-squared or exact test of each label against a grouping of the images.

    Parameters
    ----------
    hits : bool array or DataFrame (n images, L labels): does the image carry the label
    group : sequence (n,), two or more levels, none missing
    labels : names of the labels; the columns of `hits` if it is a DataFrame and they are not given
    correction : str, for the number of labels: "fdr_bh" (Benjamini-Hochberg) or "holm". Labels
        that no image or every image carries are not tested and do not count: which these are follows
        from how many images carry a label, and not from how it differs between groups

    Returns
    -------
    DataFrame, one row a label in the order given: `label`, `chi2` (without continuity correction,
    as scipy's `chi2_contingency(correction=False)`), `dof`, `p`, `p_adjusted`, `min_expected`
    (smallest expected count), `test`, `p_chi2`. Where an expected count is below 5, chi-squared
    finds differences too often, and the more so the more labels are corrected for; with two groups `p`
    is then that of Fisher's exact test, two-sided, and `test` says "Fisher exact"; with more it is that
    of "permuted chi-squared": how often hits that are dealt out at random over all images give a
    chi-squared as large, in 10,000 seeded draws, or 50 a label where these are more. Else `test` says
    "chi-squared". `chi2` and its own p value, `p_chi2`, are given beside it. A label that no image or
    every image carries has chi2 0 and no p value, and `test` says why (`untested`).

    Raises
    ------
    DataError  if the sizes differ, a group value is missing or there is only one group
    """
    if labels is None:
        labels = list(hits) if isinstance(hits, pd.DataFrame) else range(np.shape(hits)[1])
    hits = np.asarray(hits)
    codes, levels = pd.factorize(np.asarray(group, dtype=object), use_na_sentinel=True)
    if hits.dtype != bool or hits.ndim != 2 or hits.shape != (len(codes), len(labels)):
        raise DataError(
            f"hits must be true or false for each of {len(codes)} images and {len(labels)} labels; "
            f"they are {hits.dtype} {hits.shape}."
        )
    if (codes < 0).any():
        raise DataError(f"{int((codes < 0).sum()):,} images have no group; leave them out first.")
    if len(levels) < 2:
        raise DataError(f"all images are in one group ({list(levels)}); a test needs two or more.")
    size = np.bincount(codes, minlength=len(levels))
    seen = np.stack([hits[codes == level].sum(axis=0) for level in range(len(levels))])
    chi2, p_chi2, least = chi2_of_counts(seen, size)
    total = seen.sum(axis=0)
    why = untested(total, len(codes))
    rare, p = (least < LEAST_EXPECTED) & (why == ""), p_chi2.copy()
    if len(levels) == 2:
        p[rare] = _fisher(seen[0, rare], total[rare], int(size[0]), len(codes))
    else:
        p[rare] = _permuted(seen[:, rare], size, max(10_000, 50 * len(labels)))
    other = "Fisher exact" if len(levels) == 2 else "permuted chi-squared"
    return pd.DataFrame(
        {
            "label": list(labels),
            "chi2": chi2,
            "dof": len(levels) - 1,
            "p": p,
            "p_adjusted": adjust(p, correction),
            "min_expected": least,
            "test": np.where(rare, other, np.where(why == "", "chi-squared", why)),
            "p_chi2": p_chi2,
        }
    )


def untested(count, n) -> np.ndarray:
    """Why a rate of `count` of `n` images cannot be compared between groups; "" where it can.

    Examples
    --------
    >>> untested([0, 3, 9], 9).tolist()
    ['not tested: no image', '', 'not tested: every image']
    """
    count = np.asarray(count)
    none, every = count == 0, count == n
    return np.select([none, every], ["not tested: no image", "not tested: every image"], "").astype(
        object
    )


class ChiSquared(NamedTuple):
    """Chi-squared of independence of each label; arrays (L,)."""

    chi2: np.ndarray
    p: np.ndarray
    least: np.ndarray


def chi2_of_counts(seen, size) -> ChiSquared:
    """Chi-squared of independence from counts, without continuity correction, many labels at once.

    Parameters
    ----------
    seen : int array (groups, L), images of each group that carry each label
    size : int array (groups,), images of each group

    Returns
    -------
    ChiSquared: `chi2`, `p` (0 and NaN for a label that no image or every image carries: there is
    nothing to test), `least` (the smallest expected count)
    """
    from scipy.special import chdtrc

    seen, size = np.asarray(seen, float), np.asarray(size, float)[:, None]
    total, n = seen.sum(axis=0), size.sum()
    expected = size * (total / n)
    with np.errstate(invalid="ignore", divide="ignore"):
        cells = (seen - expected) ** 2 * (1 / expected + 1 / (size - expected))
    constant = (total == 0) | (total == n)
    chi2 = np.where(constant, 0.0, cells.sum(axis=0))
    p = np.where(constant, np.nan, chdtrc(len(size) - 1, chi2))
    return ChiSquared(chi2, p, np.minimum(expected, size - expected).min(axis=0))


def _fisher(first: np.ndarray, hits: np.ndarray, size: int, n: int) -> np.ndarray:
    """Fisher's exact test, two-sided: p values of `first` hits in a group of `size` of n images.

    Labels that equally many images carry (`hits`) share one hypergeometric distribution. From
    scipy.special, as importing scipy.stats takes longer than a whole study.
    """
    from scipy.special import gammaln

    def log_choose(a, b):
        return gammaln(a + 1) - gammaln(b + 1) - gammaln(a - b + 1)

    p = np.empty(len(hits))
    for total in np.unique(hits):
        of_total = hits == total
        least = max(0, total - (n - size))
        k = np.arange(least, min(total, size) + 1)
        chance = np.exp(
            log_choose(size, k) + log_choose(n - size, total - k) - log_choose(n, total)
        )
        seen = chance[(first[of_total] - least).astype(int)]
        # tables as likely as the one seen count too, whatever the last digits of a sum
        p[of_total] = (chance * (chance <= seen[:, None] * (1 + 1e-7))).sum(axis=1)
    return p.clip(max=1)


def _permuted(seen: np.ndarray, size: np.ndarray, draws: int) -> np.ndarray:
    """p values (L,) of permuted chi-squared, of the images (groups, L) that carry each label."""
    p, hits = np.empty(seen.shape[1]), seen.sum(axis=0)
    for total in np.unique(hits):  # labels that equally many images carry share their draws
        null = null_of(tuple(size.tolist()), int(total), draws, 0)
        p[hits == total] = share_as_far(seen[:, hits == total].T, size, null)
    return p


def adjust(p, correction: str = "fdr_bh") -> np.ndarray:
    """P values (m,) corrected for their number; missing ones (NaN) stay so and do not count.

    "fdr_bh" is Benjamini and Hochberg's (1995), "holm" Holm's (1979); computed here, as importing statsmodels
    takes longer than a whole study.

    Raises
    ------
    ParameterError  if `correction` is neither
    """
    p = np.array(p, float)
    known = ~np.isnan(p)
    p[known] = _adjusted(p[known], correction)
    return p


def _adjusted(p: np.ndarray, correction: str) -> np.ndarray:
    m = len(p)
    order = np.argsort(p, kind="stable")
    adjusted = np.empty(m)
    if correction == "fdr_bh":
        steps = p[order] * m / np.arange(1, m + 1)
        adjusted[order] = np.minimum.accumulate(steps[::-1])[::-1].clip(max=1)
        return adjusted
    if correction == "holm":
        steps = p[order] * np.arange(m, 0, -1)
        adjusted[order] = np.maximum.accumulate(steps).clip(max=1)
        return adjusted
    raise ParameterError(
        f'"{correction}" is not a multiple-testing correction; use fdr_bh or holm.'
    )
