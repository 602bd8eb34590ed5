"""How long all demo reports take with a warm store, beside as many notebooks that do next to nothing.

A bare notebook imports clipeval, pandas and matplotlib and draws one figure. As many of them as there
are studies are run by papermill, as many at once as there are cores; then `clipeval run` regenerates
all reports of the demo profile, pages and index included. The two are run in turn, and the median of
their ratios is printed: it shall be at most 1.5.

Seconds of all cores are those of every process that either side starts, the one that studies are forked
from included (on Linux). With --json what was measured is written into FILE.

    python benchmarks/warm_reports.py [--rounds 5] [--json FILE]
"""

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import nbformat
from nbformat.v4 import new_code_cell, new_notebook

from clipeval.studies import STUDIES

BARE = """import clipeval
import matplotlib
import pandas
import matplotlib.pyplot as plt

figure, axes = plt.subplots()
axes.plot([1, 2, 3])
figure"""


# Runs a command and outlives what it leaves to end by itself, so that the time of that is counted too (Linux).
COUNTED = """import ctypes, os, subprocess, sys
if sys.platform == "linux":
    ctypes.CDLL(None).prctl(36, 1, 0, 0, 0)  # PR_SET_CHILD_SUBREAPER
code = subprocess.run(sys.argv[1:]).returncode
try:
    while True:
        os.wait()
except ChildProcessError:
    sys.exit(code)
"""


def bare(source: Path, target: Path) -> None:
    """Run one notebook by papermill, in the way of anyone who runs many."""
    import logging

    import papermill

    logging.disable(logging.WARNING)
    papermill.execute_notebook(source, target, progress_bar=False, log_output=False)


def run_bare(folder: Path) -> None:
    """All bare notebooks, one a core at once."""
    notebook = new_notebook(cells=[new_code_cell(BARE)])
    notebook.metadata["kernelspec"] = {
        "name": "python3",
        "display_name": "Python 3",
        "language": "python",
    }
    nbformat.write(notebook, folder / "bare.ipynb")
    with ProcessPoolExecutor(os.cpu_count()) as pool:
        jobs = [
            pool.submit(bare, folder / "bare.ipynb", folder / f"bare-{i}.ipynb")
            for i in range(len(STUDIES))
        ]
        for job in jobs:
            job.result()


def run_reports(folder: Path) -> None:
    """All demo reports, as a user regenerates them."""
    command = [
        sys.executable,
        "-c",
        COUNTED,
        sys.executable,
        "-m",
        "clipeval",
        "run",
        "--profile",
        "demo",
        "--out",
        str(folder / "demo"),
    ]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        sys.exit(done.stderr)


def timed(function, argument) -> tuple[float, float]:
    """Seconds by the clock and of all cores that the processes a function starts take."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    began = time.perf_counter()
    function(argument)
    spent = time.perf_counter() - began
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return spent, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def main() -> None:
    """Print each round and the median ratio."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--json", default="")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for _ in range(2):  # fills the store, then the disk's cache
            run_reports(folder)
        found = []
        for i in range(given.rounds):
            (plain, plain_cpu), (reports, reports_cpu) = (
                timed(f, folder) for f in (run_bare, run_reports)
            )
            row = {
                "bare": plain,
                "bare_cpu": plain_cpu,
                "reports": reports,
                "reports_cpu": reports_cpu,
            }
            row |= {"ratio": reports / plain, "ratio_cpu": reports_cpu / plain_cpu}
            found.append({name: round(value, 3) for name, value in row.items()})
            print(
                f"round {i + 1}: {len(STUDIES)} bare notebooks {plain:.1f} s ({plain_cpu:.1f} s of all cores), "
                f"{len(STUDIES)} reports {reports:.1f} s ({reports_cpu:.1f}), "
                f"ratio {row['ratio']:.2f} ({row['ratio_cpu']:.2f})",
                flush=True,
            )
    ratios, of_cpu = ([row[name] for row in found] for name in ("ratio", "ratio_cpu"))
    print(
        f"median ratio {statistics.median(ratios):.2f} (at most 1.5), "
        f"of all cores {statistics.median(of_cpu):.2f}"
    )
    if given.json:
        about = {"studies": len(STUDIES), "cores": os.cpu_count(), "rounds": found}
        about |= {"ratio": statistics.median(ratios), "ratio_cpu": statistics.median(of_cpu)}
        Path(given.json).write_text(json.dumps(about, indent=2) + "\n")


if __name__ == "__main__":
    main()
