"""Logistic regression with an L2 penalty: by L-BFGS on whitened variables, or by scikit-learn.

Both minimise scikit-learn's loss, here divided by C n: the mean cross-entropy plus the sum of squared
coefficients over 2 C n, intercepts free. Image features have a strong common mean and variances that
fall by four orders of magnitude, which is what L-BFGS needs hundreds of iterations for. The optimum
does not change when the variables are shifted and multiplied by a matrix; with the one that makes
features uncorrelated and the penalised curvature alike in all directions it mostly takes 10 to 40.
"""

import threading
import warnings
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass

import numpy as np

from clipeval.errors import ParameterError

SOLVERS = ("torch", "scikit-learn")

#: largest component of the gradient in whitened variables at which L-BFGS stops. Coefficients are then
#: within 1e-6 of the largest one, as long as classes cannot be told apart without an error
GRADIENT = 1e-8

#: `tol` of scikit-learn's fits. At its default (1e-4) L-BFGS stops so early that rounding, which
#: depends on batches and the number of cores, decides 20 to 60 of 5,000 labels, and with them which
#: C looks best; at 1e-6, 0 to 2 of them, and the same C
TOLERANCE = 1e-6

_BLOCK = 2**20  # numbers of a block; many more on a GPU
#: numbers in a matrix below which it is turned as a whole, and scikit-learn is faster on one core
_SMALL = 4_000_000
_GROUP = 4  # blocks that one thread adds up
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


