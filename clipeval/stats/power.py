"""Before a comparison: the smallest difference that groups of given sizes can show."""

from functools import lru_cache

import numpy as np

from clipeval.errors import DataError, ParameterError


def smallest_difference(
    n, base: float, *, alpha: float = 0.05, power: float = 0.8, tests: int = 1
) -> np.ndarray:
    """Smallest difference of one group's rate from all others' that chi-squared finds.

    All other groups have the base rate. The difference is one upwards where the base rate is at most
    one half, else one downwards: towards the middle, where it is the harder to see.

    Parameters
    ----------
    n : int array (k,), images of each group, two groups or more, each with images
    base : float in [0, 1], the rate of all other groups, a fraction
    alpha : float in (0, 1), p values below it count as a finding
    power : float in (0, 1), share of the samples in which the difference is found
    tests : int, number of tests that p values are corrected for (at worst, each by this factor)

    Returns
    -------
    float array (k,), percentage points; NaN where not even the largest possible difference is found

    Notes
    -----
    By the normal approximation, each rate with its own variance (`power_of`). It agrees with
    simulations of the permutation test of `gaps_of_counts` and of chi-squared within 0.3 points at the
    sizes of FairFace's validation split and base rates of 1 to 15 %. Where `chi2_by_label` takes
    Fisher's exact test, for an expected count below 5, about a point more is needed.

    Raises
    ------
    DataError  if there are fewer than two groups, or one without images
    ParameterError  if a rate or level lies outside its range

    Examples
    --------
    >>> men, women = 430, 110
    >>> round(float(smallest_difference([men, women], 0.05, tests=300)[1]))
    14
    """
    n = np.asarray(n, float)
    if n.ndim != 1 or len(n) < 2 or (n <= 0).any():
        raise DataError(f"sizes {n.tolist()} given; a comparison needs two groups with images.")
    if not (0 <= base <= 1 and 0 < alpha < 1 and 0 < power < 1 and tests >= 1):
        raise ParameterError(
            f"base {base}, alpha {alpha}, power {power} and tests {tests} given; the rate must lie "
            "between 0 and 1, alpha and power within, and there is at least one test."
        )
    return _smallest(tuple(n), min(base, 1 - base), alpha / tests, power).copy()


@lru_cache(maxsize=256)
def _smallest(sizes: tuple[float, ...], base: float, alpha: float, power: float) -> np.ndarray:
    """As `smallest_difference`; the tables of a run ask the same of the same groups many times."""
    n, most = np.asarray(sizes), 1.0 - base

    def enough(difference):
        return power_of(n, base, base + difference, alpha) >= power

    found, root = enough(most), _crossing(n, base, alpha, power)
    high, step = _halved(len(n), most, lambda middle: middle >= root)
    # it takes a fourth of the time to be near first; where that was not near enough, every halving is computed
    if not np.all(enough(high) > enough(high - step) | ~found):
        high, _ = _halved(len(n), most, enough)
    return np.where(found, 100 * high, np.nan)


def _halved(k: int, most: float, enough) -> tuple[np.ndarray, float]:
    """The smallest differences (k,) that are enough, and how exact they are, a 2^40th of `most`."""
    low, high = np.zeros(k), np.full(k, most)
    for _ in range(40):
        middle = (low + high) / 2
        right = enough(middle)
        low, high = np.where(right, low, middle), np.where(right, middle, high)
    return high, most / 2**40


def _crossing(n: np.ndarray, base: float, alpha: float, power: float) -> np.ndarray:
    """Differences (k,) whose power is `power`, by secants: on the normal scale power is nearly a line."""
    from scipy.special import chdtri, ndtri

    rest, share = n.sum() - n, (base * n.sum() + 1) / (n.sum() + 2)
    scale = np.sqrt(share * (1 - share) * (1 / n + 1 / rest))
    before, at = np.zeros(len(n)), (np.sqrt(chdtri(len(n) - 1, alpha)) + ndtri(power)) * scale
    missed = np.full(len(n), ndtri(alpha) - ndtri(power))
    for _ in range(8):
        at = np.clip(at, 0, 1 - base)
        chance = np.clip(power_of(n, base, base + at, alpha), 1e-12, 1 - 1e-12)
        now = ndtri(chance) - ndtri(power)
        slope = (now - missed) / np.where(at == before, 1, at - before)
        before, missed, at = at, now, at - now / np.where(slope > 0, slope, np.inf)
    return at


def power_of(n, base: float, rate, alpha: float = 0.05) -> np.ndarray:
    """Share of samples in which chi-squared finds that one group has another rate than all others.

    Parameters
    ----------
    n : int array (k,), images of each group
    base : float in [0, 1], the rate of all other groups
    rate : float or array (k,), in [0, 1], that of the group in question, for each group in turn
    alpha : float in (0, 1)

    Returns
    -------
    float array (k,), fractions

    Notes
    -----
    Chi-squared is the square of the group's distance from the rest, a normal variable with the variance
    that the two rates give it, plus k - 2 squares for differences among the rest, scaled by their
    variance over that of all images.
    """
    from scipy.special import chdtri

    n, rate = np.asarray(n, float), np.asarray(rate, float)
    rest, dof = n.sum() - n, len(n) - 1
    pooled = (n * rate + rest * base) / n.sum()
    variance = np.maximum(pooled * (1 - pooled), 1e-300)
    expected = variance * (1 / n + 1 / rest)
    spread = np.sqrt((rate * (1 - rate) / n + base * (1 - base) / rest) / expected)
    middle = (rate - base) / np.sqrt(expected)
    z = np.linspace(-8, 8, 4001)
    weight = np.exp(-(z**2) / 2)
    left = chdtri(dof, alpha) - (middle[:, None] + spread[:, None] * z) ** 2
    if dof == 1:
        found = left < 0
    else:
        scale = np.maximum(base * (1 - base) / variance, 1e-300)
        # the function is slow: only where it is asked
        found, asked = np.ones(left.shape), left >= 0
        found[asked] = _chi2_tail(dof - 1, left[asked] / np.repeat(scale, asked.sum(axis=1)))
    return (weight * found).sum(axis=1) / weight.sum()


def _chi2_tail(dof: int, x: np.ndarray) -> np.ndarray:
    """`scipy.special.chdtrc`: for few degrees of freedom the sum that it comes to, in a third of the time.

    Source: Abramowitz and Stegun 1964, formulas 26.4.4 and 26.4.5
    """
    from scipy.special import chdtrc, erfc

    if dof > 50:
        return chdtrc(dof, x)
    half = np.minimum(x / 2, 700)  # beyond, the tail is 0
    chance = np.exp(-half)
    found = erfc(np.sqrt(half)) if dof % 2 else chance.copy()
    term = chance * (2 * np.sqrt(half / np.pi) if dof % 2 else half)
    for i in range((dof - 1) // 2):
        found += term
        term *= half / (i + 1.5 + (dof + 1) % 2 / 2)
    return found
