"""Whitened L-BFGS against Newton's method in float64 and scikit-learn, on features as CLIP's are."""

import numpy as np
import pandas as pd
import pytest
from sklearn.linear_model import LogisticRegression

from clipeval.classify import blocks, logistic
from clipeval.classify.logistic import Problem
from clipeval.classify.probe import fit_probe
from clipeval.errors import ParameterError


def like_clip(n=1500, d=24, k=4, seed=0):
    """Unit rows with a strong common mean and variances that fall by four orders of magnitude; noisy labels."""
    rng = np.random.default_rng(seed)
    scale = np.geomspace(0.3, 0.003, d)
    basis = np.linalg.qr(rng.normal(size=(d, d)))[0]
    codes = rng.integers(0, k, n)
    rows = (rng.normal(size=(n, d)) + 0.7 * rng.normal(size=(k, d))[codes]) * scale
    rows = rows @ basis.T + 0.8 * basis[:, 0]
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32), codes


def newton(x, codes, C):
    """Coefficients and intercepts by Newton's method on the whole Hessian, to 1e-12."""
    x = np.hstack([x.astype(np.float64), np.ones((len(x), 1))])
    n, d1 = x.shape
    k = codes.max() + 1
    truth = np.eye(k)[codes]
    free = range(1, 2) if k == 2 else range(k)
    ridge = np.r_[np.full(d1 - 1, 1 / C), 0.0]
    w = np.zeros((k, d1))
    for _ in range(60):
        logits = x @ w.T
        p = np.exp(logits - logits.max(1, keepdims=True))
        p /= p.sum(1, keepdims=True)
        g = np.concatenate([(p - truth)[:, j] @ x + ridge * w[j] for j in free])
        blocks = [
            [
                x.T @ ((p[:, [i]] * ((i == j) - p[:, [j]])) * x) + (i == j) * np.diag(ridge)
                for j in free
            ]
            for i in free
        ]
        # the common intercept is free: the smallest step is taken
        step = np.linalg.lstsq(np.block(blocks), g, rcond=1e-14)[0].reshape(-1, d1)
        w[list(free)] -= step
        if abs(step).max() < 1e-12 * max(1, abs(w).max()):
            break
    w = w[list(free)]
    return w[:, :-1], w[:, -1]


@pytest.mark.parametrize("k", [2, 4])
@pytest.mark.parametrize("C", [1e-6, 1e-2, 1.0, 1e3, 1e6])
def test_coefficients_are_those_of_newtons_method(k, C):
    x, codes = like_clip(k=k)
    fit = Problem(x, codes, k).fits([C])[0]
    coef, intercept = newton(x, codes, C)
    assert fit.converged and fit.coef.shape == coef.shape
    np.testing.assert_allclose(fit.coef, coef, rtol=0, atol=1e-5 * abs(coef).max())
    np.testing.assert_allclose(fit.intercept, intercept, rtol=0, atol=1e-5 * abs(coef).max() + 1e-6)


@pytest.mark.parametrize("k", [2, 4])
@pytest.mark.parametrize("rank", [0, 1, 5])
def test_features_of_fewer_directions_than_columns(k, rank):
    """Columns that are sums of others, and images that are all alike: what a collapsed model gives."""
    x, codes = like_clip(n=300, d=8, k=k)
    x = x.astype(np.float64)
    x = np.hstack([x[:, :rank], x[:, :rank] @ np.ones((rank, 3)), np.full((300, 2), 0.5)])
    fit = Problem(x, codes, k).fits([1.0])[0]
    coef, intercept = newton(x, codes, 1.0)
    np.testing.assert_allclose(fit.coef, coef, rtol=0, atol=1e-5)
    np.testing.assert_allclose(fit.intercept, intercept, rtol=0, atol=1e-5)


@pytest.mark.parametrize("k", [2, 4])
def test_values_of_C_that_are_fitted_together_get_what_each_gets_alone(k):
    x, codes = like_clip(k=k)
    problem, values = Problem(x, codes, k), [1e-6, 1e-2, 1.0, 1e3, 1e6]
    left = []
    fits = problem.fits(values, tell=lambda values, n: left.append(len(values)))
    assert left == sorted(left, reverse=True) and left[-1] == 0
    for C, fit in zip(values, fits, strict=True):
        coef, intercept = newton(x, codes, C)
        np.testing.assert_allclose(fit.coef, coef, rtol=0, atol=1e-5 * abs(coef).max())
        assert fit.gradient < 1e-7 and fit.converged
    by_hand = [
        100 * np.mean(logits.argmax(1) == codes)
        if k > 2
        else 100 * np.mean((logits[:, 0] > 0) == codes)
        for logits in (x.astype(float) @ fit.coef.T + fit.intercept for fit in fits)
    ]
    assert problem.accuracies(fits, np.arange(len(x))) == pytest.approx(by_hand)


