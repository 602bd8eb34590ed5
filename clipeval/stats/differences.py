"""Two independent groups' rates: intervals of their difference and of their ratio, by formula."""

import numpy as np

from clipeval.stats.rates import wilson


def newcombe(first, n_first, second, n_second, confidence: float = 0.95):
    """Interval of the difference of two independent rates (Newcombe 1998, method 10).

    Parameters
    ----------
    first, n_first, second, n_second : int or arrays of int, hits and images of either group;
        broadcast against each other
    confidence : float in (0, 1)

    Returns
    -------
    low, high : float arrays, fractions, of first - second; NaN where a group has no images. Source:
    Newcombe 1998, Statistics in Medicine 17, 873-890
    """
    with np.errstate(invalid="ignore", divide="ignore"):
        rates = np.divide(first, n_first), np.divide(second, n_second)
    ends = wilson(first, n_first, confidence), wilson(second, n_second, confidence)
    return difference_ends(rates[0], ends[0], rates[1], ends[1])


def difference_ends(first, ends_first, second, ends_second) -> tuple[np.ndarray, np.ndarray]:
    """Interval of first - second from the interval of either, by squares.

    The method of variance estimates recovery (MOVER; Zou and Donner 2008, Statistics in Medicine 27,
    1693-1702), for any two independent estimates.

    Parameters
    ----------
    first, second : float arrays, estimates
    ends_first, ends_second : pairs of arrays (low, high), their intervals
    """
    down = np.hypot(first - ends_first[0], ends_second[1] - second)
    up = np.hypot(ends_first[1] - first, second - ends_second[0])
    return first - second - down, first - second + up


def ratio_ends(first, ends_first, second, ends_second) -> tuple[np.ndarray, np.ndarray]:
    """Interval of first / second from the interval of either (MOVER for ratios).

    Parameters
    ----------
    first, second : float arrays, estimates, 0 or more
    ends_first, ends_second : pairs of arrays (low, high), their intervals, 0 or more

    Returns
    -------
    low, high : float arrays; high is infinite where `second` may be 0. Source: Donner and Zou 2012,
    Statistical Methods in Medical Research 21, 347-359
    """
    parts = [e * (2 * first - e) for e in ends_first], [e * (2 * second - e) for e in ends_second]
    product = first * second
    with np.errstate(invalid="ignore", divide="ignore"):
        low = parts[0][0] / (product + _root(product**2 - parts[0][0] * parts[1][1]))
        high = (product + _root(product**2 - parts[0][1] * parts[1][0])) / parts[1][0]
    # without hits of one of them the formula divides 0 by 0
    return np.where(first > 0, low, 0.0), np.where(ends_second[0] > 0, high, np.inf)


def _root(square):
    return np.sqrt(np.maximum(square, 0))
