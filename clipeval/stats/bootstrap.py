"""Seeded bootstrap over clusters of images, and of two models on the same images.

Images of one sequence or one person are not independent; resampling whole clusters is what keeps
their intervals honest. Results are percent (0-100) or percentage points.
"""

import functools
from collections.abc import Callable, Iterator, Sequence
from statistics import NormalDist
from typing import NamedTuple

import numpy as np
import pandas as pd

from clipeval.errors import DataError, ParameterError
from clipeval.stats.paired import newcombe_paired
from clipeval.stats.rates import (
    check_confidence,
    check_groups,
    codes_of,
    group_rates,
    hits_of,
    wilson,
)

#: below this many clusters an interval is flagged. Simulated with 7 and 12 clusters of one size and of
#: very unequal sizes (rates of 25 to 98 %, intra-cluster correlations of 0.05 to 0.7), 95 % intervals
#: cover 82 to 100 %; t intervals and the jackknife are no better there. With 30 to 100
#: clusters they cover 93 to 98 % at rates of 25 to 92 %, and 87 to 96 % at 98 %: see `EFFECTIVE`.
FEW_CLUSTERS = 30

#: hits, or misses, of as many independent images as the clusters are worth, below which an interval
#: over clusters is doubtful even with `FEW_CLUSTERS` or more
EFFECTIVE = 10

#: with fewer draws the ends of a 95 % interval would be beyond the draws themselves
MIN_DRAWS = 40

CHUNK = 4_000_000  # resampled indices held in memory at once
KEPT = 2**25  # draws times clusters up to which draws are kept for the next rate, a byte each


class ClusterInterval(NamedTuple):
    """A rate with an interval over clusters."""

    percent: float
    ci_low: float
    ci_high: float
    n: int
    clusters: int
    few: bool
    effective: float
    doubtful: bool


class PairedInterval(NamedTuple):
    """Rates of two models on the same images and their difference (b - a)."""

    percent_a: float
    percent_b: float
    difference: float
    ci_low: float
    ci_high: float
    n: int
    clusters: int
    few: bool


def cluster_bootstrap(
    values, clusters, *, confidence: float = 0.95, n_boot: int = 10_000, seed: int = 0
) -> ClusterInterval:
    """Interval of a rate, by resampling whole clusters with replacement.

    The expanded percentile interval of Hesterberg (2015, The American Statistician 69, 371-386),
    which widens the plain one as Student's t does the normal for so many clusters. It is never
    narrower, on either side, than the Wilson interval at the effective number of images (Korn and
    Graubard 1998, Survey Methodology 24, 193-201): the images over the design effect and over
    (t / z)^2, never more than there are. Where all images have one value, and every draw the same
    rate, Wilson's interval for as many images as there are clusters is taken.

    Parameters
    ----------
    values : array (n,), bool or fractions 0-1, one an image, none missing
    clusters : sequence (n,), the sequence or person of each image, none missing
    confidence : float in (0, 1)
    n_boot, seed : int, draws (`MIN_DRAWS` or more) and their seed

    Returns
    -------
    ClusterInterval: `percent` (the plain mean over images), `ci_low`, `ci_high` (percent; NaN with
    a single cluster, which says nothing about others), `n`, `clusters`, `few` (bool: fewer than
    `FEW_CLUSTERS`, the interval may still be too narrow)

    Raises
    ------
    DataError  if there are no images, sizes differ, or a value or cluster is missing
    ParameterError  if there are too few draws, or a value lies outside 0-1
    """
    values = _values(values)

    def wilson_of(n: float):
        return wilson(values.mean() * n, n, confidence)

    found = _mean_interval(values, clusters, confidence, n_boot, seed, wilson_of)
    low, high, count, effective = found
    rate, few = float(values.mean()), count < FEW_CLUSTERS
    doubtful = bool(few or effective * min(rate, 1 - rate) < EFFECTIVE)
    return ClusterInterval(100 * rate, low, high, len(values), count, few, effective, doubtful)


