"""How sure MaxSkew and NDKL are: images drawn anew, concepts and templates drawn anew, labels shuffled.

All three start from the images in the order in which each ranking has them (`skew.nearest`), so that
nothing is sorted twice.
"""

import itertools
from collections.abc import Iterator, Sequence
from statistics import NormalDist

import numpy as np

from clipeval.errors import DataError
from clipeval.stats.bootstrap import check_draws, percentiles
from clipeval.stats.rates import check_confidence
from clipeval.stats.skew import skew_of_counts

HELD = 20_000_000  # ranks of all draws that are in memory at once


def measures(codes, positions, targets, ks: Sequence[int], *, floor: bool = False) -> np.ndarray:
    """MaxSkew@k and NDKL@k, means over the rankings of each draw, at several k and against several targets.

    Parameters
    ----------
    codes : int array (n,), group of each image from 0; or (n, draws) where it differs
    positions : int array (depth, rankings, draws), image at each rank; or (depth, rankings) where it is the same
    targets : float array (t, groups), or (t, draws, groups) where they differ; shares that are above 0
    ks : rising, the last at most depth
    floor : as in `skew.max_skew`

    Returns
    -------
    float array (draws, 2, t, len(ks)): MaxSkew, then NDKL
    """
    ks, targets, codes = np.asarray(ks), np.atleast_2d(targets), np.asarray(codes, dtype=np.intp)
    (rankings, draws), groups = codes[positions[0]].shape, targets.shape[-1]
    ranks = np.arange(1, ks[-1] + 1)
    growth = np.diff(ranks * np.log(ranks), prepend=[0, 0])  # of c ln c, when c is reached
    counts = np.zeros((rankings, draws, groups), dtype=np.int32)
    flat, first = counts.reshape(-1), np.arange(rankings * draws).reshape(rankings, draws) * groups
    place, reached, gain = (np.empty(first.shape, kind) for kind in (np.intp, np.int32, float))
    grown, even = np.empty((ks[-1], draws)), np.full(rankings, 1 / rankings)
    found = np.empty((ks[-1], draws, groups), dtype=np.int32)
    out = np.empty((2, len(targets), len(ks), draws))
    wanted = targets.reshape(len(targets), 1, -1, groups)
    for at, (start, k) in enumerate(itertools.pairwise([0, *ks])):
        for i in range(start, k):
            # all places are there: clipping only spares that each is looked at first
            codes.take(positions[i], axis=0, out=place, mode="clip")
            place += first
            flat.take(place, out=reached, mode="clip")
            reached += 1
            flat[place] = reached
            grown[i] = even @ growth.take(reached, out=gain, mode="clip")
            counts.sum(axis=0, out=found[i])
        out[0, :, at] = skew_of_counts(counts, wanted, k=k, floor=floor).mean(axis=1)
    own = np.cumsum(grown, axis=0)
    for i, target in enumerate(targets):
        logs = np.broadcast_to(np.log(target), (draws, groups))
        cross = np.einsum("idg,dg->id", found, logs) / rankings
        out[1, i] = _discounted(own, cross, ks, ks - 1)
    return np.moveaxis(out, -1, 0)


def measures_of_each(codes, ranked, targets, ks: Sequence[int], *, floor: bool = False, taken=None):
    """`measures` of each ranking alone; counted group by group, which many rankings of one draw are faster by.

    Parameters
    ----------
    codes : int array (n,), group of each image from 0
    ranked : int array (depth, rankings), image at each rank
    targets : float array (t, groups), shares that are above 0
    ks, floor : as in `measures`
    taken : int array (len(ks), rankings), images counted at each k, where ties make them more (`skew.taken_at`)

    Returns
    -------
    float array (rankings, 2, t, len(ks))
    """
    ks, targets = np.asarray(ks), np.asarray(targets)
    taken = np.broadcast_to(ks[:, None], (len(ks), ranked.shape[1])) if taken is None else taken
    depth, last = taken.max(), (taken - 1, np.arange(ranked.shape[1]))
    is_of = np.asarray(codes)[ranked[:depth]] == np.arange(targets.shape[1])[:, None, None]
    counts = np.cumsum(is_of, axis=1, dtype=np.int32)  # (groups, depth, rankings)
    c = np.arange(1, depth + 1)
    own = sum(np.append(0, c * np.log(c)).take(found) for found in counts)
    at_k = np.moveaxis(counts[:, *last], 0, -1)
    skews = [skew_of_counts(at_k, target, k=ks[:, None], floor=floor) for target in targets]
    crosses = (sum(map(np.multiply, log, counts)) for log in np.log(targets))
    ndkls = [_discounted(own, cross, ks, last) for cross in crosses]
    return np.moveaxis([skews, ndkls], -1, 0)


