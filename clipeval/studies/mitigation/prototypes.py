"""Multimodal prototypes: a class is its words and some labelled images (arXiv 2405.10954)."""

from collections.abc import Sequence

import numpy as np


def drawn(labels: np.ndarray, classes: Sequence[str], *, k: int, seed: int) -> list[np.ndarray]:
    """Places of k random images of each class, or of all where there are fewer.

    The images of a smaller k are the first of a larger one.
    """
    found = []
    for number, name in enumerate(classes):
        places = np.flatnonzero(labels == name)
        found.append(np.random.default_rng([seed, number]).permutation(places)[:k])
    return found


def mix(
    texts: np.ndarray,
    images: np.ndarray,
    labels: np.ndarray,
    classes: Sequence[str],
    *,
    k: int,
    share: float,
    seed: int = 0,
) -> np.ndarray:
    """Classifier weights: share x text + (1 - share) x mean of k labelled images, normalised again.

    Parameters
    ----------
    texts : array (classes, d), unit rows, in the order of `classes`
    images : array (n, d), unit rows of training images, and `labels` (n,) of these
    k : images of each class; 0 for the words alone
    share : float in [0, 1], of the words (alpha); 1 is the zero-shot classifier, 0 the nearest class mean
    seed : of the draw

    Returns
    -------
    ndarray (classes, d), unit rows; `texts` itself where k is 0 or share is 1. A class without images keeps
    its words.
    """
    if k == 0 or share == 1:
        return texts
    found = np.asarray(texts, np.float64).copy()
    for row, places in zip(found, drawn(labels, classes, k=k, seed=seed), strict=True):
        if len(places):
            row[:] = share * row + (1 - share) * np.asarray(images[places], np.float64).mean(axis=0)
    return found / np.linalg.norm(found, axis=1, keepdims=True)
