"""Rates of groups with Wilson intervals, and where these do not hold.

Rates in tables are percent (0-100); functions on counts return fractions.
"""

import functools
from collections.abc import Callable, Sequence
from statistics import NormalDist

import numpy as np
import pandas as pd

from clipeval.errors import DataError, ParameterError

#: expected hits, or misses, below which intervals and tests by a formula may fail: Wilson's interval
#: as `doubtful` says, and chi-squared's approximation (Cochran 1954)
LEAST_EXPECTED = 5

#: column of `counted`: how many images a row stands for
IMAGES = "_images"
HIT = "_hit"  # a column of hits beside those of a user's own data
MOST = 2**20  # places of an array of counts; more are first reduced to those that occur
#: columns of a rate in every table, behind those that say of what
RATE_COLUMNS = ("n", "count", "metric", "percent", "ci_low", "ci_high")


def wilson(count, n, confidence: float = 0.95) -> tuple[np.ndarray, np.ndarray]:
    """Wilson score interval of a proportion (Wilson 1927), for many proportions at once.

    Parameters
    ----------
    count, n : int or array of int, hits and trials; broadcast against each other
    confidence : float in (0, 1)

    Returns
    -------
    low, high : float arrays of the broadcast shape, fractions 0-1; NaN where `n` is 0

    Notes
    -----
    A 95 % interval covers 92.6 to 97.8 % where at least three hits and three misses are expected, but
    down to 84 % where fewer are; `doubtful` marks such rates.

    Examples
    --------
    >>> low, high = wilson(490, 10_000)
    >>> f"{100 * low:.1f} {100 * high:.1f}"
    '4.5 5.3'
    """
    count, n = _check_counts(count, n, confidence)
    z2 = NormalDist().inv_cdf(0.5 + confidence / 2) ** 2
    with np.errstate(invalid="ignore", divide="ignore"):
        share = count / n
        centre = (share + z2 / (2 * n)) / (1 + z2 / n)
        half = np.sqrt(z2 * (share * (1 - share) + z2 / (4 * n)) / n) / (1 + z2 / n)
    # the bounds at 0 and n hits are exactly 0 and 1; rounding would leave them at -1e-18
    low = np.where((count == 0) & (n > 0), 0.0, centre - half)
    high = np.where((count == n) & (n > 0), 1.0, centre + half)
    return low, high


def _check_counts(count, n, confidence: float) -> tuple[np.ndarray, np.ndarray]:
    check_confidence(confidence)
    count, n = np.broadcast_arrays(np.asarray(count, float), np.asarray(n, float))
    if np.any((count < 0) | (count > n)):
        raise ParameterError("a count of hits lies outside 0..n; pass hits first, then trials.")
    return count, n


def clopper_pearson(count, n, confidence: float = 0.95) -> tuple[np.ndarray, np.ndarray]:
    """Exact interval of a proportion (Clopper and Pearson 1934): it covers at least `confidence`.

    Wider than Wilson's, and never too narrow, whatever the rate. Parameters, returns and errors as
    in `wilson`.
    """
    from scipy.special import betaincinv

    count, n = _check_counts(count, n, confidence)
    tail = (1 - confidence) / 2
    low = np.where(count > 0, betaincinv(np.maximum(count, 1), n - count + 1, tail), 0.0)
    misses = np.maximum(n - count, 1)
    high = np.where(count < n, betaincinv(count + 1, misses, 1 - tail), 1.0)
    return np.where(n > 0, low, np.nan), np.where(n > 0, high, np.nan)


def doubtful(count, n) -> np.ndarray:
    """Whether so few hits, or misses, were counted that the Wilson interval of the rate is doubtful.

    True where `count` or `n - count`, the estimates of the expected hits and misses, is below
    `LEAST_EXPECTED`. The rule looks at the expected count and not at the size of the group: 1 hit of
    10,000 says as little of its rate as 1 of 100. A 95 % Wilson interval that misses the rate and is
    not marked occurs in at most 6.6 % of samples, at every rate and from 20 images on; without the
    mark it is up to 16 %.

    Parameters
    ----------
    count, n : int or array of int, hits and trials; broadcast against each other

    Returns
    -------
    bool array of the broadcast shape; True where `n` is 0
    """
    count, n = np.broadcast_arrays(np.asarray(count, float), np.asarray(n, float))
    return ~(np.minimum(count, n - count) >= LEAST_EXPECTED)


