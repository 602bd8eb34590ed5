"""Whole runs over answers made elsewhere, at two sizes: labels and scores read, tables, figures, reports.

Images are generated (groups drawn at random, a normal cosine for each class of four class sets), so that
neither photographs nor a model are needed. The smaller size says what a run takes whatever its size.

    python benchmarks/answers_run.py [--few 10000] [--many 100000] [--json FILE]
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pandas as pd

from clipeval.classify import load_class_set
from clipeval.datasets.fairface import AGES, GENDERS, RACES

STUDIES = ("fairface", "denigration", "class_design", "retrieval", "mitigation")
CLASS_SETS = ("fairface", "denigration", "class_candidates", "berg2022")


def generate(folder: Path, n: int) -> None:
    """Label file and cosines of n images."""
    rng = np.random.default_rng(0)
    files = [f"val/{i}.jpg" for i in range(n)]
    groups = {"age": AGES, "gender": GENDERS, "race": RACES}
    labels = {name: rng.choice(values, n) for name, values in groups.items()}
    pd.DataFrame({"file": files, **labels, "service_test": True}).to_csv(
        folder / "labels.csv", index=False
    )
    classes = [
        text
        for name in CLASS_SETS
        for task in load_class_set(name).tasks.values()
        for text in task.values()
    ]
    cosines = {text: rng.normal(0.2, 0.03, n).astype(np.float32) for text in classes}
    pd.DataFrame({"image_id": files, **cosines}).to_parquet(folder / "cosines.parquet")


def seconds(study: str, folder: Path, out: Path) -> float:
    """Seconds by the clock of `clipeval run` of one study."""
    given = {"dataset": "fairface", "data": folder / "labels.csv", "padding": "1.25"}
    given |= {"scores": folder / "cosines.parquet", "scores_are": "cosine", "model": "generated"}
    said = [word for name, value in given.items() for word in ("-p", f"{name}={value}")]
    if study == "fairface":
        said += ["-p", "methods=zero-shot"]  # a linear probe needs vectors
    command = [sys.executable, "-m", "clipeval", "run", study, "--quiet", *said, "--out", str(out)]
    began = time.perf_counter()
    subprocess.run(command, check=True)
    return time.perf_counter() - began


def main() -> None:
    """Run each study at both sizes."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--few", type=int, default=10_000)
    parser.add_argument("--many", type=int, default=100_000)
    parser.add_argument("--json", default="")
    given = parser.parse_args()
    found = {}
    for n in (given.few, given.many):
        with tempfile.TemporaryDirectory() as folder:
            generate(Path(folder), n)
            took = {study: seconds(study, Path(folder), Path(folder, "run")) for study in STUDIES}
        found[str(n)] = took
        said = ", ".join(f"{study} {s:.1f}" for study, s in took.items())
        print(f"{n:,} images, seconds of a run: {said}", flush=True)
    if given.json:
        Path(given.json).write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
