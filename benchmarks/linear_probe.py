"""How long a linear probe takes at FairFace's true size, and at a quarter of it beside a cold scikit-learn sweep.

Features are generated as CLIP's are: unit rows with a strong common mean and variances that fall by four orders
of magnitude; 7 classes, 15 % of the labels drawn at random. The full choice of C (11 values, coarse to fine, and
the final fit) is timed at 86,744 x 768 in a process of its own. At a quarter of the size the same choice is timed
three times, one before and two after scikit-learn's LogisticRegression (`solver=scikit-learn`) from zero at the
same values of C, which takes minutes and runs once. As scikit-learn stops before it has converged, coefficients are
also held against Newton's method with the whole Hessian (5,383 unknowns) in float64, on 8,000 images.

    python benchmarks/linear_probe.py [--images 86744] [--json FILE] [--parts full,quarter,newton]

With --json the parts that were measured are written into FILE beside those measured before.
"""

import argparse
import json
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

D, CLASSES, ROUNDS = 768, 7, 3
SPREAD = np.arange(1, D + 1) ** -0.7
SPREAD *= 0.6 / np.linalg.norm(SPREAD)


def generate(n: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Features (n, 768) float32 and labels (n,) str; the same classes whatever the seed."""
    rng, world = np.random.default_rng(seed), np.random.default_rng(99)
    basis = np.linalg.qr(world.normal(size=(D, D)))[0]
    centres = 0.5 * world.normal(size=(CLASSES, D)) * SPREAD
    codes = rng.integers(0, CLASSES, n)
    rows = np.empty((n, D), np.float32)
    for part in np.array_split(np.arange(n), max(1, n // 4096)):
        x = rng.normal(size=(len(part), D)) * SPREAD + centres[codes[part]]
        x = x @ basis.T + 0.8 * basis[:, -1]
        rows[part] = x / np.linalg.norm(x, axis=1, keepdims=True)
    wrong = rng.random(n) < 0.15
    codes[wrong] = rng.integers(0, CLASSES, wrong.sum())
    return rows, np.array([f"class {code}" for code in range(CLASSES)])[codes]


def choose(n: int, solver: str) -> dict:
    """The full choice of C on n images: seconds, peak memory, what was chosen."""
    from clipeval.classify.probe import fit_probe

    x, labels = generate(n, 0)
    test, truth = generate(10_000, 1)
    began, cpu = time.perf_counter(), time.process_time()
    probe = fit_probe(x, labels, solver=solver, progress=f"{n:,} images, {solver}")
    spent, cpu = time.perf_counter() - began, time.process_time() - cpu
    np.save(f"{Path(sys.argv[-1])}-{solver}.npy", probe.fit.coef)
    import torch

    return {
        "images": n,
        "solver": solver,
        "threads": torch.get_num_threads(),
        "seconds": spent,
        "cpu_seconds": cpu,
        "peak_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
        "features_mib": x.nbytes / 2**20,
        "C": probe.C,
        "accuracy": probe.accuracy(test, truth),
        "iterations": int(probe.validation["iterations"].sum() + probe.fit.iterations),
        "largest_gradient": float(max(probe.validation["gradient"].max(), probe.fit.gradient)),
        "not_converged": int((~probe.validation["converged"]).sum()),
        "labels": probe.predict(range(len(test)), test, task="")["label"].astype(str).tolist(),
    }


def run(n: int, solver: str, folder: str) -> dict:
    """`choose` in a process of its own."""
    command = [sys.executable, __file__, "--one", str(n), solver, str(Path(folder, str(n)))]
    said = subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout
    return json.loads(said.splitlines()[-1])


def main() -> None:
    """Print and keep the times."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--images", type=int, default=86_744)
    parser.add_argument("--json", default="")
    parser.add_argument("--parts", default="full,quarter,newton")
    parser.add_argument("--one", nargs=3, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.one:
        return print(json.dumps(choose(int(given.one[0]), given.one[1])))
    found = {}
    with tempfile.TemporaryDirectory() as folder:
        if "full" in given.parts:
            found["full"] = run(given.images, "torch", folder)
            del found["full"]["labels"]
            say(found["full"])
        if "quarter" in given.parts:
            found["quarter"] = beside_sklearn(given.images // 4, folder)
        if "newton" in given.parts:
            found["newton"] = beside_newton(min(8_000, given.images))
    if given.json:
        path = Path(given.json)
        before = json.loads(path.read_text()) if path.exists() else {}
        path.write_text(json.dumps(before | found, indent=2) + "\n")


def beside_sklearn(n: int, folder: str) -> dict:
    """The same choice of C by both solvers; ratios are those of each of our runs, lowest first."""
    solvers = ["torch", "scikit-learn"] + ["torch"] * (ROUNDS - 1)
    runs = []
    for solver in solvers:
        runs.append(run(n, solver, folder))
        say(runs[-1])
    theirs = runs.pop(1)
    labels = [one.pop("labels") for one in (*runs, theirs)]
    coefs = [np.load(Path(folder, f"{n}-{solver}.npy")) for solver in ("torch", "scikit-learn")]
    found = {"torch": runs, "scikit-learn": theirs}
    found |= {
        "ratio": sorted(theirs["seconds"] / one["seconds"] for one in runs),
        "cpu_ratio": sorted(theirs["cpu_seconds"] / one["cpu_seconds"] for one in runs),
        "labels_that_differ": sum(a != b for a, b in zip(labels[0], labels[-1], strict=True)),
        "coefficients_differ_by": float(abs(coefs[0] - coefs[1]).max() / abs(coefs[1]).max()),
    }
    clock, cpu = (
        f"{statistics.median(found[name]):.1f} ({found[name][0]:.1f} to {found[name][-1]:.1f})"
        for name in ("ratio", "cpu_ratio")
    )
    print(
        f"scikit-learn takes {clock} times as long (by processor time {cpu}); "
        f"{found['labels_that_differ']} of 10,000 labels differ, coefficients by at most "
        f"{found['coefficients_differ_by']:.1e} of the largest"
    )
    return found


def beside_newton(n: int, C: float = 1.0) -> dict:
    """How far a fit at one C is from the optimum, by Newton's method from where the fit ended."""
    from clipeval.classify.logistic import Problem

    x, labels = generate(n, 0)
    names, codes = np.unique(labels, return_inverse=True)
    fit = Problem(x, codes, len(names)).fits([C])[0]
    x = np.hstack([x.astype(np.float64), np.ones((n, 1))])
    free = len(names) * (D + 1)
    ridge = np.append(np.full(D, 1 / (C * n)), 0.0)
    w = np.column_stack([fit.coef, fit.intercept])
    norms = []
    while not norms or (norms[-1] > 1e-13 and len(norms) < 6):
        p = np.exp(x @ w.T)
        p /= p.sum(axis=1, keepdims=True)
        gradient = (p - np.eye(len(names))[codes]).T @ x / n + ridge * w
        norms.append(float(np.linalg.norm(gradient)))
        hessian = np.empty((len(names), D + 1, len(names), D + 1))
        for a in range(len(names)):
            for b in range(a + 1):
                part = x.T @ (x * (p[:, [a]] * ((a == b) - p[:, [b]]))) / n
                hessian[a, :, b] = part + (a == b) * np.diag(ridge)
                hessian[b, :, a] = hessian[a, :, b]
        # a constant for all intercepts changes nothing; so that there is one answer, it is held
        hessian[:, -1, :, -1] += 1.0
        step = np.linalg.solve(hessian.reshape(free, free), gradient.ravel())
        w = w - step.reshape(w.shape)
    apart = float(abs(fit.coef - w[:, :-1]).max() / abs(w[:, :-1]).max())
    print(
        f"{n:,} images, C = {C:g}: coefficients differ from Newton's by at most {apart:.1e} of the largest; "
        f"norms of the gradient: the fit {fit.gradient:.1e}, Newton's steps {', '.join(f'{v:.1e}' for v in norms)}"
    )
    return {"images": n, "C": C, "coefficients_differ_by": apart, "gradient_norms": norms}


def say(one: dict) -> None:
    print(
        f"{one['images']:,} images, {one['solver']}: {one['seconds']:.1f} s ({one['cpu_seconds']:.1f} s of "
        f"all cores), peak {one['peak_mib']:.0f} MiB, C = {one['C']:g}, {one['iterations']} iterations, accuracy "
        f"{one['accuracy']:.2f} %, largest gradient {one['largest_gradient']:.1e}, {one['not_converged']} stopped",
        flush=True,
    )


if __name__ == "__main__":
    main()