def cluster_rates(
    frame: pd.DataFrame,
    hit: str,
    *,
    clusters: str,
    by: Sequence[str] = (),
    metric: str,
    confidence: float = 0.95,
    n_boot: int = 10_000,
    seed: int = 0,
) -> pd.DataFrame:
    """`group_rates` with an interval over clusters beside the one over images.

    Returns
    -------
    DataFrame: the columns of `group_rates` (`ci_low`, `ci_high`: Wilson, as if images were
    independent), then `clusters` (number), `cluster_low`, `cluster_high` (percent) and
    `few_clusters` (bool), as in `cluster_bootstrap`
    """
    by = [by] if isinstance(by, str) else list(by)
    check_groups(frame, [*by, clusters])
    table = group_rates(frame, hit, by=by, metric=metric, confidence=confidence)
    hits, names = hits_of(frame, hit), codes_of(frame[clusters])[0]
    where = frame.reset_index(drop=True).groupby(by, observed=True).indices if by else {}
    empty = ClusterInterval(np.nan, np.nan, np.nan, 0, 0, True, 0.0, True)
    found = []
    for key in table[by].itertuples(index=False, name=None):
        rows = where.get(key if len(by) > 1 else key[0], []) if by else np.arange(len(hits))
        options = {"confidence": confidence, "n_boot": n_boot, "seed": seed}
        found.append(cluster_bootstrap(hits[rows], names[rows], **options) if len(rows) else empty)
    return table.assign(
        clusters=[f.clusters for f in found],
        cluster_low=[f.ci_low for f in found],
        cluster_high=[f.ci_high for f in found],
        few_clusters=[f.few for f in found],
    )


def paired_bootstrap(
    a, b, *, clusters=None, confidence: float = 0.95, n_boot: int = 10_000, seed: int = 0
) -> PairedInterval:
    """Difference of two models' rates on the same images, by resampling images or clusters.

    Parameters
    ----------
    a, b : arrays (n,), bool or fractions 0-1, the same images in the same order
    clusters : sequence (n,) or None; None resamples single images
    confidence, n_boot, seed : as in `cluster_bootstrap`

    Returns
    -------
    PairedInterval: percents of both, `difference` (b - a, percentage points) with an interval as
    in `cluster_bootstrap`, Newcombe's method 10 in Wilson's place, `n`, `clusters` (number; n
    without clusters), `few`. Raises as `cluster_bootstrap` does.
    """
    a, b = _values(a), _values(b)
    if a.shape != b.shape or a.ndim != 1:
        raise DataError(
            f"two models must be compared on the same images; there are {a.shape} and {b.shape}."
        )
    both, only_a, only_b = np.minimum(a, b), np.maximum(a - b, 0), np.maximum(b - a, 0)

    def newcombe_of(n: float):
        cells = (n * part.mean() for part in (both, only_b, only_a))
        return newcombe_paired(*cells, n, confidence)

    low, high, count, _ = _mean_interval(b - a, clusters, confidence, n_boot, seed, newcombe_of)
    mean_a, mean_b = float(100 * a.mean()), float(100 * b.mean())
    few = count < FEW_CLUSTERS
    return PairedInterval(mean_a, mean_b, mean_b - mean_a, low, high, len(a), count, few)


def _values(values) -> np.ndarray:
    values = np.asarray(values, float)
    if np.isnan(values).any():
        raise DataError(
            f"{int(np.isnan(values).sum()):,} of {values.size:,} values are missing (NaN); leave "
            "these images out first."
        )
    return values


def _mean_interval(
    values, clusters, confidence, n_boot, seed, over_images: Callable[[float], tuple]
) -> tuple[float, float, int, float]:
    """Interval (percent) of the mean over images when clusters are drawn anew; clusters; images.

    `over_images` gives the interval (fractions) of so many independent images by formula; the images
    returned are the number that it was given. Clusters that are None are single images.
    """
    ones = np.ones_like(values)
    if clusters is None and len(values):
        count, sums = len(values), np.column_stack([values, ones])
    else:
        codes, count = cluster_codes([] if clusters is None else clusters, len(values))
        sums = cluster_sums(codes, count, [values, ones])
    draws = resample(sums, n_boot, seed)
    if count < 2:
        return float("nan"), float("nan"), count, float(count)
    low, high = percentiles(100 * draws[:, 0] / draws[:, 1], confidence, clusters=count)
    effective = _effective_images(values, sums, confidence)
    least = over_images(effective)
    return min(low, 100 * float(least[0])), max(high, 100 * float(least[1])), count, effective


def _effective_images(values: np.ndarray, sums: np.ndarray, confidence: float) -> float:
    """Independent images that say as much as these in clusters; the clusters if all are alike."""
    n, count = len(values), len(sums)
    if np.ptp(values) == 0:
        return count
    errors = sums[:, 0] - values.mean() * sums[:, 1]
    variance = (errors**2).sum() / n**2 * count / (count - 1)  # of the mean, by linearisation
    z = NormalDist().inv_cdf(0.5 + confidence / 2)
    shrunk = values.var() * (z / _student(confidence, count)) ** 2
    return float(min(n, shrunk / variance)) if variance > 0 else n


def _student(confidence: float, clusters: int) -> float:
    """Two-sided quantile of Student's t with clusters - 1 degrees of freedom."""
    from scipy.special import stdtrit

    return float(stdtrit(clusters - 1, 0.5 + confidence / 2))