def mean_rate(count, n, confidence: float = 0.95) -> tuple[float, float, float]:
    """Mean of several groups' rates, each of the same weight, with an interval.

    Wilson's interval at the effective number of images: as many as would give a single rate the
    variance that the mean has (Korn and Graubard 1998, Survey Methodology 24, 193-201). For the
    variance half an image is added to the hits and to the misses of each group, so that a group
    without any still has one.

    Parameters
    ----------
    count, n : int arrays (k,), hits and images of each group; groups without images are left out
    confidence : float in (0, 1)

    Returns
    -------
    mean, low, high : float, fractions 0-1; NaN where no group has images

    Notes
    -----
    Simulated for seven groups of 50 to 2,085 images, alike or of 20 to 400, and mean rates of 50 to
    99.9 %, a 95 % interval covers 93.5 to 98 %, and 87 % where less than one miss is expected in all
    groups together. Combining the groups' Wilson intervals by squares (MOVER; Zou and Donner 2008)
    covers 85 to 94 % there above 98 %.
    """
    count, n = _check_counts(count, n, confidence)
    count, n = count[n > 0], n[n > 0]
    if not len(n):
        return float("nan"), float("nan"), float("nan")
    mean, smooth = (count / n).mean(), (count + 0.5) / (n + 1)
    variance = (smooth * (1 - smooth) / n).sum() / len(n) ** 2
    images = smooth.mean() * (1 - smooth.mean()) / variance
    low, high = wilson(mean * images, images, confidence)
    return float(mean), float(low), float(high)


def group_rates(
    frame: pd.DataFrame,
    hit: str,
    *,
    by: Sequence[str] = (),
    metric: str,
    confidence: float = 0.95,
    observed: bool = False,
    images: str | None = None,
) -> pd.DataFrame:
    """Percent of the images of each group that are hits: hits in the group / images in the group.

    Parameters
    ----------
    frame : DataFrame, one row an image, or so many as `images` says
    hit : str, name of a bool column
    by : sequence of str, grouping columns; several make intersections, none makes one row
    metric : str, name of the rate, written into column `metric`
    confidence : float in (0, 1), of the Wilson interval
    observed : bool; False keeps every category of a categorical (and every combination) and shows
        those without images with n = 0 and NaN percent; True leaves them out
    images : str, name of an int column: how many images a row stands for, as `counted` returns it

    Returns
    -------
    DataFrame: the columns of `by`, `n`, `count`, `metric`, `percent`, `ci_low`, `ci_high` (all
    three percent), in the order of the categories (or sorted, for plain columns)

    Raises
    ------
    DataError  if a column is absent, a group value is missing, or `hit` is not bool
    """
    counts = group_counts(frame, hit, by=by, observed=observed, images=images)
    return rates_of_counts(counts, metric, confidence=confidence)


def rates_of_counts(counts: pd.DataFrame, metric, *, confidence: float = 0.95) -> pd.DataFrame:
    """Counts with their rates and Wilson intervals beside them.

    Parameters
    ----------
    counts : DataFrame with `n` and `count`
    metric : name of the rate, or one a row

    Returns
    -------
    DataFrame: `counts` with `metric`, `percent`, `ci_low`, `ci_high` (all three percent; NaN where `n` is 0)
    """
    low, high = wilson(counts["count"], counts["n"], confidence)
    with np.errstate(invalid="ignore"):
        percent = 100 * counts["count"].to_numpy(float) / counts["n"].to_numpy(float)
    return counts.assign(metric=metric, percent=percent, ci_low=100 * low, ci_high=100 * high)


def group_counts(
    frame: pd.DataFrame,
    hit: str,
    *,
    by: Sequence[str] = (),
    observed: bool = False,
    images: str | None = None,
) -> pd.DataFrame:
    """Images (`n`) and hits (`count`) of each group; parameters and errors as in `group_rates`."""
    by = [by] if isinstance(by, str) else list(by)
    hits = hits_of(frame, hit)
    if images is None:
        check_groups(frame, by)
        frame = counted(frame[by].assign(**{HIT: hits}), [*by, HIT])
        hits, images = frame[HIT].to_numpy(), IMAGES
    groups, [count] = hits_by_group(frame, [hits], by=by, observed=observed, images=images)
    return groups.assign(count=count)


def hits_by_group(
    frame: pd.DataFrame,
    hits: Sequence[np.ndarray],
    *,
    by: Sequence[str] = (),
    observed: bool = False,
    images: str = IMAGES,
) -> tuple[pd.DataFrame, np.ndarray]:
    """Images of each group, and how many of them are hits of each of several kinds: rows are put into groups once.

    Parameters
    ----------
    frame, by, observed, images : as in `group_rates`; a row stands for so many images as `images` says
    hits : bool arrays (rows,), one a kind

    Returns
    -------
    DataFrame of the columns of `by` and `n`, one row a group; int array (kinds, groups)
    """
    check_groups(frame, by, images)
    cell, groups = _cells(frame, list(by), observed)
    n = frame[images].to_numpy()
    sums = [np.bincount(cell, w, len(groups)) for w in (n, *(n * hit for hit in hits))]
    n, *counts = np.array(sums, dtype=np.int64)
    return groups.assign(n=n), np.array(counts)


def _cells(frame: pd.DataFrame, by: list[str], observed: bool) -> tuple[np.ndarray, pd.DataFrame]:
    """Number of each row's group, and the groups in the order of their values.

    Every combination of values is one where a column is categorical, unless `observed`; else those that occur.
    """
    cell, values = np.zeros(len(frame), dtype=np.int64), []
    for name in by:
        codes, names = _in_order(frame[name])
        cell, values = cell * len(names) + codes, [*values, names]
    shape = tuple(map(len, values))
    if observed or not any(isinstance(names, pd.Categorical) for names in values):
        groups, cell = np.unique(cell, return_inverse=True)
    else:
        groups = np.arange(np.prod(shape))
    places = np.unravel_index(groups, shape) if by else []
    columns = {name: v.take(at) for name, v, at in zip(by, values, places, strict=True)}
    return cell, pd.DataFrame(columns, index=pd.RangeIndex(len(groups) if by else 1))


