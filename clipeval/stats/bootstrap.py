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
    HIT,
    IMAGES,
    check_confidence,
    check_groups,
    codes_of,
    counted,
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

CHUNK = 2**16  # resampled indices held at once: they fit the processor's cache
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
    `FEW_CLUSTERS`, the interval may still be too narrow), `effective` (independent images that say
    as much), `doubtful` (bool: few, or fewer than `EFFECTIVE` hits or misses among so many images)

    Raises
    ------
    DataError  if there are no images, sizes differ, or a value or cluster is missing
    ParameterError  if there are too few draws, or a value lies outside 0-1
    """
    found = _clustered(_values(values), clusters)
    return _cluster_interval(found, resample(found.sums, n_boot, seed), confidence)


def _cluster_interval(found: "_Clustered", draws: np.ndarray, confidence) -> ClusterInterval:
    def wilson_of(n: float):
        return wilson(found.mean * n, n, confidence)

    low, high, effective = _mean_interval(found, draws, confidence, wilson_of)
    rate, count, few = found.mean, len(found.sums), len(found.sums) < FEW_CLUSTERS
    doubtful = bool(few or effective * min(rate, 1 - rate) < EFFECTIVE)
    return ClusterInterval(100 * rate, low, high, found.n, count, few, effective, doubtful)


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
    images: str | None = None,
) -> pd.DataFrame:
    """`group_rates` with an interval over clusters beside the one over images; `images` as there.

    Returns
    -------
    DataFrame: the columns of `group_rates` (`ci_low`, `ci_high`: Wilson, as if images were
    independent), then `clusters` (number), `cluster_low`, `cluster_high` (percent), as in
    `cluster_bootstrap`, and `few_clusters` (bool: too few for such a rate, its `doubtful`)
    """
    by = [by] if isinstance(by, str) else list(by)
    check_groups(frame, [*by, clusters], images)
    if images is None:
        frame = counted(frame.assign(**{HIT: hits_of(frame, hit)}), [*by, clusters, HIT])
        hit, images = HIT, IMAGES
    table = group_rates(frame, hit, by=by, metric=metric, confidence=confidence, images=images)
    hits, n, names = hits_of(frame, hit), frame[images].to_numpy(), codes_of(frame[clusters])[0]
    where = frame.reset_index(drop=True).groupby(by, observed=True).indices if by else {}
    groups = {}
    for place, key in enumerate(table[by].itertuples(index=False, name=None)):
        rows = where.get(key if len(by) > 1 else key[0], []) if by else np.arange(len(hits))
        if len(rows):
            codes, count = cluster_codes(names[rows], len(rows))
            sums = cluster_sums(codes, count, [n[rows] * hits[rows], n[rows]])
            groups[place] = _Clustered.of_counts(sums)
    draws = resample_each([group.sums for group in groups.values()], n_boot, seed)
    empty = ClusterInterval(np.nan, np.nan, np.nan, 0, 0, True, 0.0, True)
    found = [empty] * len(table)
    for (place, group), drawn in zip(groups.items(), draws, strict=True):
        found[place] = _cluster_interval(group, drawn, confidence)
    return table.assign(
        clusters=[f.clusters for f in found],
        cluster_low=[f.ci_low for f in found],
        cluster_high=[f.ci_high for f in found],
        few_clusters=[f.doubtful for f in found],
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

    found = _clustered(b - a, clusters)
    draws = resample(found.sums, n_boot, seed)
    low, high, _ = _mean_interval(found, draws, confidence, newcombe_of)
    mean_a, mean_b = float(100 * a.mean()), float(100 * b.mean())
    count, few = len(found.sums), len(found.sums) < FEW_CLUSTERS
    return PairedInterval(mean_a, mean_b, mean_b - mean_a, low, high, len(a), count, few)


def _values(values) -> np.ndarray:
    values = np.asarray(values, float)
    if np.isnan(values).any():
        raise DataError(
            f"{int(np.isnan(values).sum()):,} of {values.size:,} values are missing (NaN); leave "
            "these images out first."
        )
    if ((values < 0) | (values > 1)).any():
        raise ParameterError(
            f"values run from {values.min():g} to {values.max():g}; each must lie between 0 and 1, as hits "
            "(true or false) and fractions do."
        )
    return values


class _Clustered(NamedTuple):
    """Values of images, as far as an interval over clusters asks for them.

    `sums`: of the values, and images, of each cluster, float (clusters, 2); `mean`, `variance`: of the values.
    """

    sums: np.ndarray
    n: int
    mean: float
    variance: float

    @classmethod
    def of_counts(cls, sums: np.ndarray) -> "_Clustered":
        """Of hits, which are 0 or 1."""
        count, n = sums.sum(axis=0)
        return cls(sums, int(n), float(count / n), float(count / n * (1 - count / n)))


def _clustered(values: np.ndarray, clusters) -> _Clustered:
    """Clusters that are None are single images."""
    ones = np.ones_like(values)
    if clusters is None and len(values):
        sums = np.column_stack([values, ones])
    else:
        codes, count = cluster_codes([] if clusters is None else clusters, len(values))
        sums = cluster_sums(codes, count, [values, ones])
    variance = float(values.var()) if np.ptp(values) else 0.0
    return _Clustered(sums, len(values), float(values.mean()), variance)


def _mean_interval(
    found: _Clustered, draws, confidence: float, over_images: Callable[[float], tuple]
) -> tuple[float, float, float]:
    """Interval (percent) of the mean over images when clusters are drawn anew; images.

    `draws`: totals of `found.sums`, as `resample` returns them. `over_images` gives the interval (fractions) of so
    many independent images by formula; the images returned are the number that it was given.
    """
    count = len(found.sums)
    if count < 2:
        return float("nan"), float("nan"), float(count)
    low, high = percentiles(100 * draws[:, 0] / draws[:, 1], confidence, clusters=count)
    effective = _effective_images(found, confidence)
    least = over_images(effective)
    return min(low, 100 * float(least[0])), max(high, 100 * float(least[1])), effective


def _effective_images(found: _Clustered, confidence: float) -> float:
    """Independent images that say as much as these in clusters; the clusters if all are alike."""
    sums, n, count = found.sums, found.n, len(found.sums)
    if found.variance == 0:
        return count
    errors = sums[:, 0] - found.mean * sums[:, 1]
    variance = (errors**2).sum() / n**2 * count / (count - 1)  # of the mean, by linearisation
    z = NormalDist().inv_cdf(0.5 + confidence / 2)
    shrunk = found.variance * (z / _student(confidence, count)) ** 2
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
    return resample_each([sums], n_boot, seed)[0]


def resample_each(parts: Sequence[np.ndarray], n_boot: int, seed: int) -> list[np.ndarray]:
    """`resample` of several groups' sums; those of as many clusters are added up at once, of the same draws."""
    check_draws(n_boot)
    found, alike = {}, {}
    for place, sums in enumerate(parts):
        # clusters with the same sums are interchangeable: draw how often each kind comes up
        kinds, often = _kinds(sums)
        if len(kinds) * 20 <= len(sums):
            rng = np.random.default_rng(seed)
            found[place] = rng.multinomial(len(sums), often / len(sums), size=n_boot) @ kinds
        else:
            alike.setdefault(len(sums), []).append(place)
    for places in alike.values():
        totals = _totals(np.hstack([parts[place] for place in places]), n_boot, seed)
        ends = np.cumsum([parts[place].shape[1] for place in places])[:-1]
        found |= zip(places, np.split(totals, ends, axis=1), strict=True)
    return [found[place] for place in range(len(parts))]


def _totals(sums: np.ndarray, n_boot: int, seed: int) -> np.ndarray:
    if len(sums) * n_boot <= KEPT:  # the same draws serve every rate over as many clusters
        drawn = _kept_weights(len(sums), n_boot, seed)
    else:
        drawn = _weights(np.random.default_rng(seed), len(sums), n_boot)
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
