"""The highest and the lowest of several groups: intervals and claims that allow for the picking.

Of several groups whose rates are all the same, one is always the highest in the sample. Its own 95 %
interval, and whether two picked intervals overlap, take no account of that.
"""

from collections.abc import Callable
from functools import lru_cache
from typing import NamedTuple

import numpy as np

from clipeval.errors import DataError
from clipeval.stats.differences import difference_ends
from clipeval.stats.paired import newcombe_paired
from clipeval.stats.rates import check_confidence, clopper_pearson, wilson

#: images of a group below which intervals by formula are too short at the levels that picking asks for: of two
#: groups of two images with one rate they told 12 % apart, of 14 groups of five with one paired change 40 %
FEW_IMAGES = 30

#: (low, high) of every group at a level of confidence
Ends = Callable[[float], tuple[np.ndarray, np.ndarray]]


class Extremes(NamedTuple):
    """The highest and the lowest of k groups, in the unit of the estimates.

    Attributes
    ----------
    estimates : float array (k,), of all groups
    highest, lowest : int, their positions; of equals, the first
    differ : bool, whether it may be said that these two differ: the interval of their difference
        lies above 0. With all rates equal it is said in at most `1 - confidence` of samples.
    difference, ci_low, ci_high : float, highest - lowest, with the interval that allows for picking
        two of k groups
    highest_low, highest_high, lowest_low, lowest_high : float, ends of the two picked groups' own
        intervals, which hold both at once with `confidence`
    maybe_highest, maybe_lowest : bool arrays (k,), groups that are not told apart from the highest,
        or from the lowest; each holds the group itself
    """

    estimates: np.ndarray
    highest: int
    lowest: int
    differ: bool
    difference: float
    ci_low: float
    ci_high: float
    highest_low: float
    highest_high: float
    lowest_low: float
    lowest_high: float
    maybe_highest: np.ndarray
    maybe_lowest: np.ndarray


def rate_ends(count, n) -> Ends:
    """Wilson intervals of groups' rates; exact ones (Clopper and Pearson) of groups of fewer than `FEW_IMAGES`."""
    return lambda level: _exact_of_few(n, clopper_pearson(count, n, level), wilson(count, n, level))


def change_ends(both, won, lost, n) -> Ends:
    """Newcombe's intervals of groups' paired changes, fractions; of groups of fewer than `FEW_IMAGES` exact ones.

    These span from either end of the share won to the other end of the share lost, each Clopper and
    Pearson's at half the error, and are never too short.

    Parameters
    ----------
    both, won, lost, n : int arrays (k,), as `newcombe_paired` takes them: hits in both, after only, before only; images
    """

    def ends(level: float):
        after, before = (clopper_pearson(x, n, (1 + level) / 2) for x in (won, lost))
        exact = after[0] - before[1], after[1] - before[0]
        return _exact_of_few(n, exact, newcombe_paired(both, won, lost, n, level))

    return ends


def _exact_of_few(n, exact, formula) -> tuple[np.ndarray, np.ndarray]:
    few = np.asarray(n) < FEW_IMAGES
    return np.where(few, exact[0], formula[0]), np.where(few, exact[1], formula[1])


def picked_confidence(groups: int, confidence: float = 0.95) -> float:
    """Level of each group's interval that holds for whichever of them is picked (Bonferroni)."""
    check_confidence(confidence)
    return 1 - (1 - confidence) / groups


@lru_cache(maxsize=256)
def pairwise_confidence(groups: int, confidence: float = 0.95) -> float:
    """Level of the interval of one difference at which those of all pairs hold at once (Tukey).

    The studentised range of so many normal variables replaces the normal distribution. With two groups
    it is `confidence` itself. Simultaneous intervals of proportions by this rule: Agresti, Bini,
    Bertaccini and Ryu 2008, Biometrics 64, 1270-1275.

    Examples
    --------
    >>> round(pairwise_confidence(7), 4)
    0.9968
    """
    from scipy.special import ndtr

    check_confidence(confidence)
    x = np.linspace(-9, 9, 3001)
    below = ndtr(x)
    weight = groups * np.exp(-(x**2) / 2) / np.sqrt(2 * np.pi) * (x[1] - x[0])
    low, high = 0.0, 20.0
    for _ in range(60):
        width = (low + high) / 2
        inside = (weight * (below - ndtr(x - width)) ** (groups - 1)).sum()
        low, high = (width, high) if inside < confidence else (low, width)
    return float(2 * ndtr(width / np.sqrt(2)) - 1)


