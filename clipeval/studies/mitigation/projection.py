"""Projection: directions that words of an attribute span are taken out of vectors (arXiv 2302.00070).

Closed forms of Chuang et al. 2023, in float64, on unit rows. Their prompts for FairFace were never published.
"""

import numpy as np

#: lambda of the paper and of its code
STRENGTH = 1000.0
#: length of a projected unit vector below which nothing but rounding is left of it
NOTHING = 1e-4


def _unit(rows) -> np.ndarray:
    rows = np.asarray(rows, np.float64)
    return rows / np.linalg.norm(rows, axis=-1, keepdims=True)


def orthogonal(words) -> np.ndarray:
    """Projection onto all that is orthogonal to words: P0 = I - V (V'V)^-1 V'.

    Parameters
    ----------
    words : array (k, d), rows of prompts that name the attribute, the columns of V; normalised here

    Returns
    -------
    ndarray (d, d), float64; where words are linearly dependent, of the space that they span
    """
    rows = _unit(words)
    _, size, basis = np.linalg.svd(rows, full_matrices=False)
    basis = basis[size > 1e-6 * size.max()]  # float32 prompts: what is smaller is rounding
    return np.eye(rows.shape[1]) - basis.T @ basis


def calibrated(words, pairs, strength: float = STRENGTH) -> np.ndarray:
    """The orthogonal projection, calibrated so that both prompts of each pair become alike.

    P0 (I + strength / |S| sum over pairs (zi - zj)(zi - zj)')^-1

    Parameters
    ----------
    words : as in `orthogonal`
    pairs : array (s, 2, d), rows of prompts that differ in the attribute alone; normalised here
    strength : float, 0 or more, lambda of the paper

    Returns
    -------
    ndarray (d, d), float64; not symmetric
    """
    pairs = _unit(pairs)
    apart = pairs[:, 0] - pairs[:, 1]
    inverse = np.linalg.inv(np.eye(apart.shape[1]) + strength / len(apart) * apart.T @ apart)
    return orthogonal(words) @ inverse


def project(rows, matrix: np.ndarray) -> np.ndarray:
    """Rows (n, d), normalised, projected by `matrix` and normalised again: float64."""
    return _unit(_unit(rows) @ matrix.T)


def vanishes(rows, matrix: np.ndarray) -> np.ndarray:
    """Which rows (n, d) lie in what `matrix` takes out, so that only rounding is left of them: bool (n,)."""
    return np.linalg.norm(_unit(rows) @ matrix.T, axis=-1) < NOTHING
