"""Seeded bootstrap over clusters of images, and of two models on the same images.

Images of one sequence or one person are not independent; resampling whole clusters is what keeps
their intervals honest. Results are percent (0-100) or percentage points.
"""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd

from clipeval.errors import DataError
from clipeval.stats.rates import check_confidence, check_groups, group_rates, hits_of

__all__ = [
    "CHUNK",
    "FEW_CLUSTERS",
    "ClusterInterval",
    "PairedInterval",
    "cluster_bootstrap",
    "cluster_codes",
    "cluster_rates",
    "cluster_sums",
    "paired_bootstrap",
    "percentiles",
    "resample",
]


#: below this many clusters a bootstrap interval is too narrow to be trusted, and is flagged
FEW_CLUSTERS = 10


CHUNK = 4_000_000  # resampled indices held in memory at once


class ClusterInterval(NamedTuple):
    """A rate with an interval over clusters."""

    percent: float
    ci_low: float
    ci_high: float
    n: int
    clusters: int
    few: bool


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
    """Percentile interval of a rate, by resampling whole clusters with replacement.

    Parameters
    ----------
    values : array (n,), bool or fractions 0-1, one an image
    clusters : sequence (n,), the sequence or person of each image, none missing
    confidence : float in (0, 1)
    n_boot, seed : int, draws and their seed

    Returns
    -------
    ClusterInterval: `percent` (the plain mean over images), `ci_low`, `ci_high` (percent; NaN with
    a single cluster, which says nothing about others), `n`, `clusters`, `few` (bool: fewer than
    `FEW_CLUSTERS`, the interval is then too narrow)

    Raises
    ------
    DataError  if there are no images, sizes differ or a cluster is missing
    """
    values = np.asarray(values, float)
    low, high, count = _mean_interval(values, clusters, confidence, n_boot, seed)
    percent = float(100 * values.mean())
    return ClusterInterval(percent, low, high, len(values), count, count < FEW_CLUSTERS)


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
    hits, names = hits_of(frame, hit), frame[clusters].to_numpy()
    where = frame.reset_index(drop=True).groupby(by, observed=True).indices if by else {}
    empty = ClusterInterval(np.nan, np.nan, np.nan, 0, 0, True)
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
    PairedInterval: percents of both, `difference` (b - a, percentage points) with its percentile
    interval, `n`, `clusters` (number; n without clusters), `few`
    """
    a, b = np.asarray(a, float), np.asarray(b, float)
    if a.shape != b.shape or a.ndim != 1:
        raise DataError(
            f"two models must be compared on the same images; there are {a.shape} and {b.shape}."
        )
    clusters = np.arange(len(a)) if clusters is None else clusters
    low, high, count = _mean_interval(b - a, clusters, confidence, n_boot, seed)
    mean_a, mean_b = float(100 * a.mean()), float(100 * b.mean())
    few = count < FEW_CLUSTERS
    return PairedInterval(mean_a, mean_b, mean_b - mean_a, low, high, len(a), count, few)


def _mean_interval(values, clusters, confidence, n_boot, seed) -> tuple[float, float, int]:
    """Interval (percent) of the mean over images when clusters are drawn anew; their number."""
    codes, count = cluster_codes(clusters, len(values))
    draws = resample(cluster_sums(codes, count, [values, np.ones_like(values)]), n_boot, seed)
    low, high = percentiles(100 * draws[:, 0] / draws[:, 1], confidence)
    return (low, high, count) if count > 1 else (float("nan"), float("nan"), count)


def percentiles(draws: np.ndarray, confidence: float):
    """Percentile interval over the first axis; draws that are undefined (NaN) are left out."""
    check_confidence(confidence)
    tail = 50 * (1 - confidence)
    if np.isnan(draws).all():
        return np.full((2, *draws.shape[1:]), np.nan)
    low, high = np.nanpercentile(draws, [tail, 100 - tail], axis=0)
    return (float(low), float(high)) if draws.ndim == 1 else (low, high)


def cluster_codes(clusters, n: int) -> tuple[np.ndarray, int]:
    """Number of each image's cluster, 0..count-1, and the count."""
    codes, names = pd.factorize(np.asarray(clusters, dtype=object), use_na_sentinel=True)
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
    # clusters with the same sums are interchangeable: draw how often each kind comes up
    kinds, often = np.unique(sums, axis=0, return_counts=True)
    rng = np.random.default_rng(seed)
    if len(kinds) * 20 <= len(sums):
        return rng.multinomial(len(sums), often / len(sums), size=n_boot) @ kinds
    draws = [weights @ sums for weights in _weights(rng, len(sums), n_boot)]
    return np.concatenate(draws)


def _weights(rng: np.random.Generator, count: int, n_boot: int) -> Iterator[np.ndarray]:
    """Multinomial weights (draws, count), float, in chunks that bound the memory."""
    step = max(1, CHUNK // count)
    for start in range(0, n_boot, step):
        size = min(step, n_boot - start)
        picks = rng.integers(0, count, size=(size, count))
        picks += np.arange(size)[:, None] * count
        yield np.bincount(picks.ravel(), minlength=size * count).reshape(size, count).astype(float)
