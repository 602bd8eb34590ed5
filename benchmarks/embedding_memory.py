"""Peak memory of embedding many images: 50,000 must take no more than 5,000 take.

    python benchmarks/embedding_memory.py [--few 5000] [--many 50000]

Each run is a process of its own that embeds generated photos with a model of a few numpy lines,
into a store; the images are distinct rows of one parquet file, so that no disk fills up. What is
printed is the peak resident memory of the process and of its largest worker. The result itself
(64 numbers an image), its keys and its ids grow with the table and are printed beside the peaks.
"""

import argparse
import io
import json
import resource
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import pandas as pd


class TinyModel:
    """Averages over a 4 x 5 grid, padded to 64 numbers."""

    device = "cpu"

    @staticmethod
    def preprocess(image):
        return np.asarray(image.resize((64, 64)), dtype=np.float32) / 255 + 0.01

    def encode_images(self, pixels, features="projected"):
        return pixels.reshape(len(pixels), 64, -1).mean(axis=2)


def generate(file: str, n: int):
    """Write n small photos into a parquet file of the hub's layout, a thousand at a time."""
    import pyarrow as pa
    import pyarrow.parquet as pq
    from PIL import Image

    noise, writer = np.random.default_rng(0), None
    for start in range(0, n, 1000):
        column = []
        for _ in range(min(1000, n - start)):
            buffer = io.BytesIO()
            pixels = noise.integers(0, 256, (8, 8, 3), dtype=np.uint8)
            Image.fromarray(pixels).resize((64, 64)).save(buffer, "JPEG")
            column.append({"bytes": buffer.getvalue(), "path": None})
        table = pa.table({"image": column})
        writer = writer or pq.ParquetWriter(file, table.schema)
        writer.write_table(table)
    writer.close()


def embed(file: str, n: int, workers: int):
    """Embed the first n rows; prints one JSON line of megabytes."""
    from dataclasses import make_dataclass

    from clipeval.embedding.embed import embed_images
    from clipeval.embedding.store import Store

    info = make_dataclass("Info", ["fingerprint"])("f6" * 32)
    images = pd.DataFrame(
        {"image_id": [f"{i:06}" for i in range(n)], "file": file, "row": pd.array(range(n))}
    )
    with tempfile.TemporaryDirectory() as root:
        found = embed_images(
            images,
            info=info,
            get_model=TinyModel,
            store=Store(root),
            workers=workers,
            progress=False,
        )
    assert found.encoded == len(found) == n
    peaks = [resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN]
    process, worker = (resource.getrusage(who).ru_maxrss / 1024 for who in peaks)
    print(json.dumps({"process": process, "worker": worker, "matrix": found.matrix.nbytes / 2**20}))


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--few", type=int, default=5_000)
    parser.add_argument("--many", type=int, default=50_000)
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--one", nargs=2, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.one:
        return embed(arguments.one[0], int(arguments.one[1]), arguments.workers)
    with tempfile.TemporaryDirectory() as folder:
        file, peak = str(Path(folder, "photos.parquet")), {}
        generate(file, arguments.many)
        for n in (arguments.few, arguments.many):
            command = [sys.executable, __file__, "--one", file, str(n)]
            command += ["--workers", str(arguments.workers)]
            said = subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout
            peak[n] = json.loads(said.splitlines()[-1])
            print(
                f"{n:7,} images: peak {peak[n]['process']:.0f} MiB, worker "
                f"{peak[n]['worker']:.0f} MiB, of which the result {peak[n]['matrix']:.1f} MiB",
                flush=True,
            )
    few, many = peak[arguments.few], peak[arguments.many]
    for who in ("process", "worker"):
        print(f"{who}: {many[who] / few[who]:.3f} times the peak memory")


if __name__ == "__main__":
    main()
