"""Sentences on the groups of a table, which say no more than a test that allows for picking supports."""

from collections.abc import Sequence

import numpy as np

from clipeval.output.numbers import interval, number
from clipeval.stats.picks import Extremes


def picked(found: Sequence[Extremes], confidence: float) -> str:
    """What the intervals of `between_extremes` are, for the line under its sentences; "" where none gives any."""
    if not any(extremes.difference for extremes in found):
        return ""
    return f"{100 * confidence:g} % intervals, widened because the groups were picked as the lowest and the highest."


def alone(start: str) -> str:
    """A sentence for plain intervals of what was picked, which `start` says, such as "It was picked as such"."""
    return f"{start}; each interval holds for its group alone."


def tied(at: int, values, names: Sequence) -> str:
    """The name of a value that was picked, and those whose values equal it: "Black (tied with White)".

    Parameters
    ----------
    at : int, position of the picked value
    values : numbers (k,), none missing
    names : of the values, in their order
    """
    same = np.isclose(np.asarray(values, float), float(values[at]), rtol=1e-12, atol=0)
    others = [str(name) for i, name in enumerate(names) if same[i] and i != at]
    if not others:
        return str(names[at])
    said = " and ".join(others) if len(others) <= 2 else f"{len(others)} others"
    return f"{names[at]} (tied with {said})"


def between_extremes(found: Extremes, names: Sequence[str], *, unit: str = "%") -> str:
    """The lowest and the highest of several groups, and whether the two can be told apart.

    Parameters
    ----------
    found : as `stats.extreme_rates` or `stats.extremes` returns it, fractions
    names : of the groups, in the order of the estimates
    unit : "%" for rates, "percentage points" for changes, which are written with their sign

    Returns
    -------
    str, without a full stop. The groups' own intervals, and that of their difference, hold for
    whichever groups are picked (`stats.Extremes`).
    """
    sign = unit != "%"
    if found.difference == 0:
        return f"{number(100 * found.estimates[0], sign=sign)} {unit} in every group"

    def one(at: int, low: float, high: float) -> str:
        numbers = interval(100 * found.estimates[at], 100 * low, 100 * high, sign=sign)
        return f"{numbers} {unit} for {tied(at, found.estimates, names)}"

    lowest = one(found.lowest, found.lowest_low, found.lowest_high)
    highest = one(found.highest, found.highest_low, found.highest_high)
    apart = interval(100 * found.difference, 100 * found.ci_low, 100 * found.ci_high)
    said = f"from {lowest} to {highest}; their difference, {apart} percentage points, "
    if not found.differ:
        return f"{said}cannot be told from 0"
    return said + (
        "lies above 0" if number(100 * found.ci_low) != number(0) else "is barely told from 0"
    )