class Features:
    """Rows of a matrix, handed out as blocks of float64, so that no second matrix is ever made.

    Parameters
    ----------
    images : float array (n, d), which may be memory-mapped
    rows : int array (m,), ascending, which rows; None for all
    device : torch device that computes; on a GPU the matrix is copied there once
    """

    def __init__(self, images: np.ndarray, rows: np.ndarray | None = None, device="cpu"):
        import torch

        self.images, self.rows = images, np.arange(len(images)) if rows is None else rows
        # float64 is needed, and Apple's GPUs have none
        self.device = torch.device("cuda" if str(device).startswith("cuda") else "cpu")
        if str(device).startswith("cuda"):
            self.device = torch.device(device)
            self.held = torch.as_tensor(np.ascontiguousarray(images)).to(self.device)
        numbers = _BLOCK * (1 if self.device.type == "cpu" else 64)
        self.step = max(64, numbers // images.shape[1])
        self.buffers = threading.local()

    def __len__(self):
        return len(self.rows)

    def of(self, rows: np.ndarray) -> "Features":
        """Other rows of the same matrix."""
        other = object.__new__(Features)
        other.__dict__ = self.__dict__ | {"rows": rows}
        return other

    def block(self, start: int):
        """`step` rows from the start-th on, a float64 tensor that lasts until the next block of the same thread."""
        import torch

        rows = self.rows[start : start + self.step]
        if self.device.type != "cpu":
            return self.held[torch.as_tensor(rows, device=self.device)].double()
        mine = self.buffers.__dict__
        if (
            not mine
        ):  # memory that is asked for anew for every block takes longer than what is done with it
            shape = min(self.step, len(self.images)), self.images.shape[1]
            mine.update(whole=np.empty(shape), raw=np.empty(shape, self.images.dtype))
        block = mine["whole"][: len(rows)]
        if rows[-1] - rows[0] + 1 == len(rows):  # one after the other
            np.copyto(block, self.images[rows[0] : rows[-1] + 1])
        else:
            raw = mine["raw"][: len(rows)]
            np.copyto(block, np.take(self.images, rows, axis=0, out=raw, mode="clip"))
        return torch.from_numpy(block)

    def sum(self, function: Callable, pool):
        """Sum of what function(slice of rows, block) returns for every block: a tuple of tensors.

        Added up group by group, always the same, so that every bit of it is the same for any number
        of threads.
        """

        def group(starts):
            return _add(function(slice(s, s + self.step), self.block(s)) for s in starts)

        starts = range(0, len(self), self.step)
        groups = [starts[i : i + _GROUP] for i in range(0, len(starts), _GROUP)]
        return _add((pool.map if pool else map)(group, groups))


def _product(a, b):
    """a @ b; on a CPU by numpy, whose product of so few rows with many columns takes half as long."""
    import torch

    return a @ b if a.is_cuda else torch.from_numpy(a.numpy() @ b.numpy())


def _add(parts):
    total = None
    for part in parts:
        if total is None:
            total = [x.clone() for x in part]
        else:
            for mine, new in zip(total, part, strict=True):
                mine += new
    return total


@contextmanager
def threads():
    """Threads for blocks, while every product within a block has one core: a pool, or None for one thread."""
    import torch
    from threadpoolctl import threadpool_limits

    n = torch.get_num_threads()
    with threadpool_limits(1):
        torch.set_num_threads(1)
        try:
            if n == 1:
                yield None
            else:
                with ThreadPoolExecutor(n) as pool:
                    yield pool
        finally:
            torch.set_num_threads(n)


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
                total = sample.sum(lambda _, x: (x.sum(0), x.T @ x), pool)
                mean = total[0] / len(sample)
                covariance = total[1] / len(sample) - torch.outer(mean, mean)
                variances, directions = torch.linalg.eigh(covariance)
                variances = variances.clamp(min=0)
                turned = None
                if n * d < _SMALL and self.all.device.type == "cpu":
                    if step == 1:
                        vary = variances > 1e-13 * variances.max()
                        variances, directions = variances[vary], directions[:, vary]
                    centred = torch.from_numpy(self.all.images.astype(np.float64)) - mean
                    turned = Features((centred @ directions).numpy())
            self._spread = mean, variances, directions, turned
        return self._spread

    def _loss(self, features: Features, codes, coef, intercept, pool):
        """Sums over rows: cross-entropy, gradient by intercepts (free,) and coefficients (free, d)."""
        import torch

        codes = torch.as_tensor(codes, device=features.device)

        def part(rows, x):
            logits, truth = x @ coef.T + intercept, codes[rows, None]
            if self.free == 1:
                logits = torch.cat([torch.zeros_like(logits), logits], 1)
            logs = logits - torch.logsumexp(logits, 1, keepdim=True)
            away = logs.exp().scatter_add(1, truth, -torch.ones_like(logs[:, :1]))
            away = away[:, -self.free :]
            return -logs.gather(1, truth).sum(), away.sum(0), _product(away.T, x)

        return features.sum(part, pool)

    def fit(
        self, C: float, rows=None, *, solver="torch", max_iter=1000, tell=lambda iterations: None
    ) -> Fit:
        """The regression on some rows (all by default) for one C, from zero.

        Parameters
        ----------
        C : float, inverse regularisation strength, as scikit-learn has it
        rows : int array, ascending
        solver : one of SOLVERS
        max_iter : at most so many iterations
        tell : told the number of iterations after each

        Raises
        ------
        ParameterError  if C is not positive or the solver is unknown
        """
        if not C > 0:
            raise ParameterError(f"C is {C}; the inverse regularisation strength must be positive.")
        if solver not in SOLVERS:
            raise ParameterError(f"solver {solver!r} is unknown; use {' or '.join(SOLVERS)}.")
        features = self.all if rows is None else self.all.of(rows)
        how = self._by_torch if solver == "torch" else self._by_sklearn
        return how(features, self.codes[features.rows], C, max_iter, tell)

    def _by_torch(self, features, codes, C, max_iter, tell) -> Fit:
        import torch
        from scipy.optimize import minimize

        n, (mean, variances, directions, turned) = len(codes), self._whitening()
        share = np.bincount(codes, minlength=self.classes) / n
        steep = float(np.mean(share * (1 - share)))  # curvature of the loss at equal logits
        penalty = 1 / (C * n)
        scale = (steep * variances + penalty).rsqrt()
        if turned is None:
            centre, white = mean, directions * scale
        else:
            features, centre = turned.of(features.rows), torch.zeros_like(variances)

        def whitened(gradient):
            return gradient @ white if turned is None else gradient * scale

        def original(v):
            """Coefficients and intercepts of `features`."""
            v = torch.from_numpy(v).view(self.free, -1).to(features.device)
            coef = v[:, 1:] @ white.T if turned is None else v[:, 1:] * scale
            return coef, v[:, 0] / steep**0.5 - coef @ centre

        last = {}

        def loss(v, pool):
            coef, intercept = original(v)
            total, by_intercept, by_coef = self._loss(features, codes, coef, intercept, pool)
            by_intercept, by_coef = by_intercept[:, None] / n, by_coef / n + penalty * coef
            last.update(at=v.copy(), by_intercept=by_intercept, by_coef=by_coef)
            free = by_intercept / steep**0.5
            gradient = torch.cat([free, whitened(by_coef - by_intercept * centre)], 1)
            value = total / n + penalty / 2 * (coef * coef).sum()
            return value.item(), gradient.flatten().cpu().numpy()

        iterations = 0

        def after(intermediate_result):
            nonlocal iterations
            iterations += 1
            tell(iterations)

        start = np.zeros(self.free * (len(scale) + 1))
        options = {"maxcor": 20, "ftol": 0, "gtol": GRADIENT}
        options |= {"maxiter": max_iter, "maxfun": 10 * max_iter}
        how = {"jac": True, "method": "L-BFGS-B", "callback": after, "options": options}
        with threads() as pool:
            found = minimize(loss, start, args=(pool,), **how)
            if not np.array_equal(last["at"], found.x):
                loss(found.x, pool)
            coef, intercept = original(found.x)
            by_intercept, by_coef = last["by_intercept"], last["by_coef"]
            if turned is not None:
                coef = coef @ directions.T
                intercept = intercept - coef @ mean
                by_coef = by_coef @ directions.T + by_intercept * mean
        # rounding of the loss may end the search for a lower one a little earlier
        converged = bool(abs(found.jac).max() <= 100 * GRADIENT)
        norm = torch.cat([by_intercept, by_coef], 1).norm().item()
        return Fit(coef.cpu().numpy(), intercept.cpu().numpy(), iterations, norm, converged)

    def _by_sklearn(self, features, codes, C, max_iter, tell) -> Fit:
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
        coef, intercept = (
            torch.from_numpy(x).to(features.device) for x in (model.coef_, model.intercept_)
        )
        with threads() as pool:
            _, by_intercept, by_coef = self._loss(features, codes, coef, intercept, pool)
        n = len(codes)
        gradient = torch.cat([by_coef / n + coef / (C * n), by_intercept[:, None] / n], 1)
        iterations = int(model.n_iter_.max())
        return Fit(model.coef_, model.intercept_, iterations, gradient.norm().item(), converged)

    def accuracy(self, fit: Fit, rows) -> float:
        """Percent of some rows (ascending) whose best class is theirs."""
        import torch

        features = self.all.of(rows)
        codes = torch.as_tensor(self.codes[rows], device=features.device)
        coef, intercept = (
            torch.from_numpy(x).to(features.device) for x in (fit.coef, fit.intercept)
        )

        def right(part, x):
            logits = x @ coef.T + intercept
            best = logits.argmax(1) if self.free > 1 else (logits[:, 0] > 0).long()
            return ((best == codes[part]).sum()[None],)

        with threads() as pool:
            return 100 * int(features.sum(right, pool)[0]) / len(rows)
