"""Whom a search finds: MaxSkew@k and NDKL of rankings, against a target share of each group.

Both are of Geyik et al. (2019, arXiv 1905.01989), with the natural logarithm. A ranking is a row of scores, one an
image; many rankings (prompts) are measured at once.
"""

from typing import Literal

import numpy as np

from clipeval.errors import DataError, ParameterError

Ties = Literal["stable", "kept"]

CELLS = 8_000_000  # ranks held in memory at once


def target_shares(codes, groups: int, target: Literal["uniform", "data"] = "uniform") -> np.ndarray:
    """Share that each group ought to have among the images found.

    Parameters
    ----------
    codes : int array (n,), group of each image, 0 to groups - 1
    groups : int, number of groups
    target : "uniform", as large for every group, or "data", the group's share of all images

    Returns
    -------
    float array (groups,), fractions that add up to 1

    Raises
    ------
    DataError  if a code is outside 0 to groups - 1, or for "data" if a group has no image
    """
    codes = _codes(codes, groups)
    if target == "uniform":
        return np.full(groups, 1 / groups)
    return np.bincount(codes, minlength=groups) / len(codes)


def nearest(scores, k: int | None = None) -> np.ndarray:
    """Images in falling order of their score; those of one score stay in the order in which they came.

    Parameters
    ----------
    scores : float array (rankings, n), one row a prompt, such as cosines; none NaN
    k : int, how many are kept, at most n; None for all

    Returns
    -------
    int array (rankings, k), positions of the images

    Raises
    ------
    DataError  if a score is NaN
    ParameterError  if k is not a number from 1 to n
    """
    scores = _scores(scores)
    k = scores.shape[1] if k is None else _k(k, scores.shape[1])
    return np.argsort(-scores, axis=1, kind="stable")[:, :k]


def taken_at(scores, order, ks, ties: Ties = "stable") -> np.ndarray:
    """Images that count as found at each k: k, or with ties "kept" all that have the score of the kth.

    Parameters
    ----------
    scores : float array (rankings, n); order : what `nearest` returns of it
    ks : int array (len(ks),), each from 1 to n
    ties : as in `max_skew`

    Returns
    -------
    int array (len(ks), rankings)
    """
    ks = np.asarray(ks)
    if ties == "stable":
        return np.repeat(ks[:, None], len(scores), axis=1)
    falling = np.take_along_axis(scores, order, axis=1)
    return np.stack([(falling >= falling[:, k - 1 : k]).sum(axis=1) for k in ks])


def max_skew(
    scores, codes, target, *, k: int, floor: bool = False, ties: Ties = "stable", order=None
) -> np.ndarray:
    """MaxSkew@k of each ranking: the largest over groups of ln(share among the k nearest / target share).

    0 where every group has its target share, ln(1 / smallest target) at most; never negative. Chance
    alone makes it positive, and more so the smaller k is and the more groups there are.

    Parameters
    ----------
    scores : float array (rankings, n), as in `nearest`
    codes : int array (n,), group of each image
    target : float array (groups,), as from `target_shares`
    k : int, images counted as found, from 1 to n
    floor : whether a group of which no image is found counts as if it had a share of 1/k
    ties : "stable" for exactly k images, those of one score in the order in which they came; "kept" for all
        images that have the score of the kth, shares being counts over k even so (Berg et al. 2022)
    order : int array (rankings, n), what `nearest` returns of the scores, where it is at hand

    Returns
    -------
    float array (rankings,)

    Raises
    ------
    DataError  if there are not as many codes as scores, a score is NaN, or the targets are not positive
        shares that add up to 1
    ParameterError  if k is not a number from 1 to n
    """
    scores, codes, target = _checked(scores, codes, target, k)
    found = np.empty(len(scores))
    for part, ranked, taken in _ranked(scores, codes, k, ties, order):
        counts = [((ranked == g) & taken).sum(axis=1) for g in range(len(target))]
        found[part] = skew_of_counts(np.stack(counts, axis=-1), target, k=k, floor=floor)
    return found