def _in_order(values: pd.Series):
    """Codes of values, none missing, and the different values in their order: categories, or sorted."""
    if isinstance(values.dtype, pd.CategoricalDtype):
        codes = np.arange(len(values.cat.categories))
        return values.cat.codes.to_numpy(), pd.Categorical.from_codes(codes, dtype=values.dtype)
    return pd.factorize(values, sort=True)


def counted_once(count: Callable) -> Callable:
    """Decorator of a study's `counted_answers`: what is counted already is returned as it is.

    Tables take either, so that a million predictions are read once and not by each of them.
    """

    @functools.wraps(count)
    def counted_answers(predictions: pd.DataFrame, *about) -> pd.DataFrame:
        return predictions if IMAGES in predictions else count(predictions, *about)

    return counted_answers


def counted(frame: pd.DataFrame, columns: Sequence[str]) -> pd.DataFrame:
    """The different rows of some columns, and how many there are of each.

    A million answers are a few thousand different rows, from which tables follow without reading the million again.

    Parameters
    ----------
    frame : DataFrame, one row an image, or what this function returned
    columns : names of columns; missing values are values of their own

    Returns
    -------
    DataFrame: the columns, of the dtypes that they had, and `IMAGES` (int); rows in the order in which they come first
    """
    row, size, columns = np.zeros(len(frame), dtype=np.int64), 1, list(dict.fromkeys(columns))
    for name in columns:
        if frame[name].dtype == bool:
            codes, names = frame[name].to_numpy(np.int8), (False, True)
        else:
            codes, names = codes_of(frame[name])
        if size * (len(names) + 1) > MOST:
            row, different = pd.factorize(row)
            size = len(different)
        row, size = row * (len(names) + 1) + codes + 1, size * (len(names) + 1)
    if size > MOST:
        row, different = pd.factorize(row)
        size = len(different)
    weights = frame[IMAGES] if IMAGES in frame else None
    images = np.bincount(row, weights, size).astype(np.int64)
    first = np.empty(size, dtype=np.int64)
    first[row[::-1]] = np.arange(len(row))[::-1]
    there = np.flatnonzero(images)
    there = there[np.argsort(first[there])]
    found = frame[columns].iloc[first[there]].reset_index(drop=True)
    return found.assign(**{IMAGES: images[there]})


def hits_of(frame: pd.DataFrame, hit: str) -> np.ndarray:
    """Column `hit` as a bool array; DataError if it is absent, not bool or has missing values."""
    if hit not in frame:
        raise DataError(f'the table has no column "{hit}"; it has {", ".join(map(str, frame))}.')
    values = frame[hit]
    if not pd.api.types.is_bool_dtype(values) or values.isna().any():
        raise DataError(
            f'column "{hit}" must be true or false for every image; it is {values.dtype} with '
            f"{int(values.isna().sum())} missing; compare it with a value first."
        )
    return values.to_numpy(bool)


def all_different(values: pd.Series) -> bool:
    """Whether no value is there twice, none missing: what has different hashes is different, and hashes sort fast."""
    hashes = np.fromiter(map(hash, values.to_numpy(object)), np.int64, len(values))
    hashes.sort()
    return bool((hashes[1:] != hashes[:-1]).all()) or values.is_unique


def codes_of(values: pd.Series) -> tuple[np.ndarray, np.ndarray]:
    """Which of the different values each is: a million of codes are compared where strings take seconds.

    Returns
    -------
    codes : int array (n,), places in `names`; -1 for missing values
    names : object array, the categories, or the values in the order in which they come first
    """
    if isinstance(values.dtype, pd.CategoricalDtype):
        return values.cat.codes.to_numpy(), values.cat.categories.to_numpy(object)
    codes, names = pd.factorize(values)
    return codes, np.asarray(names, dtype=object)


def check_groups(frame: pd.DataFrame, by: Sequence[str], images: str | None = None) -> None:
    """DataError if a grouping column is absent or has no value for some image; `images` as in `group_rates`."""
    for name in by:
        if name not in frame:
            raise DataError(
                f'the table has no group column "{name}"; it has {", ".join(map(str, frame))}.'
            )
        missing = frame[name].isna()
        if missing.any():
            of = pd.Series(1, frame.index) if images is None else frame[images]
            raise DataError(
                f'{of[missing].sum():,} of {of.sum():,} images have no value of "{name}"; complete the '
                "labels or leave these images out before grouping."
            )


def check_confidence(confidence: float) -> None:
    if not 0 < confidence < 1:
        raise ParameterError(f"confidence is {confidence}; it must lie between 0 and 1, e.g. 0.95.")
