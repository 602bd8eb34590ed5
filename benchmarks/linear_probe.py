"""How long a linear probe takes at FairFace's true size, and at a quarter of it beside a cold scikit-learn sweep.

Features are generated as CLIP's are: unit rows with a strong common mean and variances that fall by four orders
of magnitude; 7 classes, 15 % of the labels drawn at random. The full choice of C (11 values, coarse to fine, and
the final fit) is timed at 86,744 x 768 in a process of its own. At a quarter of the size the same choice is timed
beside scikit-learn's LogisticRegression (`solver=scikit-learn`) from zero at the same values of C, in one run.

    python benchmarks/linear_probe.py [--images 86744] [--json FILE] [--parts full,quarter]

With --json the parts that were measured are written into FILE beside those measured before.
"""

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

D, CLASSES = 768, 7
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
    parser.add_argument("--parts", default="full,quarter")
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
    if given.json:
        path = Path(given.json)
        before = json.loads(path.read_text()) if path.exists() else {}
        path.write_text(json.dumps(before | found, indent=2) + "\n")


def beside_sklearn(n: int, folder: str) -> dict:
    """The same choice of C by both solvers."""
    runs = {solver: run(n, solver, folder) for solver in ("torch", "scikit-learn")}
    for one in runs.values():
        say(one)
    ours, theirs = runs.values()
    labels = [one.pop("labels") for one in runs.values()]
    coefs = [np.load(Path(folder, f"{n}-{solver}.npy")) for solver in runs]
    found = runs | {
        "ratio": theirs["seconds"] / ours["seconds"],
        "cpu_ratio": theirs["cpu_seconds"] / ours["cpu_seconds"],
        "labels_that_differ": sum(a != b for a, b in zip(*labels, strict=True)),
        "coefficients_differ_by": float(abs(coefs[0] - coefs[1]).max() / abs(coefs[1]).max()),
    }
    print(
        f"scikit-learn takes {found['ratio']:.1f} times as long (by processor time {found['cpu_ratio']:.1f}); "
        f"{found['labels_that_differ']} of 10,000 labels differ, coefficients by at most "
        f"{found['coefficients_differ_by']:.1e} of the largest"
    )
    return found


def say(one: dict) -> None:
    print(
        f"{one['images']:,} images, {one['solver']}: {one['seconds']:.1f} s ({one['cpu_seconds']:.1f} s of "
        f"all cores), peak {one['peak_mib']:.0f} MiB, C = {one['C']:g}, {one['iterations']} iterations, accuracy "
        f"{one['accuracy']:.2f} %, largest gradient {one['largest_gradient']:.1e}, {one['not_converged']} stopped",
        flush=True,
    )


if __name__ == "__main__":
    main()