def skew_of_counts(counts, target, *, k, floor: bool = False) -> np.ndarray:
    """`max_skew` of images that were counted elsewhere.

    Parameters
    ----------
    counts : array (..., groups), images of each group among the k nearest
    target : float array (groups,), or (..., groups) where they differ
    k : int or array (...), what counts are divided by
    floor : as in `max_skew`

    Returns
    -------
    float array (...)
    """
    counts = np.maximum(counts, 1) if floor else np.asarray(counts)
    with np.errstate(divide="ignore"):
        skews = np.log(counts / np.asarray(k)[..., None]) - np.log(target)
    return skews.max(axis=-1)


def ndkl(scores, codes, target, *, k: int | None = None, ties: Ties = "stable") -> np.ndarray:
    """Normalised discounted cumulative Kullback-Leibler divergence of each ranking.

    The sum over i = 1..k of KL(shares among the i nearest || target) / log2(i + 1), divided by the sum
    of 1 / log2(i + 1). 0 is best. The first few ranks cannot have every group's share, so that even a
    ranking by chance is above 0.

    Parameters
    ----------
    scores, codes, target, ties : as in `max_skew`; kept ties add terms beyond the kth, and the divisor
        is that of k terms even so (Berg et al. 2022)
    k : int, how far down the ranking is read; None for all images

    Returns
    -------
    float array (rankings,)

    Raises
    ------
    As `max_skew`.
    """
    scores, codes, target = _checked(scores, codes, target, k)
    k = scores.shape[1] if k is None else k
    found = np.empty(len(scores))
    for part, ranked, taken in _ranked(scores, codes, k, ties):
        weights = 1 / np.log2(np.arange(2, ranked.shape[1] + 2))
        terms = np.where(taken, divergences(ranked, target), 0.0)
        found[part] = terms @ weights / weights[:k].sum()
    return found


def divergences(ranked, target) -> np.ndarray:
    """KL(shares among the first i || target), in nats, for every i.

    Parameters
    ----------
    ranked : int array (rankings, k), group at each rank
    target : float array (groups,)

    Returns
    -------
    float array (rankings, k)
    """
    ranks = np.arange(1, ranked.shape[1] + 1)
    total = np.zeros(ranked.shape)
    for g, wanted in enumerate(target):
        share = np.cumsum(ranked == g, axis=1) / ranks
        # a group of which none was found adds nothing: 0 ln 0 is 0
        total += share * np.log(np.where(share > 0, share, 1.0) / wanted)
    return total


def _ranked(scores, codes, k: int, ties: Ties, order=None):
    """Rankings in parts that bound the memory: a slice, groups by rank (r, m), and which are taken (r, m)."""
    step = max(1, CELLS // scores.shape[1])
    for start in range(0, len(scores), step):
        part = slice(start, start + step)
        here = scores[part]
        near = nearest(here) if order is None else order[part]
        taken = taken_at(here, near, [k], ties)[0]
        near = near[:, : taken.max()]
        yield part, codes[near], np.arange(near.shape[1]) < taken[:, None]


def _checked(scores, codes, target, k):
    scores, target = _scores(scores), np.asarray(target, float)
    codes = _codes(codes, len(target))
    if len(codes) != scores.shape[1]:
        raise DataError(
            f"{scores.shape[1]:,} images have scores and {len(codes):,} a group; give one group an image."
        )
    if not (target > 0).all() or abs(target.sum() - 1) > 1e-9:
        raise DataError(
            f"the target shares {target.tolist()} are not positive numbers that add up to 1; leave out "
            "groups without images."
        )
    if k is not None:
        _k(k, scores.shape[1])
    return scores, codes, target


def _scores(scores) -> np.ndarray:
    scores = np.asarray(scores)
    if scores.ndim != 2 or not scores.shape[1]:
        raise DataError(
            f"scores have the shape {scores.shape}; one row a ranking and one column an image are needed."
        )
    if np.isnan(scores).any():
        raise DataError(
            f"{int(np.isnan(scores).sum()):,} scores are missing (NaN); leave these images out first."
        )
    return scores


def _codes(codes, groups: int) -> np.ndarray:
    codes = np.asarray(codes)
    if not len(codes) or codes.min() < 0 or codes.max() >= groups:
        raise DataError(
            f"the groups of {len(codes):,} images are not all among the {groups}; leave out images "
            "without a group."
        )
    return codes


def _k(k: int, n: int) -> int:
    if not 1 <= k <= n:
        raise ParameterError(f"k is {k:,} and there are {n:,} images; choose k from 1 to {n:,}.")
    return k
