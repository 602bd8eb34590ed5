"""Linear probe: logistic regression on image features, its regularisation chosen on held-out train.

The protocol of arXiv 2103.00020, appendix A.3: multinomial logistic regression with an L2 penalty, at
most 1,000 iterations of L-BFGS; the inverse regularisation strength C chosen on a validation part of
the train split, coarse to fine; then a fit on the whole train split. `clipeval.classify.logistic` fits.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from clipeval.classify.logistic import TRIAL, Fit, Problem
from clipeval.classify.zeroshot import CHUNK, kept, tidy
from clipeval.errors import DataError, ParameterError

#: coarse values of C: two decades apart over the range that the CLIP paper swept
GRID = tuple(10.0**exponent for exponent in range(-6, 7, 2))


@dataclass(frozen=True, repr=False)
class Probe:
    """A fitted linear probe."""

    classes: tuple[str, ...]
    """class names, sorted"""
    C: float
    """inverse regularisation strength of the final fit"""
    validation: pd.DataFrame
    """one row a C tried: C, accuracy (percent on held-out train), iterations, gradient, converged;
    no rows if C was given"""
    n_fit: int
    """images of the final fit"""
    n_validation: int
    """of these, images held out while C was chosen (0 if C was given)"""
    notes: tuple[str, ...]
    """what a reader must know: fits that did not converge, a best C at the edge of the grid"""
    solver: str
    """what fitted: one of `logistic.SOLVERS`"""
    fit: Fit
    """the final fit: coef (classes, d), or (1, d) for two classes, intercept, iterations, gradient"""

    def probabilities(self, images: np.ndarray) -> np.ndarray:
        """Probability of each class (columns as `classes`) for each image: (n, classes), 0-1."""
        images = _features(images)
        d = self.fit.coef.shape[1]
        if images.shape[1] != d:
            raise DataError(
                f"these features have {images.shape[1]} dimensions and the probe was fitted on "
                f"{d}; embed both splits with the same model and layer."
            )
        found = np.empty((len(images), len(self.classes)))
        for start in range(0, len(images), CHUNK):
            part = slice(start, start + CHUNK)
            logits = images[part].astype(np.float64) @ self.fit.coef.T + self.fit.intercept
            if len(self.classes) == 2:
                logits = np.concatenate([np.zeros_like(logits), logits], axis=1)
            odds = np.exp(logits - logits.max(axis=1, keepdims=True))
            found[part] = odds / odds.sum(axis=1, keepdims=True)
        return found

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
        prob = kept(np.take_along_axis(prob, order, axis=1))
        said = {"task": task, "method": method, "class_set": "", "templates": ""}
        return tidy(image_ids, order, prob, list(self.classes), said)

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
    solver: str = "torch",
    device="cpu",
    progress: str = "",
    keep: Callable[[dict, Callable], pd.DataFrame] = lambda what, compute: compute(),
) -> Probe:
    """Fit a linear probe; C is the value with the best accuracy on held-out train images.

    Parameters
    ----------
    images : float array (n, d), features of the train split, which may be memory-mapped; read in blocks
        and computed in float64
    labels : sequence of n str, none missing
    C : float or None, inverse regularisation strength; None chooses it
    grid : sequence of float, coarse values of C
    refine : int, how often the distance between values (in decades) is halved around the best one;
        4 gives the CLIP paper's 8 values a decade
    validation : float in (0, 1), part of train held out while C is chosen (seeded, stratified)
    seed : int, of that split
    max_iter : int, at most so many L-BFGS iterations a fit
    solver : "torch" (whitened variables) or "scikit-learn" (converted to float64 as a whole)
    device : torch device that computes with solver="torch"; Apple's GPUs have no float64, so for them
        it is the CPU
    progress : str, what a progress bar with the time left is headed by; "" for none
    keep : callable (what, compute), returns what `compute` does (rows of `Probe.validation`, for values of C
        that are fitted together), or kept from an earlier search of the same images, labels and `what` (a
        dict of plain values), so that a search that was stopped goes on

    Returns
    -------
    Probe. Its model is that of `LogisticRegression(C=C)`, converged, on the same float64 features, and
    the same bit for bit for any number of threads. Every fit starts from zero, so that no accuracy
    depends on the order in which values are tried. Of equally good values the smallest, most
    regularised one is taken.

    Raises
    ------
    DataError  if features are not finite, labels are missing, there is one class only, or a class
        has too few images to be split
    ParameterError  if a value of C or `validation` is out of range
    """
    images, labels = _features(images), _labels(labels)
    if len(images) != len(labels):
        raise DataError(f"{len(labels)} labels for {len(images)} rows of features.")
    classes, codes, sizes = np.unique(labels, return_inverse=True, return_counts=True)
    if len(classes) < 2:
        raise DataError(
            f'all {len(labels):,} training images have the label "{labels[0]}"; a probe needs two '
            "classes or more."
        )
    if C is None and sizes.min() < 2:
        raise DataError(
            f'class "{classes[sizes.argmin()]}" has one training image; choosing C needs two '
            "of each: give more images or leave the class out."
        )
    problem = Problem(images, codes, len(classes), device=device)
    how = {"solver": solver, "max_iter": max_iter}
    with _Bar(progress, 1 if C is not None else len(grid) + 2 * refine + 1) as bar:
        if C is not None:
            table, notes, held_out = pd.DataFrame(columns=_COLUMNS), [], 0
        else:
            table, held_out = _search(
                problem, labels, grid, refine, validation, seed, how, keep, bar
            )
            C = float(table.sort_values(["accuracy", "C"], ascending=[False, True])["C"].iloc[0])
            notes = _search_notes(table, C, grid, max_iter)
        [fit] = problem.fits([C], **how, tell=bar.tell(1))
    if not fit.converged:
        notes.append(
            f"the final fit (C = {C:g}) stopped after {fit.iterations:,} iterations before it "
            "converged; raise max_iter."
        )
    names = tuple(str(name) for name in classes)
    return Probe(names, C, table, len(images), held_out, tuple(notes), solver, fit)


_COLUMNS = ["C", "accuracy", "iterations", "gradient", "converged"]


def _search(problem, labels, grid, refine, validation, seed, how, keep, bar):
    """Accuracy on held-out train for each C tried, ascending in C; images held out."""
    from sklearn.model_selection import train_test_split

    grid = sorted(float(value) for value in grid)
    if not grid or grid[0] <= 0:
        raise ParameterError(f"the values of C must be positive; they are {grid}.")
    if not 0 < validation < 1:
        raise ParameterError(f"validation is {validation}; it is a part of train between 0 and 1.")
    try:
        train, held = train_test_split(
            np.arange(len(labels)), test_size=validation, stratify=labels, random_state=seed
        )
    except ValueError as error:
        raise DataError(
            f"{len(labels):,} training images are too few to hold out {100 * validation:g} % of "
            f"each of {len(set(labels))} classes; give more images."
        ) from error
    train, held = np.sort(train), np.sort(held)
    rows = {}

    def fitted(values) -> pd.DataFrame:
        fits = problem.fits(values, train, gradient=TRIAL, **how, tell=bar.tell(len(values)))
        found = [(f.iterations, f.gradient, f.converged) for f in fits]
        right = problem.accuracies(fits, held)
        found = [(*one, *more) for *one, more in zip(values, right, found, strict=True)]
        return pd.DataFrame(found, columns=_COLUMNS)

    def best(values):
        # tried values are told apart as printed: 10**-0.5 is reached on more than one way
        new = {f"{value:.6g}": value for value in values if grid[0] <= value <= grid[-1]}
        new = [value for name, value in new.items() if name not in rows]
        if new:
            what = {"C": new, "validation": validation, "seed": seed} | how
            found = keep(what, lambda: fitted(new))[_COLUMNS]
            for row in found.itertuples(index=False, name=None):
                rows[f"{row[0]:.6g}"] = row
            bar.done(len(rows))
        return max(rows.values(), key=lambda row: (row[1], -row[0]))[0]

    chosen = best(grid)
    if len(grid) > 1:
        step = np.diff(np.log10(grid)).min()
        for _ in range(refine):
            step /= 2
            chosen = best([chosen / 10**step, chosen * 10**step])
    return pd.DataFrame(sorted(rows.values()), columns=_COLUMNS), len(held)


class _Bar:
    """Fits done, the time left, and the iterations of the present one."""

    def __init__(self, title: str, total: int):
        from tqdm.auto import tqdm

        self.bar = tqdm(total=total, desc=title, unit=" fits", disable=not title)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.bar.close()

    def tell(self, together: int):
        """What so many fits, made together, tell of the values of C that are left and their iterations."""
        before = self.bar.n

        def tell(values, iterations):
            those = f"C = {values[0]:.3g}" if len(values) == 1 else f"{len(values)} values of C"
            if values:
                said = f"{those}, iteration {iterations}"
                self.bar.set_postfix_str(said, refresh=iterations % 5 == 1)
            self.done(before + together - len(values))

        return tell

    def done(self, fits: int) -> None:
        """So many fits are done."""
        self.bar.update(fits - self.bar.n)


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


def _features(images) -> np.ndarray:
    images = np.asarray(images)
    if images.ndim != 2 or not np.issubdtype(images.dtype, np.floating):
        raise DataError(f"features must be a float matrix; they are {images.dtype} {images.shape}.")
    parts = (images[start : start + CHUNK] for start in range(0, len(images), CHUNK))
    bad = sum(int((~np.isfinite(part).all(axis=1)).sum()) for part in parts)
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