@pytest.mark.parametrize("solver", logistic.SOLVERS)
def test_the_gradient_on_record_is_that_of_the_loss(solver):
    """By differences of the loss, at a fit that was stopped long before the optimum."""
    x, codes = like_clip(n=300, d=6)
    C, n = 10.0, 300
    fit = Problem(x, codes, 4).fits([C], solver=solver, max_iter=2)[0]

    def loss(w):
        w = w.reshape(4, 7)
        logits = x.astype(np.float64) @ w[:, :-1].T + w[:, -1]
        logs = logits - np.log(np.exp(logits).sum(1, keepdims=True))
        return -logs[np.arange(n), codes].mean() + (w[:, :-1] ** 2).sum() / (2 * C * n)

    at = np.hstack([fit.coef, fit.intercept[:, None]]).ravel()
    steps = 1e-6 * np.eye(len(at))
    slope = [(loss(at + s) - loss(at - s)) / 2e-6 for s in steps]
    assert fit.gradient == pytest.approx(np.linalg.norm(slope), rel=1e-5)
    assert not fit.converged and fit.iterations == 2


def test_every_bit_is_the_same_for_any_number_of_threads(monkeypatch):
    import torch

    x, codes = like_clip(n=600, d=8)
    monkeypatch.setattr(blocks, "_GROUP", 2)
    monkeypatch.setattr(blocks, "_BLOCK", 64)  # nine blocks, five groups
    before, found = torch.get_num_threads(), []
    try:
        for n in (1, 2, 4):
            torch.set_num_threads(n)
            probe = fit_probe(x, codes.astype(str), grid=[1.0, 100.0], refine=0)
            found.append((probe.fit.coef.tobytes(), probe.validation.to_csv()))
            assert torch.get_num_threads() == n
    finally:
        torch.set_num_threads(before)
    assert len(set(found)) == 1


def test_blocks_rows_and_files_do_not_change_a_fit(monkeypatch, tmp_path):
    """A memory-mapped float16 matrix, in blocks, on some rows; scikit-learn has these rows in memory."""
    x, codes = like_clip()
    x = x.astype(np.float16)
    np.save(tmp_path / "x.npy", x)
    mapped = np.load(tmp_path / "x.npy", mmap_mode="r")
    rows = np.sort(np.random.default_rng(0).permutation(len(x))[:900])
    whole = Problem(x[rows], codes[rows], 4).fits([1.0])[0]
    monkeypatch.setattr(blocks, "_BLOCK", 64)
    part = Problem(mapped, codes, 4)
    [fit] = part.fits([1.0], rows)
    np.testing.assert_allclose(fit.coef, whole.coef, rtol=0, atol=1e-6)
    model = LogisticRegression(C=1.0, tol=1e-10, max_iter=5000)
    model.fit(x[rows].astype(np.float64), codes[rows])
    np.testing.assert_allclose(fit.coef, model.coef_, rtol=0, atol=1e-4)
    others = np.setdiff1d(np.arange(len(x)), rows)
    by_hand = 100 * model.score(x[others].astype(np.float64), codes[others])
    assert part.accuracies([fit], others)[0] == pytest.approx(by_hand, abs=0.2)


def test_scikit_learn_is_a_choice():
    x, codes = like_clip()
    names = codes.astype(str)
    ours, theirs = (fit_probe(x, names, C=10.0, solver=solver) for solver in logistic.SOLVERS)
    assert (ours.solver, theirs.solver) == ("torch", "scikit-learn")
    by_hand = LogisticRegression(C=10.0, tol=1e-6, max_iter=1000).fit(x.astype(float), names)
    assert np.array_equal(theirs.fit.coef, by_hand.coef_)
    np.testing.assert_allclose(ours.fit.coef, theirs.fit.coef, rtol=0, atol=1e-2)
    assert ours.fit.gradient < theirs.fit.gradient < 1e-5
    with pytest.raises(ParameterError, match="use torch or scikit-learn"):
        fit_probe(x, names, C=1.0, solver="newton")


def test_a_search_that_was_stopped_goes_on_and_ends_alike():
    x, codes = like_clip()
    names, kept, asked = codes.astype(str), {}, []

    def keep(what, compute, stop=None):
        name = repr(sorted(what.items()))
        if name not in kept:
            if len(kept) == stop:
                raise KeyboardInterrupt
            asked.extend(what["C"])
            kept[name] = compute()
        return kept[name]

    with pytest.raises(KeyboardInterrupt):
        fit_probe(x, names, keep=lambda what, compute: keep(what, compute, stop=1))
    first = list(asked)
    probe = fit_probe(x, names, keep=keep)
    assert len(first) == 7 and len(asked) == len(set(asked)) == len(probe.validation)
    whole = fit_probe(x, names)
    pd.testing.assert_frame_equal(probe.validation, whole.validation)
    assert np.array_equal(probe.fit.coef, whole.fit.coef)


def test_progress_says_how_many_fits_are_left(capsys):
    x, codes = like_clip(n=200, d=6)
    fit_probe(x, codes.astype(str), progress="linear probe, race")
    said = capsys.readouterr().err
    assert (
        "linear probe, race: 100%" in said
        and "/12 [" in said
        and "7 values of C, iteration" in said
    )
    fit_probe(x, codes.astype(str))
    assert capsys.readouterr().err == ""
