"""Logistic regression with an L2 penalty: by L-BFGS on whitened variables, or by scikit-learn.

Both minimise scikit-learn's loss, here divided by C n: the mean cross-entropy plus the sum of squared
coefficients over 2 C n, intercepts free. Image features have a strong common mean and variances that
fall by four orders of magnitude, which is what L-BFGS needs hundreds of iterations for. The optimum
does not change when the variables are shifted and multiplied by a matrix; with the one that makes
features uncorrelated and the penalised curvature alike in all directions it mostly takes 10 to 40.
"""

import warnings
from collections import deque
from contextlib import nullcontext
from dataclasses import dataclass

import numpy as np

from clipeval.classify.blocks import Features, product, threads
from clipeval.errors import ParameterError

SOLVERS = ("torch", "scikit-learn")

#: largest component of the gradient in whitened variables at which L-BFGS stops. Coefficients are then
#: within 1e-6 of the largest one, as long as classes cannot be told apart without an error
GRADIENT = 3e-9
#: the same where a fit only has to show how many labels it gets right
TRIAL = 1e-6
_ROUGH = 1e-6  # down to which float32 is precise enough, in half the time

#: `tol` of scikit-learn's fits. At its default (1e-4) L-BFGS stops so early that rounding, which
#: depends on batches and the number of cores, decides 20 to 60 of 5,000 labels, and with them which
#: C looks best; at 1e-6, 0 to 2 of them, and the same C
TOLERANCE = 1e-6

#: numbers in a matrix below which it is turned as a whole, and scikit-learn is faster on one core
_SMALL = 4_000_000
_SAMPLE = 16_384  # images from which mean and covariance are taken; they decide the speed alone


@dataclass(frozen=True)
class Fit:
    """A fitted logistic regression of k classes on d features."""

    coef: np.ndarray
    """(k, d) float64; (1, d), of the second class, for two"""
    intercept: np.ndarray
    """(k,) float64; (1,) for two"""
    iterations: int
    """of L-BFGS"""
    gradient: float
    """Euclidean norm of the gradient of the loss (see above) by coefficients and intercepts"""
    converged: bool
    """whether the solver stopped for that, not for the number of iterations"""


