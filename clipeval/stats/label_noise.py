"""How far rates move when some labels are wrong: expectations in closed form, bands by simulation of counts.

An extension: nothing of it is in the paper.
"""

from dataclasses import dataclass

import numpy as np

from clipeval.errors import ParameterError


@dataclass(frozen=True)
class NoisyRates:
    """Rates (fractions) once more labels are wrong; k groups and, last, all images together: (k + 1,)."""

    expected: np.ndarray
    """Expected hits divided by expected images; NaN where none is expected."""
    low: np.ndarray
    """2.5th percentile over draws."""
    high: np.ndarray
    """97.5th percentile over draws."""


def wrong_labels(k: int, share: float, likely: np.ndarray | None = None) -> np.ndarray:
    """Probability that an image of label i is given label j, where a share of labels is wrong.

    Parameters
    ----------
    k : number of labels, at least 2
    share : fraction of all labels that is wrong where each label has as many images, 0-1
    likely : (k, k) how often i is taken for j, in counts or rates whose diagonal is not read; rows keep their
        proportions, of which the mean becomes `share`; None for any other label alike

    Returns
    -------
    float64 (k, k), rows sum to 1

    Raises
    ------
    ParameterError  if the share lies outside 0-1, `likely` holds no such counts or nothing but 0, or a label
        would be wrong more often than always
    """
    if not 0 <= share <= 1 or k < 2:
        raise ParameterError(
            f"label noise needs a share of 0 to 1 and two labels; it has {share:g} and {k}."
        )
    off = np.ones((k, k)) if likely is None else np.array(likely, dtype=float)
    np.fill_diagonal(off, 0.0)
    if off.shape != (k, k) or not (np.isfinite(off) & (off >= 0)).all() or not off.any():
        raise ParameterError(
            f"how often each of {k} labels is taken for another must be a number of 0 or more, and above 0 for "
            "some; give counts or rates."
        )
    matrix = off * (share / off.sum(axis=1).mean())
    wrong = matrix.sum(axis=1)
    if wrong.max() > 1 + 1e-9:
        raise ParameterError(
            f"at {100 * share:g} % wrong labels one label would be wrong more often than always; lower the share."
        )
    return matrix + np.diag(1 - wrong)


def noisy_rates(
    cells: np.ndarray, hits: np.ndarray, matrix: np.ndarray, *, draws: int = 2000, seed: int = 0
) -> NoisyRates:
    """Rates of groups whose labels are drawn again, each image's by the row of its own label.

    Parameters
    ----------
    cells : int (k, p), images of label i whose answer is p
    hits : bool (p, k), whether answer p is a hit under label j: the same for every j unless the label is what
        the answer is held against
    matrix : (k, k) as from `wrong_labels`
    draws, seed : of the simulation; a draw has the distribution of labels drawn image by image

    Returns
    -------
    NoisyRates
    """
    cells, hits = np.asarray(cells, dtype=np.int64), np.asarray(hits, dtype=float)
    moved = np.einsum("ip,ij->pj", cells, matrix)  # expected images of answer p and label j
    rng = np.random.default_rng(seed)
    size = (draws, cells.shape[1])
    drawn = sum(rng.multinomial(row, to, size=size) for row, to in zip(cells, matrix, strict=True))
    expected, simulated = _rates(moved[None], hits)[0], _rates(drawn.astype(float), hits)
    known = ~np.isnan(simulated).all(axis=0)
    low, high = np.full((2, len(expected)), np.nan)
    low[known], high[known] = np.nanpercentile(simulated[:, known], [2.5, 97.5], axis=0)
    return NoisyRates(expected, low, high)


def _rates(moved: np.ndarray, hits: np.ndarray) -> np.ndarray:
    """Hits / images of each label, and of all, for (draws, p, k) images."""
    images, found = moved.sum(axis=1), (moved * hits).sum(axis=1)
    images = np.column_stack([images, images.sum(axis=1)])
    found = np.column_stack([found, found.sum(axis=1)])
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(images > 0, found / images, np.nan)
