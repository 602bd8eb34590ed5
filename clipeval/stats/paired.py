"""Two answers to the same images: change of a rate, its interval, McNemar's test."""

from collections.abc import Sequence

import numpy as np
import pandas as pd

from clipeval.errors import DataError
from clipeval.stats.labels import adjust
from clipeval.stats.rates import IMAGES, check_groups, counted, hits_by_group, hits_of, wilson


def paired_changes(
    frame: pd.DataFrame,
    before: str,
    after: str,
    *,
    by: Sequence[str] = (),
    confidence: float = 0.95,
    observed: bool = False,
    images: str | None = None,
) -> pd.DataFrame:
    """Change of a rate between two answers to the same images, with interval and McNemar test.

    Parameters
    ----------
    frame : DataFrame, one row an image
    before, after : str, names of bool columns
    by, confidence, observed, images : as in `group_rates`; groups without images have n = 0 and NaN

    Returns
    -------
    DataFrame, one row a group: columns of `by`; `n`; `before`, `after` (percent); `change` (after -
    before, percentage points) with `ci_low`, `ci_high` by Newcombe's method 10 (square-and-add with
    correlation; Newcombe 1998, Statistics in Medicine 17, 2635-2650); `only_before`, `only_after`
    (images that changed); `p` and `test`: McNemar's, exact where fewer than 25 images changed,
    chi-squared without continuity correction otherwise; NaN where no image changed, which `test` says

    Raises
    ------
    DataError  if a column is absent or not bool, or a group value is missing
    """
    first, second = hits_of(frame, before), hits_of(frame, after)
    by = [by] if isinstance(by, str) else list(by)
    if images is None:
        check_groups(frame, by)
        frame, images = counted(frame, [*by, before, after]), IMAGES
        first, second = frame[before].to_numpy(bool), frame[after].to_numpy(bool)
    kinds = first & second, first & ~second, second & ~first
    groups, (both, lost, won) = hits_by_group(frame, kinds, by=by, observed=observed, images=images)
    n = groups["n"].to_numpy()
    low, high = newcombe_paired(both, won, lost, n, confidence)
    tests = [_mcnemar(*cells) for cells in zip(lost, won, n, strict=True)]
    with np.errstate(invalid="ignore"):
        rates = {"before": 100 * (both + lost) / n, "after": 100 * (both + won) / n}
        change = 100 * (won - lost) / n
    table = groups.assign(**rates, change=change)
    table = table.assign(ci_low=100 * low, ci_high=100 * high, only_before=lost, only_after=won)
    return table.assign(p=[p for p, _ in tests], test=[name for _, name in tests])


def mcnemar_models(
    correct: pd.DataFrame, *, confidence: float = 0.95, correction: str = "holm"
) -> pd.DataFrame:
    """Every two models compared on the same images: difference, interval, McNemar test.

    Parameters
    ----------
    correct : DataFrame (n images, m models), bool: column names are the models
    correction : str, for the number of pairs: "holm" or "fdr_bh"

    Returns
    -------
    DataFrame, one row a pair: `model_a`, `model_b`, `n`, `percent_a`, `percent_b`, `difference`
    (b - a, percentage points), `ci_low`, `ci_high`, `only_a`, `only_b` (images), `p`,
    `p_adjusted`, `test`; methods as in `paired_changes`
    """
    models = list(correct)
    if len(models) < 2:
        raise DataError(f"{len(models)} model(s) given; a comparison needs two or more.")
    names = {
        "before": "percent_a",
        "after": "percent_b",
        "change": "difference",
        "only_before": "only_a",
        "only_after": "only_b",
    }
    pairs = [(a, b) for i, a in enumerate(models) for b in models[i + 1 :]]
    rows = [paired_changes(correct, a, b, confidence=confidence) for a, b in pairs]
    table = pd.concat(rows, ignore_index=True).rename(columns=names)
    table.insert(0, "model_a", [a for a, _ in pairs])
    table.insert(1, "model_b", [b for _, b in pairs])
    table.insert(table.columns.get_loc("test"), "p_adjusted", adjust(table["p"], correction))
    return table


def newcombe_paired(both, first, second, n, confidence) -> tuple[np.ndarray, np.ndarray]:
    """Newcombe's method 10 for p1 - p2, fractions; `first`, `second`: hits in one of them only."""
    both, first, second, n = (np.asarray(x, float) for x in (both, first, second, n))
    neither = n - both - first - second
    hits1, hits2 = both + first, both + second
    low1, high1 = wilson(hits1, n, confidence)
    low2, high2 = wilson(hits2, n, confidence)
    with np.errstate(invalid="ignore", divide="ignore"):
        p1, p2 = hits1 / n, hits2 / n
        cross = both * neither - first * second
        # Newcombe's continuity correction shrinks a positive correlation, never a negative one
        cross = np.where(cross > 0, np.maximum(cross - n / 2, 0), cross)
        margins = hits1 * (n - hits1) * hits2 * (n - hits2)
        phi = np.where(margins > 0, cross / np.sqrt(margins), 0.0)
        down, up = (p1 - low1, high2 - p2), (high1 - p1, p2 - low2)
        below = np.sqrt(np.maximum(down[0] ** 2 - 2 * phi * down[0] * down[1] + down[1] ** 2, 0))
        above = np.sqrt(np.maximum(up[0] ** 2 - 2 * phi * up[0] * up[1] + up[1] ** 2, 0))
        return p1 - p2 - below, p1 - p2 + above


def _mcnemar(lost: int, won: int, n: int) -> tuple[float, str]:
    """McNemar's test (1947) of the images that changed; exact, by the binomial, below 25 of them.

    From scipy.special, as importing statsmodels takes longer than a whole study.
    """
    from scipy.special import bdtr, chdtrc

    if n == 0:
        return float("nan"), ""
    changed = lost + won
    if changed == 0:
        return float("nan"), "not tested: no image changed"
    if changed < 25:
        return float(min(1.0, 2 * bdtr(min(lost, won), changed, 0.5))), "McNemar exact"
    return float(chdtrc(1, (lost - won) ** 2 / changed)), "McNemar chi-squared"