def pairwise_ends(estimate, ends: Ends, confidence: float = 0.95) -> tuple[np.ndarray, np.ndarray]:
    """Simultaneous intervals of all differences, row - column: (low, high), each (k, k).

    Parameters
    ----------
    estimate : float array (k,), of independent groups
    ends : function of a level of confidence that returns the groups' intervals, two arrays (k,)
    confidence : float in (0, 1), that all intervals hold
    """
    estimate = np.asarray(estimate, float)
    low, high = (np.asarray(e) for e in ends(pairwise_confidence(len(estimate), confidence)))
    first = estimate[:, None], (low[:, None], high[:, None])
    return difference_ends(*first, estimate[None], (low[None], high[None]))


def extremes(
    estimate, ends: Ends, confidence: float = 0.95, *, picked: Ends | None = None
) -> Extremes:
    """The highest and the lowest of several independent groups, and what may be said of them.

    Parameters
    ----------
    estimate : float array (k,), k >= 2, none missing: rates, or paired changes
    ends : function of a level of confidence that returns the groups' intervals, two arrays (k,), in
        the unit of the estimates; the differences are made from these by squares (MOVER)
    confidence : float in (0, 1)
    picked : like `ends`, for the two picked groups' own intervals; `ends` where it is left out

    Returns
    -------
    Extremes

    Raises
    ------
    DataError  if there are fewer than two groups, or an estimate is missing
    """
    estimate = np.asarray(estimate, float)
    if len(estimate) < 2 or np.isnan(estimate).any():
        raise DataError(
            f"{len(estimate)} groups with {int(np.isnan(estimate).sum())} missing rates given; the "
            "highest and lowest need two groups or more, each with images."
        )
    high, low = int(estimate.argmax()), int(estimate.argmin())
    least, most = pairwise_ends(estimate, ends, confidence)
    own = (picked or ends)(picked_confidence(len(estimate), confidence))
    maybe_highest, maybe_lowest = ~(least[high] > 0), ~(least[:, low] > 0)
    maybe_highest[high] = maybe_lowest[low] = True
    return Extremes(
        estimates=estimate,
        highest=high,
        lowest=low,
        differ=bool(least[high, low] > 0),
        difference=float(estimate[high] - estimate[low]),
        ci_low=float(least[high, low]),
        ci_high=float(most[high, low]),
        highest_low=float(own[0][high]),
        highest_high=float(own[1][high]),
        lowest_low=float(own[0][low]),
        lowest_high=float(own[1][low]),
        maybe_highest=maybe_highest,
        maybe_lowest=maybe_lowest,
    )


def extreme_rates(count, n, confidence: float = 0.95) -> Extremes:
    """`extremes` of the rates of independent groups, fractions 0-1.

    Differences are made from Wilson intervals, of groups of few images from exact ones (`rate_ends`);
    the picked groups' own are exact (Clopper and Pearson), so that they hold for rare hits too.

    Parameters
    ----------
    count, n : int arrays (k,), hits and images of each group, none empty
    confidence : float in (0, 1)

    Notes
    -----
    Simulated at the group sizes of FairFace's validation split (7 races, 9 ages, 14 races x genders)
    with equal rates of 0.3 to 50 %, `differ` is true in 0 to 5 % of samples, and the two picked
    intervals hold both rates in 95 to 99.5 % (the more, the rarer the hits). With 2 to 30 groups of
    1 to 30 images `differ` is true in 0 to 6 %.
    """
    count, n = np.asarray(count, float), np.asarray(n, float)
    with np.errstate(invalid="ignore", divide="ignore"):
        rates = count / n
    return extremes(
        rates,
        rate_ends(count, n),
        confidence,
        picked=lambda level: clopper_pearson(count, n, level),
    )
