"""Rates of groups with Wilson intervals.

Rates in tables are percent (0-100); `wilson` returns fractions.
"""

from collections.abc import Sequence
from statistics import NormalDist

import numpy as np
import pandas as pd

from clipeval.errors import DataError, ParameterError

__all__ = ["check_confidence", "check_groups", "group_counts", "group_rates", "hits_of", "wilson"]


def wilson(count, n, confidence: float = 0.95) -> tuple[np.ndarray, np.ndarray]:
    """Wilson score interval of a proportion (Wilson 1927), for many proportions at once.

    Parameters
    ----------
    count, n : int or array of int, hits and trials; broadcast against each other
    confidence : float in (0, 1)

    Returns
    -------
    low, high : float arrays of the broadcast shape, fractions 0-1; NaN where `n` is 0

    Examples
    --------
    >>> low, high = wilson(490, 10_000)
    >>> f"{100 * low:.1f} {100 * high:.1f}"
    '4.5 5.3'
    """
    check_confidence(confidence)
    count, n = np.broadcast_arrays(np.asarray(count, float), np.asarray(n, float))
    if np.any((count < 0) | (count > n)):
        raise ParameterError("a count of hits lies outside 0..n; pass hits first, then trials.")
    z2 = NormalDist().inv_cdf(0.5 + confidence / 2) ** 2
    with np.errstate(invalid="ignore", divide="ignore"):
        share = count / n
        centre = (share + z2 / (2 * n)) / (1 + z2 / n)
        half = np.sqrt(z2 * (share * (1 - share) + z2 / (4 * n)) / n) / (1 + z2 / n)
    # the bounds at 0 and n hits are exactly 0 and 1; rounding would leave them at -1e-18
    low = np.where((count == 0) & (n > 0), 0.0, centre - half)
    high = np.where((count == n) & (n > 0), 1.0, centre + half)
    return low, high


def group_rates(
    frame: pd.DataFrame,
    hit: str,
    *,
    by: Sequence[str] = (),
    metric: str,
    confidence: float = 0.95,
    observed: bool = False,
) -> pd.DataFrame:
    """Percent of the images of each group that are hits: hits in the group / images in the group.

    Parameters
    ----------
    frame : DataFrame, one row an image
    hit : str, name of a bool column
    by : sequence of str, grouping columns; several make intersections, none makes one row
    metric : str, name of the rate, written into column `metric`
    confidence : float in (0, 1), of the Wilson interval
    observed : bool; False keeps every category of a categorical (and every combination) and shows
        those without images with n = 0 and NaN percent; True leaves them out

    Returns
    -------
    DataFrame: the columns of `by`, `n`, `count`, `metric`, `percent`, `ci_low`, `ci_high` (all
    three percent), in the order of the categories (or sorted, for plain columns)

    Raises
    ------
    DataError  if a column is absent, a group value is missing, or `hit` is not bool
    """
    table = group_counts(frame, hit, by=by, observed=observed)
    low, high = wilson(table["count"], table["n"], confidence)
    with np.errstate(invalid="ignore"):
        percent = 100 * table["count"].to_numpy(float) / table["n"].to_numpy(float)
    return table.assign(metric=metric, percent=percent, ci_low=100 * low, ci_high=100 * high)


def group_counts(
    frame: pd.DataFrame, hit: str, *, by: Sequence[str] = (), observed: bool = False
) -> pd.DataFrame:
    """Images (`n`) and hits (`count`) of each group; parameters and errors as in `group_rates`."""
    by = [by] if isinstance(by, str) else list(by)
    check_groups(frame, by)
    values = pd.Series(hits_of(frame, hit), index=frame.index)
    if not by:
        return pd.DataFrame({"n": [len(values)], "count": [int(values.sum())]})
    grouped = values.groupby([frame[name] for name in by], observed=observed, sort=True)
    table = pd.DataFrame({"n": grouped.size(), "count": grouped.sum()}).fillna(0).astype("int64")
    return table.reset_index(names=by)


def hits_of(frame: pd.DataFrame, hit: str) -> np.ndarray:
    """Column `hit` as a bool array; DataError if it is absent, not bool or has missing values."""
    if hit not in frame:
        raise DataError(f'the table has no column "{hit}"; it has {", ".join(map(str, frame))}.')
    values = frame[hit]
    if not pd.api.types.is_bool_dtype(values) or values.isna().any():
        raise DataError(
            f'column "{hit}" must be true or false for every image; it is {values.dtype} with '
            f"{int(values.isna().sum())} missing; compare it with a value first."
        )
    return values.to_numpy(bool)


def check_groups(frame: pd.DataFrame, by: Sequence[str]) -> None:
    """DataError if a grouping column is absent or has no value for some image."""
    for name in by:
        if name not in frame:
            raise DataError(
                f'the table has no group column "{name}"; it has {", ".join(map(str, frame))}.'
            )
        missing = int(frame[name].isna().sum())
        if missing:
            raise DataError(
                f'{missing:,} of {len(frame):,} images have no value of "{name}"; complete the '
                "labels or leave these images out before grouping."
            )


def check_confidence(confidence: float) -> None:
    if not 0 < confidence < 1:
        raise ParameterError(f"confidence is {confidence}; it must lie between 0 and 1, e.g. 0.95.")
