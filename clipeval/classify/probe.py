"""Linear probe: logistic regression on image features, its regularisation chosen on held-out train.

The protocol of arXiv 2103.00020, appendix A.3: scikit-learn's multinomial logistic regression with
L-BFGS and at most 1,000 iterations; the inverse regularisation strength C chosen on a validation
part of the train split, coarse to fine; then a fit on the whole train split.
"""

import warnings
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass

import numpy as np
import pandas as pd

from clipeval.classify.zeroshot import kept
from clipeval.errors import DataError, ParameterError

#: coarse values of C: two decades apart over the range that the CLIP paper swept
GRID = tuple(10.0**exponent for exponent in range(-6, 7, 2))

#: `tol` of every fit. At scikit-learn's default (1e-4) L-BFGS stops so early that rounding, which
#: depends on batches and the number of cores, decides 20 to 60 of 5,000 labels, and with them which
#: C looks best; at 1e-6, 0 to 2 of them, and the same C
TOLERANCE = 1e-6

_SMALL = 4_000_000  # numbers in a matrix below which one core is faster than several


@dataclass(frozen=True, repr=False)
class Probe:
    """A fitted linear probe."""

    classes: tuple[str, ...]
    """class names, sorted"""
    C: float
    """inverse regularisation strength of the final fit"""
    validation: pd.DataFrame
    """one row a C tried: C, accuracy (percent on held-out train), iterations, converged;
    no rows if C was given"""
    n_fit: int
    """images of the final fit"""
    n_validation: int
    """of these, images held out while C was chosen (0 if C was given)"""
    notes: tuple[str, ...]
    """what a reader must know: fits that did not converge, a best C at the edge of the grid"""
    model: object
    """the fitted scikit-learn LogisticRegression: coef_ (classes, d) or (1, d) for two classes"""

    def probabilities(self, images: np.ndarray) -> np.ndarray:
        """Probability of each class (columns as `classes`) for each image: (n, classes), 0-1."""
        images = _features(images)
        if images.shape[1] != self.model.n_features_in_:
            raise DataError(
                f"these features have {images.shape[1]} dimensions and the probe was fitted on "
                f"{self.model.n_features_in_}; embed both splits with the same model and layer."
            )
        return self.model.predict_proba(images)

    def predict(
        self,
        image_ids,
        images: np.ndarray,
        *,
        task: str,
        method: str = "linear probe",
        top: int = 1,
    ) -> pd.DataFrame:
        """Tidy predictions, of the same form as `clipeval.classify.zeroshot.predict`.

        Parameters
        ----------
        image_ids : sequence of n str
        images : float array (n, d), features in the order of `image_ids`
        task, method : str, written into the columns of that name
        top : int or None, how many classes to keep for each image, best first; None keeps all

        Returns
        -------
        DataFrame: image_id, task, method, class_set and templates (empty: a probe is sent no
        prompt), rank (1 = top), label (categorical), prob (0-1)
        """
        prob = self.probabilities(images)
        if len(prob) != len(image_ids):
            raise DataError(f"{len(image_ids)} image ids for {len(prob)} rows of features.")
        top = min(top or len(self.classes), len(self.classes))
        order = np.argsort(-prob, axis=1, kind="stable")[:, :top]
        constant = {"task": task, "method": method, "class_set": "", "templates": ""}
        size = order.size
        return pd.DataFrame(
            {
                "image_id": np.repeat(np.asarray(image_ids, dtype=object), top),
                **{
                    name: pd.Categorical.from_codes(np.zeros(size, dtype=int), [value])
                    for name, value in constant.items()
                },
                "rank": np.tile(np.arange(1, top + 1, dtype=np.int32), len(prob)),
                "label": pd.Categorical.from_codes(order.ravel(), list(self.classes)),
                "prob": kept(np.take_along_axis(prob, order, axis=1).ravel()),
            }
        )

    def accuracy(self, images: np.ndarray, labels: Sequence[str]) -> float:
        """Percent of images whose top class is their label; DataError for labels never trained."""
        labels = _labels(labels)
        unseen = sorted(set(labels) - set(self.classes))
        if unseen:
            raise DataError(
                f'the probe never saw the class "{unseen[0]}" in training '
                f"({len(unseen)} such); train on a split that has all classes."
            )
        best = self.probabilities(images).argmax(axis=1)
        return float(100 * np.mean(np.asarray(self.classes)[best] == labels))

    def __repr__(self) -> str:
        lines = [f"Probe({len(self.classes)} classes, C = {self.C:g}, {self.n_fit:,} images)"]
        return "\n".join([*lines, *(f"note: {note}" for note in self.notes)])


