"""How sure MaxSkew and NDKL are: images drawn anew, concepts and templates drawn anew, labels shuffled.

All three start from the images in the order in which each ranking has them (`skew.nearest`), so that
nothing is sorted twice.
"""

from collections.abc import Iterator, Sequence
from statistics import NormalDist

import numpy as np

from clipeval.errors import DataError
from clipeval.stats.bootstrap import check_draws, percentiles
from clipeval.stats.rates import check_confidence
from clipeval.stats.skew import skew_of_counts


def measures(ranked, targets, ks: Sequence[int], *, floor: bool = False) -> np.ndarray:
    """MaxSkew@k and NDKL@k of rankings, at several k and against several targets at once.

    Parameters
    ----------
    ranked : int array (rankings, depth), group at each rank
    targets : float array (t, groups), shares that are above 0
    ks : rising, the last at most depth
    floor : as in `skew.max_skew`

    Returns
    -------
    float array (2, t, rankings, len(ks)): MaxSkew, then NDKL
    """
    ranked, targets, ks = ranked[:, : ks[-1]], np.atleast_2d(targets), np.asarray(ks)
    ranks = np.arange(1, ks[-1] + 1)
    lookup = np.r_[0.0, ranks * np.log(ranks)]  # c ln c
    counts = np.empty((len(ranked), len(ks), targets.shape[1]))
    own = np.zeros(ranked.shape)
    for g in range(targets.shape[1]):
        found = np.cumsum(ranked == g, axis=1, dtype=np.int32)
        counts[..., g] = found[:, ks - 1]
        own += lookup[found]
    own = own / ranks - np.log(ranks)
    weights = 1 / np.log2(ranks + 1)
    out = np.empty((2, len(targets), len(ranked), len(ks)))
    for i, target in enumerate(targets):
        cross = np.cumsum(np.log(target)[ranked], axis=1) / ranks
        terms = np.cumsum(np.maximum(own - cross, 0) * weights, axis=1)
        out[0, i] = skew_of_counts(counts, target, k=ks, floor=floor)
        out[1, i] = terms[:, ks - 1] / np.cumsum(weights)[ks - 1]
    return out


def redrawn(order, k: int, *, draws: int, seed: int = 0) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """The k nearest images of each ranking when the images are drawn anew, with replacement.

    One draw is of the same images for all rankings, so that what rankings have in common stays.

    Parameters
    ----------
    order : int array (rankings, n), all images in falling order of their score
    k : int, at most n
    draws, seed : int, how often, `MIN_DRAWS` or more, and the seed

    Yields
    ------
    int array (rankings, k), positions of images, and int array (n,), how often each was drawn
    """
    check_draws(draws)
    rng, n = np.random.default_rng(seed), order.shape[1]
    likely = min(n, int(k + 6 * k**0.5 + 20))
    for _ in range(draws):
        weights = np.bincount(rng.integers(0, n, n), minlength=n)
        head = order[:, :likely]
        often = weights[head]
        if often.sum(axis=1).min() < k:
            head, often = order, weights[order]
        starts = np.r_[0, np.cumsum(often.sum(axis=1))[:-1]]
        copies = np.repeat(head.ravel(), often.ravel())
        yield copies[starts[:, None] + np.arange(k)], weights


def around(point, draws, confidence: float = 0.95) -> tuple[np.ndarray, np.ndarray]:
    """Interval of a measure that chance alone makes positive: its value and the spread of its draws.

    Draws of such a measure lie above it, as drawing anew adds chance to chance; so their spread counts
    and not where they lie. The interval is for what samples of as many images have on average, chance
    included, and not for the skew of the population, which `shuffled` helps to judge.

    Parameters
    ----------
    point : float array (...)
    draws : float array (draws, ...)
    confidence : float in (0, 1)

    Returns
    -------
    low, high : float arrays (...), not below 0
    """
    check_confidence(confidence)
    reach = NormalDist().inv_cdf(0.5 + confidence / 2) * np.std(draws, axis=0, ddof=1)
    return np.maximum(point - reach, 0), point + reach


def over_prompts(values, *, confidence: float = 0.95, n_boot: int = 2_000, seed: int = 0):
    """Percentile interval of a mean over concepts and templates, both drawn anew.

    Prompts that share a concept, or a template, are not independent: concepts are drawn with
    replacement, and so are templates (the pigeonhole bootstrap of Owen 2007, Annals of Applied
    Statistics 1, 386-411), which is never too narrow.

    Parameters
    ----------
    values : float array (concepts, templates, ...)
    confidence, n_boot, seed : as in `cluster_bootstrap`

    Returns
    -------
    low, high : float arrays (...); NaN where there is one prompt alone

    Raises
    ------
    DataError  if there is no value
    """
    values = np.asarray(values, float)
    if not values.size:
        raise DataError("there is no prompt to draw from; give one or more.")
    check_draws(n_boot)
    concepts, templates = values.shape[:2]
    if concepts * templates < 2:
        return np.full(values.shape[2:], np.nan), np.full(values.shape[2:], np.nan)
    rng = np.random.default_rng(seed)
    often = [rng.multinomial(k, np.full(k, 1 / k), n_boot) / k for k in (concepts, templates)]
    draws = np.einsum("bc,bt,ct...->b...", *often, values, optimize=True)
    return percentiles(draws, confidence)


def shuffled(order, codes, targets, ks, *, floor: bool = False, draws: int = 100, seed: int = 0):
    """The measures' means over rankings when the images' groups are shuffled: what chance makes of them.

    Parameters
    ----------
    order : int array (rankings, depth), as in `redrawn`, at least as deep as the largest k
    codes : int array (n,), group of each image
    targets, ks, floor : as in `measures`
    draws, seed : int

    Returns
    -------
    float array (draws, 2, t, len(ks))
    """
    rng, head = np.random.default_rng(seed), order[:, : ks[-1]]
    return np.stack(
        [
            measures(rng.permutation(codes)[head], targets, ks, floor=floor).mean(axis=2)
            for _ in range(draws)
        ]
    )
