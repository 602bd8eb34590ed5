"""Peak memory of embedding many images: 100,000 must take at most 100 MiB more than 10,000.

    python benchmarks/embedding_memory.py [--few 10000] [--many 100000] [--json FILE]

Each run is a process of its own that embeds generated photos with a model of a few numpy lines,
into a store; the images are distinct rows of one parquet file, so that no disk fills up. What is
printed is the peak resident memory of the process and of its largest worker: of `embed_images`, which
returns a matrix (64 numbers an image, printed beside the peak), and of `embed_part`, which fills the store
alone (512 numbers an image, as ViT-B/32 gives).
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
    """Averages over parts of the picture, repeated to as many numbers as asked for."""

    device = "cpu"

    def __init__(self, width: int = 64):
        self.width = width

    @staticmethod
    def preprocess(image):
        return np.asarray(image.resize((64, 64)), dtype=np.float32) / 255 + 0.01

    def encode_images(self, pixels, features="projected"):
        return np.tile(pixels.reshape(len(pixels), 64, -1).mean(axis=2), self.width // 64)


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


def embed(file: str, n: int, what: str, workers: int):
    """Embed the first n rows; prints one JSON line of megabytes."""
    from dataclasses import make_dataclass

    from clipeval.embedding.embed import embed_images, embed_part
    from clipeval.embedding.store import Store

    info = make_dataclass("Info", ["fingerprint"])("f6" * 32)
    images = pd.DataFrame(
        {"image_id": [f"{i:06}" for i in range(n)], "file": file, "row": pd.array(range(n))}
    )
    with tempfile.TemporaryDirectory() as root:
        how = {"info": info, "store": Store(root), "workers": workers, "progress": False}
        if what == "embed_images":
            found = embed_images(images, get_model=TinyModel, **how)
            encoded, matrix = found.encoded, found.matrix.nbytes
        else:
            encoded, matrix = embed_part(images, (1, 1), get_model=lambda: TinyModel(512), **how), 0
    assert encoded == n
    peaks = [resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN]
    process, worker = (resource.getrusage(who).ru_maxrss / 1024 for who in peaks)
    print(json.dumps({"process": process, "worker": worker, "matrix": matrix / 2**20}))


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--few", type=int, default=10_000)
    parser.add_argument("--many", type=int, default=100_000)
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--json", default="")
    parser.add_argument("--one", nargs=3, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.one:
        return embed(given.one[0], int(given.one[1]), given.one[2], given.workers)
    found = {}
    with tempfile.TemporaryDirectory() as folder:
        file = str(Path(folder, "photos.parquet"))
        generate(file, given.many)
        for what in ("embed_images", "embed_part"):
            peak = found[what] = {}
            for n in (given.few, given.many):
                command = [sys.executable, __file__, "--one", file, str(n), what]
                command += ["--workers", str(given.workers)]
                said = subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout
                peak[n] = json.loads(said.splitlines()[-1])
                print(
                    f"{what}, {n:7,} images: peak {peak[n]['process']:.0f} MiB, worker "
                    f"{peak[n]['worker']:.0f} MiB, of which the result {peak[n]['matrix']:.1f} MiB",
                    flush=True,
                )
            more = peak[given.many]["process"] - peak[given.few]["process"]
            print(f"{what}: {more:.0f} MiB more")
    if given.json:
        Path(given.json).write_text(json.dumps(found, indent=2) + "\n")


if __name__ == "__main__":
    main()