def expanded_tail(confidence: float, clusters: int) -> float:
    """Share of the draws beyond each end of Hesterberg's (2015) expanded percentile interval."""
    check_confidence(confidence)
    widened = (clusters / (clusters - 1)) ** 0.5 * _student(confidence, clusters)
    return NormalDist().cdf(-widened)


def percentiles(draws: np.ndarray, confidence: float, *, clusters: int | None = None):
    """Percentile interval over the first axis; draws that are undefined (NaN) are left out.

    `clusters`, two or more, expands it as so few ask for (`expanded_tail`).
    """
    check_confidence(confidence)
    tail = (1 - confidence) / 2 if clusters is None else expanded_tail(confidence, clusters)
    columns = draws.reshape(len(draws), -1)
    ends = np.full((2, columns.shape[1]), np.nan)
    known = ~np.isnan(columns).all(axis=0)
    if known.any():
        levels = [100 * tail, 100 - 100 * tail]
        ends[:, known] = np.nanpercentile(columns[:, known], levels, axis=0)
    low, high = ends.reshape(2, *draws.shape[1:])
    return (float(low), float(high)) if draws.ndim == 1 else (low, high)


def check_draws(n_boot: int) -> None:
    if n_boot < MIN_DRAWS:
        raise ParameterError(
            f"n_boot is {n_boot}; {MIN_DRAWS} draws or more are needed for an interval, e.g. 10000."
        )


def cluster_codes(clusters, n: int) -> tuple[np.ndarray, int]:
    """Number of each image's cluster, 0..count-1, and the count."""
    names = np.asarray(clusters)
    # mixed names are compared as they are, not as the text that numpy would make of them
    names = names if names.dtype.kind in "biuf" else np.asarray(clusters, dtype=object)
    codes, names = pd.factorize(names, use_na_sentinel=True)
    if n == 0 or len(codes) != n:
        raise DataError(f"{n} images and {len(codes)} clusters given; each image needs its own.")
    if (codes < 0).any():
        raise DataError(f"{int((codes < 0).sum()):,} images have no cluster; leave them out first.")
    return codes, len(names)


def cluster_sums(codes: np.ndarray, count: int, columns: Sequence[np.ndarray]) -> np.ndarray:
    """Sums of each column within each cluster: (clusters, columns), float."""
    return np.column_stack([np.bincount(codes, np.asarray(c, float), count) for c in columns])


def resample(sums: np.ndarray, n_boot: int, seed: int) -> np.ndarray:
    """Totals (n_boot, columns) over clusters drawn with replacement, as many as there are."""
    check_draws(n_boot)
    # clusters with the same sums are interchangeable: draw how often each kind comes up
    kinds, often = _kinds(sums)
    rng = np.random.default_rng(seed)
    if len(kinds) * 20 <= len(sums):
        return rng.multinomial(len(sums), often / len(sums), size=n_boot) @ kinds
    if len(sums) * n_boot <= KEPT:  # the same draws serve every rate over as many clusters
        drawn = _kept_weights(len(sums), n_boot, seed)
    else:
        drawn = _weights(rng, len(sums), n_boot)
    # totals of whole numbers are exact in single precision up to 2^24, in half the time
    whole = np.all(sums == np.rint(sums)) and len(sums) * np.abs(sums).max() < 2**24
    kind = np.float32 if whole else np.float64
    sums = sums.astype(kind)
    return np.concatenate([weights.astype(kind) @ sums for weights in drawn]).astype(float)


def _kinds(sums: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The different rows, in order, and how often each is there."""
    if sums.shape[1] != 2 or np.ptp(sums[:, 1]) > 0:
        return np.unique(sums, axis=0, return_counts=True)
    # clusters of one size, such as single images: far faster than comparing rows
    values, often = np.unique(sums[:, 0], return_counts=True)
    return np.column_stack([values, np.full(len(values), sums[0, 1])]), often


@functools.lru_cache(maxsize=4)
def _kept_weights(count: int, n_boot: int, seed: int) -> list[np.ndarray]:
    drawn = _weights(np.random.default_rng(seed), count, n_boot)
    return [weights.astype(np.min_scalar_type(weights.max())) for weights in drawn]


def _weights(rng: np.random.Generator, count: int, n_boot: int) -> Iterator[np.ndarray]:
    """Multinomial weights (draws, count), int, in chunks that bound the memory."""
    step = max(1, CHUNK // count)
    for start in range(0, n_boot, step):
        size = min(step, n_boot - start)
        picks = rng.integers(0, count, size=(size, count))
        picks += np.arange(size)[:, None] * count
        yield np.bincount(picks.ravel(), minlength=size * count).reshape(size, count)