class Problem:
    """Logistic regressions on one matrix of features, for any rows and any C.

    Parameters
    ----------
    images : float array (n, d); read block by block
    codes : int array (n,), class of each row, 0 to classes - 1
    classes : int, two or more
    device : torch device
    """

    def __init__(self, images: np.ndarray, codes: np.ndarray, classes: int, *, device="cpu"):
        self.all = Features(images, device=device)
        self.codes, self.classes = np.asarray(codes), classes
        self.free = classes if classes > 2 else 1  # two classes have one vector, as in scikit-learn
        self._spread = None

    def _whitening(self):
        """Mean (d,), variances (r,) and directions (d, r) of an evenly spread sample; turned features or None.

        A small matrix is turned into these directions once and for all; of fewer images than dimensions
        no more directions are needed than there are, as the coefficients lie within them.
        """
        import torch

        if self._spread is None:
            n, d = len(self.all), self.all.images.shape[1]
            step = max(1, n // max(_SAMPLE, 10 * d))
            sample = self.all.of(np.arange(0, n, step))
            with threads() as pool:
                total = sample.sum(lambda _, x: (x.sum(0), product(x.T, x)), pool)
                mean = total[0] / len(sample)
                covariance = total[1] / len(sample) - torch.outer(mean, mean)
                variances, directions = torch.linalg.eigh(covariance)
                variances = variances.clamp(min=0)
                turned = None
                if n * d < _SMALL and self.all.device.type == "cpu":
                    if step == 1:
                        vary = variances >= 1e-13 * variances.max()
                        variances, directions = variances[vary], directions[:, vary]
                    centred = torch.from_numpy(self.all.images.astype(np.float64)) - mean
                    turned = Features((centred @ directions).numpy())
            self._spread = mean, variances, directions, turned
        return self._spread

    def _gradient(self, features: Features, codes, coef, intercept, pool, dtype=None):
        """Sums over rows for k regressions at once: gradient by intercepts (k, free) and coefficients (k, free, d).

        One product with the vectors of all regressions takes a fraction of the time of one for each.
        Blocks are computed in `dtype`, float64 by default, and added up in float64.
        """
        import torch

        k, free, d = coef.shape
        coef, intercept = coef.to(dtype), intercept.to(dtype)
        codes = torch.as_tensor(codes, device=features.device)
        vectors, shift = coef.reshape(k * free, d).T.contiguous(), intercept.reshape(k * free)

        def part(rows, x):
            logits, truth = product(x, vectors) + shift, codes[rows, None]
            if free == 1:
                away = logits.sigmoid_() - truth
            else:
                away = torch.softmax(logits.view(-1, k, free), 2)
                truth = truth[:, :, None].expand(-1, k, 1)
                away.scatter_add_(2, truth, -torch.ones_like(away[:, :, :1]))
                away = away.view(-1, k * free)
            return away.sum(0).double(), product(away.T, x).double()

        by_intercept, by_coef = features.sum(part, pool, dtype)
        return by_intercept.view(k, free), by_coef.view(k, free, d)

    def fits(
        self,
        values,
        rows=None,
        *,
        solver="torch",
        max_iter=1000,
        gradient=GRADIENT,
        tell=lambda values, iterations: None,
    ) -> list[Fit]:
        """The regressions on some rows (all by default) for some values of C, each from zero.

        Parameters
        ----------
        values : sequence of float, inverse regularisation strengths, as scikit-learn has them
        rows : int array, ascending
        solver : one of SOLVERS; "torch" fits all values in the same passes over the features
        max_iter : at most so many iterations
        gradient : largest component in whitened variables at which "torch" stops
        tell : told the values that are not done yet and the number of iterations, after each

        Raises
        ------
        ParameterError  if a C is not positive or the solver is unknown
        """
        for C in values:
            if not C > 0:
                raise ParameterError(
                    f"C is {C}; the inverse regularisation strength must be positive."
                )
        if solver not in SOLVERS:
            raise ParameterError(f"solver {solver!r} is unknown; use {' or '.join(SOLVERS)}.")
        features = self.all if rows is None else self.all.of(rows)
        codes = self.codes[features.rows]
        if solver == "torch":
            return self._by_torch(features, codes, values, max_iter, gradient, tell)
        found = []
        for done, C in enumerate(values):
            tell(values[done:], 0)
            found.append(self._by_sklearn(features, codes, C, max_iter))
        tell([], max_iter)
        return found

    def _by_torch(self, features, codes, values, max_iter, least, tell) -> list[Fit]:
        import torch

        n, (mean, variances, directions, turned) = len(codes), self._whitening()
        share = np.bincount(codes, minlength=self.classes) / n
        steep = float(np.mean(share * (1 - share)))  # curvature of the loss at equal logits
        penalties = torch.tensor([1 / (C * n) for C in values], dtype=torch.float64)
        penalties = penalties.to(features.device)[:, None, None]
        scales = (steep * variances + penalties).rsqrt()
        rows = features.rows
        features = self.all.of(rows, mean) if turned is None else turned.of(rows)

        def evaluate(which, points, precise, pool):
            """Coefficients and intercepts of centred features, the gradient by both, and in whitened variables."""
            scale, penalty = scales[which], penalties[which]
            v = (
                torch.from_numpy(np.stack(points))
                .to(features.device)
                .view(len(which), self.free, -1)
            )
            coef, intercept = v[:, :, 1:] * scale, v[:, :, 0] / steep**0.5
            if turned is None:
                coef = coef @ directions.T
            dtype = torch.float64 if precise else torch.float32
            by_intercept, by_coef = self._gradient(features, codes, coef, intercept, pool, dtype)
            by_intercept, by_coef = by_intercept / n, by_coef / n + penalty * coef
            white = (by_coef if turned is not None else by_coef @ directions) * scale
            white = torch.cat([by_intercept[:, :, None] / steep**0.5, white], 2)
            return coef, intercept, by_intercept, by_coef, white.flatten(1).cpu().numpy()

        def fit(coef, intercept, by_intercept, by_coef, white, iterations) -> Fit:
            if turned is not None:
                coef, by_coef = coef @ directions.T, by_coef @ directions.T
            by_coef = by_coef + by_intercept[:, None] * mean
            norm = torch.cat([by_intercept[:, None], by_coef], 1).norm().item()
            # rounding may end the search for a smaller gradient a little earlier
            converged = bool(abs(white).max() <= 100 * least)
            intercept = intercept - coef @ mean
            return Fit(coef.cpu().numpy(), intercept.cpu().numpy(), iterations, norm, converged)

        size, found, rounds = self.free * (scales.shape[2] + 1), {}, 0
        searches = [_lbfgs(size, max_iter, least) for _ in values]
        asked = {i: next(search) for i, search in enumerate(searches)}
        with threads() as pool:
            while asked:
                further = {}
                for precise in sorted({precise for _, precise in asked.values()}):
                    which = [i for i in asked if asked[i][1] == precise]
                    evaluated = evaluate(which, [asked[i][0] for i in which], precise, pool)
                    for i, *one in zip(which, *evaluated, strict=True):
                        try:
                            further[i] = searches[i].send(one[-1])
                        except StopIteration as end:
                            found[i] = fit(*one, end.value)
                asked = dict(sorted(further.items()))
                rounds += 1
                tell([values[i] for i in asked], rounds)
        return [found[i] for i in range(len(values))]

    def _by_sklearn(self, features, codes, C, max_iter) -> Fit:
        import torch
        from sklearn.exceptions import ConvergenceWarning
        from sklearn.linear_model import LogisticRegression
        from threadpoolctl import threadpool_limits

        images = features.images[features.rows].astype(np.float64)
        model = LogisticRegression(C=C, max_iter=max_iter, tol=TOLERANCE)
        cores = threadpool_limits(1) if images.size < _SMALL else nullcontext()
        with cores, warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            model.fit(images, codes)
        for warning in caught:
            if not issubclass(warning.category, ConvergenceWarning):
                warnings.warn_explicit(
                    warning.message, warning.category, warning.filename, warning.lineno
                )
        converged = not any(issubclass(warning.category, ConvergenceWarning) for warning in caught)
        at = [
            torch.from_numpy(x)[None].to(features.device) for x in (model.coef_, model.intercept_)
        ]
        with threads() as pool:
            by_intercept, by_coef = self._gradient(features, codes, *at, pool)
        n = len(codes)
        gradient = torch.cat([by_coef[0] / n + at[0][0] / (C * n), by_intercept[0, :, None] / n], 1)
        iterations = int(model.n_iter_.max())
        return Fit(model.coef_, model.intercept_, iterations, gradient.norm().item(), converged)

    def accuracies(self, fits: list[Fit], rows) -> list[float]:
        """Percent of some rows (ascending) whose best class is theirs, for each fit."""
        import torch

        features = self.all.of(rows)
        codes = torch.as_tensor(self.codes[rows], device=features.device)[:, None]
        coef = torch.from_numpy(np.concatenate([fit.coef for fit in fits])).to(features.device)
        shift = torch.from_numpy(np.concatenate([fit.intercept for fit in fits]))
        shift = shift.to(features.device)

        def right(part, x):
            logits = (product(x, coef.T) + shift).view(len(x), len(fits), self.free)
            best = logits.argmax(2) if self.free > 1 else (logits[:, :, 0] > 0).long()
            return ((best == codes[part]).sum(0),)

        with threads() as pool:
            return [100 * int(count) / len(rows) for count in features.sum(right, pool)[0]]


def _lbfgs(size: int, max_iter: int, least: float, pairs: int = 20):
    """L-BFGS from zero for a convex function, as a generator that is sent the gradient at what it yields.

    The slope along the line tells whether its lowest point was passed, whatever the rounding of the
    function itself. The last point that was yielded is the best one.

    Yields
    ------
    point (size,), and whether the gradient there must be precise

    Returns
    -------
    number of iterations
    """
    point, past, iterations, precise = np.zeros(size), deque(maxlen=pairs), 0, False
    gradient = yield point, precise
    while iterations < max_iter and not (precise and abs(gradient).max() <= least):
        if not precise and abs(gradient).max() <= _ROUGH:
            precise = True
            gradient = yield point, precise
            continue
        way, factors = -gradient, []
        for step, change in reversed(past):
            factors.append(step @ way / (step @ change))
            way = way - factors[-1] * change
        if past:
            step, change = past[-1]
            way = way * (step @ change / (change @ change))
        for step, change in past:
            way = way + (factors.pop() - change @ way / (step @ change)) * step
        slope, length = gradient @ way, 1.0
        for _ in range(20 if precise else 5):
            reached = yield point + length * way, precise
            beyond = reached @ way
            if beyond <= -0.5 * slope:
                break
            length *= max(0.1, slope / (slope - beyond))  # where the slope, were it straight, is 0
        else:  # nothing but rounding is left
            if precise:
                break
            precise = True
            gradient = yield point, precise
            continue
        step, change = length * way, reached - gradient
        point, gradient, iterations = point + step, reached, iterations + 1
        if step @ change > 0:
            past.append((step, change))
    return iterations