def _discounted(own: np.ndarray, cross: np.ndarray, ks: np.ndarray, last) -> np.ndarray:
    """NDKL@k (len(ks), m) from the sums over groups of c ln c and of c ln target, c being counts: (depth, m).

    `last`: place of the last rank that counts at each k.
    """
    ranks = np.arange(1, len(own) + 1)[:, None]
    weights = 1 / np.log2(ranks + 1)
    divergence = np.maximum((own - cross) / ranks - np.log(ranks), 0)
    return np.cumsum(divergence * weights, axis=0)[last] / np.cumsum(weights, axis=0)[ks - 1]


def blocks(n: int, each: int) -> Iterator[slice]:
    """Slices of n, of which each takes so many cells, that bound the memory."""
    step = max(1, HELD // each)
    yield from (slice(start, min(start + step, n)) for start in range(0, n, step))


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
    of some draws at once, int32 array (k, rankings, draws), positions of images, and int32 array (draws, n), how often
    each was drawn
    """
    check_draws(draws)
    rng, (rankings, n) = np.random.default_rng(seed), order.shape
    likely = int(k + 6 * k**0.5 + 20)
    for part in blocks(draws, rankings * k):
        some = range(part.stop - part.start)
        drawn = [np.bincount(rng.integers(0, n, n), minlength=n) for _ in some]
        weights = np.array(drawn, dtype=np.int32)
        positions = np.empty((k, rankings, len(some)), dtype=np.int32)
        rows = np.arange(len(some))[:, None] * (k + 1)
        for ranking, near in enumerate(order):
            ends = np.cumsum(weights.take(near[:likely], axis=1), axis=1, dtype=np.int32)
            if ends[:, -1].min() < k:
                ends = np.cumsum(weights[:, near], axis=1, dtype=np.int32)
            # a copy is of the image that comes after all those whose copies have ended before it
            ended = np.bincount((np.minimum(ends, k) + rows).ravel(), minlength=rows.size * (k + 1))
            passed = np.cumsum(ended.reshape(-1, k + 1)[:, :k], axis=1)
            positions[:, ranking] = near.take(passed).T
        yield positions, weights


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
    low, high : float arrays (...), not below 0; NaN where all draws are alike, which says only that
        drawing these images anew does not show how far others would lie
    """
    check_confidence(confidence)
    reach = NormalDist().inv_cdf(0.5 + confidence / 2) * np.std(draws, axis=0, ddof=1)
    reach = np.where(np.ptp(draws, axis=0) > 0, reach, np.nan)
    return np.maximum(point - reach, 0), point + reach


def over_prompts(values, *, confidence: float = 0.95, n_boot: int = 2_000, seed: int = 0):
    """Expanded percentile interval of a mean over concepts and templates, both drawn anew.

    Prompts that share a concept, or a template, are not independent: concepts are drawn with
    replacement, and so are templates (the pigeonhole bootstrap of Owen 2007, Annals of Applied
    Statistics 1, 386-411), whose variance is never too small where there are many of both. For few
    it is expanded (`bootstrap.expanded_tail`) by the fewer of the two, of which there are two or
    more. Simulated, 95 % intervals cover 90 to 99 % with five or more; with two to four, of which no
    draw reaches far enough, 64 to 99 %. One concept or template alone says nothing of others.

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
    draws = np.tensordot(often[0], values, 1)  # (n_boot, templates, ...)
    fewer = min(k for k in (concepts, templates) if k > 1)
    means = np.einsum("bt,bt...->b...", often[1], draws)
    return percentiles(means, confidence, clusters=fewer)


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
    rng, head = np.random.default_rng(seed), order[:, : ks[-1]].T
    parts = []
    for part in blocks(draws, head.size):
        dealt = [rng.permutation(codes) for _ in range(part.start, part.stop)]
        parts.append(measures(np.stack(dealt, axis=1), head, targets, ks, floor=floor))
    return np.concatenate(parts)
