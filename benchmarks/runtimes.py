"""What torch.compile, ONNX Runtime and bf16 cost on this CPU, beside torch as it is in fp32.

    python benchmarks/runtimes.py [--checkpoint FOLDER --photos FOLDER] [--json FILE]

ViT-B-32-quickgelu with random weights on generated images and, where a folder of a checkpoint is given, that
checkpoint on photographs (else on generated images). Every round encodes the same batches in all ways (bf16, which is
slow without instructions for it, an eighth of them), in an order that rotates; ratios are taken within a round, as
seconds an image of torch in fp32 by those of the other way, so that 2 is twice as fast. The first batch, in which a
runtime is built and held against torch, is timed apart.
"""

import argparse
import json
import statistics
import tempfile
from pathlib import Path

import numpy as np
from embedding_throughput import random_model, spent

WAYS = {
    "torch fp32": {},
    "torch.compile": {"runtime": "compile"},
    "ONNX Runtime": {"runtime": "onnx"},
    "torch bf16": {"precision": "bf16"},
}
CLASSES = ("man", "woman", "child", "animal", "criminal", "doctor")


def photographs(folder: str, model, n: int):
    """Preprocessed pixels of the first n .jpg files; of generated noise where no folder is given."""
    import torch
    from PIL import Image

    if not folder:
        rng = np.random.default_rng(0)
        small = rng.integers(0, 256, (n, 8, 8, 3), dtype=np.uint8)
        return torch.stack([model.preprocess(Image.fromarray(p).resize((224, 224))) for p in small])
    files = sorted(Path(folder).rglob("*.jpg"))[:n]
    return torch.stack([model.preprocess(Image.open(file).convert("RGB")) for file in files])


def measure(name: str, photos: str, n: int, size: int, rounds: int) -> dict:
    """Ratios of each way to torch in fp32, and how many labels and vectors are others."""
    from clipeval.embedding.rows import unit_rows
    from clipeval.errors import ModelError
    from clipeval.models import load_model

    found, models, mine, pixels = {}, {}, {}, None
    for way, how in WAYS.items():
        try:
            model = load_model(name, device="cpu", **how)
            model.offers = lambda: [[[f"a photo of a {c}"] for c in CLASSES]]
            pixels = photographs(photos, model, n) if pixels is None else pixels
            mine[way] = pixels[: n // 8] if way == "torch bf16" else pixels
            clock, work = spent()
            model.encode_images(mine[way][:size])
        except ModelError as error:
            print(f"{way}: left out, {error}", flush=True)
            continue
        now = spent()
        found[way] = {
            "first_batch_seconds": now[0] - clock,
            "first_batch_cpu_seconds": now[1] - work,
        }
        models[way] = model
        print(f"{way}: first batch {now[1] - work:.1f} processor seconds", flush=True)
    times = {way: [] for way in models}
    for turn in range(rounds):
        order = list(models)[turn % len(models) :] + list(models)[: turn % len(models)]
        for way in order:
            clock, work = spent()
            parts = [models[way].encode_images(part) for part in mine[way].split(size)]
            now = spent()
            each = len(mine[way])
            times[way].append(((now[0] - clock) / each, (now[1] - work) / each))
            found[way]["vectors"] = unit_rows(np.concatenate([part.numpy() for part in parts]))
    texts = unit_rows(models["torch fp32"].encode_texts([f"a photo of a {c}" for c in CLASSES]))
    exact = found["torch fp32"]["vectors"]
    for way, one in found.items():
        vectors = one.pop("vectors")
        same = exact[: len(vectors)]
        one["images"] = len(vectors)
        one["largest_difference"] = float(np.abs(vectors - same).max())
        labels = (vectors @ texts.T).argmax(1) != (same @ texts.T).argmax(1)
        one["changed_labels_percent"] = 100 * float(labels.mean())
        for i, what in enumerate(("clock", "cpu")):
            base, its = ([t[i] for t in times[w]] for w in ("torch fp32", way))
            ratios = [b / t for b, t in zip(base, its, strict=True)]
            one[f"{what}_seconds_an_image"] = statistics.median(its)
            one[f"{what}_ratio"] = [statistics.median(ratios), min(ratios), max(ratios)]
        median, low, high = one["cpu_ratio"]
        print(
            f"{way}: {median:.2f} ({low:.2f} to {high:.2f}) times as fast by processor time, "
            f"{one['clock_ratio'][0]:.2f} by the clock; vectors differ by {one['largest_difference']:.1e}, "
            f"{one['changed_labels_percent']:.1f} % of {one['images']} labels",
            flush=True,
        )
    return {
        "images": n,
        "batch": size,
        "rounds": rounds,
        "photographs": bool(photos),
        "ways": found,
    }


def main() -> None:
    """Print and keep the ratios."""
    import torch

    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--checkpoint", default="", help="folder of a checkpoint of open_clip")
    parser.add_argument("--photos", default="", help="folder of .jpg files for the checkpoint")
    parser.add_argument(
        "--images",
        type=int,
        default=64,
        help="for ViT-B/32; 16 times as many, at most 1,024, for the checkpoint",
    )
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--json", default="")
    given = parser.parse_args()
    path = Path(given.json)
    found = json.loads(path.read_text()) if given.json and path.exists() else {}
    found |= {"torch": torch.__version__, "threads": torch.get_num_threads()}

    def keep(name, *how):
        found[name] = measure(*how, given.rounds)
        if given.json:
            path.write_text(json.dumps(found, indent=2) + "\n")

    with tempfile.TemporaryDirectory() as folder:
        name = "ViT-B-32-quickgelu, random weights"
        keep(name, random_model(folder), "", given.images, min(32, given.images))
    if given.checkpoint:
        keep(
            "checkpoint",
            f"local-dir:{given.checkpoint}",
            given.photos,
            min(1024, 16 * given.images),
            64,
        )


if __name__ == "__main__":
    main()
