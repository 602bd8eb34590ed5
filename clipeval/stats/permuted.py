"""Hits of k groups dealt out at random over all images: a test of chi-squared that needs no least expected count."""

import functools

import numpy as np


def dealt(n: np.ndarray, hits: int, draws: int, seed) -> np.ndarray:
    """Hits of each group (draws, groups) when they are dealt out over all images at random."""
    rng = np.random.default_rng(seed)
    return rng.multivariate_hypergeometric(n, hits, size=draws, method="marginals")


@functools.lru_cache(maxsize=256)
def null_of(n: tuple[int, ...], hits: int, n_boot: int, seed: int) -> np.ndarray:
    """Sorted `statistic` of dealt hits; a gap and its control ask for the same, and labels at several thresholds."""
    n = np.array(n)
    return np.sort(statistic(dealt(n, hits, n_boot, [seed, 1]), n))


def statistic(count: np.ndarray, n: np.ndarray) -> np.ndarray:
    """Chi-squared over its part that is the same however so many hits are dealt: (draws,)."""
    count = np.atleast_2d(count)
    expected = n * (count.sum(axis=1, keepdims=True) / n.sum())
    return ((count - expected) ** 2 / n).sum(axis=1)


def share_as_far(count: np.ndarray, n: np.ndarray, null: np.ndarray) -> np.ndarray:
    """Share of the draws, the one seen among them, as far from equal rates as `count`: (draws,)."""
    # draws as far apart as the one seen count too, whatever the last digits of a sum
    seen = statistic(count, n) * (1 - 1e-9) - 1e-12
    return (1 + len(null) - np.searchsorted(null, seen)) / (1 + len(null))