def fit_probe(
    images: np.ndarray,
    labels: Sequence[str],
    *,
    C: float | None = None,
    grid: Sequence[float] = GRID,
    refine: int = 2,
    validation: float = 0.2,
    seed: int = 0,
    max_iter: int = 1000,
) -> Probe:
    """Fit a linear probe; C is the value with the best accuracy on held-out train images.

    Parameters
    ----------
    images : float array (n, d), features of the train split; fitted in float64
    labels : sequence of n str, none missing
    C : float or None, inverse regularisation strength; None chooses it
    grid : sequence of float, coarse values of C
    refine : int, how often the distance between values (in decades) is halved around the best one;
        4 gives the CLIP paper's 8 values a decade
    validation : float in (0, 1), part of train held out while C is chosen (seeded, stratified)
    seed : int, of that split
    max_iter : int, at most so many L-BFGS iterations a fit

    Returns
    -------
    Probe. Its model equals `LogisticRegression(C=C, tol=TOLERANCE, max_iter=max_iter)` on the same
    float64 features. Every fit starts from zero, so that no accuracy depends on the order in which
    values are tried. Of equally good values the smallest, most regularised one is taken.

    Raises
    ------
    DataError  if features are not finite, labels are missing, there is one class only, or a class
        has too few images to be split
    ParameterError  if a value of C or `validation` is out of range
    """
    images, labels = _features(images), _labels(labels)
    if len(images) != len(labels):
        raise DataError(f"{len(labels)} labels for {len(images)} rows of features.")
    classes, sizes = np.unique(labels, return_counts=True)
    if len(classes) < 2:
        raise DataError(
            f'all {len(labels):,} training images have the label "{labels[0]}"; a probe needs two '
            "classes or more."
        )
    if C is not None:
        table, notes, held_out = pd.DataFrame(columns=_COLUMNS), [], 0
    else:
        if sizes.min() < 2:
            raise DataError(
                f'class "{classes[sizes.argmin()]}" has one training image; choosing C needs two '
                "of each: give more images or leave the class out."
            )
        table, held_out = _search(images, labels, grid, refine, validation, seed, max_iter)
        C = float(table.sort_values(["accuracy", "C"], ascending=[False, True])["C"].iloc[0])
        notes = _search_notes(table, C, grid, max_iter)
    model, converged = _fit(images, labels, C, max_iter)
    if not converged:
        notes.append(
            f"the final fit (C = {C:g}) stopped at {max_iter:,} iterations before it converged; "
            "raise max_iter."
        )
    names = tuple(str(name) for name in model.classes_)
    return Probe(names, C, table, len(images), held_out, tuple(notes), model)


_COLUMNS = ["C", "accuracy", "iterations", "converged"]


def _search(images, labels, grid, refine, validation, seed, max_iter) -> tuple[pd.DataFrame, int]:
    """Accuracy on held-out train for each C tried, ascending in C; images held out."""
    from sklearn.model_selection import train_test_split

    grid = sorted(float(value) for value in grid)
    if not grid or grid[0] <= 0:
        raise ParameterError(f"the values of C must be positive; they are {grid}.")
    if not 0 < validation < 1:
        raise ParameterError(f"validation is {validation}; it is a part of train between 0 and 1.")
    try:
        fit_x, held_x, fit_y, held_y = train_test_split(
            images, labels, test_size=validation, stratify=labels, random_state=seed
        )
    except ValueError as error:
        raise DataError(
            f"{len(labels):,} training images are too few to hold out {100 * validation:g} % of "
            f"each of {len(set(labels))} classes; give more images."
        ) from error
    rows = {}

    def best(values):
        for value in values:
            # tried values are told apart as printed: 10**-0.5 is reached on more than one way
            if f"{value:.6g}" not in rows and grid[0] <= value <= grid[-1]:
                model, converged = _fit(fit_x, fit_y, value, max_iter)
                accuracy = 100 * float(np.mean(model.predict(held_x) == held_y))
                rows[f"{value:.6g}"] = (value, accuracy, int(model.n_iter_.max()), converged)
        return max(rows.values(), key=lambda row: (row[1], -row[0]))[0]

    chosen = best(grid)
    if len(grid) > 1:
        step = np.diff(np.log10(grid)).min()
        for _ in range(refine):
            step /= 2
            chosen = best([chosen / 10**step, chosen * 10**step])
    return pd.DataFrame(sorted(rows.values()), columns=_COLUMNS), len(held_y)


def _search_notes(table: pd.DataFrame, C: float, grid: Sequence[float], max_iter: int) -> list[str]:
    notes = []
    stopped = table.loc[~table["converged"], "C"]
    if len(stopped):
        notes.append(
            f"{len(stopped)} of {len(table)} fits while choosing C (C = "
            f"{', '.join(f'{value:g}' for value in stopped)}) stopped at {max_iter:,} iterations "
            "before they converged."
        )
    if len(grid) > 1 and C in (min(grid), max(grid)):
        notes.append(
            f"the best C ({C:g}) lies at the edge of the grid; a wider grid may do better."
        )
    return notes


def _fit(images, labels, C, max_iter):
    """A scikit-learn fit, and whether it converged."""
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.linear_model import LogisticRegression
    from threadpoolctl import threadpool_limits

    if not C > 0:
        raise ParameterError(f"C is {C}; the inverse regularisation strength must be positive.")
    model = LogisticRegression(C=C, max_iter=max_iter, tol=TOLERANCE)
    threads = threadpool_limits(1) if images.size < _SMALL else nullcontext()
    with threads, warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        model.fit(images, labels)
    for warning in caught:
        if not issubclass(warning.category, ConvergenceWarning):
            warnings.warn_explicit(
                warning.message, warning.category, warning.filename, warning.lineno
            )
    converged = not any(issubclass(warning.category, ConvergenceWarning) for warning in caught)
    return model, converged


def _features(images) -> np.ndarray:
    images = np.asarray(images)
    if images.ndim != 2 or not np.issubdtype(images.dtype, np.floating):
        raise DataError(f"features must be a float matrix; they are {images.dtype} {images.shape}.")
    images = images.astype(np.float64, copy=False)
    bad = int((~np.isfinite(images).all(axis=1)).sum())
    if bad:
        raise DataError(
            f"{bad:,} of {len(images):,} images have features that are not finite numbers; embed "
            "them again in fp32."
        )
    return images


def _labels(labels) -> np.ndarray:
    labels = pd.Series(labels).reset_index(drop=True)
    missing = int(labels.isna().sum())
    if missing:
        raise DataError(
            f"{missing:,} of {len(labels):,} images have no label; leave them out first."
        )
    return labels.astype(str).to_numpy(dtype=str)
