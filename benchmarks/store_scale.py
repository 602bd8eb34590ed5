"""A store of millions of embeddings: written, opened, checked, classified and put before a probe, a part at a time.

    python benchmarks/store_scale.py [--rows 1000000] [--dims 64] [--json FILE] [--folder DIR]

Rows are generated unit vectors around ten directions, stored as the product stores them (float16, 1,024 rows a
shard, each synced to disk). Every step is a process of its own, whose seconds and peak resident memory are
printed; `nothing` is such a process that imports the package and reads one shard, and `plain` one that reads them all
by pyarrow alone, with nothing checked. Zero-shot answers are held against numpy's on the vectors as they were
generated. The target is a peak that does not grow with the number of rows, but for 8 bytes a row that tell which are
stored twice, and for the matrix that is mapped into memory for the probe.
"""

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from dataclasses import make_dataclass
from pathlib import Path

import numpy as np
import pandas as pd

SHARD, CLASSES, KIND = 1024, 10, "images-projected-float16"


def info(dims: int):
    about = {"fingerprint": "5c" * 32, "model": "generated", "pretrained": "", "precision": "fp32"}
    about |= {"embed_dim": dims, "logit_scale": 100.0, "logit_bias": None, "score": "softmax"}
    return make_dataclass("Info", list(about))(**about)


def centres(dims: int) -> np.ndarray:
    rows = np.random.default_rng(0).normal(size=(CLASSES, dims)).astype(np.float32)
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def generate(shard: int, size: int, dims: int) -> tuple[np.ndarray, np.ndarray]:
    """Which of the directions each row is nearest to by construction, and the rows (size, dims) float16."""
    rng = np.random.default_rng([1, shard])
    codes = rng.integers(0, CLASSES, size)
    rows = centres(dims)[codes] + rng.normal(size=(size, dims)).astype(np.float32) / dims**0.5
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    return codes, rows.astype(np.float16)


def shards(n: int):
    return [(i, min(SHARD, n - i * SHARD)) for i in range(-(-n // SHARD))]


def shelf(folder: str, dims: int):
    from clipeval.embedding.store import Store

    return Store(folder).shelf(info(dims), KIND)


def write(folder, n, dims) -> dict:
    from clipeval.embedding.store import COLUMNS
    from clipeval.files import sha256

    into = shelf(folder, dims)
    for shard, size in shards(n):
        at = range(shard * SHARD, shard * SHARD + size)
        table = pd.DataFrame({"key": [sha256(str(i)) for i in at]}, columns=COLUMNS, dtype=object)
        table["sha256"], table["image_id"] = table["key"], [f"{i:012}" for i in at]
        table["notes"] = ""
        into.write(table, generate(shard, size, dims)[1])
    files = list(into.folder.glob("*.parquet"))
    return {"shards": len(files), "bytes": sum(path.stat().st_size for path in files)}


def nothing(folder, n, dims) -> dict:
    from clipeval.files import sha256

    return {"rows": sum(len(rows) for _, rows, _ in shelf(folder, dims).read([sha256("0")]))}


def check(folder, n, dims) -> dict:
    """Every row read once and held against its shard's checksum."""
    rows = sum(len(rows) for rows, _ in shelf(folder, dims).blocks())
    assert rows == n, (rows, n)
    return {"rows": rows}


def plain(folder, n, dims) -> dict:
    """The same files read by pyarrow alone, one after the other, with nothing checked."""
    import pyarrow.parquet as pq

    files = sorted(shelf(folder, dims).folder.glob("*.parquet"))
    return {"rows": sum(pq.read_table(file).num_rows for file in files)}


def zero_shot(folder, n, dims) -> dict:
    """The top one of ten classes for each row; every answer is compared with numpy's."""
    from clipeval.classify.zeroshot import rank_classes
    from clipeval.embedding.rows import unit_rows

    counts, differ, at = np.zeros(CLASSES, np.int64), 0, iter(shards(n))
    for _, matrix in shelf(folder, dims).blocks(16 * SHARD):
        best, _ = rank_classes(unit_rows(matrix), centres(dims), info(dims), top=1)
        counts += np.bincount(best[:, 0], minlength=CLASSES)
        while len(best):
            shard, size = next(at)
            rows = generate(shard, size, dims)[1].astype(np.float64)
            rows /= np.linalg.norm(rows, axis=1, keepdims=True)
            differ += int((best[:size, 0] != (rows @ centres(dims).T).argmax(axis=1)).sum())
            best = best[size:]
    return {"answers": int(counts.sum()), "differ_from_numpy": differ}


def probe(folder, n, dims) -> dict:
    """The rows in a file that is mapped into memory, and one fit of a probe on them."""
    from clipeval.classify.probe import fit_probe

    with tempfile.TemporaryDirectory(dir=folder) as into:
        rows = np.lib.format.open_memmap(f"{into}/rows.npy", "w+", np.float16, (n, dims))
        at = 0
        for _, matrix in shelf(folder, dims).blocks():
            rows[at : at + len(matrix)] = matrix
            at += len(matrix)
        rows.flush()
        del rows
        rows = np.load(f"{into}/rows.npy", mmap_mode="r")
        labels = np.concatenate([generate(i, size, dims)[0] for i, size in shards(n)])
        names = np.array([f"c{code}" for code in range(CLASSES)])
        began = time.perf_counter()
        found = fit_probe(rows, names[labels], C=1.0)
        seconds = time.perf_counter() - began
        right = found.accuracy(rows[: 10 * SHARD], names[labels[: 10 * SHARD]])
    return {"fit_seconds": seconds, "iterations": found.fit.iterations, "accuracy": right}


STEPS = {f.__name__: f for f in (write, nothing, check, plain, zero_shot, probe)}


def one(step: str, folder: str, n: int, dims: int) -> None:
    import clipeval.classify.zeroshot  # noqa: F401  # every step imports the same

    began, cpu = time.perf_counter(), time.process_time()
    found = STEPS[step](folder, n, dims)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    spent = {"seconds": time.perf_counter() - began, "cpu_seconds": time.process_time() - cpu}
    print(json.dumps(spent | {"peak_mib": peak} | found))


def measure(n: int, dims: int, folder: str, steps) -> dict:
    found = {}
    for step in steps:
        command = [sys.executable, __file__, "--one", step, folder, str(n), str(dims)]
        said = subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout
        found[step] = json.loads(said.splitlines()[-1])
        more = {k: v for k, v in found[step].items() if k not in ("seconds", "peak_mib")}
        print(
            f"{n:12,} rows, {step:9} {found[step]['seconds']:7.1f} s, "
            f"peak {found[step]['peak_mib']:6.0f} MiB  {more}",
            flush=True,
        )
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--dims", type=int, default=64)
    parser.add_argument("--folder", default="")
    parser.add_argument("--json", default="")
    parser.add_argument("--steps", default=",".join(STEPS))
    parser.add_argument("--one", nargs=4, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.one:
        step, folder, n, dims = given.one
        return one(step, folder, int(n), int(dims))
    with tempfile.TemporaryDirectory(dir=given.folder or None) as made:
        folder = given.folder or made
        found = measure(given.rows, given.dims, folder, given.steps.split(","))
    if given.json:
        path = Path(given.json)
        before = json.loads(path.read_text()) if path.exists() else {}
        held = before.get(f"{given.rows}", {}) | found
        path.write_text(json.dumps(before | {f"{given.rows}": held}, indent=2) + "\n")


if __name__ == "__main__":
    main()
